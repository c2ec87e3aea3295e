//! Processes that a test starts: its own binary again, told to run that one test, where [`play`] has the process do
//! something else. They take orders and say things, line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use skybox::App;
use skybox_core::TextChain;

/// The longest any wait may take. Generous: it only ends tests that would fail anyway.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the processes that are played.
const PLAYED: &str = "SKYBOX_TEST_NODE";
/// Before each line that such a process says to its test: libtest writes to the same stream.
const SAYS: &str = "node says ";

/// Runs a test; in a process that is played, runs that instead.
pub fn play(part: impl FnOnce(), test: impl FnOnce()) {
    if std::env::var_os(PLAYED).is_some() { part() } else { test() }
}

/// A running process. Killed when dropped.
pub struct Process {
    child: Child,
    orders: ChildStdin,
    said: Lines,
    log: Lines,
}

impl Process {
    /// What a process of this test is started with.
    pub fn command() -> Command {
        Process::command_as(|program| Command::new(program))
    }

    /// The same, of whoever makes commands.
    pub fn command_as(make: impl FnOnce(&std::path::Path) -> Command) -> Command {
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main").map(str::to_owned);
        let test = test.or_else(|| std::env::args().skip(1).find(|argument| !argument.starts_with('-')));
        let mut command = make(&std::env::current_exe().expect("a test's own binary is known"));
        command
            .args([&test.expect("a test has a name"), "--exact", "--nocapture", "--test-threads=1"])
            .env(PLAYED, "1");
        command
    }

    /// Starts one.
    pub fn start(mut command: Command) -> Process {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a test's own binary can be started");
        let orders = child.stdin.take().expect("it was asked for as a pipe");
        let said = Lines::of(child.stdout.take().expect("it was asked for as a pipe"));
        let log = Lines::of(child.stderr.take().expect("it was asked for as a pipe"));
        Process { child, orders, said, log }
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

    /// Its log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.all.0.lock().unwrap().clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, with SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it is a child of this process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
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

/// The orders that come to this process, until its test is gone.
pub fn orders() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (order, orders) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = order.send(line);
        }
    });
    orders
}

/// Says something to the test of this process.
pub fn say(text: &str) {
    println!("{SAYS}{text}");
}

/// Runs the App that this process is, and ends it when that has been done with it.
pub fn be<F: Future<Output = ()>>(live: impl FnOnce(App) -> F) -> ! {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("the operating system gives a node two threads").block_on(async {
        match App::builder().start().await {
            Ok(app) => live(app).await,
            Err(error) => {
                say(&format!("does not start: {}", TextChain::of(&error).joined()));
                std::process::exit(1);
            }
        }
        std::process::exit(0);
    })
}
