//! What becomes of a module that is asked for more than it can do: `skybox-bench overload`.
//!
//! Calls arrive at a fixed rate, whether those before them have ended or not, each with a deadline. Each takes a
//! millisecond of the module's only thread (`cpu = 1`). What counts is the *goodput*: calls a second that end in time.
//! A queue that takes whatever fits into it works on calls whose time is up once it is long; one that refuses what it
//! cannot do in time goes on as at full load.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::param::page_size;
use skybox::{App, CallError, CallErrorKind, CallOptions, Handle};
use tokio::task::JoinSet;

use crate::child;
use crate::figures::Figures;
use crate::work::same;

const NAME: &str = "skybox";
/// What one call takes, about: it is a number of steps, measured once, so that a thread that has to wait for a
/// processor does no less for it.
const WORK: Duration = Duration::from_millis(1);
/// What each call may take: fifty calls' work.
const DEADLINE: Duration = Duration::from_millis(50);
/// Calls a second, as a share of what one caller after the other gets done.
const LOADS: [f64; 6] = [0.5, 0.8, 1.0, 1.5, 2.0, 4.0];
/// How long each of them lasts, and in a quick look.
const LASTS: Duration = Duration::from_secs(4);
const QUICK_LASTS: Duration = Duration::from_secs(1);
/// Callers that measure what can be done: one is served, one is on its way.
const CALLERS: usize = 2;

/// How overload is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A second for each load: for a look while working, not for the record.
    #[arg(long)]
    quick: bool,
    /// How many milliseconds each load lasts, if neither of the two.
    #[arg(long)]
    lasts_ms: Option<u64>,
}

/// Has one thread.
#[derive(Default)]
pub(crate) struct Grinder;

#[skybox::module(cpu = 1)]
impl Grinder {
    pub(crate) fn grind(&self, steps: u64) -> skybox::Result<u64> {
        Ok(steps_of_work(steps))
    }
}

fn steps_of_work(steps: u64) -> u64 {
    (0..steps).fold(0, |sum, step| black_box(sum ^ same(step)))
}

/// What one load came to.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    load: f64,
    good_per_s: f64,
    refused_per_s: f64,
    late_per_s: f64,
    refusal_p50_us: f64,
    /// Resident bytes at its end, beyond those at its beginning.
    grown_bytes: f64,
}

/// Measures and prints.
///
/// # Errors
/// When a call fails for another reason than load.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = child::runtime()?;
    let lasts = if options.quick { QUICK_LASTS } else { LASTS };
    let lasts = options.lasts_ms.map_or(lasts, Duration::from_millis);
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        let outcomes =
            runtime.block_on(runtime.spawn(measure(lasts))).context("the measuring task ended")??;
        for (metric, unit, value) in metrics(&outcomes) {
            figures.add(NAME, metric, unit, value);
        }
    }
    figures.print("overload", options.json)
}

async fn measure(lasts: Duration) -> Result<Vec<Outcome>> {
    let app = App::builder().aside().start().await?;
    app.settled().await;
    let grinder: Handle<Grinder> = app.get();
    let steps = steps_in(WORK);
    let capacity = capacity(&grinder, steps, lasts).await?;
    let mut outcomes = Vec::new();
    for load in LOADS {
        let outcome = offer(&grinder, steps, capacity * load, lasts).await?;
        outcomes.push(Outcome { load, ..outcome });
    }
    Ok(outcomes)
}

/// How many steps take this long.
fn steps_in(time: Duration) -> u64 {
    const PROBE: u64 = 10_000_000;
    let began = Instant::now();
    black_box(steps_of_work(PROBE));
    (PROBE as f64 * time.as_secs_f64() / began.elapsed().as_secs_f64()) as u64
}

/// Calls a second that callers get done who wait for each.
async fn capacity(grinder: &Handle<Grinder>, steps: u64, lasts: Duration) -> Result<f64> {
    let began = Instant::now();
    let callers = (0..CALLERS).map(async |_| {
        let mut calls = 0;
        while began.elapsed() < lasts {
            grinder.grind(steps).await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
            calls += 1;
        }
        anyhow::Ok(calls)
    });
    let calls: u32 = futures_util::future::try_join_all(callers).await?.into_iter().sum();
    Ok(f64::from(calls) / began.elapsed().as_secs_f64())
}

#[derive(Debug, Default)]
struct Counts {
    good: AtomicU64,
    late: AtomicU64,
}

/// Makes calls at this rate for so long, and waits for all of them.
async fn offer(grinder: &Handle<Grinder>, steps: u64, per_s: f64, lasts: Duration) -> Result<Outcome> {
    let grinder = grinder.with(CallOptions::new().deadline(DEADLINE));
    let counts = Arc::new(Counts::default());
    let resident_before = resident_bytes()?;
    let (began, mut made) = (Instant::now(), 0.0);
    let (mut calls, mut refusals) = (JoinSet::new(), Vec::new());
    while began.elapsed() < lasts {
        let due = (began.elapsed().as_secs_f64() * per_s).floor();
        while made < due {
            calls.spawn(call(grinder.clone(), steps, counts.clone()));
            made += 1.0;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(ended) = calls.try_join_next() {
            refusals.extend(ended??);
        }
    }
    let grown_bytes = resident_bytes()? - resident_before;
    while let Some(ended) = calls.join_next().await {
        refusals.extend(ended??);
    }
    let seconds = began.elapsed().as_secs_f64();
    refusals.sort_unstable();
    let p50 = refusals.get(refusals.len() / 2).map_or(0.0, Duration::as_secs_f64);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    ensure!(count(&counts.good) + count(&counts.late) + refusals.len() as f64 == made, "no call is lost");
    Ok(Outcome {
        load: 0.0,
        good_per_s: count(&counts.good) / seconds,
        refused_per_s: refusals.len() as f64 / seconds,
        late_per_s: count(&counts.late) / seconds,
        refusal_p50_us: p50 * 1e6,
        grown_bytes,
    })
}

/// Makes one call; gives back after which time it was refused, if it was.
async fn call(grinder: Handle<Grinder>, steps: u64, counts: Arc<Counts>) -> Result<Option<Duration>> {
    let began = Instant::now();
    let Err(error) = grinder.grind(steps).await else {
        counts.good.fetch_add(1, Ordering::Relaxed);
        return Ok(None);
    };
    match error.call_error().map(CallError::kind) {
        Some(CallErrorKind::Overloaded { .. }) => Ok(Some(began.elapsed())),
        Some(CallErrorKind::Deadline { .. }) => {
            counts.late.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
        _ => bail!("a call ended with {error:?}"),
    }
}

fn resident_bytes() -> Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).context("the second field is what is resident")?;
    Ok(pages.parse::<f64>()? * page_size() as f64)
}

/// The metrics of one round: each load's goodput, and what the greatest is judged by.
fn metrics(outcomes: &[Outcome]) -> Vec<(String, &'static str, f64)> {
    let mut metrics = Vec::new();
    for outcome in outcomes {
        let load = outcome.load;
        metrics.push((format!("goodput_at_{load}"), "1/s", outcome.good_per_s));
        metrics.push((format!("late_at_{load}"), "1/s", outcome.late_per_s));
        metrics.push((format!("refused_at_{load}"), "1/s", outcome.refused_per_s));
    }
    let best = outcomes.iter().map(|outcome| outcome.good_per_s).fold(0.0, f64::max);
    let worst = outcomes.last().copied().unwrap_or_default();
    metrics.push(("goodput_ratio".to_owned(), "of the best", worst.good_per_s / best));
    metrics.push(("refusal_p50_us".to_owned(), "us", worst.refusal_p50_us));
    metrics.push(("memory_growth_mib".to_owned(), "MiB", worst.grown_bytes / f64::from(1 << 20)));
    metrics
}
