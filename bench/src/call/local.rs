//! Calls within one process: nanoseconds for each, on one thread or on several at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::runtime::{Builder, Runtime};

use super::Pace;
use super::report::{Metric, Report};
use crate::subject::{LocalCalls, LocalRuntime, LocalSubject};

/// Calls between two looks at the clock: at 3 ns each, a look costs less than 0.01 % of them.
const CALLS_PER_LOOK: u64 = 100_000;

/// Measures one local subject once.
///
/// # Errors
/// When the subject cannot be started or a call fails.
pub(super) fn measure(subject: &dyn LocalSubject, pace: Pace, report: &mut Report) -> Result<()> {
    let threads = subject.threads();
    let ns_per_call = match subject.runtime() {
        LocalRuntime::PerThread => per_thread(subject, threads, pace),
        LocalRuntime::Shared => shared(subject, threads, pace),
    };
    let ns_per_call = ns_per_call.with_context(|| format!("measuring {}", subject.name()))?;
    report.add(subject.name(), Metric::NsPerCall, ns_per_call);
    Ok(())
}

fn per_thread(subject: &dyn LocalSubject, threads: usize, pace: Pace) -> Result<f64> {
    let first = current_thread()?;
    let calls = first.block_on(subject.start())?;
    let barrier = Arc::new(tokio::sync::Barrier::new(threads));
    let results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let body = timed(Arc::clone(&calls), Arc::clone(&barrier), pace);
                scope.spawn(move || current_thread()?.block_on(body))
            })
            .collect();
        let own = first.block_on(timed(Arc::clone(&calls), Arc::clone(&barrier), pace));
        let others =
            others.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        std::iter::once(own).chain(others).collect::<Result<Vec<f64>>>()
    })?;
    Ok(mean(&results))
}

fn shared(subject: &dyn LocalSubject, threads: usize, pace: Pace) -> Result<f64> {
    // Never fewer than two workers: the callee's own background tasks need one too.
    let workers = threads.max(2);
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let calls = subject.start().await?;
        let barrier = Arc::new(tokio::sync::Barrier::new(threads));
        let bodies: Vec<_> = (0..threads)
            .map(|_| tokio::spawn(timed(Arc::clone(&calls), Arc::clone(&barrier), pace)))
            .collect();
        let mut results = Vec::new();
        for body in bodies {
            results.push(body.await.context("a calling task ended")??);
        }
        Ok(mean(&results))
    })
}

/// One thread's nanoseconds per call, measured while the others call as well.
async fn timed(calls: Arc<dyn LocalCalls>, barrier: Arc<tokio::sync::Barrier>, pace: Pace) -> Result<f64> {
    barrier.wait().await;
    call_for(&*calls, pace.warm_up).await?;
    call_for(&*calls, pace.local).await
}

async fn call_for(calls: &dyn LocalCalls, window: Duration) -> Result<f64> {
    let start = Instant::now();
    let mut count = 0;
    loop {
        calls.run(CALLS_PER_LOOK).await?;
        count += CALLS_PER_LOOK;
        let elapsed = start.elapsed();
        if elapsed >= window {
            return Ok(elapsed.as_nanos() as f64 / count as f64);
        }
    }
}

fn current_thread() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("building a runtime")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
