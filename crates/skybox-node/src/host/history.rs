//! What became of a module's earlier instances, for those who look.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skybox_core::{Exit, InstanceId, NodeName};
use skybox_plan::restart::{History, Policy};

use super::lock;
use crate::call::key_text;
use crate::cell::{Inside, Word};

/// Endings kept of each module: enough to see a pattern, and bounded however often it crashes.
const ENDINGS_MAX: usize = 16;

/// Keys of a module whose ends are counted one by one: of others that have none it is not known.
const KEYS_MAX: usize = 4096;

/// How an instance ended, or failed to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// Which one; `None` if its `start` failed.
    pub instance: Option<String>,
    /// Its key, if it had one, as text where that is possible.
    pub key: Option<String>,
    /// Why.
    #[serde(flatten)]
    pub exit: Exit,
    /// Milliseconds from its `start` to its end; `None` if it did not start.
    pub lived_ms: Option<u64>,
    /// Milliseconds since then.
    pub ago_ms: u64,
    /// How many others were killed by their [links](Exit::Linked) to the one whose end killed this one. They are not in the
    /// list: a thousand that fall together must not hide what they fell from. Always 0 for other ends, and from a node of a
    /// version without.
    #[serde(default)]
    pub others: u64,
}

/// A module, or one key of it, that is not started again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GivenUp {
    /// Which key, of a keyed module, as text where that is possible.
    pub key: Option<String>,
    /// Why it ended the last time.
    pub cause: String,
    /// How often its `start` failed, or it crashed before its first call ended, within the window. None of it counts
    /// where `restart` forbids a second start.
    pub failed_starts: u32,
    /// The window, in milliseconds.
    pub within_ms: u64,
    /// Milliseconds since it was given up.
    pub ago_ms: u64,
}

/// An ending, as it is kept.
#[derive(Debug)]
struct Past {
    /// Which one, and how long it lived; absent if it did not start.
    lived: Option<(String, Duration)>,
    key: Option<Box<[u8]>>,
    exit: Exit,
    at: Instant,
    /// How many others fell with the same one.
    others: u64,
}

/// The last endings of one module, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    kept: Mutex<VecDeque<Past>>,
    /// All that ended otherwise than by being stopped.
    count: AtomicU64,
    /// Of those, the ones of each key, as text.
    by_key: Mutex<HashMap<String, u64>>,
    /// In a cell, its node, which keeps them when the cell is gone.
    node: OnceLock<Arc<Inside>>,
}

impl Endings {
    /// An instance has ended after this long.
    pub(crate) fn ended(&self, instance: InstanceId, lived: Duration, key: Option<&[u8]>, exit: Exit) {
        self.note(Some((instance, lived)), key, exit);
    }

    /// A start has failed.
    pub(crate) fn failed_start(&self, key: Option<&[u8]>, cause: &str) {
        self.note(None, key, Exit::FailedStart { cause: cause.to_owned() });
    }

    /// A cell, and what lived in it, has ended after this long.
    pub(crate) fn cell_died(&self, cell: &NodeName, lived: Duration, key: Option<&[u8]>, exit: Exit) {
        self.keep(Some((cell.to_string(), lived)), key, exit);
    }

    /// In a cell: its node is told of each.
    pub(crate) fn tell(&self, node: Arc<Inside>) {
        // Told once, when the cell's App is made.
        drop(self.node.set(node));
    }

    /// In a cell, its node.
    pub(crate) fn node(&self) -> Option<Arc<Inside>> {
        self.node.get().cloned()
    }

    /// Keeps one, and tells the node of it.
    pub(crate) fn note(&self, lived: Option<(InstanceId, Duration)>, key: Option<&[u8]>, exit: Exit) {
        if let Some(node) = self.node.get() {
            let instance = lived.map(|(id, lived)| (id, lived.as_millis() as u64));
            node.say(&Word::Ended { instance, key: key.map(<[u8]>::to_vec), exit: exit.clone() });
        }
        self.keep(lived.map(|(id, lived)| (id.to_string(), lived)), key, exit);
    }

    /// How many have ended otherwise than by being stopped, or have failed to start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn keep(&self, lived: Option<(String, Duration)>, key: Option<&[u8]>, exit: Exit) {
        if !matches!(exit, Exit::Stopped) {
            self.count.fetch_add(1, Ordering::Relaxed);
            if let Some(key) = key {
                self.count_key(key_text(key));
            }
        }
        let mut kept = lock(&self.kept);
        if let Some(same) = kept.iter_mut().find(|past| fell_together(&past.exit, &exit)) {
            same.others += 1;
            return;
        }
        let past = Past { lived, key: key.map(Box::from), exit, at: Instant::now(), others: 0 };
        if kept.len() == ENDINGS_MAX {
            kept.pop_front();
        }
        kept.push_back(past);
    }

    /// Why the last one ended, as the cause of what follows from it.
    pub(crate) fn last_cause(&self) -> String {
        // An instance whose last word failed had come to its end before.
        let counts = |exit: &&Exit| !matches!(exit, Exit::FailedStop { .. });
        match lock(&self.kept).iter().rev().map(|past| &past.exit).find(counts) {
            Some(Exit::FailedStart { cause }) => cause.clone(),
            Some(exit) => exit.to_string(),
            None => String::new(),
        }
    }

    fn count_key(&self, key: String) {
        let mut by_key = lock(&self.by_key);
        if by_key.len() < KEYS_MAX || by_key.contains_key(&key) {
            *by_key.entry(key).or_default() += 1;
        }
    }

    /// How many instances of a key have ended otherwise than by being stopped, or have failed to start; `None` if that is
    /// not known.
    pub(crate) fn of_key(&self, key: &str) -> Option<u64> {
        let by_key = lock(&self.by_key);
        by_key.get(key).copied().or((by_key.len() < KEYS_MAX).then_some(0))
    }

    /// Why an instance ended, if that is remembered still.
    pub(crate) fn of(&self, instance: InstanceId) -> Option<Exit> {
        let id = instance.to_string();
        let is_it = |past: &&Past| past.lived.as_ref().is_some_and(|(past, _)| *past == id);
        lock(&self.kept).iter().find(is_it).map(|past| past.exit.clone())
    }

    /// For whoever asked, oldest first.
    pub(crate) fn list(&self) -> Vec<Ending> {
        let ending = |past: &Past| Ending {
            instance: past.lived.as_ref().map(|(id, _)| id.clone()),
            key: past.key.as_deref().map(key_text),
            exit: past.exit.clone(),
            lived_ms: past.lived.as_ref().map(|(_, lived)| lived.as_millis() as u64),
            ago_ms: past.at.elapsed().as_millis() as u64,
            others: past.others,
        };
        lock(&self.kept).iter().map(ending).collect()
    }
}

/// Whether two were killed by their links to the same one.
fn fell_together(one: &Exit, other: &Exit) -> bool {
    match (one, other) {
        (Exit::Linked { module, instance, .. }, Exit::Linked { module: of, instance: id, .. }) => {
            (module, instance) == (of, id)
        }
        _ => false,
    }
}

/// Why a module or key was given up, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) cause: String,
    failed_starts: u32,
    within: Duration,
    at: Instant,
}

impl Failure {
    pub(crate) fn new(cause: String, history: &History, policy: &Policy) -> Failure {
        let failed_starts = history.failed_starts();
        Failure { cause, failed_starts, within: policy.within, at: Instant::now() }
    }

    /// One that a cell has told of.
    pub(crate) fn told(cause: String, failed_starts: u32, within: Duration) -> Failure {
        Failure { cause, failed_starts, within, at: Instant::now() }
    }

    pub(super) fn failed_starts(&self) -> u32 {
        self.failed_starts
    }

    pub(crate) fn status(&self, key: Option<&[u8]>) -> GivenUp {
        GivenUp {
            key: key.map(key_text),
            cause: self.cause.clone(),
            failed_starts: self.failed_starts,
            within_ms: self.within.as_millis() as u64,
            ago_ms: self.at.elapsed().as_millis() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;

    use super::*;

    fn id(count: u64) -> InstanceId {
        InstanceId { node: Incarnation(7), count }
    }

    #[test]
    fn a_crowd_that_falls_hides_no_cause() {
        let endings = Endings::default();
        let crash =
            |message: &str| Exit::Crashed { message: message.to_owned(), place: "a.rs:1:1".to_owned() };
        endings.ended(id(1), Duration::ZERO, None, crash("one"));
        // Those that fall with the first, and, among them, those that fall with the second.
        for n in 0..10_000 {
            if n == 5_000 {
                endings.ended(id(2), Duration::ZERO, None, crash("two"));
            }
            let (from, cause) = if n % 2 == 0 || n < 5_000 { (1, "one") } else { (2, "two") };
            let exit = Exit::linked("room", id(from), crash(cause));
            endings.ended(id(100 + n), Duration::ZERO, None, exit);
        }
        let seen: Vec<_> = endings.list().into_iter().map(|end| (end.exit.to_string(), end.others)).collect();
        let of = |from: u64, cause| Exit::linked("room", id(from), crash(cause)).to_string();
        let expected = [
            (crash("one").to_string(), 0),
            (of(1, "one"), 7_499),
            (crash("two").to_string(), 0),
            (of(2, "two"), 2_499),
        ];
        assert_eq!(seen, expected);
        assert_eq!(endings.count(), 10_002);
    }

    #[test]
    fn the_last_sixteen_are_kept() {
        let endings = Endings::default();
        for n in 0..20 {
            // Each falls with another one.
            endings.ended(
                id(n),
                Duration::ZERO,
                None,
                Exit::linked("room", id(100 + n), Exit::NoSuchInstance),
            );
        }
        let kept: Vec<_> = endings.list().into_iter().filter_map(|end| end.instance).collect();
        assert_eq!(kept, (4..20).map(|n| id(n).to_string()).collect::<Vec<_>>());
    }
}
