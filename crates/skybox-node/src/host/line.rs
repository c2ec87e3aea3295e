//! Calls that wait for an instance to start, in the order in which they came.
//!
//! They are woken together, and whoever polls first would be first: so each keeps its place in the line until it
//! has its turn on the instance, or a place among those who wait for that; and newcomers go to the end of the line
//! as long as there is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use skybox_core::{CallErrorKind, KeyHash};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{HostCore, lock};

/// A line. It keeps no count of its own: those in it share the lock.
#[derive(Debug, Default)]
pub(crate) struct Line(Arc<Mutex<()>>);

/// The head of a line. Dropped, the next one is.
#[derive(Debug)]
#[must_use = "the next call in the line goes on when this is dropped"]
pub(crate) struct Head {
    #[expect(dead_code, reason = "held, not read")]
    turn: OwnedMutexGuard<()>,
    #[expect(dead_code, reason = "held, not read")]
    place: Option<Place>,
}

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
        let turn = tokio::time::timeout_at(until.into(), self.0.clone().lock_owned()).await.ok()?;
        Some(Head { turn, place: None })
    }
}

/// A line for each of many instances, there while somebody is in it: of calls that do not know yet which node they go
/// to.
#[derive(Debug, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many are in one. While nobody is, calls need not look which line is theirs.
    waiting: AtomicUsize,
    lines: std::sync::Mutex<HashMap<u64, Occupied>>,
}

#[derive(Debug, Default)]
struct Occupied {
    line: Line,
    calls: usize,
}

/// A call's place in one of the lines, from its end to its head.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    of: u64,
}

impl Lines {
    /// Nobody waits in the line of `of`.
    #[inline]
    pub(crate) fn is_empty(&self, of: impl FnOnce() -> u64) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == 0 || !lock(&self.0.lines).contains_key(&of())
    }

    /// [`Line::enter`], of the line of `of`. Instances that share one only wait for each other.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn enter(&self, of: u64, until: Instant) -> Option<Head> {
        let (line, place) = Place::take(&self.0, of);
        let head = line.enter(until).await?;
        Some(Head { place: Some(place), ..head })
    }
}

impl Place {
    fn take(shared: &Arc<Shared>, of: u64) -> (Line, Place) {
        let mut lines = lock(&shared.lines);
        let occupied = lines.entry(of).or_default();
        occupied.calls += 1;
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        (Line(occupied.line.0.clone()), Place { shared: shared.clone(), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = lock(&self.shared.lines);
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        let Some(occupied) = lines.get_mut(&self.of) else { return };
        occupied.calls -= 1;
        if occupied.calls == 0 {
            lines.remove(&self.of);
        }
    }
}

/// How long a call from another node waits until this one has read the plan by which it was sent here.
const DECIDED_WAIT: Duration = Duration::from_secs(1);
/// How often it looks: a fence that opens tells nobody.
const DECIDED_LOOK: Duration = Duration::from_millis(25);

impl HostCore {
    /// Has a call from another node wait, in line, until it is known here who owns its key: whoever has sent it has read the
    /// plan first, and those sent after it must not be served before. What the line leads to is looked for at its head.
    ///
    /// # Errors
    /// `Moved` if that takes too long, `Overloaded`.
    pub(crate) async fn decided(
        &self,
        key: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Option<Head>, CallErrorKind> {
        let of = KeyHash::of(key).0;
        let comes_next = || self.lines.is_empty(|| of) || !self.is_planned_here(key);
        if !self.is_undecided(key) && comes_next() {
            return Ok(None);
        }
        let now = || tokio::time::Instant::now().into_std();
        let until = now() + DECIDED_WAIT;
        let _place = self.queue_up()?;
        let head = self.lines.enter(of, self.wait_end(deadline)).await.ok_or(CallErrorKind::Moved)?;
        let mut changes = self.changes();
        while self.is_undecided(key) {
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return Err(CallErrorKind::Moved);
            }
            Self::changed_before(&mut changes, now() + left.min(DECIDED_LOOK)).await;
        }
        Ok(Some(head))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn who_leaves_a_line_lets_the_others_on_and_the_last_one_takes_it_along() {
        let lines = Lines::default();
        let until = Instant::now() + Duration::from_secs(60);
        let first = lines.enter(7, until).await.expect("nobody is before it");
        let mut third = {
            let (mut second, mut third) = (pin!(lines.enter(7, until)), Box::pin(lines.enter(7, until)));
            assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
            third
        };
        assert!(poll(third.as_mut()).is_pending(), "the first one has it still");
        assert!(!lines.is_empty(|| 7) && lines.is_empty(|| 8));
        assert!(lines.enter(8, until).await.is_some());

        drop(first);
        let head = third.await.expect("in time");
        assert!(!lines.is_empty(|| 7));
        drop(head);
        assert!(lines.is_empty(|| 7) && lock(&lines.0.lines).is_empty());
    }

    #[tokio::test]
    async fn who_has_waited_too_long_has_left_the_line() {
        let lines = Lines::default();
        let first = lines.enter(7, Instant::now()).await.expect("nobody is before it");
        assert!(lines.enter(7, Instant::now()).await.is_none());
        drop(first);
        assert!(lines.is_empty(|| 7));
    }
}
