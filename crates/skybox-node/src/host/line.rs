//! Calls that wait for an instance to start, in the order in which they came.
//!
//! They are woken together, and whoever polls first would be first: so each keeps its place in the line until it
//! has its turn on the instance, or a place among those who wait for that; and newcomers go to the end of the line
//! as long as there is one.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// A line. It keeps no count of its own: those in it share the lock.
#[derive(Debug, Default)]
pub(crate) struct Line(Arc<Mutex<()>>);

/// The head of a line. Dropped, the next one is.
#[derive(Debug)]
#[must_use = "the next call in the line goes on when this is dropped"]
pub(crate) struct Head(#[expect(dead_code, reason = "held, not read")] OwnedMutexGuard<()>);

impl Line {
    /// Nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Goes to the end of the line, and waits to be at its head; `None` if that takes too long.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn enter(&self, until: Instant) -> Option<Head> {
        tokio::time::timeout_at(until.into(), self.0.clone().lock_owned()).await.ok().map(Head)
    }
}
