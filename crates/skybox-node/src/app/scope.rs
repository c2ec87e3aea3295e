//! Code that runs in an App, or keeps the context it was made in, without being a call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::App;
use crate::thread::{self, CallFrame, Inherited};

/// A future that is polled in an App, with a deadline, trace and chain.
///
/// # Cancel safety
/// That of the future inside.
pub struct Scoped<F> {
    frame: CallFrame,
    future: Pin<Box<F>>,
}

impl<F: Future> Scoped<F> {
    pub(crate) fn in_app(app: &App, future: F) -> Scoped<F> {
        let here = Inherited::here();
        let caller = here.caller();
        let inherited = here.within(app.inner().id, caller);
        Scoped { frame: CallFrame::scope(inherited), future: Box::pin(future) }
    }

    pub(crate) fn here(future: F) -> Scoped<F> {
        Scoped { frame: CallFrame::scope(Inherited::here()), future: Box::pin(future) }
    }

    pub(crate) fn with_trace(trace: skybox_core::TraceContext, future: F) -> Scoped<F> {
        let mut inherited = Inherited::here();
        inherited.context_mut().trace = Some(trace);
        Scoped { frame: CallFrame::scope(inherited), future: Box::pin(future) }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Scoped { frame, future } = &mut *self;
        thread::enter(frame, || future.as_mut().poll(cx))
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scoped")
    }
}

/// Spawns a task that keeps the context of the code that spawns it: App, deadline, trace, and the calls above.
///
/// `tokio::spawn(h.call())` cannot borrow the handle, and the calls inside of
/// `tokio::spawn(async move { h.call().await })` are made by a task that knows nothing of the call that spawned
/// it: they have no deadline, and a call back to a waiting caller is not seen to be one.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scoped::here(future))
}
