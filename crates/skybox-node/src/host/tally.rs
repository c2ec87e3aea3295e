//! What is put down to each of several instances of a module, while somebody looks.
//!
//! Calls are counted by edge: a keyed or spawned instance has no counter that each of its calls would have to touch. But
//! what is dear anyway, an error, or the clock that is read for one call in some, is put down to the instance as well,
//! from when somebody has asked for figures until nobody has for a while.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lock;
use crate::metrics::{LATENCY_BUCKETS, bucket_of};

/// Who has looked gets figures for this long: more than passes between two looks of anybody.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(600);
/// Instances of one module in one node of which something is noted; of those beyond nothing is known.
const TALLIES_MAX: usize = 4096;
/// Independent locks over them.
const STRIPES: usize = 16;

/// Which instance of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// That of a key: one after the other.
    Key(Bytes),
    /// A spawned one, by the count in its id.
    Seat(u64),
}

impl Which {
    /// The same, for longer than a call: its key is part of a larger buffer.
    fn on_its_own(self) -> Which {
        match self {
            Which::Key(key) => Which::Key(Bytes::copy_from_slice(&key)),
            seat @ Which::Seat(_) => seat,
        }
    }
}

/// What was noted of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Calls that failed, or returned the method's own error.
    pub(crate) errors: u64,
    /// Of the calls that were timed, as in [`EdgeCounts`](crate::EdgeCounts).
    pub(crate) latency: [u64; LATENCY_BUCKETS],
}

impl Tally {
    /// How much was noted.
    fn weight(&self) -> u64 {
        self.errors + self.latency.iter().sum::<u64>()
    }
}

type Stripe = HashMap<Which, Tally>;

/// The instances of one module.
#[derive(Debug)]
pub(crate) struct Tallies {
    born: Instant,
    /// The last look, in milliseconds of this life and one more; 0 if there was none, or a while ago.
    looked: AtomicU64,
    hashes: RandomState,
    stripes: [Mutex<Stripe>; STRIPES],
}

impl Default for Tallies {
    fn default() -> Tallies {
        Tallies {
            born: Instant::now(),
            looked: AtomicU64::new(0),
            hashes: RandomState::new(),
            stripes: Default::default(),
        }
    }
}

impl Tallies {
    /// Somebody looks, and will again.
    pub(crate) fn look(&self) {
        if !self.is_looked_at() {
            // What was noted until somebody lost interest is not the beginning of what follows.
            self.stripes.iter().for_each(|stripe| lock(stripe).clear());
        }
        self.looked.store(self.now_ms() + 1, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    /// Whether anything is to be noted.
    pub(crate) fn is_looked_at(&self) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        if looked == 0 {
            return false;
        }
        let is_fresh = self.now_ms().saturating_sub(looked) < LOOK_MAX.as_millis() as u64;
        if !is_fresh {
            // The next calls need no clock to know. Who looks just now looks again.
            let _ = self.looked.compare_exchange(looked, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        is_fresh
    }

    /// A call of this instance has failed, or returned an error.
    pub(crate) fn error(&self, which: Which) {
        self.note(which, |tally| tally.errors += 1);
    }

    /// A call of this instance was timed.
    pub(crate) fn took(&self, which: Which, time: Duration) {
        self.note(which, |tally| tally.latency[bucket_of(time)] += 1);
    }

    fn note(&self, which: Which, note: impl FnOnce(&mut Tally)) {
        let mut stripe = lock(self.stripe(&which));
        if let Some(tally) = stripe.get_mut(&which) {
            note(tally);
        } else if stripe.len() < TALLIES_MAX / STRIPES {
            note(stripe.entry(which.on_its_own()).or_default());
        }
    }

    /// What was noted of an instance since the first look; `None` if that is not known.
    pub(crate) fn of(&self, which: &Which) -> Option<Tally> {
        let stripe = lock(self.stripe(which));
        match stripe.get(which) {
            Some(tally) => Some(tally.clone()),
            None => (stripe.len() < TALLIES_MAX / STRIPES).then(Tally::default),
        }
    }

    /// Those of which something was noted: of which most was, first.
    pub(crate) fn noted(&self) -> Vec<Which> {
        let mut noted: Vec<_> = self.stripes.iter().flat_map(|stripe| lock(stripe).clone()).collect();
        noted.sort_by_key(|(_, tally)| Reverse(tally.weight()));
        noted.into_iter().map(|(which, _)| which).collect()
    }

    /// It has gone, and others need its place.
    pub(crate) fn forget(&self, which: &Which) {
        lock(self.stripe(which)).remove(which);
    }

    fn stripe(&self, which: &Which) -> &Mutex<Stripe> {
        &self.stripes[self.hashes.hash_one(which) as usize % STRIPES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_noted_until_somebody_looks() {
        let tallies = Tallies::default();
        assert!(!tallies.is_looked_at());
        tallies.error(Which::Seat(1));
        tallies.look();
        assert!(tallies.is_looked_at());
        assert_eq!(tallies.of(&Which::Seat(1)), Some(Tally::default()));
        tallies.error(Which::Seat(1));
        tallies.look();
        assert_eq!(tallies.of(&Which::Seat(1)).map(|tally| tally.errors), Some(1), "the next look goes on");
    }

    #[test]
    fn instances_are_told_apart() {
        let tallies = Tallies::default();
        tallies.look();
        let key = |text: &'static str| Which::Key(Bytes::from_static(text.as_bytes()));
        tallies.error(key("ann"));
        tallies.took(key("bob"), Duration::from_micros(3));
        tallies.took(Which::Seat(7), Duration::from_micros(3));
        (0..2).for_each(|_| tallies.error(Which::Seat(9)));
        let of = |which| tallies.of(&which).map(|tally| (tally.errors, tally.latency[2]));
        assert_eq!((of(key("ann")), of(key("bob"))), (Some((1, 0)), Some((0, 1))));
        assert_eq!(of(Which::Seat(8)), Some((0, 0)));
        assert_eq!(tallies.noted()[0], Which::Seat(9));
        tallies.forget(&Which::Seat(9));
        assert_eq!(of(Which::Seat(9)), Some((0, 0)));
    }

    #[test]
    fn of_those_that_have_no_place_nothing_is_said() {
        let tallies = Tallies::default();
        tallies.look();
        (0..2 * TALLIES_MAX as u64).for_each(|count| tallies.error(Which::Seat(count)));
        let known = (0..2 * TALLIES_MAX as u64).filter_map(|count| tallies.of(&Which::Seat(count)));
        assert_eq!(known.map(|tally| tally.errors).sum::<u64>(), TALLIES_MAX as u64);
        assert_eq!(tallies.of(&Which::Seat(u64::MAX)), None);
    }
}
