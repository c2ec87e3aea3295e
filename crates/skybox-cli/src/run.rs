//! `skybox run`: this process becomes the parent of the program's nodes.

mod build;
mod sources;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use skybox_cloud::parent::{Done, Launch, Order, Parent, ParentConfig};
use skybox_core::{NodeName, Plan};
use skybox_node::config::CONFIG_ENV;
use tracing_subscriber::EnvFilter;

use crate::args::{Placement, RunArgs};
use crate::table;
use watch::{Configuration, Watch};

/// A program that has said nothing after this long may not be one of Skybox: its people are told what is missing.
const HELLO_WAIT: Duration = Duration::from_secs(15);

/// Builds the program, runs it, and ends with its exit code.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    check_nodes(&args)?;
    let file = args.config.as_deref().map(absolute).transpose()?;
    let named = file.clone().or_else(|| std::env::var_os(CONFIG_ENV).map(PathBuf::from));
    let configuration = Configuration::new(named);
    let mut config = configuration.load()?;
    let mut watch = None;
    let program = match &args.program {
        Some(program) => absolute(program)?,
        None if args.watch => {
            let (first, program, as_built) = Watch::first_build(configuration, &args).await?;
            (watch, config) = (Some(first), as_built);
            program
        }
        None => build::build(&args)?.file,
    };
    start_log();
    let launch = Launch { program, arguments: args.arguments.clone() };
    let name = launch.name();
    let mut parent = ParentConfig::new(launch, if args.split { 1 } else { args.nodes }, config);
    parent.split = args.split;
    parent.watched = args.watch;
    parent.tcp = args.tcp;
    let made = args.tcp && parent.config.tls()?.is_none();
    parent.pins = args
        .place
        .iter()
        .chain(&args.inline)
        .map(|place| (place.module.clone(), place.nodes.clone()))
        .collect();
    parent.nice = args.nice.iter().cloned().collect();
    if let Some(file) = &file {
        parent.environment.push((CONFIG_ENV.to_owned(), file.to_string_lossy().into_owned()));
    }
    let parent = Parent::start(parent).await?;
    let code = tokio::select! {
        code = parent.run_to_end() => code,
        never = follow(watch, &parent, &args) => match never {},
        error = tell(&parent, &name, &args, made) => {
            eprintln!("error: {error}");
            parent.stop().await;
            parent.run_to_end().await;
            1
        }
    };
    drop(parent);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Replaces the program whenever its sources or its configuration change, if that is wanted.
async fn follow(watch: Option<Watch>, parent: &Parent, args: &RunArgs) -> Infallible {
    match watch {
        Some(watch) => watch.follow(parent, args).await,
        None => std::future::pending().await,
    }
}

/// Nodes that are named must be among those that will be there.
fn check_nodes(args: &RunArgs) -> anyhow::Result<()> {
    if args.split {
        return Ok(());
    }
    let nodes: BTreeSet<_> = (1..=args.nodes).map(|n| NodeName::new(format!("node-{n}"))).collect();
    let placed = args.place.iter().chain(&args.inline).flat_map(|place| &place.nodes);
    for node in placed.chain(args.nice.iter().map(|(node, _)| node)) {
        if !nodes.contains(node) {
            bail!(
                "there is no node `{node}`: with --nodes {} there are node-1 to node-{}",
                args.nodes,
                args.nodes
            );
        }
    }
    Ok(())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("{} cannot be found", path.display()))
}

/// The parent's own messages, among those of the nodes.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(table::colours(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .init();
}

/// Says what runs and where it listens, `made` whether with certificates of this run, for as long as the program runs; resolves only with a mistake of the command
/// line that the running program has shown.
async fn tell(parent: &Parent, name: &str, args: &RunArgs, made: bool) -> String {
    let mut plans = parent.plans();
    let first = |plan: &Plan| !plan.nodes.is_empty();
    if tokio::time::timeout(HELLO_WAIT, plans.wait_for(|plan| first(plan))).await.is_err() {
        eprintln!(
            "{name} runs, and has not joined after {HELLO_WAIT:?}: does its main call `skybox::App::builder().start()`?"
        );
    }
    let plan = match plans.wait_for(|plan| first(plan)).await {
        Ok(plan) => plan.clone(),
        // The parent has ended; its end is what counts.
        Err(_) => std::future::pending().await,
    };
    let placed: Vec<&Placement> = args.place.iter().chain(&args.inline).collect();
    if let Some(unknown) = placed.iter().find(|place| !plan.modules.contains_key(&place.module)) {
        let names: Vec<_> = plan.modules.keys().map(String::as_str).collect();
        return format!("there is no module `{}` to place; {name} has {}", unknown.module, names.join(", "));
    }
    let processes = match parent.order(Order::Show).await {
        Done::Shown { processes, .. } => processes,
        _ => BTreeMap::new(),
    };
    say(&greeting(name, &processes, args, made));
    tell_listeners(parent).await
}

fn greeting(name: &str, processes: &BTreeMap<NodeName, u32>, args: &RunArgs, made: bool) -> String {
    use std::fmt::Write;
    let mut text =
        format!("{name} runs as {} nodes, parent process {}\n", processes.len(), std::process::id());
    let mut line = |line: String| writeln!(text, "  {line}").expect("a String takes everything");
    for (node, pid) in processes {
        line(format!("{:<8} process {pid}", node.as_str()));
    }
    for Placement { module, nodes } in &args.inline {
        for (node, pid) in nodes.iter().filter_map(|node| processes.get_key_value(node)) {
            line(format!("`{module}` runs in {node}: attach a debugger to process {pid}"));
        }
    }
    if args.tcp {
        let whose = if made { "certificates made for this run" } else { "the certificates of `[tls]`" };
        line(format!("nodes talk over TCP with TLS, with {whose}"));
    }
    line("see it with `skybox ps` and `skybox graph`; Ctrl-C ends it".to_owned());
    text
}

/// Writes to standard error in one piece: the nodes write there as well.
fn say(text: &str) {
    use std::io::Write;
    // Nobody reads it: the program runs all the same.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// Says each listener's address when it is bound, and again when that is another one.
async fn tell_listeners(parent: &Parent) -> ! {
    let mut listeners = parent.listeners();
    let mut told = BTreeMap::new();
    loop {
        let bound = listeners.borrow_and_update().clone();
        for (name, address) in bound {
            if told.insert(name.clone(), address) != Some(address) {
                let scheme = if name == "http" || name == "admin" { "http://" } else { "" };
                say(&format!("{name} listens on {scheme}{address}\n"));
            }
        }
        if listeners.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
