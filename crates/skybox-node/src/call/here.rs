//! Running a call's code in this process.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Instant;

use skybox_core::{CallErrorKind, InstanceId, MethodDescriptor, Mode, Phase};
use tokio::time::Sleep;
use tracing::Span;

use crate::host::{HostCore, Instance};
use crate::thread::{self, CallFrame, Held, Inherited};

/// Makes the frame in which a call of `instance` runs.
#[inline(always)]
pub(crate) fn frame<T>(
    core: &HostCore,
    instance: &Instance<T>,
    mode: Mode,
    method: u16,
    inherited: Inherited,
) -> CallFrame {
    // Only where calls wait for one another can a call wait for itself.
    let holders = core.traced.then(|| instance.holders.clone());
    let held = Held { instance: instance.id, mode, holders };
    // A subscriber that wants no debug spans costs a call one load.
    let span = if tracing::level_enabled!(tracing::Level::DEBUG) {
        span(core, instance.id, method, &inherited)
    } else {
        None
    };
    CallFrame::new(inherited.within(core.app_id, core.as_caller()), Some(held), span)
}

/// The span of a call, if somebody wants it.
#[cold]
fn span(core: &HostCore, instance: InstanceId, method: u16, inherited: &Inherited) -> Option<Box<Span>> {
    let method = core.descriptor.methods.get(usize::from(method))?.name;
    let span = tracing::debug_span!("call", module = core.descriptor.name, method, %instance, traceparent = tracing::field::Empty);
    if let Some(trace) = inherited.context().trace {
        span.record("traceparent", tracing::field::display(trace));
    }
    (!span.is_disabled()).then(|| Box::new(span))
}

/// Where a running call finds its host when its code panics; and what to credit when it ends.
pub(crate) trait Blame {
    fn blame(&self, held: &Held, message: &str, place: &str);

    /// Where calls of an instance without holders are credited.
    fn host(&self) -> Option<&HostCore>;

    /// A call has ended: from now on crashes of its module (or key) are no failed starts.
    #[inline(always)]
    fn credit(&self, held: Option<&Held>) {
        match held.and_then(|held| held.holders.as_ref()) {
            Some(holders) => holders.useful.note(),
            None => {
                if let Some(host) = self.host() {
                    host.useful.note();
                }
            }
        }
    }
}

/// The caller holds the host.
impl Blame for &HostCore {
    fn blame(&self, held: &Held, message: &str, place: &str) {
        HostCore::crash(self, held.instance, message, place);
    }

    #[inline(always)]
    fn host(&self) -> Option<&HostCore> {
        Some(self)
    }
}

/// The call may outlive its caller.
impl Blame for Arc<HostCore> {
    fn blame(&self, held: &Held, message: &str, place: &str) {
        HostCore::crash(self, held.instance, message, place);
    }

    #[inline(always)]
    fn host(&self) -> Option<&HostCore> {
        Some(self)
    }
}

/// The frame holds the instance's holders, which know the host: one reference count less to touch.
pub(crate) struct ByHolders;

impl Blame for ByHolders {
    fn blame(&self, held: &Held, message: &str, place: &str) {
        if let Some(core) = held.holders.as_ref().and_then(|holders| holders.core()) {
            core.crash(held.instance, message, place);
        }
    }

    #[inline(always)]
    fn host(&self) -> Option<&HostCore> {
        None
    }
}

/// Why a call's code did not end: boxed, so that the usual result stays small.
pub(crate) type Stopped = Box<CallErrorKind>;

pin_project_lite::pin_project! {
    /// A call's code, polled in its frame until it ends or panics; with `bounded`, until its time is up.
    ///
    /// Nothing is armed and no clock is read unless there is a deadline and the first poll was not the last.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Running<B, F> {
        blame: B,
        frame: CallFrame,
        bounded: bool,
        timer: Option<Pin<Box<Sleep>>>,
        #[pin]
        code: F,
    }
}

/// Polls a call's code in its frame until it ends, panics, or its time is up; then it is dropped.
#[inline(always)]
pub(crate) fn run<B: Blame, F: Future>(blame: B, frame: CallFrame, code: F) -> Running<B, F> {
    Running { blame, frame, bounded: true, timer: None, code }
}

/// As [`run`], but the deadline is only handed down, not acted on.
#[inline(always)]
pub(crate) fn run_unbounded<B: Blame, F: Future>(blame: B, frame: CallFrame, code: F) -> Running<B, F> {
    Running { blame, frame, bounded: false, timer: None, code }
}

impl<B: Blame, F: Future> Future for Running<B, F> {
    type Output = Result<F::Output, Stopped>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let code = this.code;
        match catch(AssertUnwindSafe(|| thread::enter(this.frame, || this.frame.in_span(|| code.poll(cx))))) {
            Ok(Poll::Ready(result)) => {
                this.blame.credit(this.frame.held.as_ref());
                return Poll::Ready(Ok(result));
            }
            Ok(Poll::Pending) => {}
            Err(panicked) => return Poll::Ready(Err(crashed(this.blame, this.frame, panicked))),
        }
        match this.frame.inherited.deadline().filter(|_| *this.bounded) {
            Some(deadline) if expired(this.timer, deadline, cx) => Poll::Ready(Err(time_is_up())),
            _ => Poll::Pending,
        }
    }
}

#[cold]
fn time_is_up() -> Stopped {
    Box::new(CallErrorKind::Deadline { phase: Phase::Running })
}

#[cold]
fn expired(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
    // Code that always has something to do uses up what tokio grants a task; its time is up all the same.
    pin!(tokio::task::coop::unconstrained(timer.as_mut())).poll(cx).is_ready()
}

#[cold]
fn crashed(blame: &impl Blame, frame: &CallFrame, Panicked { message, place }: Panicked) -> Stopped {
    if let Some(held) = &frame.held {
        if let Some(holders) = &held.holders {
            holders.crash();
        }
        blame.blame(held, &message, &place);
    }
    Box::new(CallErrorKind::Crashed { message, place })
}

/// Runs a call that may outlive its caller: a `&mut self` method, which is never left half done, or one marked
/// `#[to_completion]`.
///
/// # Cancel safety
/// Dropped, or past its deadline, the call goes on by itself to its end (unless it is `#[cancel_on_drop]`); past
/// the deadline and the module's `overrun` it is stopped and its instance counts as crashed.
#[inline]
pub(crate) fn run_on<'c, B, F>(
    core: &'c Arc<HostCore>,
    method: &MethodDescriptor,
    blame: B,
    frame: CallFrame,
    code: F,
) -> Rest<'c, B, F>
where
    B: Blame + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let deadline = frame.inherited.deadline();
    let running = Some(Box::pin(run_unbounded(blame, frame, code)));
    Rest { running, core, deadline, timer: None, abandon: method.cancel_on_drop }
}

type Boxed<B, F> = Pin<Box<Running<B, F>>>;

/// A started call: when its caller lets go of it, it goes on by itself.
pub(crate) struct Rest<'c, B: Blame + Send + 'static, F: Future<Output: Send> + Send + 'static> {
    running: Option<Boxed<B, F>>,
    core: &'c Arc<HostCore>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    abandon: bool,
}

impl<B: Blame + Send + 'static, F: Future<Output: Send> + Send + 'static> Future for Rest<'_, B, F> {
    type Output = Result<F::Output, Stopped>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let rest = &mut *self;
        let running = rest.running.as_mut().expect("polled only until it ends");
        if let Poll::Ready(result) = running.as_mut().poll(cx) {
            rest.running = None;
            return Poll::Ready(result);
        }
        match rest.deadline {
            Some(deadline) if expired(&mut rest.timer, deadline, cx) => Poll::Ready(Err(time_is_up())),
            _ => Poll::Pending,
        }
    }
}

impl<B: Blame + Send + 'static, F: Future<Output: Send> + Send + 'static> Drop for Rest<'_, B, F> {
    #[inline]
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|_| !self.abandon) {
            go_on(self.core.clone(), running, self.deadline);
        }
    }
}

/// Lets a call run to its end without its caller; past its deadline and the module's `overrun` it is stopped, and
/// its instance counts as crashed.
#[cold]
fn go_on<B, F>(core: Arc<HostCore>, running: Boxed<B, F>, deadline: Option<Instant>)
where
    B: Blame + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let limit = deadline.map(|deadline| deadline + core.settings.overrun);
    core.runtime.clone().spawn(async move {
        let mut running = running;
        let Some(limit) = limit else {
            drop(running.await);
            return;
        };
        let ended = tokio::time::timeout_at(limit.into(), running.as_mut()).await;
        if let (Err(_), Some(held)) = (ended, &running.frame.held) {
            // Before the call is dropped and gives its turn back: nobody is to see what it leaves half done.
            if let Some(holders) = &held.holders {
                holders.crash();
            }
            let overrun = core.settings.overrun;
            let what = format!("a call ran {overrun:?} (`overrun`) past its deadline and was stopped");
            core.crash(held.instance, &what, "");
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
