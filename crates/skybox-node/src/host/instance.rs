//! A live value of a module.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use skybox_core::{CallId, Epoch, Exit, InstanceId, Link, Mode, ModuleKind, Restart};
use tokio::sync::watch;

use super::kill::Watchers;
use super::slot::Slot;
use super::turn::Turn;
use super::{HostCore, lock};
use crate::call::{Panicked, catch};
use crate::thread::{self, CallFrame, Me};

/// One live value of a module.
///
/// Whoever counts it as `Arc`, or names it (see [`route`](crate::route)), keeps it alive: an instance that is
/// replaced lives until its last call has ended. Then its value is dropped, or says its last word first ([`stop`]).
///
/// [`stop`]: super::stop
pub(crate) struct Instance<T> {
    /// Reached as `&T` and `&mut T` by the calls that hold the instance, which [`Turn`] keeps apart; see
    /// [`hold`](super::hold). Taken out when the instance is dropped.
    pub(super) value: ManuallyDrop<UnsafeCell<T>>,
    /// Where the code of the one `&mut self` call lives.
    pub(super) slot: Slot,
    core: InstanceCore,
    last_word: Option<LastWord<T>>,
    /// Goes where the value goes, and tells only after that is gone.
    ended: ManuallyDrop<EndedGuard>,
}

/// What becomes of the value of an instance that has ended in order: it is given its `stop`, and keeps the guard until
/// that has ended.
pub(crate) type LastWord<T> = fn(T, EndedGuard, &InstanceCore);

// SAFETY: `&Instance<T>` gives `&T` only where `T: Sync` (`Shared`'s `Deref`), and `&mut T` and the slot only to the
// one holder of the exclusive turn, which is sending a `T` from thread to thread: `T: Send`.
unsafe impl<T: Send> Sync for Instance<T> {}

impl<T> Instance<T> {
    pub(crate) fn new(
        value: T,
        (id, epoch): (InstanceId, Option<Epoch>),
        turn: Option<Turn>,
        host: &Weak<HostCore>,
        key: Option<&[u8]>,
        last_word: Option<LastWord<T>>,
    ) -> Arc<Instance<T>> {
        let core = InstanceCore {
            id,
            spawned_by: host.upgrade().and_then(|host| spawner(&host)),
            runs: host.upgrade().map_or(0, |host| thread::of_instance(host.app_id, host.index, id.count)),
            epoch,
            key: key.map(Box::from),
            turn,
            traced: host.upgrade().is_some_and(|host| host.traced),
            host: host.clone(),
            calls: Mutex::default(),
            over: AtomicU8::new(LIVE),
            watchers: Watchers::default(),
            useful: Useful::default(),
            exit: Mutex::default(),
            started: Instant::now(),
        };
        let ended = EndedGuard {
            told: OnceLock::new(),
            exit: None,
            lives: host.upgrade().filter(|_| last_word.is_some()).map(|host| host.lives.clone()),
        };
        if let Some(lives) = &ended.lives {
            lives.send_modify(|count| *count += 1);
        }
        let (value, ended) = (ManuallyDrop::new(UnsafeCell::new(value)), ManuallyDrop::new(ended));
        Arc::new(Instance { value, slot: Slot::default(), core, last_word, ended })
    }

    /// Resolves when the value is gone, its `stop` included.
    pub(crate) fn ended(&self) -> Ended {
        Ended(self.ended.told.get_or_init(|| watch::Sender::new(None)).subscribe())
    }
}

impl<T> Drop for Instance<T> {
    fn drop(&mut self) {
        // SAFETY: each is taken here and nowhere else, and this runs once: nothing reaches the fields after it.
        let (value, mut ended) = unsafe {
            (ManuallyDrop::take(&mut self.value).into_inner(), ManuallyDrop::take(&mut self.ended))
        };
        ended.exit = self.core.exit.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match self.last_word {
            // What a panic or a kill has left half done is not to be trusted with a last word.
            Some(last_word) if !self.core.is_over() => last_word(value, ended, &self.core),
            _ => {
                // Whoever drops it last is not to be ended by what its `Drop` does: a call, a connection's reader.
                if let Err(Panicked { message, place }) = catch(AssertUnwindSafe(|| drop(value))) {
                    tracing::error!(instance = %self.core.id, place, "its `Drop` panicked: {message}");
                }
                self.core.tell_end(ended);
            }
        }
    }
}

impl<T> Deref for Instance<T> {
    type Target = InstanceCore;

    #[inline(always)]
    fn deref(&self) -> &InstanceCore {
        &self.core
    }
}

impl<T> fmt::Debug for Instance<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The instance whose code makes one at this moment, if that is spawned.
fn spawner(host: &HostCore) -> Option<u64> {
    if host.descriptor.kind != ModuleKind::Spawned {
        return None;
    }
    thread::current(|frame| frame.and_then(CallFrame::instance).map(|instance| instance.id.count))
}

/// Tells when the value of an instance is gone, and why it ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended(watch::Receiver<Option<Exit>>);

impl Ended {
    /// Of an instance in a cell, whose seat is told.
    pub(super) fn told_by(exit: watch::Receiver<Option<Exit>>) -> Ended {
        Ended(exit)
    }

    /// How it has ended, if it has.
    pub(crate) fn told(&self) -> Option<Exit> {
        self.0.borrow().clone()
    }

    pub(crate) async fn wait(mut self) -> Exit {
        // An error means that the sender is gone, which speaks first.
        let exit = self.0.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        exit.unwrap_or(Exit::Stopped)
    }
}

/// Kept as long as there is something left of an instance.
#[derive(Debug)]
pub(crate) struct EndedGuard {
    /// Made by the first who waits: most instances end unwatched, and it is larger than all the rest of a small one.
    told: OnceLock<watch::Sender<Option<Exit>>>,
    /// Why it ended, if not simply because it was to.
    pub(super) exit: Option<Box<Exit>>,
    /// The instances of the host that have a last word to say, this one among them.
    lives: Option<watch::Sender<usize>>,
}

impl Drop for EndedGuard {
    fn drop(&mut self) {
        if let Some(told) = self.told.get() {
            told.send_replace(Some(self.exit.take().map_or(Exit::Stopped, |exit| *exit)));
        }
        if let Some(lives) = &self.lives {
            lives.send_modify(|count| *count -= 1);
        }
    }
}

/// The part of an instance that does not know the module's type: whose turn it is, the calls that hold it and have
/// made calls themselves, which can come back to it; and whether it has come to a sudden end.
#[derive(Debug)]
pub(crate) struct InstanceCore {
    pub(crate) id: InstanceId,
    /// Its part of what threads show of the calls that they run.
    pub(crate) runs: u64,
    /// Of a spawned one, the count of the instance whose code has made it, on the same node.
    pub(super) spawned_by: Option<u64>,
    /// Under which of the owners of its key it was made, if somebody counts them.
    epoch: Option<Epoch>,
    /// Its key's bytes, if it has one: a copy, since those of a call are part of a larger buffer.
    pub(super) key: Option<Box<[u8]>>,
    /// Absent for a module without `&mut self` methods and without `concurrency`: nobody ever waits there.
    pub(crate) turn: Option<Turn>,
    /// Calls of it are noted once they make calls, since one could come back and wait for itself.
    traced: bool,
    pub(super) host: Weak<HostCore>,
    calls: Mutex<Vec<CallId>>,
    /// `LIVE`, or how it has ended.
    over: AtomicU8,
    /// Who is woken when it is killed.
    pub(super) watchers: Watchers,
    /// A call has ended well.
    useful: Useful,
    /// Why it ends: the first reason stands, unless all was in order until then.
    exit: Mutex<Option<Box<Exit>>>,
    pub(crate) started: Instant,
}

const LIVE: u8 = 0;
/// A call's code panicked.
const CRASHED: u8 = 1;
/// Somebody killed it.
const KILLED: u8 = 2;

/// Whether a call has ended well, ever. Read by each call, written by the first.
#[derive(Debug, Default)]
pub(crate) struct Useful(AtomicBool);

impl Useful {
    #[inline(always)]
    pub(crate) fn note(&self) {
        if !self.yet() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn yet(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl InstanceCore {
    /// The turns of a module whose calls wait for one another.
    #[inline]
    pub(crate) fn turns(&self) -> &Turn {
        self.turn
            .as_ref()
            .expect("asked only where there is one: a module with `&mut self` methods has turns")
    }

    /// A call has ended: from now on crashes of its module (or key) are no failed starts.
    #[inline(always)]
    pub(crate) fn credit(&self) {
        self.useful.note();
    }

    /// Whether a call has ended well.
    pub(crate) fn useful(&self) -> bool {
        self.useful.yet()
    }

    /// The instance has crashed: new calls go to its successor, and those that wait for their turn do not get it.
    /// The call that crashed it holds its turn still, so nobody sees what it left half done. Not so for a value that
    /// belongs to no App ([`Handle::of`](crate::Handle::of)): it stays as it is.
    #[cold]
    pub(crate) fn crash(&self, message: &str, place: &str) {
        let Some(host) = self.host.upgrade() else { return };
        if host.app.strong_count() > 0 {
            if self.useful() && host.descriptor.kind != ModuleKind::Keyed {
                host.useful.note();
            }
            // It ends once, however many calls of it panic.
            if self.end_as(CRASHED) {
                let exit = Exit::Crashed { message: message.to_owned(), place: place.to_owned() };
                self.ended_by(exit.clone());
                if let Some(key) = self.key.as_deref().filter(|_| host.settings.restart == Restart::Never) {
                    host.key_crashed(self.id, key, &exit);
                }
            }
            host.unroute(self.id);
            if let Some(turn) = &self.turn {
                turn.close();
            }
        }
        host.crash(self.id, message, place);
    }

    /// Says whether it was live until now.
    fn end_as(&self, over: u8) -> bool {
        self.over.compare_exchange(LIVE, over, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn end_as_killed(&self) -> bool {
        self.end_as(KILLED)
    }

    /// Says whether it had crashed, and nobody had killed it since.
    pub(super) fn is_killed_after_crash(&self) -> bool {
        self.over.compare_exchange(CRASHED, KILLED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// As its own code finds it; `None` for a value that belongs to no App.
    pub(crate) fn me(&self) -> Option<Me> {
        let host = self.host.upgrade()?;
        Some(Me { app: host.app_id, module: host.index, instance: self.id, epoch: self.epoch })
    }

    /// It has ended itself: those that wait for their turn do not get it, and those in progress come to their ends.
    pub(super) fn end_itself(&self) {
        lock(&self.exit).get_or_insert_with(|| Box::new(Exit::Normal));
        if let Some(turn) = &self.turn {
            turn.close();
        }
    }

    /// Nothing is left of it: whoever waits for that is told once its names are free.
    fn tell_end(&self, ended: EndedGuard) {
        let Some(host) = self.host.upgrade() else { return drop(ended) };
        let id = self.id;
        if host.is_named(id) {
            host.runtime.clone().spawn(async move {
                host.free_names(id).await;
                drop(ended);
                host.is_gone(id);
            });
            return;
        }
        drop(ended);
        host.is_gone(id);
    }

    /// It takes no more calls: its module remembers why.
    pub(crate) fn ended_by(&self, exit: Exit) {
        {
            let mut first = lock(&self.exit);
            // One of the calls that it had yet to end may have crashed it.
            if first.as_deref().is_none_or(|first| *first == Exit::Normal) {
                *first = Some(Box::new(exit.clone()));
            }
        }
        if let Some(host) = self.host.upgrade() {
            host.endings.ended(self.id, self.started.elapsed(), self.key.as_deref(), exit);
        }
    }

    /// It has crashed or was killed: it takes no more calls.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) != LIVE
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.over.load(Ordering::Acquire) == KILLED
    }

    pub(crate) fn enter(&self, call: CallId) {
        if self.traced {
            self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(call);
        }
    }

    pub(crate) fn leave(&self, call: CallId) {
        if self.traced {
            self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).retain(|c| *c != call);
        }
    }

    /// The calls that hold it and have made calls themselves.
    pub(crate) fn calls(&self) -> Vec<u64> {
        let calls = self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        calls.iter().map(|call| call.0).collect()
    }

    /// How the calls above hold this instance, the strongest first.
    pub(crate) fn held_by(&self, links: impl Iterator<Item = Link>) -> Option<Mode> {
        let calls = self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut held = None;
        for link in links.filter(|link| link.instance == self.id && calls.contains(&link.call)) {
            match link.mode {
                Mode::Exclusive => return Some(Mode::Exclusive),
                Mode::Shared => held = Some(Mode::Shared),
            }
        }
        held
    }
}
