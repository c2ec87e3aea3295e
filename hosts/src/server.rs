//! A server in a host: its process and its log.

use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a server may take until it does what is asked of it, on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// How often it is asked.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How many lines of the log an error shows.
const LINES_SHOWN: usize = 20;

/// One that can be started many times.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(name: String, log: PathBuf) -> Server {
        Server { name, log, child: None }
    }

    /// Starts it; what it prints is added to its log. Ctrl-C on the terminal does not reach it.
    pub(crate) fn start(&mut self, command: &mut Command) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.with_context(|| self.log.display().to_string())?;
        let errors = log.try_clone()?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = command.spawn();
        self.child = Some(child.with_context(|| format!("{} cannot be started", self.name))?);
        Ok(())
    }

    pub(crate) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.running()?.id())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(pid(self.running()?)?, signal).with_context(|| format!("{} gets no signal", self.name))
    }

    fn running(&self) -> Result<&Child> {
        self.child.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    /// Sends this signal and waits until it has ended; with SIGKILL if that takes too long.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let pid = pid(&child)?;
        // It is our child: until it was waited for, its number is its own.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        kill_process(pid, signal)?;
        let wait = Timespec::try_from(WAIT).context("a minute")?;
        let in_time = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&wait))? > 0;
        child.kill()?;
        child.wait()?;
        ensure!(in_time, "{} did not end when it was told to\n{}", self.name, self.last_words());
        Ok(())
    }

    /// Asks until there is an answer. If the server ends meanwhile, or no answer comes, the error says what it wrote
    /// last.
    pub(crate) fn wait_until<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let until = Instant::now() + WAIT;
        loop {
            let last = match ask() {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => String::new(),
                Err(error) => format!(" ({error:#})"),
            };
            if let Some(status) = self.child.as_mut().context("it is not started")?.try_wait()? {
                let how = status.signal().map_or_else(|| status.to_string(), |by| format!("signal {by}"));
                bail!("{} ended by itself with {how}\n{}", self.name, self.last_words());
            }
            if Instant::now() > until {
                bail!("{} is not {what} after {WAIT:?}{last}\n{}", self.name, self.last_words());
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        format!("the end of its log:\n{shown}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended before.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn pid(child: &Child) -> Result<Pid> {
    let raw = i32::try_from(child.id()).context("a process id is positive")?;
    Pid::from_raw(raw).context("a process id is not 0")
}
