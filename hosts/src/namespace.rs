//! A network namespace with a name, as `ip netns` makes them.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::run::ip;

/// Where `ip netns` keeps them.
const DIRECTORY: &str = "/run/netns";

/// How long a killed process may take to be gone.
const KILLED_WAIT: Duration = Duration::from_secs(20);

/// One that exists.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes a new one, whose devices have no IPv6: there would be no routes for it, and a while of duplicate address
    /// detection for each.
    pub(crate) fn add(name: &str) -> Result<Namespace> {
        ip(&["netns", "add", name])?;
        let namespace = Namespace::open(name)?;
        // A kernel without IPv6 has no such file, and nothing to switch off.
        namespace.enter(|| drop(std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")))?;
        Ok(namespace)
    }

    /// One that is there.
    pub(crate) fn open(name: &str) -> Result<Namespace> {
        let path = path(name);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        Ok(Namespace { name: name.to_owned(), file: Arc::new(file) })
    }

    /// The names of all whose name begins so.
    pub(crate) fn names(prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A program that will run in it, with the name of a machine of its own.
    pub(crate) fn command_as(&self, program: impl AsRef<std::ffi::OsStr>, host: Option<String>) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        let enter = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            if let Some(host) = &host {
                // SAFETY: it concerns the name of the machine; the table of descriptors is not touched.
                unsafe { unshare_unsafe(UnshareFlags::NEWUTS)? };
                rustix::system::sethostname(host.as_bytes())?;
            }
            Ok(())
        };
        // SAFETY: between `fork` and `exec` it makes three system calls and nothing else: it takes no lock and no
        // memory.
        unsafe { command.pre_exec(enter) };
        command
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command_as(program, None)
    }

    /// Runs code on a thread that is in it. Sockets that it makes stay there, wherever they are used later.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("the namespace {} cannot be entered", self.name))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes a thread of this process one that is in it, for good.
    pub(crate) fn enter_for_good(file: &File) -> std::io::Result<()> {
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Kills every process in it, and then removes it with its devices.
    pub(crate) fn remove(&self) -> Result<()> {
        let ended = self.end_processes();
        ip(&["netns", "delete", &self.name])?;
        ended
    }

    /// Returns when none is left, also none that was being started meanwhile.
    fn end_processes(&self) -> Result<()> {
        let killed_wait = Timespec::try_from(KILLED_WAIT).context("a few seconds")?;
        loop {
            let living = self.processes()?;
            if living.is_empty() {
                return Ok(());
            }
            for process in &living {
                // It may have ended by itself.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            for process in &living {
                let mut ended = [PollFd::new(process, PollFlags::IN)];
                if poll(&mut ended, Some(&killed_wait))? == 0 {
                    bail!("a process in {} does not end, although it was killed", self.name);
                }
            }
        }
    }

    /// The processes in it, without this one: a thread of ours may be there. A descriptor means the same process even
    /// if its number is given to another meanwhile.
    fn processes(&self) -> Result<Vec<OwnedFd>> {
        let this = self.file.metadata()?;
        let is_inside = |process: &Path| {
            std::fs::metadata(process.join("ns/net"))
                .is_ok_and(|its| (its.dev(), its.ino()) == (this.dev(), this.ino()))
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else { continue };
            if pid == rustix::process::getpid() || !is_inside(&entry.path()) {
                continue;
            }
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if is_inside(&entry.path()) {
                found.push(process);
            }
        }
        Ok(found)
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
