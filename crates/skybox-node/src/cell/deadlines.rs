//! Deadlines as promises: a call that goes on beyond its deadline and `overrun` ends its cell, even if its code never
//! awaits.
//!
//! A node notes the calls with a deadline that it has sent to a cell until they are answered. A cell answers in time as
//! long as any thread of it can: so one that has not answered is stuck. What goes on there although it was answered,
//! on a thread of its module's own, the cell itself tells.

use std::collections::BTreeMap;
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

use skybox_core::{CallId, Exit};

use super::Cell;
use crate::host::lock;

/// How often a cell's calls are looked at: four times within the time that they may overrun, and between these bounds.
const LOOK_MIN: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// The calls with a deadline that a cell has not answered.
#[derive(Debug, Default)]
pub(super) struct Due(Mutex<BTreeMap<CallId, Instant>>);

impl Due {
    /// How long the first of them is late.
    fn late(&self) -> Option<Duration> {
        let now = tokio::time::Instant::now().into_std();
        lock(&self.0).values().min().map(|deadline| now.saturating_duration_since(*deadline))
    }
}

impl Cell {
    /// A call is sent to it.
    pub(crate) fn owes(&self, call: CallId, deadline: Instant) {
        lock(&self.due.0).insert(call, deadline);
    }

    /// It has answered a call.
    pub(crate) fn answered(&self, call: CallId) {
        lock(&self.due.0).remove(&call);
    }

    /// A call in it goes on that should have ended long ago.
    pub(super) fn overran(&self, past: Duration) {
        let past_ms = u64::try_from(past.as_millis()).unwrap_or(u64::MAX);
        // The first reason stands.
        drop(self.sentence.set(Exit::Overran { past_ms }));
        self.kill();
    }
}

/// Kills a cell once a call in it is late by more than it may be.
pub(super) async fn keep(cell: Weak<Cell>, overrun: Duration) {
    loop {
        tokio::time::sleep((overrun / 4).clamp(LOOK_MIN, LOOK_MAX)).await;
        let Some(cell) = cell.upgrade() else { return };
        if cell.exit().is_some() {
            return;
        }
        if let Some(late) = cell.due.late().filter(|late| *late > overrun) {
            cell.overran(late);
        }
    }
}
