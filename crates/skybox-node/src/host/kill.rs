//! An instance is killed: its calls end where they wait.
//!
//! A kill raises a flag first and wakes those who wait then. A call looks at the flag at every poll but its first, and
//! once more after it has left its waker here, so that none sleeps through it. A call that ends in its first poll has
//! nothing to do with all this.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use skybox_core::Exit;

use super::instance::InstanceCore;
use super::{HostCore, lock};

/// The calls and streams of one instance that wait. Most instances have none, so it is made with the first.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Option<Box<Slots>>>);

/// Wakers in numbered places, which are used again.
#[derive(Debug, Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// What a call or stream that waits has left with its instance: [`InstanceCore::watch`].
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<(usize, Waker)>);

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Option<Box<Slots>>> {
        lock(&self.0)
    }

    fn set(&self, watch: &mut Watch, waker: &Waker) {
        // One that is polled by the same task again, as most are, touches nothing that others touch.
        if watch.0.as_ref().is_some_and(|(_, left)| left.will_wake(waker)) {
            return;
        }
        let mut slots = self.lock();
        let Slots { wakers, free } = &mut **slots.get_or_insert_default();
        let at = match watch.0.take() {
            Some((at, _)) => at,
            None => free.pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            }),
        };
        let before = wakers[at].replace(waker.clone());
        drop(slots);
        // Outside the lock: a waker is the code of others.
        drop(before);
        watch.0 = Some((at, waker.clone()));
    }

    fn leave(&self, watch: &mut Watch) {
        let Some((at, _)) = watch.0.take() else { return };
        let mut slots = self.lock();
        let Some(Slots { wakers, free }) = slots.as_deref_mut() else { return };
        let before = wakers[at].take();
        free.push(at);
        drop(slots);
        drop(before);
    }

    fn wake_all(&self) {
        let wakers: Vec<_> = match self.lock().as_deref_mut() {
            // Their places stay theirs until they leave.
            Some(slots) => slots.wakers.iter_mut().filter_map(Option::take).collect(),
            None => return,
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl InstanceCore {
    /// Has a kill wake whoever is polled here; says whether one has come already. Before what it is left with goes, it
    /// is taken back: [`InstanceCore::unwatch`].
    pub(crate) fn watch(&self, watch: &mut Watch, cx: &Context<'_>) -> bool {
        self.watchers.set(watch, cx.waker());
        self.is_killed()
    }

    /// Whoever has watched has ended.
    pub(crate) fn unwatch(&self, watch: &mut Watch) {
        self.watchers.leave(watch);
    }

    /// Somebody wants it gone: new calls go to its successor, and so do those that wait for their turn; its calls in
    /// progress and their streams end with `Cancelled` where they next wait. It has no last word. Whoever supervises it
    /// starts another, and does not count this as a failure. Says whether it was live.
    pub(crate) fn kill(&self, by: &str) -> bool {
        let exit = Exit::Killed { by: by.to_owned() };
        self.end_with(exit, |host, exit| {
            tracing::warn!(module = host.descriptor.name, instance = %self.id, "{exit}");
        })
    }

    /// [`kill`](InstanceCore::kill), for a reason that many may have in the same moment.
    pub(crate) fn kill_as(&self, exit: Exit) -> bool {
        self.end_with(exit, |host, exit| host.log_fall(self.id, exit))
    }

    fn end_with(&self, exit: Exit, log: impl FnOnce(&Arc<HostCore>, &Exit)) -> bool {
        if !self.end_as_killed() {
            // It had crashed: the calls that go on are ended, and its end stays what it was.
            if self.is_killed_after_crash() {
                self.watchers.wake_all();
            }
            return false;
        }
        let host = self.host.upgrade();
        if let Some(host) = &host {
            log(host, &exit);
        }
        self.ended_by(exit);
        if let Some(host) = &host {
            host.unroute(self.id);
        }
        if let Some(turn) = &self.turn {
            turn.close();
        }
        self.watchers.wake_all();
        if let Some(host) = host {
            host.is_over(self.id, true);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn those_who_wait_are_woken_and_those_who_left_are_not() {
        let watchers = Watchers::default();
        let counted: Vec<_> = (0..4).map(|_| Arc::new(Counted::default())).collect();
        let mut watches: Vec<_> = (0..3).map(|_| Watch::default()).collect();
        for (watch, counted) in watches.iter_mut().zip(&counted) {
            watchers.set(watch, &Waker::from(counted.clone()));
        }
        watchers.leave(&mut watches[1]);
        // Another task polls the third now, and the place of the second is used again.
        watchers.set(&mut watches[2], &Waker::from(counted[3].clone()));
        let mut late = Watch::default();
        watchers.set(&mut late, &Waker::from(counted[0].clone()));
        assert_eq!(watchers.lock().as_ref().map(|slots| slots.wakers.len()), Some(3));
        watchers.wake_all();
        let woken: Vec<_> = counted.iter().map(|counted| counted.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [2, 0, 0, 1]);
        for watch in watches.iter_mut().chain([&mut late]) {
            watchers.leave(watch);
        }
        assert_eq!(watchers.lock().as_ref().map(|slots| slots.free.len()), Some(3));
        assert!(counted.iter().all(|counted| Arc::strong_count(counted) == 1), "no waker is kept");
    }
}
