//! The task that sends a stream's items, as far as its reader has asked for them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use skybox_core::{CallErrorKind, WireError};
use skybox_wire::codec::{self, Form, Lead, Proof};
use skybox_wire::frame::{Credit, FrameError, ItemHead, PayloadOf, StreamId};
use skybox_wire::stream::{Arrived, ITEM_BYTES_MAX, Sending};

use super::layer::uncrossable;
use super::receiving::Inlet;
use super::{Event, Stream, Streams};
use crate::call::Crosses;
use crate::call::far::data_code;
use crate::host::lock;
use crate::metrics::Edge;

/// Items of bytes alone that are shorter than this are copied with others into one buffer.
const UNCOPIED_BYTES_MIN: usize = 16 * 1024;

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
    /// Where items are counted: at the caller, those of arguments.
    edge: Option<Arc<Edge>>,
    /// Its items are read by a person: they are written as JSON.
    as_json: bool,
    ended: bool,
}

/// What to do next.
enum Next<T, E: WireError> {
    Send(Event<T, E>),
    End,
    /// Nobody reads it any more.
    Stop,
}

/// What has become of one step of a stream that only passes through.
pub(super) enum Passed {
    /// An item has gone on.
    Item,
    /// No more follow, and why if it broke off.
    End(Option<CallErrorKind>),
    /// Nobody reads it any more.
    Stop,
}

impl Sender {
    pub(super) fn new(
        streams: Arc<Streams>,
        id: StreamId,
        outgoing: Arc<Outgoing>,
        edge: Option<Arc<Edge>>,
        as_json: bool,
    ) -> Sender {
        Sender { streams, id, outgoing, edge, as_json, ended: false }
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

    /// Whether an item may be sent, once it may; no, if nobody reads it any more.
    fn poll_may_send(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.outgoing.state);
        if state.over {
            return Poll::Ready(false);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if state.sending.may_send() { Poll::Ready(true) } else { Poll::Pending }
    }

    fn poll_next<T, E: WireError>(
        &self,
        stream: &mut Stream<T, E>,
        cx: &mut Context<'_>,
    ) -> Poll<Next<T, E>> {
        if !ready!(self.poll_may_send(cx)) {
            return Poll::Ready(Next::Stop);
        }
        Poll::Ready(ready!(stream.poll_event(cx)).map_or(Next::End, Next::Send))
    }

    /// Sends what comes in, as it is.
    pub(super) fn poll_pass(&self, inlet: &mut Inlet, cx: &mut Context<'_>) -> Poll<Passed> {
        if !ready!(self.poll_may_send(cx)) {
            return Poll::Ready(Passed::Stop);
        }
        Poll::Ready(match ready!(inlet.poll_item(cx)) {
            None => Passed::End(None),
            Some(Err(kind)) => Passed::End(Some(kind)),
            Some(Ok(Arrived { head, payload, .. })) => {
                lock(&self.outgoing.state).sending.sent(payload.len());
                let head = ItemHead { stream: self.id, ..head };
                self.streams.write_item(&head, &[], payload);
                Passed::Item
            }
        })
    }

    /// Sends one item.
    fn send(&self, is_error: bool, encoded: EncodedItem) {
        let EncodedItem { form, lead, payload } = encoded;
        let lead = lead.as_ref().map_or(&[][..], Lead::as_slice);
        let len = lead.len() + payload.len();
        lock(&self.outgoing.state).sending.sent(len);
        if let Some(edge) = &self.edge {
            edge.item_sent(len);
        }
        self.streams.write_item(&ItemHead { stream: self.id, is_error, form: form as u8 }, lead, payload);
    }

    /// Tells the reader that no more items follow.
    pub(super) fn end(mut self, failed: Option<&CallErrorKind>) {
        self.ended = true;
        self.streams.ends(self.id, failed);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.ended {
            self.streams.ends(self.id, Some(&CallErrorKind::Cancelled));
        }
    }
}

/// Sends a stream to its end, or until nobody reads it any more.
pub(super) async fn pump<T, E>(mut stream: Stream<T, E>, sender: Sender)
where
    T: Crosses + 'static,
    E: WireError + 'static,
{
    let mut codec = ItemCodec { as_json: sender.as_json, ..ItemCodec::default() };
    loop {
        let event = match poll_fn(|cx| sender.poll_next(&mut stream, cx)).await {
            Next::Send(Event::Broken(kind)) => return sender.end(Some(&kind)),
            Next::Send(event) => event,
            Next::End => return sender.end(None),
            Next::Stop => return,
        };
        let is_error = matches!(event, Event::Image(_));
        match codec.encode(event) {
            Ok(Some(encoded)) => sender.send(is_error, encoded),
            // The layer around a stream has made images of errors, and what broke off has no payload.
            Ok(None) => {}
            Err(why) => {
                let kind = uncrossable(sender.id.of == PayloadOf::Call, why);
                return sender.end(Some(&kind));
            }
        }
    }
}

/// How the items of one stream become bytes.
#[derive(Debug, Default)]
pub(super) struct ItemCodec {
    items: Proof,
    errors: Proof,
    as_json: bool,
    /// Items are cut off its front, so that many small ones share an allocation.
    buffer: BytesMut,
    /// Bytes of the last item: the next one is likely to need as many.
    last_len: usize,
}

/// An item as it crosses: `lead` and then `payload`.
pub(super) struct EncodedItem {
    form: Form,
    lead: Option<Lead>,
    payload: Bytes,
}

impl ItemCodec {
    /// Encodes an item.
    ///
    /// # Errors
    /// The reason why it cannot cross.
    pub(super) fn encode<T: Crosses + 'static, E: WireError>(
        &mut self,
        mut event: Event<T, E>,
    ) -> Result<Option<EncodedItem>, String> {
        if let Event::Item(item) = &mut event
            && !self.as_json
            && let Some((lead, payload)) = codec::take_bytes(item, UNCOPIED_BYTES_MIN)
        {
            check_len(lead.as_slice().len() + payload.len())?;
            return Ok(Some(EncodedItem { form: Form::Compact, lead: Some(lead), payload }));
        }
        let form = self.write(&event)?;
        let payload = self.buffer.split().freeze();
        Ok(form.map(|form| EncodedItem { form, lead: None, payload }))
    }

    /// Whether an item can cross.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub(super) fn try_out<T: Crosses, E: WireError>(event: &Event<T, E>) -> Result<(), String> {
        ItemCodec::default().write(event).map(|_| ())
    }

    fn write<T: Crosses, E: WireError>(&mut self, event: &Event<T, E>) -> Result<Option<Form>, String> {
        let ItemCodec { items, errors, as_json, buffer, last_len } = self;
        buffer.reserve(*last_len);
        let form = match (event, *as_json) {
            (Event::Item(item), false) => data_code(|| codec::encode::<T, T>(item, items, buffer).map(Some)),
            (Event::Image(image), false) => {
                data_code(|| codec::encode::<E::Image, E::Image>(image, errors, buffer).map(Some))
            }
            (Event::Item(item), true) => data_code(|| json(item, buffer).map(Some)),
            (Event::Image(image), true) => data_code(|| json(image, buffer).map(Some)),
            (Event::Error(_) | Event::Broken(_), _) => Ok(None),
        };
        if form.is_err() {
            // What its code had written before it panicked is no part of the next item.
            buffer.clear();
        }
        *last_len = buffer.len();
        check_len(buffer.len())?;
        form
    }
}

fn json(value: &impl Serialize, buffer: &mut BytesMut) -> serde_json::Result<Form> {
    buffer.extend_from_slice(&serde_json::to_vec(value)?);
    Ok(Form::Json)
}

fn check_len(len: usize) -> Result<(), String> {
    if len <= ITEM_BYTES_MAX {
        return Ok(());
    }
    Err(format!("an item has {len} bytes, above the bound of {ITEM_BYTES_MAX}"))
}
