//! How often the methods of a module have held async threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::host::lock;

/// The log names a method at most once in so long, however often it holds threads: the status counts the rest.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The holds of one module in one node, by its methods' places.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<BTreeMap<u16, Counted>>);

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    longest: Duration,
    instance: String,
    told: Option<Instant>,
}

/// How often a method has held an async thread, on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// The method.
    pub method: String,
    /// How often it has held a thread for longer than the limit.
    pub count: u64,
    /// The longest that was seen, in milliseconds; one that goes on is in it as far as it has come.
    pub longest_ms: u64,
    /// The instance that did so last.
    pub instance: String,
}

impl HoldStatus {
    /// Adds what another process of this node has counted.
    pub(crate) fn add_to(&self, all: &mut Vec<HoldStatus>) {
        match all.iter_mut().find(|known| known.method == self.method) {
            None => all.push(self.clone()),
            Some(known) => {
                known.count += self.count;
                known.longest_ms = known.longest_ms.max(self.longest_ms);
                known.instance.clone_from(&self.instance);
            }
        }
    }
}

impl Holds {
    /// One more hold; says whether the log may name it.
    pub(super) fn count(&self, method: u16, instance: &str, held: Duration) -> bool {
        let mut all = lock(&self.0);
        let counted = all.entry(method).or_default();
        counted.count += 1;
        counted.longest = counted.longest.max(held);
        counted.instance = instance.to_owned();
        let may_tell = counted.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        if may_tell {
            counted.told = Some(Instant::now());
        }
        may_tell
    }

    /// A hold that is counted goes on.
    pub(super) fn goes_on(&self, method: u16, held: Duration) {
        if let Some(counted) = lock(&self.0).get_mut(&method) {
            counted.longest = counted.longest.max(held);
        }
    }

    pub(crate) fn status(&self, method: impl Fn(u16) -> String) -> Vec<HoldStatus> {
        let all = lock(&self.0);
        let status = all.iter().map(|(index, counted)| HoldStatus {
            method: method(*index),
            count: counted.count,
            longest_ms: counted.longest.as_millis() as u64,
            instance: counted.instance.clone(),
        });
        status.collect()
    }
}
