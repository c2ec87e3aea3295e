//! What one process counts: how many, how long, and who answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::show::{Answered, Latency, Report, Totals};
use crate::{AppError, Process};

/// Percentiles are those of the last five seconds.
const WINDOW: Duration = Duration::from_secs(5);

/// Samples kept at most: five seconds of twice the heaviest load.
const SAMPLES_MAX: usize = 4096;

/// Processes told apart at most; the rest are counted, and not named.
const PROCESSES_MAX: usize = 64;

/// The counters of this process since it started.
#[derive(Debug, Default)]
pub struct Tally {
    counted: Mutex<Counted>,
    newcomer: Notify,
}

#[derive(Debug, Default)]
struct Counted {
    totals: Totals,
    last_error: Option<String>,
    pages: Window,
    thumbnails: Window,
    answered: BTreeMap<Process, (u64, u64)>,
}

impl Tally {
    /// Counts a thumbnail that was asked for.
    pub(crate) fn thumbnail(&self, made: Result<Option<Process>, &AppError>, took: Duration) {
        self.count(made.map_err(AppError::to_string), |counted, by| {
            counted.totals.thumbnails += 1;
            counted.thumbnails.add(Instant::now(), took);
            by.1 += 1;
        });
    }

    /// Counts a visit of the page.
    pub(crate) fn page(&self, seen: Result<Option<Process>, String>, took: Duration) {
        self.count(seen, |counted, by| {
            counted.pages.add(Instant::now(), took);
            by.0 += 1;
        });
    }

    /// Counts a request that was due and not sent.
    pub(crate) fn shed(&self) {
        self.counted().totals.shed += 1;
    }

    /// Waits until someone answered for the first time.
    pub(crate) async fn newcomer(&self) {
        self.newcomer.notified().await;
    }

    /// Everything counted until now.
    pub(crate) fn report(&self, now: Instant) -> Report {
        let mut counted = self.counted();
        let answered = counted.answered.iter().map(|(process, &(pages, thumbnails))| Answered {
            process: process.clone(),
            pages,
            thumbnails,
        });
        Report {
            process: Process::here().clone(),
            totals: counted.totals,
            last_error: counted.last_error.clone(),
            answered: answered.collect(),
            page: counted.pages.latency(now),
            thumbnail: counted.thumbnails.latency(now),
            restarts: BTreeMap::new(),
        }
    }

    fn count(
        &self,
        answer: Result<Option<Process>, String>,
        add: impl FnOnce(&mut Counted, &mut (u64, u64)),
    ) {
        let mut counted = self.counted();
        let by = match answer {
            Ok(by) => by,
            Err(error) => {
                counted.totals.failures += 1;
                counted.last_error = Some(error);
                return;
            }
        };
        let known = by.as_ref().and_then(|process| counted.answered.get(process)).copied();
        let mut times = known.unwrap_or_default();
        add(&mut counted, &mut times);
        if let Some(process) = by
            && (known.is_some() || counted.answered.len() < PROCESSES_MAX)
        {
            counted.answered.insert(process, times);
            if known.is_none() {
                self.newcomer.notify_one();
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // A panic while it was held left at worst one answer half counted.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latencies of the last seconds, oldest first.
#[derive(Debug, Default)]
struct Window(VecDeque<(Instant, Duration)>);

impl Window {
    fn add(&mut self, now: Instant, took: Duration) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, took));
    }

    /// `None` if nothing was measured in the window.
    fn latency(&mut self, now: Instant) -> Option<Latency> {
        while self.0.front().is_some_and(|&(at, _)| now.saturating_duration_since(at) > WINDOW) {
            self.0.pop_front();
        }
        let mut sorted: Vec<Duration> = self.0.iter().map(|&(_, took)| took).collect();
        sorted.sort_unstable();
        Some(Latency { p50_ms: percentile_ms(&sorted, 50)?, p99_ms: percentile_ms(&sorted, 99)? })
    }
}

/// The smallest value that at least `percent` of the values do not exceed.
fn percentile_ms(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(|took| took.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(node: &str) -> Process {
        Process { node: node.to_owned(), pid: 1 }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile_ms(&sorted, 50), Some(100.0));
        assert_eq!(percentile_ms(&sorted, 99), Some(198.0));
        assert_eq!(percentile_ms(&sorted[..1], 99), Some(1.0));
        assert_eq!(percentile_ms(&[], 99), None);
    }

    #[test]
    fn old_latencies_are_forgotten() {
        let (mut window, began) = (Window::default(), Instant::now());
        window.add(began, Duration::from_millis(900));
        window.add(began + WINDOW, Duration::from_millis(2));
        assert_eq!(window.latency(began + WINDOW).map(|l| l.p99_ms), Some(900.0));
        let later = began + WINDOW + Duration::from_millis(1);
        assert_eq!(window.latency(later).map(|l| l.p99_ms), Some(2.0));
        assert_eq!(window.latency(began + 3 * WINDOW), None);
    }

    #[test]
    fn shed_failed_and_answered_are_three_things() {
        let tally = Tally::default();
        let took = Duration::from_millis(20);
        tally.thumbnail(Ok(Some(process("node-4"))), took);
        tally.thumbnail(Ok(Some(process("node-4"))), took);
        tally.thumbnail(Err(&AppError::Stage { message: "gone".into() }), took);
        tally.page(Ok(Some(process("node-1"))), took);
        tally.page(Err("refused".into()), took);
        tally.shed();
        let report = tally.report(Instant::now());
        assert_eq!(report.totals, Totals { thumbnails: 2, failures: 2, shed: 1 });
        assert_eq!(report.last_error.as_deref(), Some("refused"));
        assert_eq!(
            report.answered,
            [
                Answered { process: process("node-1"), pages: 1, thumbnails: 0 },
                Answered { process: process("node-4"), pages: 0, thumbnails: 2 },
            ]
        );
    }

    #[test]
    fn processes_beyond_the_bound_are_counted_without_a_name() {
        let tally = Tally::default();
        for pid in 0..=PROCESSES_MAX as u32 {
            tally.thumbnail(Ok(Some(Process { node: "node".into(), pid })), Duration::ZERO);
        }
        let report = tally.report(Instant::now());
        assert_eq!(report.totals.thumbnails, PROCESSES_MAX as u64 + 1);
        assert_eq!(report.answered.len(), PROCESSES_MAX);
    }
}
