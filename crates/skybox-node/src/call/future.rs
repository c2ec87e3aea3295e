//! The future of a call: here if it can be, else elsewhere.
//!
//! Written by hand, because most calls end in their first poll: until that poll returns, the name in the thread's
//! record keeps the instance (see [`route`](crate::route)), which nothing that lives across an `await` could use, and
//! what the call is made of stays in registers and on the stack.

use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{MethodDescriptor, Mode};

use super::far;
use super::find::{Found, Tries};
use super::here::{self, Code, Rest, Running, Stopped};
use super::turns::finish;
use super::{Crossing, Target};
use crate::host::{Near, Pool, Taken, route_here};
use crate::metrics::Edge;
use crate::module::{Method, Module};
use crate::thread::Inherited;

/// Whom a call is for.
pub(super) struct Callee<'c, T: Module, O: 'static, R: 'static, W> {
    pub(super) target: &'c Target<T>,
    pub(super) method: &'static Method<O, R>,
    pub(super) mode: Mode,
    pub(super) wire: W,
}

/// How the code of a call is made once its instance is taken.
pub(super) trait Start<'c, T: Module, A, R>: Sized {
    /// The code, where it lives while it runs here.
    type Code: Code<T, Output = R>;
    /// How it has its instance.
    const MODE: Mode;
    /// Whether it may belong on one of its module's own threads.
    const MAY_COMPUTE: bool;

    /// The code of a call that runs here.
    fn here(
        self,
        target: &'c Target<T>,
        method: &MethodDescriptor,
        taken: &Taken<T>,
        arguments: A,
    ) -> Self::Code;

    /// The call, to be run on one of its module's own threads.
    fn on_thread<O, W>(
        self,
        pool: &'c Pool,
        callee: Callee<'c, T, O, R, W>,
        inherited: Inherited,
        arguments: A,
    ) -> OnThread<'c, R>
    where
        O: Serialize + DeserializeOwned + 'static,
        W: Crossing<R>;
}

/// A call that runs on a thread of its module's.
pub(super) type OnThread<'c, R> = Pin<Box<dyn Future<Output = R> + Send + 'c>>;

/// A call. `S` makes its code once the instance is taken; `Leave` makes the future of what a call does that cannot run
/// here at once ([`leave`]).
pub(super) struct CallFuture<'c, T, A, O, R, W, S, Leave, Away>
where
    T: Module,
    O: 'static,
    R: 'static,
    W: Crossing<R>,
    S: Start<'c, T, A, R>,
{
    callee: Callee<'c, T, O, R, W>,
    leave: Leave,
    /// Pinned: what is in it stays where it is. Dropped by hand, because most calls have nothing left to drop, and the
    /// compiler's own way of finding that out is dear.
    state: ManuallyDrop<State<'c, T, A, R, W, S, Away>>,
}

enum State<'c, T: Module, A, R, W: Crossing<R>, S: Start<'c, T, A, R>, Away> {
    New { inherited: Inherited, arguments: A, start: S },
    Here { running: Running<T, S::Code, W>, timed: Option<Timed<'c>> },
    Away { away: Away, start: Option<S> },
    OnThread { call: OnThread<'c, R> },
    Over,
}

// On their own, so that in a debug build their copies of a state do not stand on the stack of every call that is polled
// inside of another.
impl<'c, T: Module, A, R, W: Crossing<R>, S: Start<'c, T, A, R>, Away> State<'c, T, A, R, W, S, Away> {
    /// Nothing is left of it.
    ///
    /// # Safety
    /// As for [`ptr::write`]; what it was is not dropped.
    #[cfg_attr(not(debug_assertions), inline(always))]
    unsafe fn forget(this: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { ptr::write(this, State::Over) };
    }

    /// Drops what is left of it, in its place.
    ///
    /// # Safety
    /// `this` is valid, and nobody else's.
    #[cold]
    unsafe fn give_up(this: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { *this = State::Over };
    }
}

impl<'c, T: Module, A, O, R, W: Crossing<R>, S: Start<'c, T, A, R>, Leave, Away> Drop
    for CallFuture<'c, T, A, O, R, W, S, Leave, Away>
{
    #[inline(always)]
    fn drop(&mut self) {
        if !matches!(*self.state, State::Over) {
            // SAFETY: dropped once, where it is.
            unsafe { let_go(&mut self.state) };
        }
    }
}

/// Drops what a call still has: out of line, so that the usual drop is one comparison where the call is written.
///
/// # Safety
/// As for [`ManuallyDrop::drop`].
#[cold]
#[inline(never)]
unsafe fn let_go<S>(state: &mut ManuallyDrop<S>) {
    // SAFETY: the caller's promise.
    unsafe { ManuallyDrop::drop(state) };
}

/// Drops a call's code, where it is, if its first poll unwinds: before its frame, which the code may look at, and before
/// its turn, with which the next call gets the slot that the code is in. Code that panics does not unwind so far; that of
/// a subscriber to spans may.
struct Unwinding<S>(*mut S, fn(*mut S));

impl<S> Drop for Unwinding<S> {
    #[cold]
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

/// Where a call is counted, and when it began if it is one of those that are timed.
#[derive(Clone, Copy)]
struct Timed<'c> {
    edge: &'c Edge,
    began: Option<Instant>,
}

impl<'c, T, A, O, R, W, S, Leave, Away> CallFuture<'c, T, A, O, R, W, S, Leave, Away>
where
    T: Module,
    W: Crossing<R>,
    A: Serialize,
    O: Serialize + DeserializeOwned + 'static,
    S: Start<'c, T, A, R>,
    Leave: Fn(Callee<'c, T, O, R, W>, Inherited, A) -> Away,
    Away: Future<Output = Result<(Taken<T>, Inherited, A), R>>,
{
    /// A call that has not been polled.
    #[inline(always)]
    pub(super) fn new(
        callee: Callee<'c, T, O, R, W>,
        inherited: Inherited,
        arguments: A,
        start: S,
        leave: Leave,
    ) -> Self {
        let state = ManuallyDrop::new(State::New { inherited, arguments, start });
        CallFuture { callee, leave, state }
    }

    /// The first poll. Nothing of the call but its code is in `state` until it has to wait: in registers and on the
    /// stack it costs a third of what it would there. For the same reason nothing here is put into a struct to be taken
    /// out again: the processor waits when it reads two words at once that were just written one by one.
    // In a debug build, where nothing that is inlined shares its place on the stack, on its own: a method with ten calls
    // would have ten of it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn begin(&mut self, cx: &mut Context<'_>) -> Poll<R> {
        let Callee { target, method, wire, .. } = self.callee;
        let State::New { inherited, arguments, .. } = &*self.state else { return self.go_on(cx) };
        let computes = S::MAY_COMPUTE && self.callee.pool().is_some();
        let near = if computes { None } else { self.callee.take(S::MODE, inherited, arguments) };
        let Some(Near { hold, name }) = near else {
            self.begin_away();
            return self.go_on(cx);
        };
        // From here to the end of the poll the name keeps the instance: it is declared first, and dropped last.
        let name = name;
        let mut taken = Taken::new(hold, S::MODE);
        let core = &*target.host.core;
        let edge = target.edge(method, inherited);
        let began = edge.count_local().then(Instant::now);
        // SAFETY: it is moved out; `start` overwrites it before anything else looks at it.
        let inherited = unsafe { inherited.moved() };
        // SAFETY: declared after `taken`, it is dropped before; `Rest` drops it before as well.
        let frame = unsafe { here::frame(core, &taken, method.index(), inherited) };
        self.start(&taken);
        let state = &raw mut *self.state;
        // SAFETY: it is pinned where it is, and nobody else looks at it while `begin` unwinds.
        let unwinding = Unwinding(state, |state| unsafe { State::give_up(state) });
        // SAFETY: the state is this call's, which has it for itself.
        let State::Here { running, timed } = (unsafe { &mut *state }) else { unreachable!("it has started") };
        // SAFETY: the call is pinned, and so is what is in its state.
        let (mut code, rest) = unsafe { Pin::new_unchecked(running) }.parts();
        let polled = here::poll_in::<true, _, _>(&frame, &taken, wire, code.as_mut(), cx);
        mem::forget(unwinding);
        match polled {
            Ok(Poll::Ready(result)) => {
                code.ended();
                // SAFETY: code that has ended holds nothing, and there is no rest yet: nothing is left to drop.
                unsafe { State::forget(state) };
                if frame.is_plain() {
                    mem::forget(frame);
                } else {
                    drop(frame);
                }
                taken.end(S::MODE);
                if let Some(name) = name {
                    name.end();
                }
                Poll::Ready(finish(&self.callee, method, wire, edge, began, Ok(result)))
            }
            Err(stopped) => {
                code.ended();
                // SAFETY: the state is this call's, which has it for itself.
                unsafe { State::give_up(state) };
                drop((frame, taken, name));
                Poll::Ready(finish(&self.callee, method, wire, edge, began, Err(stopped)))
            }
            Ok(Poll::Pending) => {
                *timed = Some(Timed { edge, began });
                taken.count();
                match rest.insert(Rest::new(frame, taken)).wait(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(late) => self.end(Err(late)),
                }
            }
        }
    }

    /// Replaces a new call's parts by its code; what it has inherited has been moved out.
    // Its copies of the code would stand on the stack of every call that is polled inside of another.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn start(&mut self, taken: &Taken<T>) {
        let State::New { arguments, start, .. } = &*self.state else { unreachable!("it is new") };
        // SAFETY: both are moved out, and `state` is overwritten before anything else looks at it. There is nothing to
        // drop in `Over`.
        unsafe {
            let (arguments, start) = (ptr::read(arguments), ptr::read(start));
            ptr::write(&raw mut *self.state, State::Over);
            let Callee { target, method, wire, .. } = self.callee;
            let running = Running::begun(wire, start.here(target, method.descriptor(), taken, arguments));
            ptr::write(&raw mut *self.state, State::Here { running, timed: None });
        }
    }

    /// A new call that cannot run here at once.
    #[cold]
    fn begin_away(&mut self) {
        let State::New { inherited, arguments, start } = &*self.state else { unreachable!("it is new") };
        // SAFETY: all three are moved out, and `state` is overwritten before anything else looks at it. There is nothing
        // to drop in `Over`.
        unsafe {
            let (inherited, arguments, start) = (inherited.moved(), ptr::read(arguments), ptr::read(start));
            ptr::write(&raw mut *self.state, State::Over);
            let pool = if S::MAY_COMPUTE { self.callee.pool() } else { None };
            let state = match pool {
                Some(pool) => {
                    State::OnThread { call: start.on_thread(pool, self.callee, inherited, arguments) }
                }
                None => {
                    let away = (self.leave)(self.callee, inherited, arguments);
                    State::Away { away, start: Some(start) }
                }
            };
            ptr::write(&raw mut *self.state, state);
        }
    }

    /// Every poll but the first.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<R> {
        let callee = self.callee;
        loop {
            match &mut *self.state {
                State::Here { running, .. } => {
                    // SAFETY: the call is pinned, and so is what is in its state.
                    let outcome = ready!(unsafe { Pin::new_unchecked(running) }.poll(cx));
                    return self.end(outcome);
                }
                State::Away { away, start } => {
                    // SAFETY: as above.
                    let outcome = ready!(unsafe { Pin::new_unchecked(away) }.poll(cx));
                    let (taken, inherited, arguments) = match outcome {
                        Ok(found) => found,
                        Err(result) => {
                            *self.state = State::Over;
                            return Poll::Ready(result);
                        }
                    };
                    let start = start.take().expect("it starts once");
                    let timed = callee.timed(&inherited);
                    let core = &*callee.target.host.core;
                    let descriptor = callee.method.descriptor();
                    let code = |taken: &Taken<T>| start.here(callee.target, descriptor, taken, arguments);
                    let running =
                        Running::new(core, taken, callee.method.index(), inherited, callee.wire, code);
                    *self.state = State::Here { running, timed: Some(timed) };
                }
                State::OnThread { call } => {
                    let result = ready!(call.as_mut().poll(cx));
                    *self.state = State::Over;
                    return Poll::Ready(result);
                }
                State::New { .. } | State::Over => panic!("a call is polled only until it ends"),
            }
        }
    }

    fn end(&mut self, outcome: Result<R, Stopped>) -> Poll<R> {
        let callee = self.callee;
        let State::Here { timed: Some(Timed { edge, began }), .. } = *self.state else {
            unreachable!("it has waited here")
        };
        *self.state = State::Over;
        Poll::Ready(finish(&callee, callee.method, callee.wire, edge, began, outcome))
    }
}

impl<'c, T, A, O, R, W, S, Leave, Away> Future for CallFuture<'c, T, A, O, R, W, S, Leave, Away>
where
    T: Module,
    W: Crossing<R>,
    A: Serialize,
    O: Serialize + DeserializeOwned + 'static,
    S: Start<'c, T, A, R>,
    Leave: Fn(Callee<'c, T, O, R, W>, Inherited, A) -> Away,
    Away: Future<Output = Result<(Taken<T>, Inherited, A), R>>,
{
    type Output = R;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // SAFETY: nothing is moved out of it that has been pinned: arguments and `start` before the first poll ends,
        // `start` as an `Option` of which nobody has a pinned reference.
        unsafe { self.get_unchecked_mut() }.begin(cx)
    }
}

impl<'c, T: Module, O: Serialize + DeserializeOwned, R, W> Callee<'c, T, O, R, W> {
    fn timed(&self, inherited: &Inherited) -> Timed<'c> {
        let edge = self.target.edge(self.method, inherited);
        Timed { edge, began: edge.count_local().then(Instant::now) }
    }

    /// The threads on which its code runs, if it is not the caller's.
    #[inline(always)]
    fn pool(&self) -> Option<&'c Pool> {
        self.target.host.core.pool_for(self.method.descriptor())
    }

    /// Takes the instance and its turn, if it is here, it is nobody else's turn, and nothing has to be waited for, allocated or
    /// shrunk.
    #[inline(always)]
    fn take<A: Serialize>(&self, mode: Mode, inherited: &Inherited, arguments: &A) -> Option<Near<T>> {
        if !self.target.host.core.plain || inherited.chain_full() || self.target.options.deadline.is_some() {
            return None;
        }
        if cfg!(debug_assertions) && far::prove_arguments(self.method, arguments).is_err() {
            return None;
        }
        let near = route_here(&self.target.host, &self.target.to)?;
        let free = match &near.hold.turn {
            None => true,
            Some(turn) => !inherited.is_nested() && turn.try_take(mode, false),
        };
        free.then_some(near)
    }
}

impl<T: Module, O: Serialize + DeserializeOwned, R, W> Callee<'_, T, O, R, W> {
    /// As [`take`](Callee::take), counted.
    pub(super) fn take_counted<A: Serialize>(
        &self,
        inherited: &Inherited,
        arguments: &A,
    ) -> Option<Taken<T>> {
        Some(Taken::new(self.take(self.mode, inherited, arguments)?.into_hold(), self.mode))
    }
}

/// What a call does that cannot run here at once: it is sent, or looks for its instance on the long way. Ends with
/// the result, or with the instance taken after all, counted, and the arguments given back.
pub(super) async fn leave<T, A, O, R, W>(
    callee: Callee<'_, T, O, R, W>,
    inherited: Inherited,
    arguments: A,
) -> Result<(Taken<T>, Inherited, A), R>
where
    T: Module,
    A: Serialize + Send + Sync,
    O: Serialize + DeserializeOwned + 'static,
    R: 'static,
    W: Crossing<R>,
{
    let Callee { target, method, mode, wire } = callee;
    let tries = match target.send_now(method, &inherited, &arguments) {
        None => Tries::default(),
        Some(sent) => match sent.answer(&target.host.core, method, wire).await {
            Ok(result) => return Err(result),
            Err(tries) => tries,
        },
    };
    match Box::pin(target.find_turn(mode, method, wire, inherited, &arguments, tries)).await {
        Found::Here(taken, inherited) => Ok((taken, inherited, arguments)),
        Found::Answered(result) => Err(result),
    }
}

impl<T: Module, O, R, W: Copy> Clone for Callee<'_, T, O, R, W> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Module, O, R, W: Copy> Copy for Callee<'_, T, O, R, W> {}
