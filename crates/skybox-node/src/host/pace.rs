//! How fast a queue moves, and so how long a newcomer would wait.
//!
//! What is measured is the time from one call leaving the queue to the next while others wait: it is what a place in
//! the queue costs, however many calls are served beside each other. Where nobody waits, no clock is read. The estimate
//! decides only whether a call with a deadline may wait behind others, so one that is wrong is soon corrected: the first
//! in a queue always waits, and tells how long it took.

use std::time::{Duration, Instant};

/// How much a new measurement counts: a quarter, so that a queue whose calls have become shorter is believed after a
/// dozen of them.
const WEIGHT_SHIFT: u32 = 2;

/// What a queue knows of its own speed.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When somebody left it last while others waited, or the first one came. Absent while nobody waits.
    last: Option<Instant>,
    /// Time from one leaving it to the next, smoothed. Zero: not known yet.
    interval_ns: u64,
}

impl Pace {
    /// Somebody has come to wait.
    pub(crate) fn came(&mut self) {
        if self.last.is_none() {
            self.last = Some(now());
        }
    }

    /// So many have left it to be served; `over`: nobody waits any more.
    pub(crate) fn left(&mut self, count: u32, over: bool) {
        if count > 0 && self.last.is_some() {
            self.left_at(count, now());
        }
        if over {
            self.last = None;
        }
    }

    fn left_at(&mut self, count: u32, now: Instant) {
        let Some(last) = self.last.replace(now) else { return };
        let each = now.saturating_duration_since(last) / count;
        let each_ns = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX);
        self.interval_ns = match self.interval_ns {
            0 => each_ns,
            before => before - (before >> WEIGHT_SHIFT) + (each_ns >> WEIGHT_SHIFT),
        };
    }

    /// What a newcomer has to expect behind `ahead` others that wait, with `served` at once.
    pub(crate) fn outlook(&self, ahead: usize, served: usize) -> Outlook {
        let places = if ahead == 0 { 0 } else { ahead + served };
        let places = u64::try_from(places).unwrap_or(u64::MAX);
        Outlook { ahead, ends_in: Duration::from_nanos(self.interval_ns.saturating_mul(places)) }
    }
}

/// What a call has to expect of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Calls that wait before it.
    ahead: usize,
    /// When it would have waited and been served.
    ends_in: Duration,
}

impl Outlook {
    /// Why a call with this deadline should not wait at all; `None`: it may make it. `for_what` it waits.
    pub(crate) fn too_late(&self, deadline: Instant, for_what: &str) -> Option<String> {
        let left = deadline.saturating_duration_since(now());
        let Outlook { ahead, ends_in } = *self;
        (ends_in > left).then(|| {
            let others =
                if ahead == 1 { "1 call that waits".to_owned() } else { format!("{ahead} calls that wait") };
            format!(
                "behind {others} for {for_what} it would end in about {ends_in:.1?}, but its deadline is in \
                 {left:.1?}"
            )
        })
    }
}

/// As tokio's clock has it, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// After calls have left it, each so many milliseconds after the one before: when one with `ahead` before it ends.
    fn ends_in_ms(left_ms: &[u64], ahead: usize, served: usize) -> u128 {
        let mut at = Instant::now();
        let mut pace = Pace { last: Some(at), interval_ns: 0 };
        for ms in left_ms {
            at += MS * u32::try_from(*ms).unwrap();
            pace.left_at(1, at);
        }
        pace.outlook(ahead, served).ends_in.as_millis()
    }

    #[test]
    fn a_place_costs_what_the_queue_takes_for_it() {
        assert_eq!(ends_in_ms(&[10, 10, 10], 5, 1), 60, "five before it, and itself");
        assert_eq!(ends_in_ms(&[10, 10, 10], 5, 4), 90, "each takes four times as long as a place");
        assert_eq!(ends_in_ms(&[10, 10, 10], 0, 1), 0, "the first one always waits");
        assert_eq!(ends_in_ms(&[], 5, 1), 0, "nothing is known: it waits");
        assert_eq!(ends_in_ms(&[8, 16], 1, 0), 10, "what is new counts for a quarter");
        assert!(ends_in_ms(&[[1000; 1].as_slice(), &[1; 20]].concat(), 9, 1) < 100, "it forgets");
    }

    #[test]
    fn those_who_leave_together_share_the_time() {
        let at = Instant::now();
        let mut pace = Pace { last: Some(at), interval_ns: 0 };
        pace.left_at(4, at + 20 * MS);
        assert_eq!(pace.outlook(3, 1).ends_in, 20 * MS);
    }

    #[test]
    fn where_nobody_waits_nothing_is_measured() {
        let mut pace = Pace::default();
        pace.left(1, true);
        assert_eq!((pace.last, pace.interval_ns), (None, 0));
        pace.came();
        assert!(pace.last.is_some());
        pace.left(0, true);
        assert_eq!((pace.last, pace.interval_ns), (None, 0), "who gave up tells nothing");
    }

    #[test]
    fn a_call_is_late_that_would_end_after_its_deadline() {
        let outlook = Outlook { ahead: 8, ends_in: 400 * MS };
        assert_eq!(outlook.too_late(now() + 3600 * 1000 * MS, "their turn"), None);
        let why = outlook.too_late(now(), "their turn").unwrap();
        assert!(
            why.starts_with("behind 8 calls that wait for their turn it would end in about 400.0ms"),
            "{why}"
        );
    }
}
