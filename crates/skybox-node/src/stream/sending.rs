//! The task that sends a stream's items, as far as its reader has asked for them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use skybox_core::{CallErrorKind, WireError};
use skybox_wire::codec::{self, Form, Proof};
use skybox_wire::frame::{Credit, FrameError, ItemHead, PayloadOf, StreamId, encode_stream_end};
use skybox_wire::stream::{ITEM_BYTES_MAX, Sending, WINDOW};

use super::layer::uncrossable;
use super::{Event, Stream, Streams};
use crate::call::Crosses;
use crate::call::far::data_code;
use crate::host::lock;

/// An item's buffer that grew beyond this is not kept: a window is what a stream may hold anyway.
const BUFFER_BYTES_MAX: usize = WINDOW.bytes as usize;

/// A stream that can be sent, whatever its types.
pub(crate) trait Outlet: Send + Sync {
    /// The task that sends it, once its reader asks for an item.
    fn pump(self: Arc<Self>, sender: Sender) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Whether an item was asked of it: a call with such a stream is not sent again.
    fn has_given(&self) -> bool;
}

/// What is known of the reader. Shared between the task that sends and the frames that come back.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sending: Sending,
    /// Nobody reads it any more.
    over: bool,
    waker: Option<Waker>,
}

impl Outgoing {
    /// The reader asks for more.
    pub(super) fn credited(&self, stream: StreamId, credit: Credit) -> Result<(), FrameError> {
        let mut state = lock(&self.state);
        state.sending.credited(credit).ok_or(FrameError::CreditTooHigh { stream })?;
        wake(state);
        Ok(())
    }

    /// Nobody reads it any more. Unless `begun_too`, only if nobody has yet; says whether it is over.
    pub(super) fn stop(&self, begun_too: bool) -> bool {
        let mut state = lock(&self.state);
        state.over |= begun_too || !state.sending.has_begun();
        let over = state.over;
        if over {
            wake(state);
        }
        over
    }
}

/// Wakes the task outside the lock.
fn wake(mut state: std::sync::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The end of a stream where its items leave. Dropped, the stream is over for its reader too.
pub(crate) struct Sender {
    streams: Arc<Streams>,
    id: StreamId,
    outgoing: Arc<Outgoing>,
    ended: bool,
}

/// What to do next.
enum Next<T, E: WireError> {
    Send(Event<T, E>),
    End,
    /// Nobody reads it any more.
    Stop,
}

impl Sender {
    pub(super) fn new(streams: Arc<Streams>, id: StreamId, outgoing: Arc<Outgoing>) -> Sender {
        Sender { streams, id, outgoing, ended: false }
    }

    /// Waits until the reader asks for the first item, and takes what is to be sent in the same moment, so that it
    /// is either sent here or still there for another try. `None` if nobody ever asked.
    pub(super) async fn begun<S>(&self, take: impl FnOnce() -> Option<S>) -> Option<S> {
        let mut take = Some(take);
        poll_fn(|cx| {
            let mut state = lock(&self.outgoing.state);
            if state.over {
                return Poll::Ready(None);
            }
            if !state.sending.has_begun() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(take.take().and_then(|take| take()))
        })
        .await
    }

    fn poll_next<T, E: WireError>(
        &self,
        stream: &mut Stream<T, E>,
        cx: &mut Context<'_>,
    ) -> Poll<Next<T, E>> {
        {
            let mut state = lock(&self.outgoing.state);
            if state.over {
                return Poll::Ready(Next::Stop);
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            if !state.sending.may_send() {
                return Poll::Pending;
            }
        }
        Poll::Ready(ready!(stream.poll_event(cx)).map_or(Next::End, Next::Send))
    }

    /// Sends one item.
    fn send(&self, is_error: bool, form: Form, payload: &[u8]) {
        lock(&self.outgoing.state).sending.sent(payload.len());
        self.streams.write_item(&ItemHead { stream: self.id, is_error, form: form as u8 }, payload);
    }

    /// Tells the reader that no more items follow.
    fn end(mut self, failed: Option<&CallErrorKind>) {
        self.ended = true;
        self.streams.remove_sending(self.id);
        self.streams.write(|out| encode_stream_end(out, self.id, failed));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.ended {
            self.streams.remove_sending(self.id);
            self.streams.write(|out| encode_stream_end(out, self.id, Some(&CallErrorKind::Cancelled)));
        }
    }
}

/// Sends a stream to its end, or until nobody reads it any more.
pub(super) async fn pump<T, E>(mut stream: Stream<T, E>, sender: Sender)
where
    T: Crosses + 'static,
    E: WireError + 'static,
{
    let mut codec = ItemCodec::default();
    loop {
        let event = match poll_fn(|cx| sender.poll_next(&mut stream, cx)).await {
            Next::Send(Event::Broken(kind)) => return sender.end(Some(&kind)),
            Next::Send(event) => event,
            Next::End => return sender.end(None),
            Next::Stop => return,
        };
        let is_error = matches!(event, Event::Image(_));
        let sent = codec.encode(&event, |form, payload| sender.send(is_error, form, payload));
        if let Err(why) = sent {
            let kind = uncrossable(sender.id.of == PayloadOf::Call, why);
            return sender.end(Some(&kind));
        }
    }
}

/// How the items of one stream become bytes.
#[derive(Debug, Default)]
pub(super) struct ItemCodec {
    items: Proof,
    errors: Proof,
    /// Kept between items: blocks of a file would take and give back fresh memory each time.
    buffer: BytesMut,
}

impl ItemCodec {
    /// Encodes an item.
    ///
    /// # Errors
    /// The reason why it cannot cross.
    pub(super) fn encode<T: Crosses, E: WireError>(
        &mut self,
        event: &Event<T, E>,
        f: impl FnOnce(Form, &[u8]),
    ) -> Result<(), String> {
        let ItemCodec { items, errors, buffer } = self;
        buffer.clear();
        let form = data_code(|| match event {
            Event::Item(item) => codec::encode::<T, T>(item, items, buffer).map(Some),
            Event::Image(image) => codec::encode::<E::Image, E::Image>(image, errors, buffer).map(Some),
            Event::Error(_) | Event::Broken(_) => Ok(None),
        })?;
        // The layer around a stream has made images of errors, and what broke off has no payload.
        let Some(form) = form else { return Ok(()) };
        if buffer.len() > ITEM_BYTES_MAX {
            let len = buffer.len();
            return Err(format!("an item has {len} bytes, above the bound of {ITEM_BYTES_MAX}"));
        }
        f(form, buffer);
        if buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }
}
