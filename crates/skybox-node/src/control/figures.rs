//! How a node of a cloud stands to the plan, in figures that somebody can be woken by.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metrics::{LATENCY_BUCKETS, bucket_of};

/// How a node stands to the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanFigures {
    /// For how long what this node knows of the plan may be out of date, in milliseconds.
    pub age_ms: u64,
    /// Milliseconds since the last renewal of its lease was sent that was answered; since it joined, if none was.
    pub lease_age_ms: u64,
    /// How long renewals of its lease took.
    pub renewals: Latencies,
    /// What only the node knows that leads; absent on all others.
    pub leads: Option<LeaderFigures>,
    /// Whether calls of its keyed instances may not begin. Said by the node itself.
    pub fence_closed: bool,
    /// How many shards it owns whose calls may not begin. Said by the node itself.
    pub fenced_shards: u64,
}

/// What a leader has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaderFigures {
    /// How many instances or shards of each module have no place, of those that lack any.
    pub unplaced: BTreeMap<String, u64>,
    /// Nodes that were lost too many at once to be believed.
    pub held_back: u64,
}

/// How long something took, each time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// By bucket: the n-th counts those below 2^n µs, the last one what took longer. Empty before the first.
    pub counts: Vec<u64>,
    /// Their sum in microseconds.
    pub sum_us: u64,
}

impl Latencies {
    /// Counts one.
    pub fn took(&mut self, time: Duration) {
        self.counts.resize(LATENCY_BUCKETS, 0);
        self.counts[bucket_of(time)] += 1;
        self.sum_us += u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    }
}
