//! The work, the same for every subject: a counter that adds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::param::page_size;

use super::Measured;

/// Calls of which the mean is taken.
const CALLS: u64 = 100_000;
/// Crashes of which the median is taken.
const CRASHES: usize = 101;

/// Counters that have ever begun, and that are gone: subjects make them where their users would, some of them later
/// than they say.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static GONE: AtomicU64 = AtomicU64::new(0);

/// The value of an instance.
#[derive(Debug)]
pub(super) struct Counter {
    count: u64,
}

impl Counter {
    pub(super) fn begin(count: u64) -> Counter {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        Counter { count }
    }

    pub(super) fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }

    /// A bug.
    pub(super) fn crash(&mut self) -> u64 {
        panic!("the counter is broken")
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        GONE.fetch_add(1, Ordering::Relaxed);
    }
}

/// A way to have many counters that live on their own.
pub(super) trait Actors: Sized + Send + 'static {
    /// What one of them is called through; what its users would keep.
    type One: Send + Sync + 'static;

    /// Sets up what they need, and the one that will crash.
    fn begin() -> impl Future<Output = Result<Self>> + Send;

    /// Makes one that begins at `count`.
    fn spawn(&self, count: u64) -> impl Future<Output = Result<Self::One>> + Send;

    /// Adds `n` and answers the sum, once it is there.
    fn add(one: &Self::One, n: u64) -> impl Future<Output = Result<u64>> + Send;

    /// Has the one that will crash do so in a call, and asks the one that takes its place for the sum of its beginning
    /// and `n`, as users of this subject do.
    fn crash_and_add(&mut self, n: u64) -> impl Future<Output = Result<u64>> + Send;

    /// Begins to stop them all.
    fn stop(ones: Vec<Self::One>) -> impl Future<Output = Result<()>> + Send;
}

/// Measures one subject.
pub(super) async fn all<A: Actors>(instances: u64) -> Result<Measured> {
    let mut actors = A::begin().await?;
    let first = actors.spawn(1).await?;
    ensure!(A::add(&first, 2).await? == 3, "a counter adds");

    let begun_before = BEGUN.load(Ordering::Relaxed);
    let resident_before = resident_bytes()?;
    let mut ones = Vec::with_capacity(usize::try_from(instances)?);
    let began = Instant::now();
    for count in 0..instances {
        ones.push(actors.spawn(count).await?);
    }
    until(&BEGUN, begun_before + instances).await;
    let spawn_per_s = instances as f64 / began.elapsed().as_secs_f64();
    let resident = resident_bytes()? - resident_before;
    let bytes_idle = resident / instances as f64 - size_of::<Counter>() as f64;

    let which = instances / 2;
    let one = &ones[usize::try_from(which)?];
    let began = Instant::now();
    for n in 1..=CALLS {
        ensure!(A::add(one, 1).await? == which + n, "a counter adds");
    }
    let call_ns = began.elapsed().as_nanos() as f64 / CALLS as f64;

    let mut crashes = Vec::with_capacity(CRASHES);
    for _ in 0..CRASHES {
        let began = Instant::now();
        ensure!(actors.crash_and_add(7).await? == 7, "a fresh counter begins anew");
        crashes.push(began.elapsed().as_secs_f64() * 1e6);
    }
    crashes.sort_unstable_by(f64::total_cmp);

    let gone_before = GONE.load(Ordering::Relaxed);
    let began = Instant::now();
    A::stop(ones).await?;
    until(&GONE, gone_before + instances).await;
    let stop_all_ms = began.elapsed().as_secs_f64() * 1e3;
    ensure!(A::add(&first, 2).await? == 5, "another one lives on");
    let crash_to_answer_us = crashes[CRASHES / 2];
    Ok(Measured { spawn_per_s, bytes_idle, call_ns, crash_to_answer_us, stop_all_ms })
}

async fn until(counter: &AtomicU64, count: u64) {
    while counter.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
}

/// What this process has in memory.
fn resident_bytes() -> Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).context("the second field is what is resident")?;
    Ok(pages.parse::<f64>()? * page_size() as f64)
}
