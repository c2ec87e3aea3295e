//! `move`, `scale`, `cordon`, `freeze`, `kill`, `drain`, `go-on` and `stop`: orders for a program's parent, or for its cloud.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use skybox_cloud::parent::{Done, Order};
use skybox_cloud::running::{Running, running};
use skybox_core::NodeName;
use skybox_node::Extent;

use crate::args::{GoOnArgs, KillArgs, MoveArgs, NodeArgs, ScaleArgs, StopArgs, Victim};
use crate::choose::{Purpose, choose};
use crate::ps::joined;

/// A single process that goes on past this time after it was told to end is said to do so. Several nodes have a parent,
/// which says when it kills them.
const SINGLE_STOP_WAIT: Duration = Duration::from_secs(40);
/// How long a parent may take to end what it has killed.
const KILLED_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether a program has ended.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Moves a module; ends when it serves there.
pub(crate) async fn move_module(args: &MoveArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    let order = Order::Move { module: args.module.clone(), nodes: args.nodes.clone() };
    program.order(&order).await?;
    match args.nodes.as_slice() {
        [] => say(&format!("{} goes where there is room", args.module)),
        nodes => say(&format!("{} runs on {}", args.module, joined(nodes.iter().map(NodeName::as_str)))),
    }
}

/// Says how many instances of a module there are.
pub(crate) async fn scale(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    let replicas = args.replicas.as_ref().map(ToString::to_string).unwrap_or_default();
    program.order(&Order::Scale { module: args.module.clone(), replicas: replicas.clone() }).await?;
    match replicas.as_str() {
        "" => say(&format!("there are as many of {} as the program says", args.module)),
        "per-node" => say(&format!("{} is on every node", args.module)),
        replicas => say(&format!("there are {replicas} of {}, where there is room", args.module)),
    }
}

/// Gives a node nothing more, or things again.
pub(crate) async fn cordon(args: &NodeArgs, on: bool) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    program.order(&Order::Cordon { node: args.node.clone(), on }).await?;
    match on {
        true => say(&format!("{} gets nothing more, and keeps what it has", args.node)),
        false => say(&format!("{} is given things again", args.node)),
    }
}

/// Has nothing move that need not, or lets things move again.
pub(crate) async fn freeze(args: &GoOnArgs, on: bool) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    program.order(&Order::Freeze { on }).await?;
    match on {
        true => say("nothing moves but what has lost its node, or must leave it"),
        false => say("things move again"),
    }
}

/// Kills a node's process, or one instance.
pub(crate) async fn kill(args: &KillArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    match &args.victim {
        Victim::Node(node) => {
            program.order(&Order::Kill { node: node.clone() }).await?;
            match program.has_parent() {
                true => say(&format!("{node} was killed; it is started again")),
                false => say(&format!("{node} was killed")),
            }
        }
        Victim::Instance(instance) => match program.kill_instance(instance).await? {
            Some((killed, node)) => {
                let how = match killed.extent {
                    Extent::Cell => {
                        ", with the process of its cell: that had not answered within 2 s, or the instance had not ended in it"
                    }
                    Extent::GoesOn => {
                        ": it takes no more calls, but its code holds a thread of its cell and goes on, since others live there"
                    }
                    _ => "",
                };
                say(&format!("{instance} of {} on {node} was killed{how}", killed.module))
            }
            None => bail!("no instance {instance} is live: `skybox ps` shows those that are"),
        },
    }
}

/// Drains a node; ends when it has ended.
pub(crate) async fn drain(args: &NodeArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    program.order(&Order::Drain { node: args.node.clone() }).await?;
    match program.has_parent() {
        true => say(&format!("{} has handed everything over and ended", args.node)),
        false => say(&format!("{} drains", args.node)),
    }
}

/// Says that the nodes which a cloud holds back are gone for good.
pub(crate) async fn go_on(args: &GoOnArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    let held = program.shown().await?.map(|shown| shown.degraded).unwrap_or_default();
    program.order(&Order::GoOn).await?;
    match held.as_slice() {
        [] => say("nothing was held back"),
        held => {
            let nodes = joined(held.iter().map(NodeName::as_str));
            say(&format!("others take over what {nodes} had"))
        }
    }
}

/// Ends a program; ends when it has ended.
pub(crate) async fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change).await?;
    let patience = match program.order(&Order::Stop).await? {
        Done::Ending { within_ms } => Duration::from_millis(within_ms).saturating_add(KILLED_WAIT),
        _ => SINGLE_STOP_WAIT,
    };
    let since = Instant::now();
    while is_there(&program) {
        if since.elapsed() > patience {
            bail!("{} (process {}) has not ended within {patience:?}", program.program, program.pid);
        }
        tokio::time::sleep(STOP_LOOK).await;
    }
    say(&format!("{} has ended", program.program))
}

fn is_there(program: &Running) -> bool {
    let is_it = |one: &Running| (&one.program, one.pid) == (&program.program, program.pid);
    running().iter().any(is_it)
}

fn say(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
