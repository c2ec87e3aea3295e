//! Deadlines as promises: a call that goes on beyond its deadline and `overrun` ends its cell, even if its code never
//! awaits.
//!
//! A node notes the calls with a deadline that it has sent to a cell until they are answered. A cell answers in time as
//! long as any thread of it can: so one that has not answered is stuck. What goes on there although it was answered,
//! on a thread of its module's own, the cell itself tells.

use std::collections::BTreeMap;
use std::sync::{Mutex, Weak};
use std::time::Duration;

use tokio::time::Instant;

use skybox_core::{CallId, Exit};

use super::Cell;
use crate::host::lock;

/// How often a cell's calls are looked at: four times within the time that they may overrun, and between these bounds.
const LOOK_MIN: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// The calls with a deadline that a cell has not answered.
#[derive(Debug, Default)]
pub(super) struct Due(Mutex<BTreeMap<CallId, std::time::Instant>>);

impl Due {
    /// How long the first of them is late.
    fn late(&self) -> Option<Duration> {
        let now = Instant::now().into_std();
        lock(&self.0).values().min().map(|deadline| now.saturating_duration_since(*deadline))
    }
}

/// For how long the node has seen something late while it ran itself.
struct Seen {
    late: Duration,
    looked: Instant,
}

impl Seen {
    /// Looks at the clock; `pause` was meant to be between two looks. Where it was more, the node was frozen, or did not
    /// get the processor, and most likely its cells with it: that time does not count.
    fn look(&mut self, now: Instant, pause: Duration, is_late: bool) -> Duration {
        let passed = now.saturating_duration_since(self.looked).min(pause);
        self.looked = now;
        self.late = if is_late { self.late + passed } else { Duration::ZERO };
        self.late
    }
}

impl Cell {
    /// A call is sent to it.
    pub(crate) fn owes(&self, call: CallId, deadline: std::time::Instant) {
        lock(&self.due.0).insert(call, deadline);
    }

    /// It has answered a call.
    pub(crate) fn answered(&self, call: CallId) {
        lock(&self.due.0).remove(&call);
    }

    /// A call in it goes on that should have ended long ago.
    pub(super) fn overran(&self, past: Duration) {
        let past_ms = u64::try_from(past.as_millis()).unwrap_or(u64::MAX);
        self.sentenced(Exit::Overran { past_ms });
    }
}

/// Kills a cell once a call in it is late by more than it may be.
pub(super) async fn keep(cell: Weak<Cell>, overrun: Duration) {
    let pause = (overrun / 4).clamp(LOOK_MIN, LOOK_MAX);
    let mut seen = Seen { late: Duration::ZERO, looked: Instant::now() };
    loop {
        tokio::time::sleep(pause).await;
        let Some(cell) = cell.upgrade() else { return };
        if cell.exit().is_some() {
            return;
        }
        let late = cell.due.late().unwrap_or_default();
        let seen = seen.look(Instant::now(), pause, late > Duration::ZERO);
        if late > overrun && seen >= overrun {
            cell.overran(late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_node_was_frozen_does_not_count() {
        const PAUSE: Duration = Duration::from_millis(250);
        let begin = Instant::now();
        let mut seen = Seen { late: Duration::ZERO, looked: begin };
        assert_eq!(seen.look(begin + PAUSE, PAUSE, false), Duration::ZERO, "nothing is late");
        assert_eq!(seen.look(begin + 3 * PAUSE, PAUSE, true), PAUSE, "a busy machine looks late");
        let thawed = begin + Duration::from_secs(10);
        assert_eq!(seen.look(thawed, PAUSE, true), 2 * PAUSE);
        assert_eq!(seen.look(thawed + PAUSE / 2, PAUSE, true), PAUSE * 5 / 2);
        assert_eq!(seen.look(thawed + PAUSE, PAUSE, false), Duration::ZERO, "it was answered");
    }
}
