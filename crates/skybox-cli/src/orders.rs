//! `move`, `kill`, `drain` and `stop`: orders for a program's parent.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use skybox_cloud::parent::{Done, Order};
use skybox_cloud::running::{Running, running};
use skybox_core::NodeName;
use skybox_node::Extent;

use crate::args::{KillArgs, MoveArgs, NodeArgs, StopArgs, Victim};
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
    let program = choose(&args.which, Purpose::Change)?;
    let order = Order::Move { module: args.module.clone(), nodes: args.nodes.clone() };
    program.order(&order).await?;
    match args.nodes.as_slice() {
        [] => say(&format!("{} goes where there is room", args.module)),
        nodes => say(&format!("{} runs on {}", args.module, joined(nodes.iter().map(NodeName::as_str)))),
    }
}

/// Kills a node's process, or one instance.
pub(crate) async fn kill(args: &KillArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change)?;
    match &args.victim {
        Victim::Node(node) => {
            program.order(&Order::Kill { node: node.clone() }).await?;
            say(&format!("{node} was killed; it is started again"))
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
    choose(&args.which, Purpose::Change)?.order(&Order::Drain { node: args.node.clone() }).await?;
    match &args.which.at {
        None => say(&format!("{} has handed everything over and ended", args.node)),
        Some(_) => say(&format!("{} drains", args.node)),
    }
}

/// Ends a program; ends when it has ended.
pub(crate) async fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.which, Purpose::Change)?;
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
    running().contains(program)
}

fn say(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
