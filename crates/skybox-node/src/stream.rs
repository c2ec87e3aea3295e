//! Streams: arguments and results that come item by item.
//!
//! 1. Who has items makes a [`Stream`] of them. It is a plain `futures_core::Stream`, and nothing happens until
//!    somebody polls it.
//! 2. Where it enters or leaves a call it is put behind a [`Layer`](layer::Layer): its code runs in the context of
//!    whoever made it, its panics and errors go no further, and the call is in flight until it is over
//!    ([`Passing`], [`Live`]).
//! 3. In one process the other side polls that very layer.
//! 4. Otherwise a [`Sender`](sending::Sender) polls it on a task, as far as the reader's credit goes, and an
//!    [`Inlet`](receiving::Inlet) over there takes the items in. Both are found by the frames of a connection in its
//!    [`Streams`].

mod channel;
mod event;
mod idle;
mod layer;
mod live;
mod passing;
mod receiving;
mod relay;
mod reply_way;
mod sending;
mod streams;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use skybox_core::{CallError, CallErrorKind, Callee, Error, WireError};
use tokio::task::coop;

pub use channel::{Closed, StreamSender};
pub(crate) use event::{Event, Source};
use idle::Idle;
pub(crate) use live::InFlight;
pub use live::{Holds, Live};
pub(crate) use passing::{FROM_A_PERSON, Landing, Outlets, arriving, collecting, refusing};
pub use passing::{Passing, Streaming};
pub(crate) use receiving::Incoming;
pub(crate) use relay::relayed;
pub(crate) use reply_way::{ReplyWay, Unanswered};
pub(crate) use streams::{STRICT_CALL, Streams};

use crate::thread::Lift;

/// Items that come one by one, into a call as an argument or out of it as its result.
///
/// It is a [`futures_core::Stream`] of `Result<T, E>`, made by [`Stream::from_stream`] from any other, or filled
/// through [`Stream::channel`]. `T` is data, as arguments are. `E` can be made from a [`CallError`] and cross, as
/// the errors of methods: [`skybox::Error`](Error), `anyhow::Error`, or an enum that derives
/// [`WireError`](trait@WireError).
///
/// It means the same wherever the call runs:
/// - **Lazy**: it is asked for an item only when its reader waits for one; elsewhere up to 128 items or 1 MiB are
///   produced ahead.
/// - **Errors** are items; more items may follow. A stream that breaks off gives one last item, a [`CallError`]
///   that says why (the other side panicked, was killed, or took too long), and then ends.
/// - **Dropping** an end ends the other: the source is dropped, or its reader's stream breaks off.
/// - **In flight**: the instance of the call is kept until its streams have ended. Its turn is not: a `&mut self`
///   method gives it back when it returns.
/// - **Time**: a deadline covers the start: the call until its result is there, or until its method asks a stream
///   argument for the first item. The items have [`idle_timeout`](Stream::idle_timeout).
/// - **Delivery**: a call is not sent again once one of its stream arguments has given an item.
///
/// # Cancel safety
/// Waiting for the next item can be given up at any time: none is lost.
pub struct Stream<T, E: WireError = Error> {
    /// The lock is never taken: it makes the stream `Sync`, which only `&mut` can do something with.
    source: Option<Mutex<Box<dyn Source<T, E>>>>,
    idle: Option<Idle>,
    /// The call it is part of.
    callee: Callee,
    in_flight: Option<Arc<dyn InFlight>>,
    /// What happens when it is first asked for an item: the call's deadline covers it no more.
    begins: Option<Lift>,
    /// In debug builds, what the first item has to pass where the first call of a method is encoded as well.
    trial: Option<Trial<T, E>>,
}

/// Whether an item can cross, and if not, why the stream breaks off.
type Trial<T, E> = fn(&Event<T, E>) -> Result<(), CallErrorKind>;

/// A stream that is no part of a call yet.
const NO_CALL: Callee = Callee::new("stream", "call");

impl<T, E: WireError> Stream<T, E> {
    /// Makes a stream that can cross from any other.
    pub fn from_stream<S, X>(stream: S) -> Stream<T, E>
    where
        S: futures_core::Stream<Item = Result<T, X>> + Send + 'static,
        X: Into<E> + 'static,
        T: 'static,
    {
        Stream::from_source(event::Plain::new(stream), NO_CALL)
    }

    /// A stream for who pushes: what goes into the sender comes out of the stream. `capacity` items wait there
    /// until [`StreamSender::send`] waits too.
    ///
    /// # Panics
    /// If `capacity` is zero.
    pub fn channel(capacity: usize) -> (StreamSender<T, E>, Stream<T, E>)
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (sender, source) = channel::channel(capacity);
        (sender, Stream::from_source(source, NO_CALL))
    }

    /// Breaks the stream off, with `Deadline` as its last item, when its reader has waited for an item for this
    /// long. No limit by default: a stream waits as long as the other side is alive. The time that the reader takes
    /// between items does not count.
    #[must_use]
    pub fn idle_timeout(self, limit: Duration) -> Stream<T, E> {
        Stream { idle: Some(Idle::new(limit)), ..self }
    }

    fn from_source(source: impl Source<T, E> + 'static, callee: Callee) -> Stream<T, E> {
        Stream {
            source: Some(Mutex::new(Box::new(source))),
            idle: None,
            callee,
            in_flight: None,
            begins: None,
            trial: None,
        }
    }

    /// The next event. `None` for good once it is over.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T, E>>> {
        if let Some(begins) = self.begins.take() {
            begins.lift();
        }
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        // A source that always has an item must not keep its reader's task from ever being stopped: elsewhere the
        // reader waits now and then, and so it does here.
        let turn = ready!(coop::poll_proceed(cx));
        let source = source.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut event = match source.poll_event(cx) {
            Poll::Ready(event) => event,
            Poll::Pending => match &mut self.idle {
                Some(idle) => Some(ready!(idle.poll_expired(cx))),
                None => return Poll::Pending,
            },
        };
        turn.made_progress();
        if let (Some(trial), Some(tried)) = (self.trial.take(), &event)
            && let Err(kind) = trial(tried)
        {
            event = Some(Event::Broken(kind));
        }
        if let Some(idle) = &mut self.idle {
            idle.reset();
        }
        if matches!(event, None | Some(Event::Broken(_))) {
            // Over: the other end and the call hear of it now, and not when the reader drops what is left.
            self.source = None;
            self.in_flight = None;
        }
        Poll::Ready(event)
    }
}

impl<T, E: WireError> futures_core::Stream for Stream<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T, E>>> {
        let event = ready!(self.poll_event(cx));
        Poll::Ready(event.map(|event| match event {
            Event::Item(item) => Ok(item),
            Event::Error(error) => Err(error),
            Event::Image(image) => Err(E::from_image(image)),
            Event::Broken(kind) => Err(CallError::new(self.callee, kind).into()),
        }))
    }
}

impl<T, E: WireError> fmt::Debug for Stream<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("over", &self.source.is_none()).finish_non_exhaustive()
    }
}
