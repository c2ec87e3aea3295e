//! What is counted of every edge: a calling module and a called method.
//!
//! Counters of local calls are striped by thread, each stripe with a single writer: a shared read-modify-write
//! would cost as much as the whole rest of a local call as soon as two threads make it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use skybox_core::CallErrorKind;

use crate::thread::{self, CallerIndex, SHARED_STRIPE, STRIPES};

/// Upper bounds of the latency buckets are powers of two in microseconds: 1 µs to 2^26 µs (67 s). The last bucket has
/// no bound.
pub const LATENCY_BUCKETS: usize = 28;

/// The kind under which the methods' own errors are counted, and told of to whoever gathers spans.
pub(crate) const OWN_ERROR: &str = "own";

/// One local call in this many is timed: two clock reads are dearer than the call itself.
const LOCAL_SAMPLE: u64 = 64;
/// One remote call in this many is timed.
const REMOTE_SAMPLE: u64 = 16;

/// The edges that lead to one module.
#[derive(Debug)]
pub(crate) struct Edges {
    methods: usize,
    edges: Box<[OnceLock<Arc<Edge>>]>,
}

/// One edge.
#[derive(Debug)]
pub(crate) struct Edge {
    stripes: [Stripe; STRIPES],
    own_errors: AtomicU64,
    call_errors: [AtomicU64; CallErrorKind::NAMES.len()],
    latency: [AtomicU64; LATENCY_BUCKETS],
    /// Of all that is in the buckets.
    latency_us: AtomicU64,
}

/// One thread's counters.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    local: AtomicU64,
    remote: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

/// Adds to a counter of the thread's stripe; says what it was. Only the shared stripe has several writers.
#[inline]
fn add(counter: &AtomicU64, stripe: usize, more: u64) -> u64 {
    if stripe == SHARED_STRIPE {
        return counter.fetch_add(more, Ordering::Relaxed);
    }
    let count = counter.load(Ordering::Relaxed);
    counter.store(count + more, Ordering::Relaxed);
    count
}

/// The bucket of a latency.
pub(crate) fn bucket_of(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    (64 - micros.leading_zeros() as usize).min(LATENCY_BUCKETS - 1)
}

/// What an edge has counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
    /// Payload bytes sent, with the items of streams.
    pub bytes_out: u64,
    /// Payload bytes received, with the items of streams that were read.
    pub bytes_in: u64,
    /// Latencies (one remote call in 16, one local call in 64) by bucket: the n-th counts those below 2^n µs, the last
    /// one what took longer.
    pub latency: Vec<u64>,
    /// The sum of these latencies in microseconds.
    pub latency_us_sum: u64,
}

impl EdgeCounts {
    /// Adds what another process of this node has counted on the same edge.
    pub(crate) fn add(&mut self, other: &EdgeCounts) {
        self.local += other.local;
        self.remote += other.remote;
        self.own_errors += other.own_errors;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.latency_us_sum += other.latency_us_sum;
        for (kind, count) in &other.call_errors {
            match self.call_errors.iter_mut().find(|(known, _)| known == kind) {
                Some((_, sum)) => *sum += count,
                None => self.call_errors.push((kind.clone(), *count)),
            }
        }
        for (sum, count) in self.latency.iter_mut().zip(&other.latency) {
            *sum += count;
        }
    }
}

impl Edges {
    pub(crate) fn new(callers: usize, methods: usize) -> Edges {
        Edges { methods, edges: (0..callers * methods).map(|_| OnceLock::new()).collect() }
    }

    #[inline(always)]
    pub(crate) fn edge(&self, caller: CallerIndex, method: u16) -> &Arc<Edge> {
        let at = usize::from(caller.0) * self.methods + usize::from(method);
        // A peer's number for a module we do not know counts as code outside all.
        let edge = self.edges.get(at).unwrap_or_else(|| &self.edges[usize::from(method)]);
        edge.get_or_init(Arc::default)
    }

    /// Every edge in use, with its caller's index and its method's.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, usize, &Edge)> {
        let edges = self.edges.iter().enumerate();
        edges.filter_map(|(at, edge)| Some((at / self.methods, at % self.methods, &**edge.get()?)))
    }
}

impl Default for Edge {
    fn default() -> Edge {
        Edge {
            stripes: Default::default(),
            own_errors: AtomicU64::new(0),
            call_errors: Default::default(),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
            latency_us: AtomicU64::new(0),
        }
    }
}

impl Edge {
    /// Counts a local call; says whether this one is to be timed.
    #[inline(always)]
    pub(crate) fn count_local(&self) -> bool {
        let stripe = thread::stripe();
        add(&self.stripes[stripe].local, stripe, 1).is_multiple_of(LOCAL_SAMPLE)
    }

    /// Counts a call that is sent; says whether this one is to be timed.
    pub(crate) fn count_remote(&self, bytes_out: usize) -> bool {
        let stripe = thread::stripe();
        let counters = &self.stripes[stripe];
        add(&counters.bytes_out, stripe, bytes_out as u64);
        add(&counters.remote, stripe, 1).is_multiple_of(REMOTE_SAMPLE)
    }

    pub(crate) fn answered(&self, bytes_in: usize, began: Option<Instant>) {
        let stripe = thread::stripe();
        add(&self.stripes[stripe].bytes_in, stripe, bytes_in as u64);
        if let Some(began) = began {
            self.took(began.elapsed());
        }
    }

    /// Counts an item of a stream argument.
    pub(crate) fn item_sent(&self, bytes: usize) {
        let stripe = thread::stripe();
        add(&self.stripes[stripe].bytes_out, stripe, bytes as u64);
    }

    /// Counts an item of the result.
    pub(crate) fn item_read(&self, bytes: usize) {
        let stripe = thread::stripe();
        add(&self.stripes[stripe].bytes_in, stripe, bytes as u64);
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
        self.latency[bucket_of(time)].fetch_add(1, Ordering::Relaxed);
        self.latency_us.fetch_add(micros, Ordering::Relaxed);
    }

    fn local_calls(&self) -> u64 {
        self.sum(|stripe| &stripe.local)
    }

    fn sum(&self, counter: impl Fn(&Stripe) -> &AtomicU64) -> u64 {
        self.stripes.iter().map(|stripe| counter(stripe).load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn counts(&self, caller: &str, module: &str, method: &str) -> EdgeCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let errors = self.call_errors.iter().zip(CallErrorKind::NAMES);
        EdgeCounts {
            caller: caller.to_owned(),
            module: module.to_owned(),
            method: method.to_owned(),
            local: self.local_calls(),
            remote: self.sum(|stripe| &stripe.remote),
            own_errors: read(&self.own_errors),
            call_errors: errors
                .filter(|(n, _)| read(n) > 0)
                .map(|(n, name)| (name.to_owned(), read(n)))
                .collect(),
            bytes_out: self.sum(|stripe| &stripe.bytes_out),
            bytes_in: self.sum(|stripe| &stripe.bytes_in),
            latency: self.latency.iter().map(read).collect(),
            latency_us_sum: read(&self.latency_us),
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
