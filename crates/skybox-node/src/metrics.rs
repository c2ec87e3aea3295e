//! What is counted of every edge: a calling module and a called method.
//!
//! Counters of local calls are striped by thread, each stripe with a single writer: a shared read-modify-write
//! would cost as much as the whole rest of a local call as soon as two threads make it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skybox_core::CallErrorKind;

use crate::thread::{self, CallerIndex, SHARED_STRIPE, STRIPES};

/// Upper bounds of the latency buckets are powers of two in microseconds: 1 µs to 2^26 µs (67 s), then more.
pub const LATENCY_BUCKETS: usize = 28;

/// One local call in this many is timed: two clock reads are dearer than the call itself.
const LOCAL_SAMPLE: u64 = 64;

/// The edges that lead to one module.
#[derive(Debug)]
pub(crate) struct Edges {
    methods: usize,
    edges: Box<[OnceLock<Box<Edge>>]>,
}

/// One edge.
#[derive(Debug)]
pub(crate) struct Edge {
    local: [Stripe; STRIPES],
    remote_calls: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    own_errors: AtomicU64,
    call_errors: [AtomicU64; CallErrorKind::NAMES.len()],
    latency: [AtomicU64; LATENCY_BUCKETS],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// What an edge has counted so far.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EdgeCounts {
    /// The calling module; empty for code outside all modules.
    pub caller: String,
    /// The called module.
    pub module: String,
    /// The called method.
    pub method: String,
    /// Calls that ran in the caller's process.
    pub local: u64,
    /// Calls that were sent elsewhere.
    pub remote: u64,
    /// Calls that returned the method's own error.
    pub own_errors: u64,
    /// Calls that failed as calls, by kind.
    pub call_errors: Vec<(String, u64)>,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Latencies (every remote call, one local call in 64) by bucket: the n-th counts those below 2^n µs.
    pub latency: Vec<u64>,
}

impl Edges {
    pub(crate) fn new(callers: usize, methods: usize) -> Edges {
        Edges { methods, edges: (0..callers * methods).map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    pub(crate) fn edge(&self, caller: CallerIndex, method: u16) -> &Edge {
        // A peer's number for a module we do not know counts as code outside all.
        let caller = if usize::from(caller.0) * self.methods < self.edges.len() { usize::from(caller.0) } else { 0 };
        self.edges[caller * self.methods + usize::from(method)].get_or_init(Box::default)
    }

    /// Every edge in use, with its caller's index and its method's.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, usize, &Edge)> {
        let edges = self.edges.iter().enumerate();
        edges.filter_map(|(at, edge)| Some((at / self.methods, at % self.methods, &**edge.get()?)))
    }

    /// Calls made and run in this process, whatever their result.
    pub(crate) fn local_calls(&self) -> u64 {
        self.used().map(|(_, _, edge)| edge.local_calls()).sum()
    }
}

impl Default for Edge {
    fn default() -> Edge {
        Edge {
            local: Default::default(),
            remote_calls: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            own_errors: AtomicU64::new(0),
            call_errors: Default::default(),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Edge {
    /// Counts a local call; says whether this one is to be timed.
    #[inline]
    pub(crate) fn count_local(&self) -> bool {
        let stripe = thread::stripe();
        let counter = &self.local[stripe].0;
        if stripe == SHARED_STRIPE {
            return counter.fetch_add(1, Ordering::Relaxed) % LOCAL_SAMPLE == 0;
        }
        let count = counter.load(Ordering::Relaxed);
        counter.store(count + 1, Ordering::Relaxed);
        count % LOCAL_SAMPLE == 0
    }

    pub(crate) fn count_remote(&self, bytes_out: usize) {
        self.remote_calls.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, bytes_in: usize, after: Duration) {
        self.bytes_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
        self.took(after);
    }

    #[cold]
    pub(crate) fn own_error(&self) {
        self.own_errors.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn call_error(&self, kind: &CallErrorKind) {
        self.call_errors[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - micros.leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn local_calls(&self) -> u64 {
        self.local.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn counts(&self, caller: &str, module: &str, method: &str) -> EdgeCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let errors = self.call_errors.iter().zip(CallErrorKind::NAMES);
        EdgeCounts {
            caller: caller.to_owned(),
            module: module.to_owned(),
            method: method.to_owned(),
            local: self.local_calls(),
            remote: read(&self.remote_calls),
            own_errors: read(&self.own_errors),
            call_errors: errors.filter(|(n, _)| read(n) > 0).map(|(n, name)| (name.to_owned(), read(n))).collect(),
            bytes_out: read(&self.bytes_out),
            bytes_in: read(&self.bytes_in),
            latency: self.latency.iter().map(read).collect(),
        }
    }
}

impl EdgeCounts {
    /// An upper bound of the latency below which the given share of calls stayed, in microseconds.
    pub fn latency_us(&self, share: f64) -> Option<u64> {
        let total: u64 = self.latency.iter().sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.latency.iter().enumerate() {
            seen += count;
            if total > 0 && seen >= rank {
                return Some(1 << bucket);
            }
        }
        None
    }
}
