//! What a stream gives, inside.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use skybox_core::{CallErrorKind, WireError};

/// One thing that a stream gives.
pub(crate) enum Event<T, E: WireError> {
    /// A value.
    Item(T),
    /// An error, as its author made it.
    Error(E),
    /// An error, as it crosses.
    Image(E::Image),
    /// The last one: why there are no more.
    Broken(CallErrorKind),
}

/// Where a stream's events come from. Not polled again once it is over.
pub(crate) trait Source<T, E: WireError>: Send {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T, E>>>;
}

/// A stream of the user's own.
pub(super) struct Plain<S, X> {
    stream: Pin<Box<S>>,
    error: PhantomData<fn() -> X>,
}

impl<S, X> Plain<S, X> {
    pub(super) fn new(stream: S) -> Plain<S, X> {
        Plain { stream: Box::pin(stream), error: PhantomData }
    }
}

impl<T, E, S, X> Source<T, E> for Plain<S, X>
where
    E: WireError,
    S: futures_core::Stream<Item = Result<T, X>> + Send,
    X: Into<E>,
{
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T, E>>> {
        self.stream.as_mut().poll_next(cx).map(|item| {
            item.map(|item| match item {
                Ok(item) => Event::Item(item),
                Err(error) => Event::Error(error.into()),
            })
        })
    }
}
