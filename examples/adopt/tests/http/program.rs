//! The built program as a child process.
//!
//! `ADOPT_RUNNER` names a command that is put before the program, as cargo's `runner` is. Whatever it starts
//! must log the line `listening on http://…` and end with exit status 0 after SIGTERM.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::WAIT_MAX;
use super::client::Client;

/// How long a program that a failed test leaves behind may take to end before it is killed.
const END_MAX: Duration = Duration::from_secs(5);

/// The program of the package that these tests are part of.
const PROGRAM: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

const LISTENING: &str = "listening on http://";

/// Settings of whoever runs the tests, which must not reach the program.
const SETTINGS: [&str; 8] = [
    "ADOPT_HASH_MEMORY_KIB",
    "ADOPT_HASH_PASSES",
    "ADOPT_LISTEN",
    "ADOPT_LOGIN_ATTEMPTS_MAX",
    "ADOPT_LOGIN_WINDOW_SECS",
    "ADOPT_SESSION_SECS",
    "DATABASE_URL",
    "RUST_LOG",
];

/// A directory with a database file in it, or with none yet; removed in the end.
pub(crate) struct Database {
    dir: TempDir,
}

impl Database {
    pub(crate) fn missing() -> Database {
        Database { dir: TempDir::new().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("adopt.db")
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A running program; ended, if need be by force, when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    client: Client,
}

impl Program {
    /// Starts a program and waits until it listens.
    pub(crate) fn start(database: &Database, options: &[&str]) -> Program {
        let mut program = Program::spawn(database, options);
        program.wait_until_it_listens();
        program
    }

    /// Starts a program on a free port, with the cheapest password hashes there are.
    pub(crate) fn spawn(database: &Database, options: &[&str]) -> Program {
        let runner = env::var("ADOPT_RUNNER").unwrap_or_default();
        let mut words = runner.split_whitespace().chain([PROGRAM]);
        let mut command = Command::new(words.next().expect("the program itself is always there"));
        command
            .args(words)
            .args(["--listen", "127.0.0.1:0", "--hash-memory-kib", "8", "--hash-passes", "1"])
            .arg("--database")
            .arg(format!("sqlite://{}", database.path().display()))
            .args(options)
            .current_dir(database.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for setting in SETTINGS {
            command.env_remove(setting);
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        forward_lines(child.stdout.take().expect("stdout is piped"), sender.clone());
        forward_lines(child.stderr.take().expect("stderr is piped"), sender);
        Program { child, lines, log: Vec::new(), client: Client::default() }
    }

    pub(crate) fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + WAIT_MAX;
        while self.client.address.is_empty() {
            let line = self.next_line(deadline).expect("the program ended instead of listening");
            if let Some((_, rest)) = line.split_once(LISTENING) {
                let end = rest.find(|c: char| c.is_whitespace() || c.is_control()).unwrap_or(rest.len());
                self.client.address = rest[..end].to_owned();
            }
        }
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("a child that was not waited for can be signalled");
    }

    /// Waits until the program, and all that holds its output open, has ended.
    pub(crate) fn wait_until_it_ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT_MAX;
        while self.next_line(deadline).is_some() {}
        self.child.wait().expect("a child can be waited for")
    }

    /// Ends the program as an operator does.
    pub(crate) fn stop(mut self) {
        self.terminate();
        let status = self.wait_until_it_ends();
        assert!(status.success(), "after SIGTERM: {status}");
    }

    /// Ends the program as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child that was not waited for can be killed");
        self.wait_until_it_ends();
    }

    pub(crate) fn log(&self) -> String {
        self.log.join("\n")
    }

    /// The next line of output; none when the output has ended.
    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.log.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the program neither said more nor ended"),
        }
    }

    /// SIGTERM first, so that a runner can end what it started.
    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.terminate();
        let deadline = Instant::now() + END_MAX;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // An error here means that it has just ended by itself.
                    let _ = self.child.kill();
                    break;
                }
            }
        }
        let _ = self.child.wait();
    }
}

impl Deref for Program {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- output of the program at {}\n{}", self.client.address, self.log());
        }
    }
}

fn forward_lines(output: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}
