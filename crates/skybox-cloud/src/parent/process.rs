//! A node's process: started, heard, and waited for.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use skybox_core::NodeName;
use skybox_node::control::{NODE_ENV, PARENT_ENV};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::ParentConfig;
use super::state::Event;

/// How the nodes' output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// As it is: for files, pipes and log collectors.
    Untouched,
    /// Each line behind the node's name, in a colour of its own.
    Prefixed,
}

impl Output {
    /// Prefixed on a terminal, untouched otherwise.
    pub fn for_terminal() -> Output {
        if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() { Output::Prefixed } else { Output::Untouched }
    }
}

/// Colours of the prefixes, in the order of the nodes: readable on light and dark.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Starts a node. Its end arrives as [`Event::Exited`].
pub(super) fn start(
    config: &ParentConfig,
    socket: &Path,
    node: &NodeName,
    number: usize,
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
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        // A terminal's Ctrl-C is for the parent, which tells the nodes.
        .process_group(0);
    if config.output == Output::Prefixed {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let pid = child.id().unwrap_or(0);
    if config.output == Output::Prefixed {
        let prefix = prefix(node, number);
        if let Some(out) = child.stdout.take() {
            tokio::spawn(show(out, prefix.clone(), std::io::stdout()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(show(err, prefix, std::io::stderr()));
        }
    }
    tokio::spawn(wait(child, node.clone(), pid, events.clone()));
    Ok(pid)
}

fn prefix(node: &NodeName, number: usize) -> String {
    // https://no-color.org: set and not empty.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return format!("{:<8} │ ", node.as_str());
    }
    format!("\x1b[{}m{:<8}\x1b[0m │ ", COLOURS[number % COLOURS.len()], node.as_str())
}

async fn wait(mut child: Child, node: NodeName, pid: u32, events: mpsc::Sender<Event>) {
    let status: Option<ExitStatus> = child.wait().await.ok();
    // The parent is gone when nobody listens.
    drop(events.send(Event::Exited { node, pid, status }).await);
}

async fn show(from: impl AsyncRead + Unpin, prefix: String, mut to: impl Write) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        // The terminal is gone: the nodes go on.
        // One write for each line, so that lines of several nodes never mix.
        if to.write_all(format!("{prefix}{line}\n").as_bytes()).is_err() {
            return;
        }
    }
}
