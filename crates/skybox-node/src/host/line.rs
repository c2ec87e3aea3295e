//! Calls that wait for an instance to start, in the order in which they came.
//!
//! They are woken together, and whoever polls first would be first: so each keeps its place in the line until it
//! has its turn on the instance, or a place among those who wait for that; and newcomers go to the end of the line
//! as long as there is one.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
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

impl Head {
    /// Whoever waits at the head says so each time that it is polled.
    pub(crate) fn waits(&self) {
        if let Some(place) = &self.place {
            place.moves();
        }
    }

    /// Waits for something at the head, if this is one.
    pub(crate) async fn waits_for<F: Future>(head: Option<&Head>, future: F) -> F::Output {
        let Some(head) = head else { return future.await };
        let mut future = pin!(future);
        loop {
            head.waits();
            if let Ok(output) = tokio::time::timeout(STUCK_AFTER / 4, &mut future).await {
                return output;
            }
        }
    }
}

/// The line of a module, whose calls go to any of its instances.
pub(crate) const LINE_OF_MODULE: u64 = 0;
const STRIPES: usize = 16;
/// A line whose head says nothing for so long holds nobody up: a future may be kept that nobody polls.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// A line for each of many instances, there while somebody is in it: of calls that do not know yet which node they go
/// to.
#[derive(Debug, Default)]
pub(crate) struct Lines(Arc<All>);

#[derive(Debug, Default)]
struct All {
    /// How many are in one. While nobody is, calls need not look which line is theirs.
    waiting: AtomicUsize,
    stripes: [std::sync::Mutex<HashMap<u64, Occupied>>; STRIPES],
}

#[derive(Debug)]
struct Occupied {
    line: Line,
    calls: usize,
    /// When somebody was polled last who is at its head, or has left it.
    moved: tokio::time::Instant,
}

/// A call's place in one of the lines, from its end to its head.
#[derive(Debug)]
struct Place {
    all: Arc<All>,
    of: u64,
}

/// How waiting in a line has ended.
#[derive(Debug)]
pub(crate) enum Entered {
    /// At its head.
    First(Head),
    /// Whoever is at its head is not polled: the call goes past it.
    Past,
    /// Not in time.
    Late,
}

impl Lines {
    /// Whether a call need not wait in the line of `of`: nobody is in it, or nobody who moves.
    #[inline]
    pub(crate) fn is_free(&self, of: impl FnOnce() -> u64) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == 0 || self.0.is_free(of())
    }

    /// Goes to the end of the line of `of`, and waits to be at its head, or to pass it where `may_pass` says that there is a
    /// way. Instances that share a line only wait for each other.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn enter(&self, of: u64, until: Instant, may_pass: impl Fn() -> bool) -> Entered {
        let (line, place) = Place::take(&self.0, of);
        let mut entering = pin!(line.enter(until));
        loop {
            match tokio::time::timeout(STUCK_AFTER, &mut entering).await {
                Ok(Some(head)) => {
                    place.moves();
                    return Entered::First(Head { place: Some(place), ..head });
                }
                Ok(None) => return Entered::Late,
                Err(_) if self.0.is_free(of) && may_pass() => return Entered::Past,
                Err(_) => {}
            }
        }
    }
}

impl All {
    fn stripe(&self, of: u64) -> MutexGuard<'_, HashMap<u64, Occupied>> {
        lock(&self.stripes[(of % STRIPES as u64) as usize])
    }

    #[cold]
    fn is_free(&self, of: u64) -> bool {
        self.stripe(of).get(&of).is_none_or(|occupied| occupied.moved.elapsed() >= STUCK_AFTER)
    }
}

impl Place {
    fn take(all: &Arc<All>, of: u64) -> (Line, Place) {
        let mut lines = all.stripe(of);
        let new = || Occupied { line: Line::default(), calls: 0, moved: tokio::time::Instant::now() };
        let occupied = lines.entry(of).or_insert_with(new);
        occupied.calls += 1;
        all.waiting.fetch_add(1, Ordering::Relaxed);
        (Line(occupied.line.0.clone()), Place { all: all.clone(), of })
    }

    fn moves(&self) {
        if let Some(occupied) = self.all.stripe(self.of).get_mut(&self.of) {
            occupied.moved = tokio::time::Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.all.stripe(self.of);
        self.all.waiting.fetch_sub(1, Ordering::Relaxed);
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
        let comes_next = || self.lines.is_free(|| of) || !self.is_planned_here(key);
        if !self.is_undecided(key) && comes_next() {
            return Ok(None);
        }
        let now = || tokio::time::Instant::now().into_std();
        let until = now() + DECIDED_WAIT;
        let _place = self.queue_up()?;
        let is_decided = || !self.is_undecided(key);
        let head = match self.lines.enter(of, self.wait_end(deadline), is_decided).await {
            Entered::First(head) => head,
            Entered::Past => return Ok(None),
            Entered::Late => return Err(CallErrorKind::Moved),
        };
        let mut changes = self.changes();
        while self.is_undecided(key) {
            head.waits();
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
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    async fn first(lines: &Lines, of: u64) -> Head {
        match lines.enter(of, Instant::now() + Duration::from_secs(60), || true).await {
            Entered::First(head) => head,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_leaves_a_line_lets_the_others_on_and_the_last_one_takes_it_along() {
        let lines = Lines::default();
        let head = first(&lines, 7).await;
        let mut third = {
            let (mut second, mut third) = (pin!(first(&lines, 7)), Box::pin(first(&lines, 7)));
            assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
            third
        };
        assert!(poll(third.as_mut()).is_pending(), "the first one has it still");
        assert!(!lines.is_free(|| 7) && lines.is_free(|| 8));
        drop(first(&lines, 8).await);

        drop(head);
        let head = third.await;
        assert!(!lines.is_free(|| 7));
        drop(head);
        assert!(lines.is_free(|| 7) && lines.0.stripes.iter().all(|lines| lock(lines).is_empty()));
    }

    #[tokio::test]
    async fn who_has_waited_too_long_has_left_the_line() {
        let lines = Lines::default();
        let head = first(&lines, 7).await;
        assert!(matches!(lines.enter(7, Instant::now(), || true).await, Entered::Late));
        drop(head);
        assert!(lines.is_free(|| 7));
    }

    #[tokio::test]
    async fn who_is_not_polled_is_passed_once_there_is_a_way() {
        let lines = Lines::default();
        let (head, until) = (first(&lines, 7).await, Instant::now() + Duration::from_secs(60));
        let looks = AtomicUsize::new(0);
        let way = || looks.fetch_add(1, Ordering::Relaxed) > 0;
        assert!(matches!(lines.enter(7, until, way).await, Entered::Past));
        assert!(lines.is_free(|| 7), "nor do newcomers wait");
        head.waits();
        assert!(!lines.is_free(|| 7), "it is polled again");
        assert_eq!(lock(&lines.0.stripes[7]).get(&7).map(|line| line.calls), Some(1));
    }
}
