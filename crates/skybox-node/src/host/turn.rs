//! Whose turn it is on an instance: `&self` calls beside each other, `&mut self` calls alone, in the order they
//! came, and never more of them waiting than the bound.
//!
//! A fair read-write lock would deadlock on `&self → other → &self` once a writer waits between the two; here a
//! call whose chain already holds the instance passes the queue.
//!
//! `tests/loom_turn.rs` runs this file through every interleaving.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use skybox_core::{Chain, Mode};

use super::pace::{Outlook, Pace};
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// Set while a `&mut self` call holds the instance.
const WRITER: u64 = 1 << 63;
/// Set while anybody waits: newcomers queue up behind them. Changed only under the queue's lock.
const WAITERS: u64 = 1 << 62;
/// Set once the instance has crashed: nobody gets a turn any more.
const CLOSED: u64 = 1 << 61;
/// The low half counts the `&self` calls that hold it.
const READERS: u64 = u32::MAX as u64;

#[derive(Debug)]
pub(crate) struct Turn {
    state: AtomicU64,
    /// Calls that may hold it at once.
    concurrency: u64,
    /// Calls that may wait.
    queue_len_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<u64>,
    /// In their order, so that those who are sent away by a crash go in the order in which they came.
    waiting: BTreeMap<u64, Waiter>,
    next: u64,
    pace: Pace,
}

#[derive(Debug)]
struct Waiter {
    mode: Mode,
    /// The calls above it, which wait as long as it does.
    chain: Chain,
    granted: bool,
    waker: Option<Waker>,
}

/// Why a call cannot wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// So many calls wait already that one more is refused.
    Full,
    /// The instance has crashed: its successor is the one to ask.
    Closed,
}

impl Turn {
    pub(crate) fn new(concurrency: Option<u32>, queue_len_max: usize) -> Turn {
        Turn {
            state: AtomicU64::new(0),
            concurrency: concurrency.map_or(READERS, u64::from),
            queue_len_max,
            queue: Mutex::default(),
        }
    }

    /// Takes the turn if nobody has to wait for it. `nested`: the caller's chain already holds it `&self`.
    #[inline]
    pub(crate) fn try_take(&self, mode: Mode, nested: bool) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & WAITERS != 0 && !nested {
                return false;
            }
            let Some(next) = self.taken(state, mode, nested) else { return false };
            match self.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// The state after one more call of this mode, if there is room for it beside those that hold it.
    fn taken(&self, state: u64, mode: Mode, nested: bool) -> Option<u64> {
        let readers = state & READERS;
        match mode {
            _ if state & CLOSED != 0 => None,
            Mode::Shared if state & WRITER == 0 && (nested || readers < self.concurrency) => Some(state + 1),
            Mode::Exclusive if state & WRITER == 0 && readers == 0 => Some(state | WRITER),
            _ => None,
        }
    }

    /// Gives the turn back.
    #[inline]
    pub(crate) fn give_back(&self, mode: Mode) {
        // Subtracted: what was there comes back from one instruction, which clearing a bit takes a loop for.
        let before = match mode {
            Mode::Shared => self.state.fetch_sub(1, Ordering::Release),
            Mode::Exclusive => self.state.fetch_sub(WRITER, Ordering::Release),
        };
        debug_assert!(
            before & if mode == Mode::Exclusive { WRITER } else { READERS } != 0,
            "a turn is given back by whoever has one"
        );
        if before & WAITERS != 0 {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&self) {
        self.grant(&mut self.lock());
    }

    /// Ends all waiting: the instance has crashed. Called while its call still holds its turn, so that nobody
    /// gets in between.
    #[cold]
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        self.state.fetch_or(CLOSED, Ordering::Relaxed);
        queue.order.clear();
        for waker in queue.waiting.values_mut().filter_map(|waiter| waiter.waker.take()) {
            waker.wake();
        }
    }

    /// Waits for the turn; the future resolves to an error if the instance crashes before. `chain`: the calls above.
    ///
    /// # Errors
    /// [`NoTurn`] at once when the bound of waiting calls is reached, or the instance has crashed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a turn that was granted in the meantime goes to the next.
    pub(crate) fn wait(&self, mode: Mode, chain: &Chain) -> Result<Wait<'_>, NoTurn> {
        let mut queue = self.lock();
        if self.is_closed() {
            return Err(NoTurn::Closed);
        }
        if queue.order.len() >= self.queue_len_max {
            return Err(NoTurn::Full);
        }
        let id = queue.next;
        queue.next += 1;
        queue.order.push_back(id);
        queue.waiting.insert(id, Waiter { mode, chain: chain.clone(), granted: false, waker: None });
        queue.pace.came();
        self.state.fetch_or(WAITERS, Ordering::Relaxed);
        // Whoever held it may have given it back before the flag was up, and woken nobody.
        self.grant(&mut queue);
        Ok(Wait { turn: self, mode, id, done: false })
    }

    /// What a call that joins the queue now has to expect.
    pub(crate) fn outlook(&self) -> Outlook {
        let served = usize::try_from(self.holding()).unwrap_or(usize::MAX);
        let queue = self.lock();
        queue.pace.outlook(queue.order.len(), served)
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().order.len()
    }

    /// Of the calls that wait, those under other calls: how they want it, and what is above them. In their order, and
    /// no more than `count_max`.
    pub(crate) fn chains(&self, count_max: usize) -> Vec<(Mode, Chain)> {
        let queue = self.lock();
        let waiters = queue.order.iter().filter_map(|id| queue.waiting.get(id));
        let under_others = waiters.filter(|waiter| !waiter.chain.is_empty());
        under_others.take(count_max).map(|waiter| (waiter.mode, waiter.chain.clone())).collect()
    }

    /// Calls that hold it.
    pub(crate) fn holding(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed);
        (state & READERS) + u64::from(state & WRITER != 0)
    }

    /// Whether a `&mut self` call holds it.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    /// Hands the turn to those in front, as many as fit together.
    fn grant(&self, queue: &mut Queue) {
        let granted = self.grant_fitting(queue);
        let over = queue.order.is_empty();
        queue.pace.left(granted, over);
    }

    /// Says how many there were.
    fn grant_fitting(&self, queue: &mut Queue) -> u32 {
        let mut granted = 0;
        while let Some(id) = queue.order.front() {
            let Some(waiter) = queue.waiting.get_mut(id) else {
                queue.order.pop_front();
                continue;
            };
            let mut state = self.state.load(Ordering::Relaxed);
            loop {
                let Some(next) = self.taken(state, waiter.mode, false) else { return granted };
                match self.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => state = now,
                }
            }
            waiter.granted = true;
            granted += 1;
            let waker = waiter.waker.take();
            // Before it is woken: a waker is the code of others, and nobody is to get a turn twice if it panics.
            queue.order.pop_front();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        self.state.fetch_and(!WAITERS, Ordering::Relaxed);
        granted
    }

    fn is_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Wait<'t> {
    turn: &'t Turn,
    mode: Mode,
    id: u64,
    done: bool,
}

impl Future for Wait<'_> {
    type Output = Result<(), NoTurn>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NoTurn>> {
        let mut queue = self.turn.lock();
        let closed = self.turn.is_closed();
        let waiter = queue.waiting.get_mut(&self.id).expect("a place is left only by its own future");
        if !waiter.granted && !closed {
            waiter.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let granted = waiter.granted;
        queue.waiting.remove(&self.id);
        drop(queue);
        self.done = true;
        Poll::Ready(if granted { Ok(()) } else { Err(NoTurn::Closed) })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.turn.lock();
        let granted = queue.waiting.remove(&self.id).is_some_and(|waiter| waiter.granted);
        if granted {
            drop(queue);
            self.turn.give_back(self.mode);
        } else {
            queue.order.retain(|id| *id != self.id);
            // It may have been a writer in front of readers that fit now.
            self.turn.grant(&mut queue);
        }
    }
}
