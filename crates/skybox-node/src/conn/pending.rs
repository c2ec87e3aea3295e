//! The calls that wait for their reply over one connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use skybox_core::{CallErrorKind, CallId};

use super::Conn;
use crate::call::{Failed, Reply};
use crate::host::lock;
use crate::stream::{ReplyWay, Streams};

/// Bits of a call id that name its slot; the rest counts up, so that ids rise and a late reply finds nobody.
const SLOT_BITS: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Pending {
    slots: Vec<Slot>,
    free: Vec<u16>,
    count: u64,
    len: usize,
}

#[derive(Debug)]
struct Slot {
    call: CallId,
    state: State,
    /// Where the request's last byte stands in the stream of ordinary frames.
    position: u64,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Option<Waker>),
    Done(Result<Reply, Failed>),
}

impl Pending {
    /// Calls that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes a slot for a new call. There is always one: the caller has checked the bound.
    pub(super) fn reserve(&mut self) -> CallId {
        self.count += 1;
        self.len += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u16::try_from(self.slots.len()).expect("calls in progress are bounded below 65,536");
            self.slots.push(Slot { call: CallId(0), state: State::Free, position: 0 });
            slot
        });
        let call = CallId(self.count << SLOT_BITS | u64::from(slot));
        // Until it is sent, a broken connection finds it unsent.
        self.slots[usize::from(slot)] = Slot { call, state: State::Waiting(None), position: u64::MAX };
        call
    }

    /// The request's last byte stands before this place.
    pub(super) fn sent(&mut self, call: CallId, position: u64) {
        if let Some(slot) = self.slot(call) {
            slot.position = position;
        }
    }

    /// Gives a slot back.
    pub(super) fn release(&mut self, call: CallId) {
        let Some(slot) = self.slot(call) else { return };
        slot.state = State::Free;
        self.free.push(index(call));
        self.len -= 1;
    }

    /// Hands over a reply. `None`: nobody waits for it (any more).
    pub(super) fn complete(&mut self, call: CallId, result: Result<Reply, Failed>) -> Option<Waker> {
        let slot = self.slot(call)?;
        match std::mem::replace(&mut slot.state, State::Done(result)) {
            State::Waiting(waker) => waker,
            // A second reply for one call: the first one counts.
            before => {
                slot.state = before;
                None
            }
        }
    }

    /// Ends every call that waits.
    pub(super) fn fail_all(&mut self, why: impl Fn(u64) -> CallErrorKind) {
        self.fail_where(|_| true, why);
    }

    /// Ends the calls after `last`, which the peer did not take.
    pub(super) fn fail_after(&mut self, last: CallId, why: &CallErrorKind) {
        self.fail_where(|call| call > last, |_| why.clone());
    }

    fn fail_where(&mut self, which: impl Fn(CallId) -> bool, why: impl Fn(u64) -> CallErrorKind) {
        for slot in &mut self.slots {
            if let State::Waiting(waker) = &mut slot.state
                && which(slot.call)
            {
                let waker = waker.take();
                slot.state = State::Done(Err(why(slot.position)));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    fn slot(&mut self, call: CallId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::from(index(call)))?;
        (slot.call == call && !matches!(slot.state, State::Free)).then_some(slot)
    }
}

fn index(call: CallId) -> u16 {
    (call.0 & u64::from(u16::MAX)) as u16
}

/// A call that was sent.
///
/// # Cancel safety
/// Dropped, the callee is told that nobody waits any more.
#[derive(Debug)]
pub(crate) struct PendingCall {
    conn: Arc<Conn>,
    call: CallId,
    /// The slot has been given back.
    done: bool,
}

impl PendingCall {
    pub(super) fn new(conn: Arc<Conn>, call: CallId) -> PendingCall {
        PendingCall { conn, call, done: false }
    }

    /// Reads what is in the reply.
    pub(crate) fn way(&self) -> ReplyWay<'_> {
        ReplyWay::Conn(&self.conn, self.call)
    }

    /// Has the callee stop, and waits for its answer all the same: it may have done what was asked. `None`: the call has
    /// not left, and nobody answers.
    pub(crate) fn take_back(mut self) -> Option<PendingCall> {
        if self.conn.cancel(self.call) || self.conn.is_closed() {
            return Some(self);
        }
        lock(&self.conn.pending).release(self.call);
        self.done = true;
        None
    }

    /// The streams of its connection, and what its own are called by there.
    pub(crate) fn streams(&self) -> (&Arc<Streams>, CallId) {
        (&self.conn.streams, self.call)
    }

    /// Where it was sent.
    pub(crate) fn node(&self) -> &skybox_core::NodeName {
        &self.conn.peer().node
    }
}

impl Future for PendingCall {
    type Output = Result<Reply, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut pending = lock(&this.conn.pending);
        let slot = pending.slot(this.call).expect("a slot is given back only by its own call");
        match &mut slot.state {
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            state => {
                let done = std::mem::replace(state, State::Done(Err(CallErrorKind::Cancelled)));
                pending.release(this.call);
                this.done = true;
                match done {
                    State::Done(result) => Poll::Ready(result),
                    _ => Poll::Ready(Err(CallErrorKind::Cancelled)),
                }
            }
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.done {
            // Also when its reply has come: if that holds a stream, nobody is going to read it.
            lock(&self.conn.pending).release(self.call);
            self.conn.cancel(self.call);
        }
    }
}
