//! The last word of an instance: its `stop`, when it is retired and its last call has ended.
//!
//! The last one to let go of an instance may be any thread: a call that ends, a thread that names it no more
//! ([`route`](crate::route)). So the value is moved out where the instance is dropped, and its `stop` runs on a task.
//! Whoever waits for the end of the instance waits for that task, which keeps the guard.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use skybox_core::{Epoch, Exit, InstanceId};

use super::instance::{EndedGuard, InstanceCore, LastWord};
use super::{CLOSE_WAIT, HostCore};
use crate::app::App;
use crate::call::{Panicked, catch};
use crate::module::Module;
use crate::thread::{self, CallFrame, Inherited, Me};

/// What the instances of a module do when they end; nothing for one without `stop`.
pub(super) fn last_word<T: Module>(core: &HostCore) -> Option<LastWord<T>> {
    core.stops.then_some(begin::<T>)
}

/// How long those who wait for the end of an instance wait for its `stop`.
pub(crate) fn wait(core: &HostCore) -> Duration {
    if core.stops { core.settings.stop_wait } else { Duration::ZERO }
}

/// Waits until no instance has its last word still to say, those included that the plan has retired before.
pub(super) async fn all_ended(core: &HostCore) {
    let mut lives = core.lives.subscribe();
    // In vain only behind a call that does not end; whoever retired its instance says so.
    drop(tokio::time::timeout(CLOSE_WAIT + wait(core), lives.wait_for(|count| *count == 0)).await);
}

/// Runs the last word of an instance on a task of its own. Without an App there is nothing that it could do it in: a
/// program that ends without being asked to stop takes its values with it.
fn begin<T: Module>(value: T, ended: EndedGuard, instance: &InstanceCore) {
    let host = instance.host.upgrade();
    let Some((app, core)) = host.and_then(|core| Some((core.app.upgrade()?, core))) else {
        // The value first, also if its `Drop` panics: locals go in the order opposite to theirs.
        let _ended = ended;
        drop(value);
        return;
    };
    let of = Of { id: instance.id, started: instance.started, key: instance.key.clone() };
    // A runtime that is shutting down drops the task, and with it value and guard.
    core.runtime.clone().spawn(run(core, App::from_inner(app), of, value, ended));
}

/// Which instance it is the last word of.
struct Of {
    id: InstanceId,
    started: Instant,
    key: Option<Box<[u8]>>,
}

async fn run<T: Module>(core: Arc<HostCore>, app: App, of: Of, value: T, mut ended: EndedGuard) {
    let wait = core.settings.stop_wait;
    let mut code = OwnCode::new(&core, T::stop(value, app));
    let outcome = tokio::select! {
        biased;
        outcome = tokio::time::timeout(wait, &mut code) => Some(outcome),
        () = core.fence_passed() => None,
    };
    // Before anybody hears that it has ended: where it was cut off, the code still has the value.
    let dropped = code.end();
    let panicked = |Panicked { message, place }| format!("it panicked at {place}: {message}");
    let failed = match outcome {
        None => Some("it was cut off, since the store was not reached in time".to_owned()),
        Some(Ok(Ok(Ok(())))) => None,
        Some(Ok(Ok(Err(error)))) => Some(error.joined()),
        Some(Ok(Err(own))) => Some(panicked(own)),
        Some(Err(_)) => Some(format!("it was cut off after {wait:?} (`stop-wait`)")),
    };
    for cause in failed.into_iter().chain(dropped.err().map(panicked)) {
        ended.exit = Some(Box::new(core.stop_failed(&of, cause)));
    }
    core.free_names(of.id).await;
    drop(ended);
    core.is_gone(of.id);
}

impl HostCore {
    /// Says that an instance has not had its last word.
    fn stop_failed(&self, of: &Of, cause: String) -> Exit {
        tracing::error!(module = self.descriptor.name, instance = %of.id, "its `stop` failed: {cause}");
        let exit = Exit::FailedStop { cause };
        self.endings.ended(of.id, of.started.elapsed(), of.key.as_deref(), exit.clone());
        exit
    }
}

/// Code of a module that is no call: its `start` and `stop`. A panic in it goes no further.
pub(super) struct OwnCode<F> {
    frame: CallFrame,
    /// Which instance it starts, if it is a `start`.
    starts: Option<Me>,
    code: Pin<Box<F>>,
}

impl<F: Future> OwnCode<F> {
    pub(super) fn new(core: &HostCore, code: F) -> OwnCode<F> {
        let inherited = Inherited::nothing().within(core.app_id, core.as_caller());
        OwnCode { frame: CallFrame::scope(inherited), starts: None, code: Box::pin(code) }
    }

    /// The `start` of an instance.
    pub(super) fn of_start(
        core: &HostCore,
        (instance, epoch): (InstanceId, Option<Epoch>),
        code: F,
    ) -> OwnCode<F> {
        let me = Me { app: core.app_id, module: core.index, instance, epoch };
        OwnCode { starts: Some(me), ..OwnCode::new(core, code) }
    }

    /// Drops the code, as code of its module.
    fn end(self) -> Result<(), Panicked> {
        let OwnCode { frame, code, .. } = self;
        catch(AssertUnwindSafe(|| thread::enter(&frame, || drop(code))))
    }
}

impl<F: Future> Future for OwnCode<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let OwnCode { frame, starts, code } = &mut *self;
        let poll = || code.as_mut().poll(cx);
        let polled = catch(AssertUnwindSafe(|| match *starts {
            None => thread::enter(frame, poll),
            Some(me) => thread::enter_start(frame, me, poll),
        }));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    }
}
