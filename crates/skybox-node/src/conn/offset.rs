//! How far the peer's monotonic clock is ahead of ours, so that a deadline crosses machines.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// An answer that took longer than the best one by more than this share, for each that came since, says less about
/// the clocks than the best one: it waited somewhere, and nobody knows on which way.
const PATIENCE_SHARE: u64 = 8;

/// The best estimate so far. Only the reader writes it.
#[derive(Debug)]
pub(super) struct ClockOffset {
    /// The peer's clock minus ours.
    offset_us: AtomicI64,
    /// The round trip by which it was measured, and a little more for each that was worse.
    round_trip_us: AtomicU64,
}

impl ClockOffset {
    /// From the handshake: the peer's clock when it wrote its hello, and ours now.
    pub(super) fn new(theirs_us: u64, ours_us: u64) -> ClockOffset {
        ClockOffset {
            offset_us: AtomicI64::new(difference(theirs_us, ours_us)),
            round_trip_us: AtomicU64::new(u64::MAX),
        }
    }

    /// A pong: our clock when the ping was made, the peer's when it answered, ours now.
    pub(super) fn heard(&self, sent_us: u64, theirs_us: u64, now_us: u64) {
        let round_trip_us = now_us.saturating_sub(sent_us);
        let best_us = self.round_trip_us.load(Ordering::Relaxed);
        if round_trip_us > best_us {
            let worse_us = best_us.saturating_add(best_us / PATIENCE_SHARE + 1);
            self.round_trip_us.store(worse_us, Ordering::Relaxed);
            return;
        }
        self.round_trip_us.store(round_trip_us, Ordering::Relaxed);
        // It answered half a round trip ago.
        let then_us = now_us - round_trip_us / 2;
        self.offset_us.store(difference(theirs_us, then_us), Ordering::Relaxed);
    }

    /// The peer's clock minus ours, in microseconds.
    pub(super) fn us(&self) -> i64 {
        self.offset_us.load(Ordering::Relaxed)
    }
}

fn difference(theirs_us: u64, ours_us: u64) -> i64 {
    let difference = i128::from(theirs_us) - i128::from(ours_us);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peer's clock is this far ahead.
    const AHEAD_US: u64 = 7_000_000;

    /// A ping at `sent` that is answered after `there` and whose answer takes `back`.
    fn ping(offset: &ClockOffset, sent: u64, there: u64, back: u64) {
        offset.heard(sent, sent + there + AHEAD_US, sent + there + back);
    }

    #[test]
    fn an_answer_that_waited_says_less_than_a_quick_one() {
        let offset = ClockOffset::new(AHEAD_US, 500);
        assert_eq!(offset.us(), AHEAD_US as i64 - 500, "the hello took a while");
        ping(&offset, 1_000, 40, 60);
        assert_eq!(offset.us(), AHEAD_US as i64 - 10, "off by half of the asymmetry");
        ping(&offset, 2_000, 40, 80_000);
        assert_eq!(offset.us(), AHEAD_US as i64 - 10, "this process was stopped meanwhile");
        ping(&offset, 3_000, 40, 40);
        assert_eq!(offset.us(), AHEAD_US as i64);
    }

    #[test]
    fn a_longer_way_is_believed_in_the_end() {
        let offset = ClockOffset::new(0, 0);
        ping(&offset, 0, 50, 50);
        // The peer's clock runs on by 5 ms, and the way has become a hundred times as long.
        let beats = (1..200).find(|beat| {
            let sent = beat * 500_000;
            offset.heard(sent, sent + 5_000 + AHEAD_US + 5_000, sent + 10_000);
            offset.us() == AHEAD_US as i64 + 5_000
        });
        assert!(
            beats.is_some_and(|beats| beats < 60),
            "within half a minute of two beats a second: {beats:?}"
        );
    }

    #[test]
    fn absurd_clocks_do_no_harm() {
        let offset = ClockOffset::new(u64::MAX, 0);
        assert_eq!(offset.us(), i64::MAX);
        offset.heard(u64::MAX, 0, 1);
        assert_eq!(offset.us(), -1);
    }
}
