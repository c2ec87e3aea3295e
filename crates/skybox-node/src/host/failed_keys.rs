//! The keys of one module that do not start in one node: those that may be tried again after a pause, and those that were
//! given up.
//!
//! One that was given up stays so until an operator has it started anew, its shard moves to another node, or this process
//! ends. Whoever can invent keys can invent bad ones, so what is remembered of either kind is bounded: beyond [`KEYS_MAX`]
//! or [`BYTES_MAX`], the one that failed least recently is forgotten, and may be tried again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use skybox_core::{CallErrorKind, Code};
use skybox_plan::restart::History;

use super::{Failure, GivenUp, HostCore, lock};
use crate::call::key_text;
use crate::cell::Word;
use crate::status::GIVEN_UP_MAX;

/// Keys of either kind that are remembered: as many as may be awake where nothing is said.
const KEYS_MAX: usize = 10_000;
/// Bytes of these keys and of their causes, which may both be long.
const BYTES_MAX: usize = 4 << 20;

/// Those of one module in one node.
#[derive(Debug, Default)]
pub(crate) struct FailedKeys {
    /// How many there are. Where there is none, which is most often, no call takes the lock.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    trying: Recent<Trying>,
    given_up: Recent<Failure>,
}

/// A key that has failed, and is not tried again before then.
#[derive(Debug)]
pub(super) struct Trying {
    pub(super) cause: String,
    pub(super) again: Instant,
    /// What its next start goes on from.
    pub(super) past: Past,
}

/// What is known of a key beyond one instance.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) history: History,
    /// A call of it has ended well.
    pub(super) useful: bool,
}

impl FailedKeys {
    /// Why a key is not started now, if it is not.
    pub(super) fn cause(&self, key: &[u8]) -> Option<String> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let table = lock(&self.table);
        if let Some(failure) = table.given_up.get(key) {
            return Some(failure.cause.clone());
        }
        table
            .trying
            .get(key)
            .filter(|trying| Instant::now() < trying.again)
            .map(|trying| trying.cause.clone())
    }

    /// This key has failed, and may be tried again.
    pub(super) fn tries_again(&self, key: &[u8], trying: Trying) {
        self.change(|table| {
            let bytes = trying.cause.len();
            table.trying.insert(key, trying, bytes);
        });
    }

    /// This key is not started any more.
    pub(crate) fn gave_up(&self, key: &[u8], failure: Failure) {
        self.change(|table| {
            table.trying.remove(key);
            let bytes = failure.cause.len();
            table.given_up.insert(key, failure, bytes);
        });
    }

    /// What a key has behind it that is tried again now.
    pub(super) fn take_past(&self, key: &[u8]) -> Option<Past> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.change(|table| table.trying.remove(key)).map(|trying| trying.past)
    }

    /// Nothing of this key counts any more; says whether it was given up, or paused.
    pub(super) fn forget(&self, key: &[u8]) -> bool {
        self.change(|table| table.trying.remove(key).is_some() | table.given_up.remove(key).is_some())
    }

    /// The same of all; says how many had been given up.
    pub(super) fn forget_all(&self) -> usize {
        self.change(std::mem::take).given_up.by_key.len()
    }

    /// The others belong elsewhere now.
    pub(super) fn retain(&self, which: impl Fn(&[u8]) -> bool) {
        self.change(|table| {
            table.trying.retain(&which);
            table.given_up.retain(&which);
        });
    }

    /// How many are given up.
    pub(crate) fn given_up_count(&self) -> usize {
        if self.count.load(Ordering::Acquire) == 0 { 0 } else { lock(&self.table).given_up.by_key.len() }
    }

    /// The last of them, the very last one first.
    pub(super) fn given_up(&self) -> Vec<GivenUp> {
        let table = lock(&self.table);
        let newest = table.given_up.newest().take(GIVEN_UP_MAX);
        newest.map(|(key, failure)| failure.status(Some(key))).collect()
    }

    fn change<V>(&self, change: impl FnOnce(&mut Table) -> V) -> V {
        let mut table = lock(&self.table);
        let changed = change(&mut table);
        let count = table.trying.by_key.len() + table.given_up.by_key.len();
        self.count.store(count, Ordering::Release);
        changed
    }
}

/// Values by key, of which the least recent is forgotten first.
#[derive(Debug)]
struct Recent<V> {
    by_key: HashMap<Bytes, Entry<V>>,
    /// The same, oldest first.
    order: BTreeMap<u64, Bytes>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    number: u64,
    bytes: usize,
}

impl<V> Default for Recent<V> {
    fn default() -> Recent<V> {
        Recent { by_key: HashMap::new(), order: BTreeMap::new(), next: 0, bytes: 0 }
    }
}

impl<V> Recent<V> {
    fn get(&self, key: &[u8]) -> Option<&V> {
        self.by_key.get(key).map(|entry| &entry.value)
    }

    fn insert(&mut self, key: &[u8], value: V, bytes: usize) {
        self.remove(key);
        let (number, bytes) = (self.next, bytes + key.len());
        self.next += 1;
        self.bytes += bytes;
        // A copy: the key of a call is part of a larger buffer.
        let key = Bytes::copy_from_slice(key);
        self.order.insert(number, key.clone());
        self.by_key.insert(key, Entry { value, number, bytes });
        // The newest stays, however long it is: its callers are told why.
        while self.by_key.len() > 1 && (self.by_key.len() > KEYS_MAX || self.bytes > BYTES_MAX) {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<V> {
        let Entry { value, number, bytes } = self.by_key.remove(key)?;
        self.order.remove(&number);
        self.bytes -= bytes;
        Some(value)
    }

    fn retain(&mut self, which: impl Fn(&[u8]) -> bool) {
        let leaving: Vec<_> = self.by_key.keys().filter(|key| !which(key)).cloned().collect();
        leaving.iter().for_each(|key| drop(self.remove(key)));
    }

    fn newest(&self) -> impl Iterator<Item = (&Bytes, &V)> {
        self.order.values().rev().filter_map(|key| Some((key, self.get(key)?)))
    }
}

impl HostCore {
    /// Keys that do not start may be started by their next calls: all of them, or one. Says how many had been given up.
    pub(crate) fn forget_failed(&self, key: Option<&[u8]>) -> u64 {
        match key {
            Some(key) => u64::from(self.failed_keys.forget(key)),
            None => self.failed_keys.forget_all() as u64,
        }
    }

    /// Whether a key may be started, as far as earlier starts of it say, and the fence.
    pub(super) fn key_may_start(&self, key: &[u8]) -> Result<(), CallErrorKind> {
        self.fenced()?;
        self.failed_keys.cause(key).map_or(Ok(()), |cause| Err(CallErrorKind::NotStarted { cause }))
    }

    /// Tells of a key that was given up. In a cell its node remembers that too, which outlives it.
    pub(super) fn tell_given_up(&self, key: &[u8], failure: &Failure) {
        let module = self.descriptor.name;
        tracing::error!(module, key = key_text(key), code = %Code::NOT_STARTED, "given up: {}", failure.cause);
        if let Some(node) = self.endings.node() {
            let (cause, failed_starts) = (failure.cause.clone(), failure.failed_starts());
            node.say(&Word::KeyGaveUp { key: key.to_vec(), cause, failed_starts });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skybox_core::Restart;
    use skybox_plan::restart::Policy;

    use super::*;

    fn failure(cause: &str) -> Failure {
        let policy = Policy { restart: Restart::Never, max_restarts: 1, within: Duration::from_secs(1) };
        Failure::new(cause.to_owned(), &History::default(), &policy)
    }

    fn key(number: usize) -> [u8; 8] {
        (number as u64).to_be_bytes()
    }

    fn trying(again: Instant) -> Trying {
        Trying { cause: "early".to_owned(), again, past: Past { useful: true, ..Past::default() } }
    }

    #[test]
    fn a_crowd_of_bad_keys_is_bounded_and_the_oldest_are_forgotten() {
        const CROWD: usize = 10 * KEYS_MAX;
        let failed = FailedKeys::default();
        let again = Instant::now() + Duration::from_secs(3600);
        for number in 0..CROWD {
            failed.tries_again(&key(number), trying(again));
            failed.gave_up(&key(number), failure("broken"));
            failed.tries_again(&key(CROWD + number), trying(again));
        }
        assert_eq!(failed.given_up_count(), KEYS_MAX);
        assert_eq!(failed.count.load(Ordering::Acquire), 2 * KEYS_MAX);
        let (first, last) = (CROWD - KEYS_MAX, CROWD - 1);
        assert_eq!(failed.cause(&key(first - 1)), None);
        assert_eq!(failed.cause(&key(first)).as_deref(), Some("broken"));
        assert_eq!(failed.cause(&key(last)).as_deref(), Some("broken"));
        let shown: Vec<_> = failed.given_up().into_iter().map(|given| given.key).collect();
        let newest = (0..GIVEN_UP_MAX).map(|back| Some(key_text(&key(last - back))));
        assert_eq!(shown, newest.collect::<Vec<_>>());
    }

    #[test]
    fn one_that_fails_again_is_the_newest() {
        let failed = FailedKeys::default();
        for number in 0..KEYS_MAX {
            failed.gave_up(&key(number), failure("broken"));
        }
        failed.gave_up(&key(0), failure("again"));
        failed.gave_up(&key(KEYS_MAX), failure("broken"));
        assert_eq!(failed.cause(&key(0)).as_deref(), Some("again"));
        assert_eq!(failed.cause(&key(1)), None);
    }

    #[test]
    fn long_causes_are_bounded_too_and_the_newest_is_kept() {
        let failed = FailedKeys::default();
        let long = "x".repeat(BYTES_MAX / 2);
        for number in 0..3 {
            failed.gave_up(&key(number), failure(&long));
        }
        assert_eq!((failed.given_up_count(), lock(&failed.table).given_up.bytes), (1, long.len() + 8));
        failed.gave_up(&key(3), failure(&"y".repeat(2 * BYTES_MAX)));
        assert_eq!(failed.given_up_count(), 1);
        assert!(failed.cause(&key(3)).is_some_and(|cause| cause.starts_with('y')));
        failed.gave_up(&key(4), failure("short"));
        assert_eq!(lock(&failed.table).given_up.bytes, "short".len() + 8);
    }

    #[test]
    fn a_pause_is_over_in_the_end_and_what_was_is_handed_on() {
        let failed = FailedKeys::default();
        failed.tries_again(b"a", trying(Instant::now() + Duration::from_secs(3600)));
        assert_eq!(failed.cause(b"a").as_deref(), Some("early"));
        failed.tries_again(b"a", trying(Instant::now()));
        assert_eq!(failed.cause(b"a"), None);
        assert!(failed.take_past(b"a").is_some_and(|past| past.useful));
        assert!(failed.take_past(b"a").is_none(), "once");
        failed.gave_up(b"b", failure("broken"));
        failed.gave_up(b"c", failure("broken"));
        failed.retain(|key| key != b"b");
        assert_eq!((failed.cause(b"b"), failed.given_up_count()), (None, 1));
        assert!(failed.forget(b"c") && !failed.forget(b"c"));
        failed.gave_up(b"c", failure("broken"));
        assert_eq!((failed.forget_all(), failed.forget_all(), failed.cause(b"c")), (1, 0, None));
    }
}
