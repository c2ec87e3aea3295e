//! Cells: instances that live in processes of their own, so that what ends a process ends them alone.
//!
//! A cell is a node of one module, and its node is its parent:
//! 1. The node starts its own binary once more ([`launch`]), with one end of a socket pair and a variable that says what
//!    it is ([`birth`]). There is no file and no address: nobody else can connect.
//! 2. The cell's `main` comes to `start()`, which finds the variable, shakes hands over the link, and serves
//!    ([`inside`]). Its plan says that its module is here, and that everything else is at its node.
//! 3. Calls go over the link as over any connection. What the cell calls, its node runs or passes on; what others call in
//!    the cell, they send to the node, which passes it on ([`pass_on`](crate::call::pass_on)).
//! 4. Panics are the cell's own matter, as they are a node's. When its process ends, the node says how
//!    ([`ending`]) and starts another ([`host::cells`](crate::host::cells)).

mod asking;
mod birth;
mod deadlines;
mod ending;
mod inside;
mod launch;
mod limits;
mod watching;
mod words;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use skybox_core::{Exit, NodeName};
use tokio::net::UnixStream;
use tokio::sync::watch;

pub(crate) use asking::{kill_in_cells, status_with_cells};
pub(crate) use birth::{Birth, is_cell};
use deadlines::Due;
pub(crate) use inside::{Inside, obey};
pub use limits::LimitedBy;
use limits::Limits;
use watching::Watching;
pub(crate) use words::{Order, Word};

use crate::app::AppInner;
use crate::conn::{Conn, Kin, shake_link};
use crate::control::Report;
use crate::host::cells::on_demand;
use crate::host::{Failure, HostCore, Useful, lock};
use crate::status::CellStatus;
use crate::uses::ProcessUse;

/// How long a cell may take from its start to its first word: `main` may connect to a database before `start()`.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// How long the end of a broken link's process may take: the kernel closes its descriptors a moment before.
const END_WAIT: Duration = Duration::from_secs(2);
/// How long a cell that was told to leave may take to say that it has, beyond what its module's `stop` may take.
pub(crate) const LEAVE_WAIT: Duration = Duration::from_secs(35);

/// One life of a cell, seen from its node.
pub(crate) struct Cell {
    /// Its name on the link.
    pub(crate) name: NodeName,
    pub(crate) pid: u32,
    pub(crate) started: Instant,
    /// A call has ended well in it.
    pub(crate) useful: Useful,
    host: Weak<HostCore>,
    link: OnceLock<Weak<Conn>>,
    phase: watch::Sender<Phase>,
    /// Absent while it lives.
    exit: watch::Sender<Option<Exit>>,
    /// What it may have, and who sees to it.
    limits: CellStatus,
    due: Due,
    /// The ends of instances elsewhere that code in it waits for.
    watching: Watching,
    /// Why its node has killed it.
    sentence: OnceLock<Exit>,
    /// `None` once it has been waited for: the number may be another's.
    process: Mutex<Option<Pid>>,
}

/// How far a cell has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    /// Its module does not start in it.
    GaveUp {
        cause: String,
        failed_starts: u32,
    },
}

/// Why there is no cell.
#[derive(Debug)]
pub(crate) struct NotBorn {
    pub(crate) cause: String,
    /// How its process ended; absent if the cell itself has said what is wrong, or there was no process.
    pub(crate) exit: Option<Exit>,
    /// So often has the cell tried, which is as often as its policy says.
    pub(crate) given_up: Option<u32>,
}

/// Kills a cell that nobody waits for any more.
struct KillOnDrop(Option<Arc<Cell>>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(cell) = &self.0 {
            cell.kill();
        }
    }
}

impl Cell {
    /// Starts one, and waits until it serves.
    pub(crate) async fn start(
        app: &Arc<AppInner>,
        host: &Arc<HostCore>,
        number: u64,
        unborn: &Mutex<Weak<Cell>>,
    ) -> Result<Arc<Conn>, NotBorn> {
        let failed = |cause: String| NotBorn { cause, exit: None, given_up: None };
        let (cell, link) = match Cell::launch(app, host, number).await {
            Ok(launched) => launched,
            Err(error) => return Err(failed(format!("its cell could not be started: {error}"))),
        };
        *lock(unborn) = Arc::downgrade(&cell);
        let mut unwanted = KillOnDrop(Some(cell.clone()));
        let opening = tokio::time::timeout(CONNECT_WAIT, shake_link(app, link, Kin::Cell(cell.clone())));
        let conn = match opening.await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => {
                // Its end tells more than its silence.
                return Err(match cell.ended_soon().await {
                    Some(exit) => {
                        let cause = format!("its cell did not come as far as `start()`: {exit}");
                        NotBorn { cause, exit: Some(exit), given_up: None }
                    }
                    None => failed(format!("its cell is not understood: {error}")),
                });
            }
            Err(_) => {
                return Err(failed(format!(
                    "its cell has not come as far as `start()` within {CONNECT_WAIT:?}"
                )));
            }
        };
        drop(cell.link.set(Arc::downgrade(&conn)));
        let (mut phases, mut exits) = (cell.phase.subscribe(), cell.exit.subscribe());
        let phase = tokio::select! {
            biased;
            phase = phases.wait_for(|phase| *phase != Phase::Starting) => phase.ok().map(|phase| phase.clone()),
            _ = exits.wait_for(Option::is_some) => None,
        };
        match phase {
            Some(Phase::GaveUp { cause, failed_starts }) => {
                Err(NotBorn { cause, exit: None, given_up: Some(failed_starts) })
            }
            Some(_) => {
                unwanted.0 = None;
                Ok(conn)
            }
            None => {
                let exit = cell.exit.borrow().clone();
                let why = exit.as_ref().map_or_else(String::new, Exit::to_string);
                Err(NotBorn {
                    cause: format!("its cell ended before it was ready: {why}"),
                    exit,
                    given_up: None,
                })
            }
        }
    }

    async fn launch(
        app: &Arc<AppInner>,
        host: &Arc<HostCore>,
        number: u64,
    ) -> std::io::Result<(Arc<Cell>, UnixStream)> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let module = host.descriptor.name.to_owned();
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let name = NodeName::new(format!("{}/{module}.{number}", app.node));
        let birth = Birth {
            program: app.program.clone(),
            node: app.node.clone(),
            name: name.clone(),
            node_pid: std::process::id(),
            // Filled in where it is known which one it is.
            descriptor: -1,
            module,
            epochs: host.epochs(),
        };
        let (limits, entry) = Limits::of(&host.settings);
        let process = launch::start(&birth, theirs, entry).await?;
        let pid = process.pid();
        let cell = Arc::new(Cell {
            name,
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            started: Instant::now(),
            useful: Useful::default(),
            host: Arc::downgrade(host),
            link: OnceLock::new(),
            phase: watch::Sender::new(Phase::Starting),
            exit: watch::Sender::new(None),
            limits: CellStatus {
                pid: pid.as_raw_nonzero().get().unsigned_abs(),
                memory_bytes: limits.memory().map(|(bytes, _)| bytes),
                memory_by: limits.memory().map(|(_, by)| by),
                cpu_milli: limits.cpu_milli().map(|(milli, _)| milli),
                cpu_by: limits.cpu_milli().map(|(_, by)| by),
                uses: None,
            },
            due: Due::default(),
            watching: Watching::default(),
            sentence: OnceLock::new(),
            process: Mutex::new(Some(pid)),
        });
        app.family.born(&cell);
        app.runtime.spawn(deadlines::keep(Arc::downgrade(&cell), host.settings.overrun));
        app.runtime.spawn(cell.clone().wait_for_its_end(process, limits));
        let ours = std::os::unix::net::UnixStream::from(ours);
        ours.set_nonblocking(true)?;
        Ok((cell, UnixStream::from_std(ours)?))
    }

    async fn wait_for_its_end(self: Arc<Cell>, process: launch::Process, limits: Limits) {
        process.exited().await;
        // From here on its number is not to be used.
        lock(&self.process).take();
        let (status, last_words) = process.ended().await;
        let of_kernel = ending::exit_of(status, last_words, limits.ran_out_of_memory(), limits.data_bytes());
        let exit = self.sentence.get().cloned().unwrap_or(of_kernel);
        let why = exit.to_string();
        self.exit.send_replace(Some(exit));
        if let Some(link) = self.link.get().and_then(Weak::upgrade) {
            link.close(&why);
        }
        limits.lift().await;
    }

    /// Its process, its limits, and what it uses.
    pub(crate) fn status(&self) -> CellStatus {
        CellStatus { uses: self.uses(), ..self.limits.clone() }
    }

    /// What its process uses.
    pub(crate) fn uses(&self) -> Option<ProcessUse> {
        // Its number is its own for as long as this is locked.
        let process = lock(&self.process);
        process.is_some().then(|| ProcessUse::of(self.pid)).flatten()
    }

    /// Ends its process, whatever it does.
    pub(crate) fn kill(&self) {
        if let Some(pid) = &*lock(&self.process) {
            launch::kill_group(*pid);
        }
    }

    /// Ends its process for a reason of its node's own.
    pub(crate) fn sentenced(&self, exit: Exit) {
        // The first reason stands.
        drop(self.sentence.set(exit));
        self.kill();
    }

    /// How it has ended.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Resolves when its process has ended, with how.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exits = self.exit.subscribe();
        // The sender lives in the cell.
        let exit = exits.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        exit.unwrap_or(Exit::Stopped)
    }

    /// How it has ended, if it does so soon.
    async fn ended_soon(&self) -> Option<Exit> {
        tokio::time::timeout(END_WAIT, self.ended()).await.ok()
    }

    /// Why its link is broken.
    pub(crate) async fn why_its_link_broke(&self, seen: String) -> String {
        match self.ended_soon().await {
            Some(exit) => exit.to_string(),
            None => {
                // Nobody can reach it any more.
                self.kill();
                seen
            }
        }
    }

    /// Resolves when its module is not to be started in it any more: why, and after how many attempts.
    pub(crate) async fn gave_up(&self) -> (String, u32) {
        let mut phases = self.phase.subscribe();
        let mut why = (String::new(), 0);
        let gave_up = |phase: &Phase| match phase {
            Phase::GaveUp { cause, failed_starts } => {
                why = (cause.clone(), *failed_starts);
                true
            }
            Phase::Starting | Phase::Serving => false,
        };
        // The sender lives in the cell.
        drop(phases.wait_for(gave_up).await);
        why
    }

    /// Takes what the cell says. Called by the reader of its link, in the order in which it was said.
    pub(crate) fn heard(self: &Arc<Self>, payload: &[u8]) {
        let Some(host) = self.host.upgrade() else { return };
        match serde_json::from_slice(payload) {
            Ok(Word::Report(Report::Started { .. })) => {
                self.phase.send_replace(Phase::Serving);
            }
            Ok(Word::Report(Report::Ready)) => {
                // Its instances are started by the first calls of keys, or by code.
                if on_demand(host.descriptor.kind) {
                    self.phase.send_replace(Phase::Serving);
                }
            }
            Ok(Word::Report(Report::GaveUp { cause, failed_starts, .. })) => {
                // Calls that it has sent back do not come to it again.
                if let Some(link) = self.link.get().and_then(Weak::upgrade) {
                    link.take_no_more();
                }
                self.phase.send_replace(Phase::GaveUp { cause, failed_starts });
            }
            Ok(Word::Report(_)) => {}
            Ok(Word::Ended { instance, key, exit }) => {
                let instance = instance.map(|(id, lived_ms)| (id, Duration::from_millis(lived_ms)));
                host.endings.note(instance, key.as_deref(), exit);
            }
            Ok(Word::KeyGaveUp { key, cause, failed_starts }) => {
                let failure = Failure::told(cause, failed_starts, host.settings.within);
                host.failed_keys.gave_up(&key, failure);
                if let Some(cells) = &host.cells {
                    cells.key_gave_up(&key);
                }
            }
            Ok(Word::Gone { seat, exit }) => {
                if let Some(cells) = &host.cells {
                    cells.seat_is_gone(&host, seat, exit);
                }
            }
            Ok(Word::Watch { life, number, node, named }) => {
                self.watching.begin(&host, self, (life, number), node, named);
            }
            Ok(Word::Unwatch { life, number }) => self.watching.end((life, number)),
            Ok(Word::Overran { past_ms }) => self.overran(Duration::from_millis(past_ms)),
            Err(error) => tracing::warn!(cell = %self.name, "it said what is not understood: {error}"),
        }
    }

    /// Asks it, and waits for the answer.
    pub(crate) async fn order(link: &Arc<Conn>, order: &Order) -> Option<bytes::Bytes> {
        let text = serde_json::to_vec(order).ok()?;
        let answer = link.send_when_room(0, text.into()).await.ok()?.await.ok()?;
        Some(answer.payload)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// The cells of an App, which end with it.
#[derive(Debug, Default)]
pub(crate) struct Family(Mutex<Vec<Weak<Cell>>>);

impl Family {
    /// Those of a module that have not ended.
    pub(crate) fn of(&self, host: &Arc<HostCore>) -> Vec<Arc<Cell>> {
        let cells = lock(&self.0);
        let living = cells.iter().filter_map(Weak::upgrade).filter(|cell| cell.exit().is_none());
        living.filter(|cell| std::ptr::eq(cell.host.as_ptr(), Arc::as_ptr(host))).collect()
    }

    fn born(&self, cell: &Arc<Cell>) {
        let mut cells = lock(&self.0);
        cells.retain(|cell| cell.upgrade().is_some_and(|cell| cell.exit().is_none()));
        cells.push(Arc::downgrade(cell));
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for cell in lock(&self.0).drain(..).filter_map(|cell| cell.upgrade()) {
            cell.kill();
        }
    }
}
