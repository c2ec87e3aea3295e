//! Running a call's code in this process.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Instant;

use skybox_core::{CallErrorKind, MethodDescriptor, Mode, Phase};
use tokio::time::Sleep;

use crate::host::{HostCore, Instance};
use crate::thread::{self, CallFrame, Held, Inherited};

/// Makes the frame in which a call of `instance` runs.
#[inline]
pub(crate) fn frame<T>(core: &HostCore, instance: &Instance<T>, mode: Mode, inherited: Inherited) -> CallFrame {
    // Only where calls wait for one another can a call wait for itself.
    let traced = instance.turn.is_some() || core.descriptor.kind == skybox_core::ModuleKind::Keyed;
    let holders = traced.then(|| instance.holders.clone());
    let held = Held { instance: instance.id, mode, holders };
    CallFrame::new(Inherited { app: core.app_id, caller: core.as_caller(), ..inherited }, Some(held))
}

/// Polls a call's code in its frame until it ends, panics, or its time is up; then it is dropped.
///
/// Nothing is armed and no clock is read unless there is a deadline and the first poll was not the last.
pub(crate) async fn run<R>(
    core: &HostCore,
    frame: CallFrame,
    code: impl Future<Output = R>,
) -> Result<R, CallErrorKind> {
    let mut code = pin!(code);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        match catch(AssertUnwindSafe(|| thread::enter(&frame, || code.as_mut().poll(cx)))) {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(panicked) => return Poll::Ready(Err(crashed(core, &frame, panicked))),
        }
        match frame.context.deadline {
            Some(deadline) if expired(&mut timer, deadline, cx) => {
                Poll::Ready(Err(CallErrorKind::Deadline { phase: Phase::Running }))
            }
            _ => Poll::Pending,
        }
    })
    .await
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
pub(crate) async fn run_on<R: Send + 'static>(
    core: &Arc<HostCore>,
    method: &MethodDescriptor,
    frame: CallFrame,
    code: impl Future<Output = R> + Send + 'static,
) -> Result<R, CallErrorKind> {
    let deadline = frame.context.deadline;
    let held = frame.held.as_ref().map(|held| (held.instance, held.holders.clone()));
    // The caller's time bounds the wait for the result; the code itself goes on.
    let theirs = core.clone();
    let running: Running<R> = Box::pin(async move { run_unbounded(&theirs, frame, code).await });
    let mut rest = Rest { running: Some(running), core, deadline, held, abandon: method.cancel_on_drop };
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

/// As [`run`], but the deadline is only handed down, not acted on.
pub(crate) async fn run_unbounded<R>(
    core: &HostCore,
    frame: CallFrame,
    code: impl Future<Output = R>,
) -> Result<R, CallErrorKind> {
    let mut code = pin!(code);
    poll_fn(|cx| match catch(AssertUnwindSafe(|| thread::enter(&frame, || code.as_mut().poll(cx)))) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(crashed(core, &frame, panicked))),
    })
    .await
}

type Running<R> = Pin<Box<dyn Future<Output = Result<R, CallErrorKind>> + Send>>;
type Keeper = (skybox_core::InstanceId, Option<Arc<crate::host::Holders>>);

/// A started call: when its caller lets go of it, it goes on by itself.
struct Rest<'c, R: Send + 'static> {
    running: Option<Running<R>>,
    core: &'c Arc<HostCore>,
    deadline: Option<Instant>,
    held: Option<Keeper>,
    abandon: bool,
}

impl<R: Send + 'static> Drop for Rest<'_, R> {
    fn drop(&mut self) {
        let Some(running) = self.running.take().filter(|_| !self.abandon) else { return };
        let (core, held) = (self.core.clone(), self.held.take());
        let limit = self.deadline.map(|deadline| deadline + core.settings.overrun);
        self.core.runtime.spawn(async move {
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
