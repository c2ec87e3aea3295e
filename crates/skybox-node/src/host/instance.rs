//! A live value of a module, and the guards through which calls reach it.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use skybox_core::{CallId, InstanceId, Link, Mode};
use tokio::sync::watch;

use super::HostCore;
use super::turn::Turn;
use crate::thread;

/// One live value of a module.
///
/// Whoever holds it as `Arc` keeps it alive: an instance that is replaced lives until its last call has ended.
pub(crate) struct Instance<T> {
    /// Reached as `&T` through [`Shared`] and as `&mut T` through [`Exclusive`], which [`Turn`] keeps apart.
    value: UnsafeCell<T>,
    pub(crate) id: InstanceId,
    /// Absent for a module without `&mut self` methods and without `concurrency`: nobody ever waits there.
    pub(crate) turn: Option<Turn>,
    pub(crate) holders: Arc<Holders>,
    pub(crate) started: Instant,
    /// Last, so that it tells only after `value` is gone.
    ended: EndedGuard,
}

// SAFETY: `&Instance<T>` gives `&T` only where `T: Sync` (`Shared`'s `Deref`), and `&mut T` only to the one
// holder of the exclusive turn, which is sending a `T` from thread to thread: `T: Send`.
unsafe impl<T: Send> Sync for Instance<T> {}

impl<T> fmt::Debug for Instance<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T> Instance<T> {
    pub(crate) fn new(
        value: T,
        id: InstanceId,
        turn: Option<Turn>,
        core: &Weak<HostCore>,
    ) -> Arc<Instance<T>> {
        let (calls, crashed) = (Mutex::default(), AtomicBool::new(false));
        let holders = Holders { instance: id, core: core.clone(), calls, crashed, useful: Useful::default() };
        let holders = Arc::new(holders);
        let ended = EndedGuard(watch::Sender::new(false));
        Arc::new(Instance {
            value: UnsafeCell::new(value),
            id,
            turn,
            holders,
            started: Instant::now(),
            ended,
        })
    }

    /// The turns of a module whose calls wait for one another.
    #[inline]
    pub(crate) fn turns(&self) -> &Turn {
        self.turn
            .as_ref()
            .expect("asked only where there is one: a module with `&mut self` methods has turns")
    }

    /// Takes the instance out of the way of new calls if the call that ends here ends by a panic. Its turn is
    /// still held, so no call that waits gets to see what was left half done.
    #[inline]
    fn ends(&self) {
        if std::thread::panicking() {
            self.ends_by_panic();
        }
    }

    #[cold]
    fn ends_by_panic(&self) {
        // A call that is merely dropped by another's panic has done no harm to its instance.
        let own = thread::current(|frame| {
            frame.and_then(|frame| frame.held.as_ref()).is_some_and(|held| held.instance == self.id)
        });
        if own
            && self.holders.crash()
            && let Some(turn) = &self.turn
        {
            turn.close();
        }
    }

    /// Resolves when the value has been dropped.
    pub(crate) fn ended(&self) -> Ended {
        Ended(self.ended.0.subscribe())
    }
}

/// Tells when an instance is gone.
#[derive(Debug)]
pub(crate) struct Ended(watch::Receiver<bool>);

impl Ended {
    pub(crate) async fn wait(mut self) {
        // An error means that the sender is gone, which it is once the instance is.
        drop(self.0.wait_for(|ended| *ended).await);
    }
}

#[derive(Debug)]
struct EndedGuard(watch::Sender<bool>);

impl Drop for EndedGuard {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// The calls that hold an instance and have made calls themselves: those that can come back to it; and whether
/// one of them crashed it.
#[derive(Debug)]
pub(crate) struct Holders {
    instance: InstanceId,
    core: Weak<HostCore>,
    calls: Mutex<Vec<CallId>>,
    /// A call's code panicked.
    crashed: AtomicBool,
    /// A call has ended.
    pub(crate) useful: Useful,
}

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

impl Holders {
    /// The instance has crashed: new calls go to its successor. Not so for a value that belongs to no App
    /// ([`Handle::of`](crate::Handle::of)), which has none.
    pub(crate) fn crash(&self) -> bool {
        let Some(core) = self.core().filter(|core| core.app.strong_count() > 0) else { return false };
        self.crashed.store(true, Ordering::Release);
        core.unroute(self.instance);
        true
    }

    /// The host, while it lives.
    pub(crate) fn core(&self) -> Option<Arc<HostCore>> {
        self.core.upgrade()
    }

    pub(crate) fn crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    pub(crate) fn enter(&self, call: CallId) {
        self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(call);
    }

    pub(crate) fn leave(&self, call: CallId) {
        self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).retain(|c| *c != call);
    }

    /// How the calls above hold this instance, the strongest first.
    pub(crate) fn held_by(&self, links: impl Iterator<Item = Link>) -> Option<Mode> {
        let calls = self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut held = None;
        for link in links.filter(|link| link.instance == self.instance && calls.contains(&link.call)) {
            match link.mode {
                Mode::Exclusive => return Some(Mode::Exclusive),
                Mode::Shared => held = Some(Mode::Shared),
            }
        }
        held
    }
}

/// How a call keeps its instance alive: by arc-swap's debt where the route was read, which costs no shared
/// counter, else by a reference count. Never empty.
pub(crate) struct Hold<T>(arc_swap::Guard<Option<Arc<Instance<T>>>>);

impl<T> Hold<T> {
    /// What the route held, if it held anything.
    #[inline]
    pub(crate) fn of_route(guard: arc_swap::Guard<Option<Arc<Instance<T>>>>) -> Option<Hold<T>> {
        guard.is_some().then_some(Hold(guard))
    }

    pub(crate) fn counted(instance: Arc<Instance<T>>) -> Hold<T> {
        Hold(arc_swap::Guard::from_inner(Some(instance)))
    }

    /// A further hold, by a reference count.
    fn keep(&self) -> Arc<Instance<T>> {
        self.0.clone().expect("made only from a guard that holds an instance")
    }
}

impl<T> Deref for Hold<T> {
    type Target = Instance<T>;

    #[inline]
    fn deref(&self) -> &Instance<T> {
        self.0.as_deref().expect("made only from a guard that holds an instance")
    }
}

/// A call's hold on its instance, as `&T`.
pub struct Shared<T>(Hold<T>);

impl<T> Shared<T> {
    /// If the instance has turns, the caller has taken one for [`Mode::Shared`].
    #[inline]
    pub(crate) fn new(hold: Hold<T>) -> Shared<T> {
        Shared(hold)
    }

    #[inline]
    pub(crate) fn instance(&self) -> &Instance<T> {
        &self.0
    }

    /// The instance, for what goes on after the call.
    pub(crate) fn keep(&self) -> Arc<Instance<T>> {
        self.0.keep()
    }
}

impl<T: Sync> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a module with `&mut self` methods has turns, and this guard holds one of them for `&self`, so no
        // `&mut T` exists; a module without has no way to make one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(turn) = &self.0.turn {
            self.0.ends();
            turn.give_back(Mode::Shared);
        }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.0.id).finish()
    }
}

/// A call's hold on its instance, as `&mut T`.
pub struct Exclusive<T> {
    hold: Hold<T>,
}

impl<T> Exclusive<T> {
    /// The caller has taken the instance's turn for [`Mode::Exclusive`].
    pub(crate) fn new(hold: Hold<T>) -> Exclusive<T> {
        debug_assert!(hold.turn.is_some(), "a module with `&mut self` methods has a turn");
        Exclusive { hold }
    }

    pub(crate) fn instance(&self) -> &Instance<T> {
        &self.hold
    }

    /// The instance, for what goes on after the call.
    pub(crate) fn keep(&self) -> Arc<Instance<T>> {
        self.hold.keep()
    }
}

impl<T> Deref for Exclusive<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only holder of the exclusive turn: no other reference exists.
        unsafe { &*self.hold.value.get() }
    }
}

impl<T> DerefMut for Exclusive<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only holder of the exclusive turn: no other reference exists.
        unsafe { &mut *self.hold.value.get() }
    }
}

impl<T> Drop for Exclusive<T> {
    fn drop(&mut self) {
        if let Some(turn) = &self.hold.turn {
            self.hold.ends();
            turn.give_back(Mode::Exclusive);
        }
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exclusive").field(&self.hold.id).finish()
    }
}
