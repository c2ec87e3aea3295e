//! A node in a process of its own: the side of the test that drives it, and the side that is driven.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use skybox::App;
use skybox_core::TextChain;

use crate::Echo;

/// The program that every node here is of.
pub const PROGRAM: &str = "shop";
/// The longest any wait may take. Generous: it only ends tests that would fail anyway.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the processes of nodes.
const PLAYED: &str = "SKYBOX_TEST_NODE";
/// Before each line that a node says to its test: libtest writes to the same stream.
const SAYS: &str = "node says ";

/// Runs a test; in a process that is a node, runs that instead.
pub fn play(test: impl FnOnce()) {
    if std::env::var_os(PLAYED).is_some() { be_a_node() } else { test() }
}

/// A running node. Killed when dropped.
pub struct Node {
    child: Child,
    orders: ChildStdin,
    said: Lines,
    log: Lines,
}

impl Node {
    /// Starts one, with settings as its environment has them.
    pub fn start(settings: &[(&str, &str)]) -> Node {
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main").map(str::to_owned);
        let test = test.or_else(|| std::env::args().skip(1).find(|argument| !argument.starts_with('-')));
        let mut child = Command::new(std::env::current_exe().expect("a test's own binary is known"))
            .args([&test.expect("a test has a name"), "--exact", "--nocapture", "--test-threads=1"])
            .env(PLAYED, "1")
            .env("SKYBOX_PROGRAM", PROGRAM)
            .env("SKYBOX_NODE__LISTEN", "127.0.0.1:0")
            // A call that finds nobody is over sooner: nobody comes.
            .env("SKYBOX_MODULES__ECHO__START-WAIT", "1s")
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a test's own binary can be started");
        let orders = child.stdin.take().expect("it was asked for as a pipe");
        let said = Lines::of(child.stdout.take().expect("it was asked for as a pipe"));
        let log = Lines::of(child.stderr.take().expect("it was asked for as a pipe"));
        Node { child, orders, said, log }
    }

    /// Starts one, and waits until it runs. Its address.
    pub fn running(settings: &[(&str, &str)]) -> (Node, String) {
        let mut node = Node::start(settings);
        let address = node.answer();
        let address = address.strip_prefix("at ").unwrap_or_else(|| panic!("it runs: {address}")).to_owned();
        (node, address)
    }

    /// What it says next.
    pub fn answer(&mut self) -> String {
        let line = self.said.next(SAYS);
        line.split_once(SAYS).map_or_else(String::new, |(_, answer)| answer.to_owned())
    }

    /// Orders something, and gives the answer.
    pub fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("it listens");
        self.answer()
    }

    /// Waits until its log has a line with all of that.
    pub fn logs(&self, parts: &[&str]) -> String {
        self.log.wait(0, parts).1
    }

    /// Waits until its log has a line with that, after the one that this has found before.
    pub fn logs_again(&mut self, part: &str) -> String {
        self.log.next(part)
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it is a child of this process")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
struct Lines {
    all: Arc<(Mutex<Vec<String>>, Condvar)>,
    taken: usize,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines { all: Arc::default(), taken: 0 };
        let all = lines.all.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                all.0.lock().unwrap().push(line);
                all.1.notify_all();
            }
        });
        lines
    }

    /// The next line with that, which is not looked at again.
    fn next(&mut self, part: &str) -> String {
        let (at, line) = self.wait(self.taken, &[part]);
        self.taken = at + 1;
        line
    }

    fn wait(&self, from: usize, parts: &[&str]) -> (usize, String) {
        let found = |lines: &[String]| {
            let fits = |line: &String| parts.iter().all(|part| line.contains(part));
            (from..lines.len()).find(|at| fits(&lines[*at])).map(|at| (at, lines[at].clone()))
        };
        let lines = self.all.0.lock().unwrap();
        let waited = self.all.1.wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none());
        let (lines, _) = waited.unwrap();
        found(&lines).unwrap_or_else(|| panic!("waited {PATIENCE:?} for {parts:?} in {lines:#?}"))
    }
}

/// Runs the node that this process is.
fn be_a_node() -> ! {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("the operating system gives a node two threads").block_on(async {
        let app = match App::builder().start().await {
            Ok(app) => app,
            Err(error) => {
                say(&format!("does not start: {}", TextChain::of(&error).joined()));
                std::process::exit(1);
            }
        };
        say(&format!("at {}", app.status().address));
        let obeying = obey(app.clone());
        tokio::select! {
            () = obeying => {}
            () = app.draining() => {}
        }
        std::process::exit(0);
    })
}

/// Does what its test says, line by line, until the test is gone.
async fn obey(app: App) {
    let (order, mut orders) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = order.send(line);
        }
    });
    let load = Arc::new(Load::default());
    while let Some(line) = orders.recv().await {
        match line.as_str() {
            "call" => match app.get::<Echo>().echo(7).await {
                Ok(n) => say(&format!("returned {n}")),
                Err(error) => say(&format!("failed: {error:#}")),
            },
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

fn say(text: &str) {
    println!("{SAYS}{text}");
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
