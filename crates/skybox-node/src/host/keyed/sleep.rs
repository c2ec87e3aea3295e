//! Instances that nobody calls fall asleep: after a while by themselves, and the one that was not called for longest
//! when another needs its place.
//!
//! Both go by the time of the last call, which a call notes when it looks its key up.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::room::{Coming, Place};
use super::super::{Host, HostCore, Instance, Line, lock};
use super::{Now, Slot, State, gone};
use crate::module::Module;

/// One look at all instances finds those that make room for the next starts: one in this many that are awake.
const OLDEST_SHARE: usize = 16;
/// The most that one look keeps.
const OLDEST_MAX: usize = 1024;
/// Where most instances are busy, looking takes at most one part in this many of a core.
const LOOK_SHARE: u32 = 20;
/// But no more than so much passes between two: a look that took long may merely have been without a core.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Who falls asleep next, the one that was not called for longest first, as the last look has found.
///
/// Whoever was called since is passed over. All others have been called later than these, so that the order holds
/// however long ago the look was.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    next: VecDeque<(Bytes, Instant)>,
    /// The last look has found few: not before then is there another.
    again: Option<tokio::time::Instant>,
}

/// An instance that falls asleep.
struct Retired<T> {
    instance: Arc<Instance<T>>,
    /// Its slot, which has its place, if it has a last word to say.
    slot: Option<Arc<Slot<T>>>,
    /// Given back after it.
    place: Option<Place>,
}

impl<T: Send + 'static> Retired<T> {
    /// Outside every lock: a `Drop` may take its time.
    fn fall_asleep(self, core: &HostCore) {
        let Retired { instance, slot, place } = self;
        match slot {
            Some(slot) => asleep_when_gone(core, slot, instance),
            None => drop(instance),
        }
        drop(place);
    }
}

impl<T> State<T> {
    /// When the instance was last called, if it is awake and has no calls, not even the one that has woken it and comes
    /// in a moment.
    fn idle_since(&self, line: &Line) -> Option<Instant> {
        match &self.now {
            Now::Live(instance) if Arc::strong_count(instance) == 1 && line.is_empty() => {
                Some(self.last_call)
            }
            _ => None,
        }
    }

    /// Takes an instance out that has no calls.
    fn retire(&mut self, slot: &Arc<Slot<T>>, stops: bool, for_others: Option<Coming>) -> Option<Retired<T>> {
        if let (Some(place), Some(coming)) = (&mut self.place, for_others) {
            place.comes(coming);
        }
        match std::mem::replace(&mut self.now, Now::Asleep) {
            // The slot stays, so that the key's next call waits for this `stop`.
            Now::Live(instance) if stops => {
                self.now = Now::Stopping;
                Some(Retired { instance, slot: Some(slot.clone()), place: None })
            }
            Now::Live(instance) => Some(Retired { instance, slot: None, place: self.place.take() }),
            _ => None,
        }
    }
}

/// Starts the task that puts idle instances to sleep.
pub(in super::super) fn open<T: Module>(host: &Arc<Host<T>>) {
    let weak = Arc::downgrade(host);
    let every = (host.core.settings.idle / 4).max(Duration::from_millis(20));
    host.core.runtime.spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let Some(host) = weak.upgrade() else { return };
            put_to_sleep(&host);
        }
    });
}

fn put_to_sleep<T: Module>(host: &Host<T>) {
    let (idle, stops) = (host.core.settings.idle, host.core.stops);
    for stripe in &host.keyed.stripes {
        let mut retired = Vec::new();
        lock(stripe).retain(|_, slot| {
            let mut state = lock(&slot.state);
            let done = match &state.now {
                Now::Live(_) => state.idle_since(&slot.line).is_some_and(|since| since.elapsed() >= idle),
                Now::Asleep | Now::Failed(_) => true,
                Now::Starting | Now::Stopping => false,
            };
            if !done {
                return true;
            }
            retired.extend(state.retire(slot, stops, None));
            // A slot that somebody has just looked up stays: two slots would be two instances.
            Arc::strong_count(slot) > 1
        });
        retired.into_iter().for_each(|retired| retired.fall_asleep(&host.core));
    }
}

/// Puts the instance to sleep that was not called for longest, if there is one without calls.
pub(super) fn make_room<T: Module>(host: &Host<T>, coming: Coming) {
    if let Some(retired) = take_oldest(host, coming) {
        retired.fall_asleep(&host.core);
    }
}

fn take_oldest<T: Module>(host: &Host<T>, coming: Coming) -> Option<Retired<T>> {
    let mut oldest = lock(&host.keyed.oldest);
    loop {
        while let Some((key, last_call)) = oldest.next.pop_front() {
            let mut slots = lock(host.keyed.stripe(&key));
            let Some(slot) = slots.get(&key) else { continue };
            let mut state = lock(&slot.state);
            if state.idle_since(&slot.line) != Some(last_call) {
                continue;
            }
            let retired = state.retire(slot, host.core.stops, Some(coming));
            drop(state);
            if Arc::strong_count(slot) == 1 {
                slots.remove(&key);
            }
            return retired;
        }
        if oldest.again.is_some_and(|again| tokio::time::Instant::now() < again) {
            return None;
        }
        look(host, &mut oldest);
        if oldest.next.is_empty() {
            return None;
        }
    }
}

/// Finds the oldest of those without calls.
fn look<T: Module>(host: &Host<T>, oldest: &mut Oldest) {
    let began = Instant::now();
    let mut found: BinaryHeap<(Instant, Bytes)> = BinaryHeap::new();
    let keep = host.core.room.bound().div_ceil(OLDEST_SHARE).min(OLDEST_MAX);
    for stripe in &host.keyed.stripes {
        for (key, slot) in &*lock(stripe) {
            let Some(since) = lock(&slot.state).idle_since(&slot.line) else { continue };
            if found.len() == keep {
                if found.peek().is_some_and(|(newest, _)| *newest <= since) {
                    continue;
                }
                found.pop();
            }
            found.push((since, key.clone()));
        }
    }
    let pause = (began.elapsed() * LOOK_SHARE).min(LOOK_PAUSE_MAX);
    oldest.again = (found.len() < keep).then(|| tokio::time::Instant::now() + pause);
    oldest.next = found.into_sorted_vec().into_iter().map(|(since, key)| (key, since)).collect();
}

/// Lets go of the instance of a slot that is `Stopping`; when nothing of it is left, the next call starts another.
pub(super) fn asleep_when_gone<T: Send + 'static>(
    core: &HostCore,
    slot: Arc<Slot<T>>,
    instance: Arc<Instance<T>>,
) {
    let gone = gone(instance);
    core.runtime.spawn(async move {
        gone.await;
        drop(slot.is_asleep());
        slot.changed.send_modify(|count| *count += 1);
    });
}
