//! Spawned instances that take no more calls and are not gone: a call goes on, or their `stop` does.
//!
//! They are kept so that whoever asks meanwhile hears their real end, and can kill what goes on of them. An instance is
//! entered before calls stop finding it, and leaves after its end was told: it is always in one place or the other.
//! How the last have ended is remembered for a while: who asks from another node may be overtaken. Ten thousand may crash at
//! once, each of which somebody has asked about before.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, Weak};

use skybox_core::{Exit, InstanceId};

use super::{Counted, STRIPES};
use crate::host::{Ended, Instance, lock};

/// Ends in order or by a link that a stripe remembers: 1,024 are those of a module.
const REMEMBERED: usize = 1024 / STRIPES;
/// Other ends, which are what monitors are for: 16,384 are those of a module, as many as of its cells.
const FAILURES_REMEMBERED: usize = (1 << 14) / STRIPES;

/// Those of a module in one node.
pub(in crate::host) struct Leaving<T>(Box<[Mutex<Stripe<T>>]>);

struct Stripe<T> {
    /// By the count in their id.
    leaving: HashMap<u64, Last<T>, BuildHasherDefault<Counted>>,
    /// Those that have left in order or with another one, oldest first.
    gone: VecDeque<(InstanceId, Exit)>,
    /// Those that have left otherwise, oldest first.
    failed: VecDeque<(InstanceId, Exit)>,
}

impl<T> Stripe<T> {
    fn remember(&mut self, id: InstanceId, exit: Exit) {
        let (kept, bound) = match exit {
            Exit::Normal | Exit::Stopped | Exit::Linked { .. } => (&mut self.gone, REMEMBERED),
            _ => (&mut self.failed, FAILURES_REMEMBERED),
        };
        if kept.len() == bound {
            kept.pop_front();
        }
        kept.push_back((id, exit));
    }
}

/// What is left of an instance.
pub(in crate::host) struct Last<T> {
    id: InstanceId,
    /// Its calls, if some go on: without any it is its `stop`.
    pub(in crate::host) calls: Weak<Instance<T>>,
    /// Resolves when nothing is left.
    pub(in crate::host) ended: Ended,
}

impl<T> Clone for Last<T> {
    fn clone(&self) -> Last<T> {
        Last { id: self.id, calls: self.calls.clone(), ended: self.ended.clone() }
    }
}

impl<T> Last<T> {
    pub(super) fn of(instance: &Arc<Instance<T>>) -> Last<T> {
        Last { id: instance.id, calls: Arc::downgrade(instance), ended: instance.ended() }
    }
}

impl<T> Default for Leaving<T> {
    fn default() -> Leaving<T> {
        let stripe =
            || Stripe { leaving: HashMap::default(), gone: VecDeque::new(), failed: VecDeque::new() };
        Leaving((0..STRIPES).map(|_| Mutex::new(stripe())).collect())
    }
}

impl<T> Leaving<T> {
    fn stripe(&self, count: u64) -> &Mutex<Stripe<T>> {
        &self.0[count as usize % STRIPES]
    }

    /// This one takes no more calls from now on. Whoever says so holds it: it cannot be gone before it is entered.
    pub(super) fn enter(&self, instance: &Arc<Instance<T>>) -> Ended {
        let last = Last::of(instance);
        let ended = last.ended.clone();
        let before = lock(self.stripe(instance.id.count)).leaving.insert(instance.id.count, last);
        // Outside the lock: it may be the last to know of an instance.
        drop(before);
        ended
    }

    /// What is left of this one, if it has not been told to be gone.
    pub(super) fn get(&self, id: InstanceId) -> Option<Last<T>> {
        let last = lock(self.stripe(id.count)).leaving.get(&id.count).cloned();
        // One of an earlier life of this node may have had the same count.
        last.filter(|last| last.id == id)
    }

    /// The one of this count, if calls of it go on.
    pub(super) fn calls_of(&self, count: u64) -> Option<Arc<Instance<T>>> {
        lock(self.stripe(count)).leaving.get(&count).and_then(|last| last.calls.upgrade())
    }

    /// Nothing is left of it, and that was told.
    pub(in crate::host) fn is_gone(&self, id: InstanceId) {
        let mut stripe = lock(self.stripe(id.count));
        let last = stripe.leaving.remove(&id.count);
        if let Some(exit) = last.as_ref().and_then(|last| last.ended.told()) {
            stripe.remember(id, exit);
        }
        drop(stripe);
        drop(last);
    }

    /// This one has ended in order, at once.
    pub(super) fn remember(&self, id: InstanceId, exit: Exit) {
        lock(self.stripe(id.count)).remember(id, exit);
    }

    /// How this one ended, if that is remembered.
    pub(super) fn remembered(&self, id: InstanceId) -> Option<Exit> {
        let stripe = lock(self.stripe(id.count));
        let mut all = stripe.gone.iter().rev().chain(stripe.failed.iter().rev());
        all.find(|(gone, _)| *gone == id).map(|(_, exit)| exit.clone())
    }
}
