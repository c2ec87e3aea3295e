//! Running a call's code in this process.

mod code;
mod panics;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use pin_project_lite::pin_project;
use skybox_core::{CallErrorKind, Phase};
use tokio::time::Sleep;
use tracing::Span;

use super::Crossing;
use crate::host::{HostCore, InstanceCore, Taken, Watch};
use crate::spans;
use crate::thread::{self, CallFrame, Entered, Inherited};

pub(crate) use code::{Alone, Code, Inline, InlineOrBoxed, Kept};
use panics::panicked;
pub(crate) use panics::{Panicked, catch, install_panic_hook};

/// Why a call's code did not end: boxed, so that the usual result stays small.
pub(crate) type Stopped = Box<CallErrorKind>;

/// Makes the frame in which a call of `taken` runs.
///
/// # Safety
/// The frame is dropped before `taken`.
#[inline(always)]
pub(crate) unsafe fn frame<T>(
    core: &HostCore,
    taken: &Taken<T>,
    method: u16,
    inherited: Inherited,
) -> CallFrame {
    // A subscriber that wants no debug spans costs a call one load.
    let span = if tracing::level_enabled!(tracing::Level::DEBUG) {
        spans::of_callee(core, taken.id, method, &inherited)
    } else {
        None
    };
    let inherited = inherited.from(core.origin);
    // SAFETY: `taken` keeps the instance, and outlives the frame.
    unsafe { CallFrame::of_call(inherited, taken, taken.mode(), method, span) }
}

/// Polls a call's code once, in its frame. A panic crashes the instance and goes no further; an error of the method's
/// own is said on the call's span.
///
/// What it returns is as small as the code's own output, whose unused bit patterns say the rest: a usual result stays
/// in registers.
///
/// `FIRST` tells a call's first poll from later ones, for the compiler alone: what it catches in is then used in one
/// place, which makes it write that where the call is made, and not a function that is called through memory.
#[inline(always)]
pub(crate) fn poll_in<const FIRST: bool, F: Future, W: Crossing<F::Output>>(
    frame: &CallFrame,
    instance: &InstanceCore,
    wire: W,
    code: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Result<Poll<F::Output>, Stopped> {
    // Nothing but the code is in what is caught, so that little depends on whether it is a function of its own.
    let caught = {
        // SAFETY: it lives in this block, and the frame longer.
        let _entered = unsafe { Entered::new(frame) };
        match frame.span() {
            None => panic::catch_unwind(AssertUnwindSafe(|| code.poll(cx))),
            Some(span) => poll_in_span(span, code, cx),
        }
    };
    let polled = caught.map_err(|thrown| crashed(frame, instance, panicked(thrown)))?;
    if let Poll::Ready(result) = &polled {
        instance.credit();
        if let Some(span) = frame.span()
            && wire.is_own_error(result)
        {
            spans::own_error(span);
        }
    }
    Ok(polled)
}

/// Polls a call's code in its span. Subscribers panic too.
#[cold]
#[inline(never)]
fn poll_in_span<F: Future>(
    span: &Span,
    code: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> std::thread::Result<Poll<F::Output>> {
    panic::catch_unwind(AssertUnwindSafe(|| span.in_scope(|| code.poll(cx))))
}

/// Drops a call's code that has not ended, in its frame. A panic crashes the instance and goes no further.
#[cold]
fn drop_in<T>(rest: &Rest<T>, drop: impl FnOnce()) {
    if let Err(panicked) = catch(AssertUnwindSafe(|| thread::enter(&rest.frame, drop))) {
        crashed(&rest.frame, &rest.taken, panicked);
    }
}

#[cold]
fn crashed(frame: &CallFrame, instance: &InstanceCore, Panicked { message, place }: Panicked) -> Stopped {
    instance.crash(&message, &place);
    let kind = CallErrorKind::Crashed { message, place };
    if let Some(span) = frame.span() {
        spans::failed(span, &kind);
    }
    Box::new(kind)
}

/// What a running call is made of beside its code, which points to it and is dropped before it.
pub(crate) struct Rest<T> {
    frame: CallFrame,
    taken: Taken<T>,
    /// Armed once the call has a deadline and has to wait: no clock is read before.
    timer: Option<Pin<Box<Sleep>>>,
    /// Left with the instance once the call has to wait.
    watch: Watch,
}

impl<T> Rest<T> {
    /// `frame` is of a call of `taken`, which is counted.
    pub(crate) fn new(frame: CallFrame, taken: Taken<T>) -> Rest<T> {
        Rest { frame, taken, timer: None, watch: Watch::default() }
    }

    /// Polls the call's code; `Deadline` once time is up, `Cancelled` once the instance was killed. The code has not
    /// ended then.
    fn poll<F: Future, W: Crossing<F::Output>>(
        &mut self,
        wire: W,
        code: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Stopped>> {
        if self.taken.is_killed() {
            return Poll::Ready(Err(cancelled()));
        }
        match poll_in::<false, _, _>(&self.frame, &self.taken, wire, code, cx)? {
            Poll::Pending => self.wait(cx).map(Err),
            Poll::Ready(result) => Poll::Ready(Ok(result)),
        }
    }

    /// The code waits. Resolves when the call's time is up, or its instance was killed.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        if self.wait_alone(cx) {
            return Poll::Ready(cancelled());
        }
        let Some(deadline) = self.deadline() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        // Code that always has something to do uses up what tokio grants a task; its time is up all the same.
        let late = pin!(tokio::task::coop::unconstrained(timer.as_mut())).poll(cx);
        late.map(|()| Box::new(CallErrorKind::Deadline { phase: Phase::Running }))
    }

    /// The code waits, and somebody else keeps its time. Says whether its instance was killed.
    fn wait_alone(&mut self, cx: &Context<'_>) -> bool {
        self.taken.watch(&mut self.watch, cx)
    }

    fn deadline(&self) -> Option<Instant> {
        self.frame.deadline()
    }
}

impl<T> Drop for Rest<T> {
    fn drop(&mut self) {
        self.taken.unwatch(&mut self.watch);
    }
}

#[cold]
fn cancelled() -> Stopped {
    Box::new(CallErrorKind::Cancelled)
}

pin_project! {
    /// A running call. What becomes of it when it is dropped before its end is its code's matter: see [`Code`].
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Running<T, C, W>
    where
        C: Code<T>,
        W: Crossing<C::Output>,
    {
        #[pin]
        code: C,
        wire: W,
        // Absent once it has ended.
        rest: Option<Rest<T>>,
    }

    impl<T, C, W> PinnedDrop for Running<T, C, W>
    where
        C: Code<T>,
        W: Crossing<C::Output>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(rest) = this.rest.take() {
                this.code.let_go(rest, *this.wire);
            }
        }
    }
}

impl<T, C: Code<T>, W: Crossing<C::Output>> Running<T, C, W> {
    /// A call of `taken`, which is counted. `code` makes its code.
    pub(crate) fn new(
        core: &HostCore,
        taken: Taken<T>,
        method: u16,
        inherited: Inherited,
        wire: W,
        code: impl FnOnce(&Taken<T>) -> C,
    ) -> Running<T, C, W> {
        // SAFETY: they stay together from here on, and `Rest` drops the frame first.
        let frame = unsafe { frame(core, &taken, method, inherited) };
        Running { code: code(&taken), wire, rest: Some(Rest::new(frame, taken)) }
    }

    /// Code that is being polled for the first time, by someone who has the rest of it.
    #[inline(always)]
    pub(crate) fn begun(wire: W, code: C) -> Running<T, C, W> {
        Running { code, wire, rest: None }
    }

    /// The code, and the place for the rest.
    #[inline(always)]
    pub(crate) fn parts(self: Pin<&mut Self>) -> (Pin<&mut C>, &mut Option<Rest<T>>) {
        let this = self.project();
        (this.code, this.rest)
    }
}

impl<T, C: Code<T>, W: Crossing<C::Output>> Future for Running<T, C, W> {
    type Output = Result<C::Output, Stopped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let rest = this.rest.as_mut().expect("polled only until it ends");
        let outcome = ready!(rest.poll(*this.wire, this.code.as_mut(), cx));
        if !is_cut_off(&outcome) {
            // Before the turn is given back: the next call takes over the slot that the code lives in.
            this.code.ended();
            *this.rest = None;
        }
        Poll::Ready(outcome)
    }
}

/// The caller's time is up, or its instance was killed, but the code has not ended.
fn is_cut_off<R>(outcome: &Result<R, Stopped>) -> bool {
    let cut_off =
        |stopped: &Stopped| matches!(**stopped, CallErrorKind::Deadline { .. } | CallErrorKind::Cancelled);
    outcome.as_ref().is_err_and(cut_off)
}
