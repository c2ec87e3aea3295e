//! A steady load: calls that begin at their times, however long those before them take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skybox::Handle;
use tokio::task::{JoinHandle, JoinSet};

use crate::stage::{PATIENCE, kind_of};
use crate::victims::Steady;

/// One call a millisecond.
const EVERY: Duration = Duration::from_millis(1);

/// Calls on their way.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    calls: JoinHandle<Felt>,
}

/// What the callers of the steady module have felt.
#[derive(Default)]
pub(crate) struct Felt {
    /// From the time at which a call was to begin to its answer.
    took: Vec<Duration>,
    /// How many failed, by the kind of their error.
    pub(crate) failed: BTreeMap<&'static str, usize>,
}

impl Load {
    pub(crate) fn begin(steady: Handle<Steady>) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        Load { over: over.clone(), calls: tokio::spawn(call(steady, over)) }
    }

    /// No call begins any more; those that have begun come to their ends.
    pub(crate) async fn end(self) -> Felt {
        self.over.store(true, Ordering::Relaxed);
        let ended = tokio::time::timeout(PATIENCE, self.calls).await;
        ended.expect("each call is answered").expect("the load goes on")
    }
}

async fn call(steady: Handle<Steady>, over: Arc<AtomicBool>) -> Felt {
    let mut calls = JoinSet::new();
    let began = Instant::now();
    for number in 0u32.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let due = began + EVERY * number;
        tokio::time::sleep_until(due.into()).await;
        let steady = steady.clone();
        calls.spawn(async move {
            let sum = steady.add(number.into(), 1).await;
            let failed = sum.map(|sum| assert_eq!(sum, u64::from(number) + 1)).err();
            (due.elapsed(), failed.map(|error| kind_of(&error)))
        });
    }
    let mut felt = Felt::default();
    while let Some(ended) = calls.join_next().await {
        let (took, failed) = ended.expect("a call that answers answers right");
        match failed {
            Some(kind) => *felt.failed.entry(kind).or_default() += 1,
            None => felt.took.push(took),
        }
    }
    felt.took.sort();
    felt
}

impl Felt {
    pub(crate) fn calls(&self) -> usize {
        self.took.len() + self.failures()
    }

    pub(crate) fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// What 99 of 100 calls took at most, of those that were answered.
    pub(crate) fn p99(&self) -> Duration {
        self.took.get(self.took.len() * 99 / 100).or(self.took.last()).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: Felt) {
        self.took.extend(other.took);
        self.took.sort();
        for (kind, count) in other.failed {
            *self.failed.entry(kind).or_default() += count;
        }
    }
}
