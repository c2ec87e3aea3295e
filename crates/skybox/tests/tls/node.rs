//! A node in a process of its own: the side of the test that drives it, and the side that is driven.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skybox::App;

use crate::Echo;
pub use crate::played::PATIENCE;
use crate::played::{Process, be, orders, say};

/// The program that every node here is of.
pub const PROGRAM: &str = "shop";

/// Runs a test; in a process that is a node, runs that instead.
pub fn play(test: impl FnOnce()) {
    crate::played::play(|| be_a_node(), test);
}

/// A running node. Killed when dropped.
pub struct Node(Process);

impl Node {
    /// Starts one, with settings as its environment has them.
    pub fn start(settings: &[(&str, &str)]) -> Node {
        let mut command = Process::command();
        command
            .env("SKYBOX_PROGRAM", PROGRAM)
            .env("SKYBOX_NODE__LISTEN", "127.0.0.1:0")
            // A call that finds nobody is over sooner: nobody comes.
            .env("SKYBOX_MODULES__ECHO__START-WAIT", "1s")
            .envs(settings.iter().copied());
        Node(Process::start(command))
    }

    /// Starts one, and waits until it runs. Its address.
    pub fn running(settings: &[(&str, &str)]) -> (Node, String) {
        let mut node = Node::start(settings);
        let address = node.answer();
        let address = address.strip_prefix("at ").unwrap_or_else(|| panic!("it runs: {address}")).to_owned();
        (node, address)
    }
}

impl Deref for Node {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

/// Runs the node that this process is.
fn be_a_node() -> ! {
    be(async |app| {
        say(&format!("at {}", app.status().address));
        tokio::select! {
            () = obey(app.clone()) => {}
            () = app.draining() => {}
        }
    })
}

/// Does what its test says, line by line, until the test is gone.
async fn obey(app: App) {
    let mut orders = orders();
    let load = Arc::new(Load::default());
    while let Some(line) = orders.recv().await {
        match line.as_str() {
            "call" => match app.get::<Echo>().echo(7).await {
                Ok(n) => say(&format!("returned {n}")),
                Err(error) => say(&format!("failed: {error:#}")),
            },
            "thousand" => {
                let echo = app.get::<Echo>();
                let mut returned = 0;
                for n in 0..1000 {
                    match echo.echo(n).await {
                        Ok(_) => returned += 1,
                        Err(error) => tracing::error!("one of a thousand failed: {error:#}"),
                    }
                }
                say(&format!("returned {returned}"));
            }
            "handshakes" => {
                let metrics = app.metrics();
                let lines = metrics.lines().filter(|line| line.starts_with("skybox_handshakes_"));
                say(&lines.collect::<Vec<_>>().join("; "));
            }
            "load" => {
                for _ in 0..LOAD_CALLERS {
                    tokio::spawn(load.clone().call(app.clone()));
                }
                say("loading");
            }
            "tally" => {
                let (calls, failures) = (&load.calls, &load.failures);
                say(&format!("{} {}", calls.load(Ordering::SeqCst), failures.load(Ordering::SeqCst)));
            }
            other => panic!("{other}?"),
        }
    }
}

/// Callers under load.
const LOAD_CALLERS: u64 = 8;

/// Calls without end.
#[derive(Default)]
struct Load {
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Load {
    async fn call(self: Arc<Load>, app: App) {
        let echo = app.get::<Echo>();
        loop {
            if let Err(error) = echo.echo(1).await {
                tracing::error!("a call under load failed: {error:#}");
                self.failures.fetch_add(1, Ordering::SeqCst);
            }
            self.calls.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    }
}
