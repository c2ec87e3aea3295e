//! The process of a cell: started, heard, and waited for.
//!
//! 1. All cells of a process are started by one thread that never ends: the kernel sends a cell its parent-death signal
//!    when the **thread** that started it ends.
//! 2. A cell leads a process group, so that what it has started ends with it.
//! 3. A pidfd tells when it has ended. Until it is waited for, its number is nobody else's; so its group is killed
//!    before.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::birth::{Birth, CELL_ENV};
use super::limits::Entry;
use crate::host::lock;
use crate::output::{LastWords, pass_on};
use crate::parenthood::NODES_ENV;

/// How long what a cell has written last may take to be read after its end. A process that it has left behind in another
/// group may hold its standard error open.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Runs something on the thread that starts cells.
fn on_lasting_thread(job: Job) -> io::Result<()> {
    static THREAD: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = match THREAD.get() {
        Some(jobs) => jobs,
        None => {
            let (jobs, waiting) = mpsc::channel::<Job>();
            let run = move || waiting.into_iter().for_each(|job| job());
            std::thread::Builder::new().name("skybox-cells".to_owned()).spawn(run)?;
            // If two come at once, the thread of the one that is late ends at once, before it has started anything.
            THREAD.get_or_init(|| Mutex::new(jobs))
        }
    };
    lock(jobs).send(job).map_err(|_| io::Error::other("the thread that starts cells has ended"))
}

/// A cell's process.
#[derive(Debug)]
pub(super) struct Process {
    child: Option<Child>,
    pid: Pid,
    ended: AsyncFd<OwnedFd>,
    last_words: LastWords,
    silent: Option<oneshot::Receiver<()>>,
}

/// Starts this very program once more, as a cell. `link` is its end of the link.
pub(super) async fn start(birth: &Birth, link: OwnedFd, entry: Entry) -> io::Result<Process> {
    let mut command = command(birth, link, entry)?;
    let (started, starting) = oneshot::channel();
    on_lasting_thread(Box::new(move || {
        let child = command.spawn();
        // Its end of the link is the cell's alone from here on.
        drop(command);
        // Nobody waits any more: it is not to be.
        if let Err(Ok(child)) = started.send(child) {
            end(child);
        }
    }))?;
    let mut child =
        starting.await.map_err(|_| io::Error::other("the thread that starts cells has ended"))??;
    let pid = Pid::from_child(&child);
    let ended = match watch(pid) {
        Ok(ended) => ended,
        Err(error) => {
            end(child);
            return Err(error);
        }
    };
    let last_words = LastWords::default();
    let silent = child
        .stderr
        .take()
        .map(|stderr| pass_on(stderr, String::new(), io::stderr(), Some(last_words.clone())));
    Ok(Process { child: Some(child), pid, ended, last_words, silent })
}

/// A descriptor that can be read once the process has ended.
fn watch(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: it owns its descriptor, which keeps its number until `AsyncFd` has taken it out of the runtime.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

fn command(birth: &Birth, link: OwnedFd, entry: Entry) -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    // Not its path: the file may have been replaced by another build since.
    let mut command = Command::new("/proc/self/exe");
    if let Some(own) = arguments.next() {
        command.arg0(own);
    }
    let birth = Birth { descriptor: link.as_raw_fd(), ..birth.clone() };
    command
        .args(arguments)
        .env(CELL_ENV, serde_json::to_string(&birth)?)
        .env_remove(NODES_ENV)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        // A terminal's Ctrl-C is for the node, which ends its cells.
        .process_group(0);
    let node = std::process::id();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The node may have ended before the kernel knew.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(node) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()));
        }
        entry.enter()?;
        rustix::io::fcntl_setfd(link.as_fd(), rustix::io::FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: between `fork` and `exec` it makes system calls and nothing else: no allocation, no lock. What it uses was
    // made before and is only read.
    unsafe { command.pre_exec(prepare) };
    Ok(command)
}

/// Kills a cell that nobody waits for, and waits for it where that holds up nobody.
fn end(mut child: Child) {
    kill_group(Pid::from_child(&child));
    let wait = move || drop(child.wait());
    if let Err(error) = on_lasting_thread(Box::new(wait)) {
        tracing::warn!("a cell's process stays a zombie: {error}");
    }
}

/// Kills a process that has not been waited for, and its group.
pub(super) fn kill_group(leader: Pid) {
    // The kernel says no if all of them have ended, which is what is wanted.
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
}

impl Process {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Resolves when the process has ended. It has not been waited for: its number is still its own.
    pub(super) async fn exited(&self) {
        // An error means that there is no runtime any more to wait on.
        drop(self.ended.readable().await);
    }

    /// What became of it, after [`exited`](Process::exited); and what it has said last.
    pub(super) async fn ended(mut self) -> (Option<ExitStatus>, String) {
        kill_group(self.pid);
        let status = self.child.take().and_then(|mut child| child.wait().ok());
        if let Some(silent) = self.silent.take() {
            drop(tokio::time::timeout(LAST_WORDS_WAIT, silent).await);
        }
        (status, self.last_words.text())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end(child);
        }
    }
}
