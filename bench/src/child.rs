//! The server process of a remote subject: started, asked for its CPU time, and never left behind.
//!
//! The two talk over the child's standard streams, a line at a time:
//! 1. the child says `ready <address>` once it can be connected to;
//! 2. for each `cpu` it answers the nanoseconds of CPU time it has used;
//! 3. it exits when its input ends, which also happens when its parent is killed.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

use crate::subject;

const READY: &str = "ready";
const CPU: &str = "cpu";

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// Starts this program again as the server of `subject` and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it is ready; its own words are on stderr.
    pub(crate) fn start(subject: &str, address: &str) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .args(["serve", subject, "--address", address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting the server of {subject}"))?;
        let input = child.stdin.take().expect("stdin was asked for as a pipe");
        let output = BufReader::new(child.stdout.take().expect("stdout was asked for as a pipe"));
        let mut server = Self { child, input, output, address: String::new() };
        let line = server.line()?;
        match line.split_once(' ') {
            Some((READY, address)) => server.address = address.to_owned(),
            _ => bail!("the server of {subject} said {line:?} instead of being ready"),
        }
        Ok(server)
    }

    /// Where the server listens, as it said itself: ports are chosen by the kernel.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// CPU time the server has used so far, user and system, in nanoseconds.
    ///
    /// # Errors
    /// When the server has ended.
    pub(crate) fn cpu_ns(&mut self) -> Result<u64> {
        writeln!(self.input, "{CPU}").context("asking the server for its CPU time")?;
        let line = self.line()?;
        line.parse().with_context(|| format!("the server's CPU time reads {line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let bytes = self.output.read_line(&mut line).context("reading from the server")?;
        if bytes == 0 {
            bail!("the server ended: {}", self.child.wait().context("waiting for the server")?);
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either may fail only because the child has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The promise of a server to say where it can be reached.
#[derive(Debug)]
pub(crate) struct Ready(());

impl Ready {
    /// Says that connections to `address` are accepted from now on.
    pub(crate) fn say(self, address: &str) {
        // Lines, not print!: a parent that has gone is no reason to panic.
        let _ = writeln!(stdout(), "{READY} {address}");
        std::thread::spawn(answer_parent);
    }
}

/// Runs the server of `subject` until the parent goes.
///
/// # Errors
/// When there is no such remote subject, or it cannot listen.
pub(crate) fn serve(subject: &str, address: &str) -> Result<()> {
    match crate::stream::server(subject, address, Ready(())) {
        Ok(serving) => runtime()?.block_on(serving),
        Err(ready) => runtime()?.block_on(subject::remote(subject)?.serve(address, ready)),
    }
}

/// A runtime as `#[tokio::main]` builds it; both processes use this one.
///
/// # Errors
/// When threads cannot be started.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("building a runtime")
}

/// CPU time this process has used so far, user and system of all its threads, in nanoseconds.
pub(crate) fn own_cpu_ns() -> u64 {
    const NS_PER_S: u64 = 1_000_000_000;
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.cast_unsigned() * NS_PER_S + time.tv_nsec.cast_unsigned()
}

fn answer_parent() {
    for line in stdin().lines() {
        match line.as_deref() {
            Ok(CPU) => {
                let _ = writeln!(stdout(), "{}", own_cpu_ns());
            }
            Ok(other) => eprintln!("unknown request {other:?}"),
            Err(_) => break,
        }
    }
    std::process::exit(0);
}
