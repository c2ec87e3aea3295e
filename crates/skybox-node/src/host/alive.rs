//! The instances of a fenced module that may still run code, wherever their keys have gone: what a key leaves behind when it
//! is handed over, crashes or falls asleep goes on for a while, and nobody finds it in a table any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use skybox_core::InstanceId;

use super::{Ended, Instance, lock};

/// Those of one module.
pub(super) struct Alive<T> {
    instances: Mutex<HashMap<InstanceId, One<T>>>,
    /// Keys that are being started, or are about to be.
    starting: Arc<AtomicUsize>,
}

struct One<T> {
    key: Bytes,
    instance: Weak<Instance<T>>,
    ended: Ended,
}

/// Counts a start, from before it is begun until it has ended.
pub(super) struct Starting(Arc<AtomicUsize>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T> Default for Alive<T> {
    fn default() -> Alive<T> {
        Alive { instances: Mutex::default(), starting: Arc::default() }
    }
}

impl<T> Alive<T> {
    pub(super) fn starting(&self) -> Starting {
        self.starting.fetch_add(1, Ordering::AcqRel);
        Starting(self.starting.clone())
    }

    /// One has started.
    pub(super) fn started(&self, key: &Bytes, instance: &Arc<Instance<T>>) {
        let one = One { key: key.clone(), instance: Arc::downgrade(instance), ended: instance.ended() };
        let mut instances = lock(&self.instances);
        if instances.len() == instances.capacity() {
            instances.retain(|_, one| one.ended.told().is_none());
        }
        instances.insert(instance.id, one);
    }

    /// Those that have not ended.
    pub(super) fn all(&self) -> Vec<Arc<Instance<T>>> {
        lock(&self.instances).values().filter_map(|one| one.instance.upgrade()).collect()
    }

    /// How many have not ended, starts included.
    pub(super) fn left(&self) -> usize {
        let mut instances = lock(&self.instances);
        instances.retain(|_, one| one.ended.told().is_none());
        instances.len() + self.starting.load(Ordering::Acquire)
    }

    /// The ends of those whose keys are so, with what they are killed by.
    pub(super) fn ends(&self, which: impl Fn(&Bytes) -> bool) -> Vec<(Weak<Instance<T>>, Ended)> {
        let instances = lock(&self.instances);
        let meant = instances.values().filter(|one| one.ended.told().is_none() && which(&one.key));
        meant.map(|one| (one.instance.clone(), one.ended.clone())).collect()
    }
}
