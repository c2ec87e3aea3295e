//! What can be written on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use skybox_core::{NodeName, Replicas};
use skybox_node::Right;

use crate::doctor::DoctorArgs;
use crate::top::Sort;
use crate::unit::UnitArgs;

/// Runs one program as several processes on this machine, shows what runs where, and moves it.
#[derive(Debug, Parser)]
#[command(name = "skybox", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the program of this directory and run it as several nodes
    Run(Box<RunArgs>),
    /// Show nodes, modules and instances
    Ps(PsArgs),
    /// Show why a module is where it is, or why it does not run: its place, how it is kept, its last exits
    Explain(ExplainArgs),
    /// Show what the plan would become; nothing is changed
    Plan(PlanArgs),
    /// Show what was changed, by whom and when
    History(HistoryArgs),
    /// Show what the program does at this moment: calls, latency, errors, memory, CPU
    Top(TopArgs),
    /// Show who calls whom: counts, errors, latency, bytes
    Graph(GraphArgs),
    /// Call a method or a task
    Call(CallArgs),
    /// Move a module to other nodes, while it is called
    Move(MoveArgs),
    /// Say how many instances of a module there are, in a cloud
    Scale(ScaleArgs),
    /// Give a node of a cloud nothing more; it keeps what it has
    Cordon(NodeArgs),
    /// Give a node things again that was cordoned
    Uncordon(NodeArgs),
    /// Have nothing move in a cloud that need not
    Freeze(GoOnArgs),
    /// Let things move again
    Unfreeze(GoOnArgs),
    /// Take back what was ordered last, or a line of the history
    Undo(UndoArgs),
    /// Start a module, or one key of it, anew: one that was given up, or one that runs, while it is called
    Restart(RestartArgs),
    /// Kill a node's process, as a crash would, or one instance; another one is started
    Kill(KillArgs),
    /// Have a node hand everything over and end
    Drain(NodeArgs),
    /// Say that nodes of a cloud that were lost at once are gone for good: others take over what they had
    GoOn(GoOnArgs),
    /// End the whole program
    Stop(StopArgs),
    /// Make certificates for nodes and operators on several machines
    Certs(CertsArgs),
    /// Print a systemd unit that keeps a node of a program running on this machine
    Unit(Box<UnitArgs>),
    /// Look for what keeps a node of this machine from joining its cloud, or will: clock, certificates, etcd, other nodes
    Doctor(DoctorArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "split", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) nodes: u32,
    /// One node for each module, at most eight: every call between modules crosses
    #[arg(long)]
    pub(crate) split: bool,
    /// Nodes talk over TCP with TLS on the loopback interface, as they do between machines
    #[arg(long)]
    pub(crate) tcp: bool,
    /// Keep a module in one node (node-1 unless said) and print the process to attach a debugger to
    #[arg(long, value_name = "MODULE[=NODE]", value_parser = inline)]
    pub(crate) inline: Vec<Placement>,
    /// Put a module on these nodes from the beginning
    #[arg(long, value_name = "MODULE=NODE[,NODE]", value_parser = placement)]
    pub(crate) place: Vec<Placement>,
    /// Run a node at another priority, as nice(1) counts
    #[arg(long, value_name = "NODE=N", value_parser = nice, allow_hyphen_values = true)]
    pub(crate) nice: Vec<(NodeName, i32)>,
    /// The configuration, instead of skybox.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Build with optimizations
    #[arg(long, conflicts_with = "program")]
    pub(crate) release: bool,
    /// Build again when a source changes, and replace the nodes, as when skybox.toml changes; listeners stay open
    #[arg(long, conflicts_with = "program")]
    pub(crate) watch: bool,
    /// Which program of the package
    #[arg(long, value_name = "NAME", conflicts_with = "program")]
    pub(crate) bin: Option<String>,
    /// Which package of the workspace
    #[arg(long, short, value_name = "NAME", conflicts_with = "program")]
    pub(crate) package: Option<String>,
    /// Run this file and build nothing
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
    /// The program's own arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

/// A module, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) module: String,
    pub(crate) nodes: Vec<NodeName>,
}

/// Which running program.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Which running program, if there are several: its name or its process
    #[arg(long, value_name = "NAME|PID")]
    pub(crate) program: Option<String>,
    /// A node on any machine, over TLS
    #[arg(long, value_name = "HOST:PORT", requires = "identity", conflicts_with = "program")]
    pub(crate) at: Option<String>,
    /// An operator's certificate and key, without .pem and .key; authority.pem lies beside them
    #[arg(long, value_name = "PATH", env = "SKYBOX_IDENTITY")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Show it as a tree: nodes, modules, instances, and what those have spawned
    #[arg(long, conflicts_with = "json")]
    pub(crate) tree: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Which module or task
    pub(crate) module: String,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Change nothing: the plan itself is what `skybox ps` shows
    #[arg(long, required = true)]
    pub(crate) dry_run: bool,
    /// As if `skybox move` had said so
    #[arg(long = "move", value_name = "MODULE=NODE[,NODE]", value_parser = placement)]
    pub(crate) moves: Vec<Placement>,
    /// As if `skybox scale` had said so
    #[arg(long = "scale", value_name = "MODULE=N", value_parser = scaled)]
    pub(crate) scales: Vec<(String, Replicas)>,
    /// As if `skybox cordon` had said so
    #[arg(long = "cordon", value_name = "NODE", value_parser = node)]
    pub(crate) cordons: Vec<NodeName>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The last lines alone
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<u32>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UndoArgs {
    /// Which line of `skybox history`; the last one that can be, if nothing is said
    pub(crate) number: Option<u64>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Print one table, and end; so does --json
    #[arg(long)]
    pub(crate) once: bool,
    /// What the lines are sorted by
    #[arg(long, value_name = "COLUMN", value_enum, default_value_t = Sort::Name)]
    pub(crate) sort: Sort,
    /// The time between two looks, such as 1s or 250ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    pub(crate) every: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Print it in the language of Graphviz
    #[arg(long, conflicts_with = "json")]
    pub(crate) dot: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CallArgs {
    /// `module.method`, or a task's name
    #[arg(value_name = "MODULE.METHOD|TASK")]
    pub(crate) callee: String,
    /// The arguments: JSON, by name or in order; `-` is the same as --stdin
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(crate) arguments: String,
    /// Read the items of a stream argument from standard input, one JSON value a line
    #[arg(long, value_name = "PARAMETER", num_args = 0..=1, require_equals = true)]
    pub(crate) stdin: Option<Option<String>>,
    /// Which instance of a keyed module: JSON, or a bare word
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// The node that makes the call
    #[arg(long, value_name = "NODE", value_parser = node)]
    pub(crate) from: Option<NodeName>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MoveArgs {
    /// Which module or task
    pub(crate) module: String,
    /// Where it is to run from now on
    #[arg(value_name = "NODE", value_delimiter = ',', required_unless_present = "anywhere", conflicts_with = "anywhere", value_parser = node)]
    pub(crate) nodes: Vec<NodeName>,
    /// Take back what an earlier move said
    #[arg(long)]
    pub(crate) anywhere: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// Which module or task
    pub(crate) module: String,
    /// How many, as in the source: 3, 1..=8 or per-node; as the program says if nothing is said
    pub(crate) replicas: Option<Replicas>,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// Which module or task
    pub(crate) module: String,
    /// Which instance of a keyed module: JSON, or a bare word
    #[arg(long)]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// Which node, or which instance, as `skybox ps` names it
    #[arg(value_name = "NODE|ID", value_parser = victim)]
    pub(crate) victim: Victim,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// What is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Node(NodeName),
    /// By its name.
    Instance(String),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Which node
    #[arg(value_parser = node)]
    pub(crate) node: NodeName,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GoOnArgs {
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    pub(crate) what: CertsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make an authority for a program, in a directory of its own
    Init(CertsInitArgs),
    /// Make a node's certificate and key
    Node(CertsNodeArgs),
    /// Make an operator's certificate and key
    Operator(CertsOperatorArgs),
}

/// Where the authority is.
#[derive(Debug, clap::Args)]
pub(crate) struct CertsDirectory {
    /// The authority's directory
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CertsInitArgs {
    /// The program's name, as its file or SKYBOX_PROGRAM has it
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: String,
    /// For how many days it is valid
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) at: CertsDirectory,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CertsNodeArgs {
    /// The node's name
    #[arg(value_name = "NODE", value_parser = node)]
    pub(crate) node: NodeName,
    /// For how many days it is valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) at: CertsDirectory,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CertsOperatorArgs {
    /// The person's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What they may do: read, call or admin; each includes those before it
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Right,
    /// For how many days it is valid
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) at: CertsDirectory,
}

/// An instance is named after a life of its node and a count: `0b2d3c1a.4`; and a cell, which stands for what lives in it
/// while it does not say what that is, after its node and its module: `node-1/page.3`.
fn victim(text: &str) -> Result<Victim, String> {
    let is_instance = text.split_once('.').is_some_and(|(life, count)| {
        life.len() == 8
            && life.bytes().all(|digit| digit.is_ascii_hexdigit())
            && count.bytes().all(|digit| digit.is_ascii_digit())
    });
    let is_cell = text.contains('/');
    if is_instance || is_cell { Ok(Victim::Instance(text.to_owned())) } else { node(text).map(Victim::Node) }
}

/// A shorter time would show nothing but that asking costs something.
const EVERY_MIN: Duration = Duration::from_millis(100);

fn every(text: &str) -> Result<Duration, String> {
    let every = skybox_core::parse_duration(text).filter(|every| *every >= EVERY_MIN);
    every.ok_or_else(|| format!("write a time such as 1s or 250ms, of at least {EVERY_MIN:?}"))
}

fn node(text: &str) -> Result<NodeName, String> {
    if text.is_empty() {
        Err("a node has a name, such as node-2".to_owned())
    } else {
        Ok(NodeName::new(text))
    }
}

fn placement(text: &str) -> Result<Placement, String> {
    let (module, nodes) = text.split_once('=').ok_or("write MODULE=NODE, such as thumbnail=node-2")?;
    let nodes = nodes.split(',').map(node).collect::<Result<Vec<_>, _>>()?;
    Ok(Placement { module: module.to_owned(), nodes })
}

fn scaled(text: &str) -> Result<(String, Replicas), String> {
    let (module, replicas) = text.split_once('=').ok_or("write MODULE=N, such as search=4")?;
    Ok((module.to_owned(), replicas.parse().map_err(|error| format!("`{replicas}`: {error}"))?))
}

fn inline(text: &str) -> Result<Placement, String> {
    let (module, node_name) = text.split_once('=').unwrap_or((text, "node-1"));
    Ok(Placement { module: module.to_owned(), nodes: vec![node(node_name)?] })
}

fn nice(text: &str) -> Result<(NodeName, i32), String> {
    let wrong = "write NODE=N, such as node-2=10, with N from -20 to 19";
    let (name, n) = text.split_once('=').ok_or(wrong)?;
    let n = n.parse().ok().filter(|n| (-20..=19).contains(n)).ok_or(wrong)?;
    Ok((node(name)?, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let words = std::iter::once("skybox").chain(line.split_whitespace());
        Args::try_parse_from(words).map(|args| args.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn the_documentation_names_every_command_and_option() {
        use clap::CommandFactory;
        let page = include_str!("../../../docs/cli.md");
        for command in Args::command().get_subcommands() {
            let heading = format!("## `skybox {}`", command.get_name());
            assert!(page.contains(&heading), "docs/cli.md has no `{heading}`");
            for below in command.get_subcommands() {
                let line = format!("skybox {} {}", command.get_name(), below.get_name());
                assert!(page.contains(&line), "docs/cli.md does not show `{line}`");
            }
            let all = command.get_subcommands().chain([command]).flat_map(clap::Command::get_arguments);
            for option in all.filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("--{option}")), "docs/cli.md does not name --{option}");
            }
        }
    }

    #[test]
    fn places_and_priorities() {
        let line =
            "run --nodes 2 --place a=node-1,node-2 --inline b --inline c=node-2 --nice node-2=-5 -- --x 1";
        let Command::Run(args) = parse(line).expect("well formed") else { panic!("another command") };
        let place = |module: &str, nodes: &[&str]| Placement {
            module: module.to_owned(),
            nodes: nodes.iter().copied().map(NodeName::new).collect(),
        };
        assert_eq!(args.place, [place("a", &["node-1", "node-2"])]);
        assert_eq!(args.inline, [place("b", &["node-1"]), place("c", &["node-2"])]);
        assert_eq!(args.nice, [(NodeName::new("node-2"), -5)]);
        assert_eq!(args.arguments, ["--x", "1"]);
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let wrong = [
            ("run --nodes 0", "0 is not in 1..=64"),
            ("run --nodes 2 --split", "cannot be used with"),
            ("run --nice node-2=20", "from -20 to 19"),
            ("run --place thumbnail", "thumbnail=node-2"),
            ("certs operator ada --role root", "read, call or admin"),
            ("ps --at 10.0.0.1:7600", "--identity"),
            ("graph --dot --json", "cannot be used with"),
            ("ps --tree --json", "cannot be used with"),
            ("top --sort colour", "[possible values: name, calls, p99"),
            ("top --every 5ms", "at least 100ms"),
            ("move thumbnail", "NODE"),
            ("move thumbnail node-1 --anywhere", "cannot be used with"),
        ];
        for (line, message) in wrong {
            let error = parse(line).expect_err(line);
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
