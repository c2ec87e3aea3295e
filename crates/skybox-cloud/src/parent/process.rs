//! A node's process: started, heard, and waited for.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use skybox_core::NodeName;
use skybox_node::control::{NODE_ENV, PARENT_ENV};
use skybox_node::output::pass_on;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::ParentConfig;
use super::state::Event;

/// How the nodes' output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nodes write to the parent's own standard output and error: for tests, which capture those.
    Untouched,
    /// Each line as it is and in one piece, for files, pipes and log collectors: what several nodes say at once, such
    /// as why they do not start, stays readable.
    Lines,
    /// Each line behind the node's name, in a colour of its own.
    Prefixed,
}

impl Output {
    /// Prefixed on a terminal, plain lines otherwise.
    pub fn for_terminal() -> Output {
        if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
            Output::Prefixed
        } else {
            Output::Lines
        }
    }
}

/// How long what a node has written last may take to be shown after its end.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);
/// Colours of the prefixes, in the order of the nodes: readable on light and dark.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Starts a node, which is given its name and its number among all. `secure`: what it is told of TLS. Its end arrives as [`Event::Exited`].
pub(super) fn start(
    config: &ParentConfig,
    socket: &Path,
    (node, number): (&NodeName, usize),
    secure: Vec<(String, String)>,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<u32> {
    let mut command = match config.nice.get(node) {
        None => Command::new(&config.launch.program),
        Some(nice) => {
            let mut command = Command::new("nice");
            command.arg("-n").arg(nice.to_string()).arg(&config.launch.program);
            command
        }
    };
    command
        .args(&config.launch.arguments)
        .env(PARENT_ENV, socket)
        .env(NODE_ENV, node.as_str())
        .env_remove(skybox_node::parenthood::NODES_ENV)
        .envs(secure)
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        // A terminal's Ctrl-C is for the parent, which tells the nodes.
        .process_group(0);
    if config.output != Output::Untouched {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let pid = child.id().unwrap_or(0);
    let prefix = if config.output == Output::Prefixed { prefix(node, number) } else { String::new() };
    let mut shown = Vec::new();
    if let Some(out) = child.stdout.take() {
        shown.push(pass_on(
            std::fs::File::from(out.into_owned_fd()?),
            prefix.clone(),
            std::io::stdout(),
            None,
        ));
    }
    if let Some(err) = child.stderr.take() {
        shown.push(pass_on(std::fs::File::from(err.into_owned_fd()?), prefix, std::io::stderr(), None));
    }
    tokio::spawn(wait(child, shown, node.clone(), pid, events.clone()));
    Ok(pid)
}

fn prefix(node: &NodeName, number: usize) -> String {
    // https://no-color.org: set and not empty.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return format!("{:<8} │ ", node.as_str());
    }
    format!("\x1b[{}m{:<8}\x1b[0m │ ", COLOURS[number % COLOURS.len()], node.as_str())
}

async fn wait(
    mut child: Child,
    shown: Vec<oneshot::Receiver<()>>,
    node: NodeName,
    pid: u32,
    events: mpsc::Sender<Event>,
) {
    let status: Option<ExitStatus> = child.wait().await.ok();
    // Its last words say why it ended. A process that it has left behind may hold its output open.
    let last_words = async {
        for end in shown {
            drop(end.await);
        }
    };
    drop(tokio::time::timeout(LAST_WORDS_WAIT, last_words).await);
    // The parent is gone when nobody listens.
    drop(events.send(Event::Exited { node, pid, status }).await);
}
