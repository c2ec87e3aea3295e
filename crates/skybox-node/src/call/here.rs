//! Running a call's code in this process.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Instant;

use skybox_core::{CallErrorKind, MethodDescriptor, Mode, Phase};
use tokio::time::Sleep;

use crate::host::{HostCore, Instance};
use crate::thread::{self, CallFrame, Held, Inherited};

/// Makes the frame in which a call of `instance` runs.
#[inline]
pub(crate) fn frame<T>(core: &HostCore, instance: &Instance<T>, mode: Mode, mut inherited: Inherited) -> CallFrame {
    // Only where calls wait for one another can a call wait for itself.
    let holders = core.traced.then(|| instance.holders.clone());
    let held = Held { instance: instance.id, mode, holders };
    inherited.app = core.app_id;
    inherited.caller = core.as_caller();
    CallFrame::new(inherited, Some(held))
}

pin_project_lite::pin_project! {
    /// A call's code, polled in its frame until it ends or panics; with `bounded`, until its time is up.
    ///
    /// Nothing is armed and no clock is read unless there is a deadline and the first poll was not the last.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Running<C, F> {
        core: C,
        frame: CallFrame,
        bounded: bool,
        timer: Option<Pin<Box<Sleep>>>,
        #[pin]
        code: F,
    }
}

/// Polls a call's code in its frame until it ends, panics, or its time is up; then it is dropped.
#[inline]
pub(crate) fn run<C: Deref<Target = HostCore>, F: Future>(core: C, frame: CallFrame, code: F) -> Running<C, F> {
    Running { core, frame, bounded: true, timer: None, code }
}

/// As [`run`], but the deadline is only handed down, not acted on.
#[inline]
pub(crate) fn run_unbounded<C: Deref<Target = HostCore>, F: Future>(core: C, frame: CallFrame, code: F) -> Running<C, F> {
    Running { core, frame, bounded: false, timer: None, code }
}

impl<C: Deref<Target = HostCore>, F: Future> Future for Running<C, F> {
    type Output = Result<F::Output, CallErrorKind>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let code = this.code;
        match catch(AssertUnwindSafe(|| thread::enter(this.frame, || code.poll(cx)))) {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(panicked) => return Poll::Ready(Err(crashed(this.core, this.frame, panicked))),
        }
        match this.frame.inherited.deadline().filter(|_| *this.bounded) {
            Some(deadline) if expired(this.timer, deadline, cx) => {
                Poll::Ready(Err(CallErrorKind::Deadline { phase: Phase::Running }))
            }
            _ => Poll::Pending,
        }
    }
}

fn expired(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
    timer.as_mut().poll(cx).is_ready()
}

#[cold]
fn crashed(core: &HostCore, frame: &CallFrame, Panicked { message, place }: Panicked) -> CallErrorKind {
    if let Some(held) = &frame.held {
        if let Some(holders) = &held.holders {
            holders.crash();
        }
        core.crash(held.instance, &message, &place);
    }
    CallErrorKind::Crashed { message, place }
}

/// Runs a call that may outlive its caller: a `&mut self` method, which is never left half done, or one marked
/// `#[to_completion]`.
///
/// # Cancel safety
/// Dropped, or past its deadline, the call goes on by itself to its end (unless it is `#[cancel_on_drop]`); past
/// the deadline and the module's `overrun` it is stopped and its instance counts as crashed.
#[inline]
pub(crate) async fn run_on<F>(
    core: &Arc<HostCore>,
    method: &MethodDescriptor,
    frame: CallFrame,
    code: F,
) -> Result<F::Output, CallErrorKind>
where
    F: Future<Output: Send> + Send + 'static,
{
    let deadline = frame.inherited.deadline();
    let running = Some(Box::pin(run_unbounded(core.clone(), frame, code)));
    let mut rest = Rest { running, deadline, abandon: method.cancel_on_drop };
    let mut timer = None;
    poll_fn(|cx| {
        let running = rest.running.as_mut().expect("polled only until it ends");
        if let Poll::Ready(result) = running.as_mut().poll(cx) {
            rest.running = None;
            return Poll::Ready(result);
        }
        match deadline {
            Some(deadline) if expired(&mut timer, deadline, cx) => {
                Poll::Ready(Err(CallErrorKind::Deadline { phase: Phase::Running }))
            }
            _ => Poll::Pending,
        }
    })
    .await
}

type Boxed<F> = Pin<Box<Running<Arc<HostCore>, F>>>;

/// A started call: when its caller lets go of it, it goes on by itself.
struct Rest<F: Future<Output: Send> + Send + 'static> {
    running: Option<Boxed<F>>,
    deadline: Option<Instant>,
    abandon: bool,
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Rest<F> {
    #[inline]
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|_| !self.abandon) {
            go_on(running, self.deadline);
        }
    }
}

/// Lets a call run to its end without its caller; past its deadline and the module's `overrun` it is stopped, and
/// its instance counts as crashed.
#[cold]
fn go_on<F: Future<Output: Send> + Send + 'static>(running: Boxed<F>, deadline: Option<Instant>) {
    let core = running.core.clone();
    let held = running.frame.held.as_ref().map(|held| (held.instance, held.holders.clone()));
    let limit = deadline.map(|deadline| deadline + core.settings.overrun);
    core.runtime.clone().spawn(async move {
        let Some(limit) = limit else {
            drop(running.await);
            return;
        };
        if tokio::time::timeout_at(limit.into(), running).await.is_err()
            && let Some((instance, holders)) = held
        {
            if let Some(holders) = holders {
                holders.crash();
            }
            let overrun = core.settings.overrun;
            core.crash(instance, &format!("a call ran {overrun:?} (`overrun`) past its deadline and was stopped"), "");
        }
    });
}

/// What a panic said, and where.
#[derive(Debug)]
pub(crate) struct Panicked {
    pub(crate) message: String,
    pub(crate) place: String,
}

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs code that may panic.
#[inline]
pub(crate) fn catch<R>(code: impl FnOnce() -> R + UnwindSafe) -> Result<R, Panicked> {
    panic::catch_unwind(code).map_err(|payload| panicked(&*payload))
}

#[cold]
fn panicked(payload: &(dyn Any + Send)) -> Panicked {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    Panicked { message, place: PLACE.take() }
}

/// Remembers where panics of calls happen. What was installed before still gets them.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current(|frame| frame.is_some()) {
                let place = info.location().map_or_else(String::new, ToString::to_string);
                PLACE.with_borrow_mut(|at| *at = place);
            }
            before(info);
        }));
    });
}
