//! What lies around a stream where it enters or leaves a call.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use skybox_core::{CallErrorKind, WireError};

use super::{Event, InFlight, Source, Stream};
use crate::call::far::data_code;
use crate::call::{Panicked, catch};
use crate::host::Watch;
use crate::thread::{self, CallFrame, Inherited};

/// Whose code makes a stream's items.
pub(super) enum Maker {
    /// The caller's: an argument.
    Caller,
    /// That of an instance: a result.
    Instance(Arc<dyn InFlight>),
}

/// A stream behind the boundary of a call: its code runs in the context of whoever made it, and what comes out is
/// what would come out of another process.
pub(super) struct Layer<T, E: WireError> {
    inner: Stream<T, E>,
    frame: CallFrame,
    maker: Maker,
    /// Left with the instance that makes it, once it has to wait.
    watch: Watch,
}

impl<T: 'static, E: WireError + 'static> Layer<T, E> {
    /// Captures the context of the code that hands the stream over.
    pub(super) fn new(inner: Stream<T, E>, maker: Maker) -> Layer<T, E> {
        let mut inherited = Inherited::here();
        if inherited.deadline().is_some() {
            // It covers the call, and not what its stream does afterwards.
            inherited.context_mut().deadline = None;
        }
        Layer { inner, frame: CallFrame::scope(inherited), maker, watch: Watch::default() }
    }

    fn panicked(&self, Panicked { message, place }: Panicked) -> CallErrorKind {
        match &self.maker {
            Maker::Instance(instance) => {
                instance.core().crash(&message, &place);
                CallErrorKind::Crashed { message, place }
            }
            Maker::Caller => {
                CallErrorKind::Lost { why: format!("the caller's stream panicked at {place}: {message}") }
            }
        }
    }
}

impl<T, E: WireError> Drop for Layer<T, E> {
    fn drop(&mut self) {
        if let Maker::Instance(instance) = &self.maker {
            instance.core().unwatch(&mut self.watch);
        }
    }
}

/// Why a stream breaks off that has an item which cannot cross.
pub(super) fn uncrossable(of_argument: bool, why: String) -> CallErrorKind {
    if of_argument { CallErrorKind::Mismatch { why } } else { CallErrorKind::BadReply { why } }
}

impl<T: 'static, E: WireError + 'static> Source<T, E> for Layer<T, E> {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T, E>>> {
        let killed = || Poll::Ready(Some(Event::Broken(CallErrorKind::Cancelled)));
        let instance = match &self.maker {
            Maker::Instance(instance) => Some(instance.core()),
            Maker::Caller => None,
        };
        if instance.is_some_and(|instance| instance.is_killed()) {
            return killed();
        }
        let (frame, inner) = (&self.frame, Pin::new(&mut self.inner));
        let polled = catch(AssertUnwindSafe(|| thread::enter(frame, || inner.poll_next(cx))));
        let item = match polled {
            Ok(Poll::Ready(item)) => item,
            Ok(Poll::Pending) if instance.is_some_and(|instance| instance.watch(&mut self.watch, cx)) => {
                return killed();
            }
            Ok(Poll::Pending) => return Poll::Pending,
            Err(panicked) => return Poll::Ready(Some(Event::Broken(self.panicked(panicked)))),
        };
        let error = match item {
            None => return Poll::Ready(None),
            Some(Ok(item)) => return Poll::Ready(Some(Event::Item(item))),
            Some(Err(error)) => error,
        };
        let image = data_code(|| Ok::<_, Infallible>(error.into_image()));
        let of_argument = matches!(self.maker, Maker::Caller);
        Poll::Ready(Some(match image {
            Ok(image) => Event::Image(image),
            Err(why) => Event::Broken(uncrossable(of_argument, why)),
        }))
    }
}
