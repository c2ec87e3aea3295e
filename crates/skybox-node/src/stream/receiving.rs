//! The end of a stream where its items arrive and are read.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use skybox_core::{CallErrorKind, WireError};
use skybox_wire::codec::{self, DecodeError, Form};
use skybox_wire::frame::{FrameError, ItemFrame, PayloadOf, StreamId, encode_credit, encode_reset};
use skybox_wire::stream::{Arrived, Receiving};

use super::layer::uncrossable;
use super::{Event, Source, Streams};
use crate::app::AppId;
use crate::call::Crosses;
use crate::call::far::{data_code, in_app};
use crate::host::lock;
use crate::metrics::Edge;

/// What has arrived. Shared between the frames that come in and the reader.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    receiving: Receiving,
    /// Not read yet. Bounded by what was asked for.
    items: VecDeque<Arrived>,
    /// Nothing more comes, and why if it broke off.
    ended: Option<Option<CallErrorKind>>,
    waker: Option<Waker>,
}

impl Incoming {
    /// Of a stream that is over before anything came.
    pub(super) fn broken(kind: CallErrorKind) -> Incoming {
        Incoming { state: Mutex::new(State { ended: Some(Some(kind)), ..State::default() }) }
    }

    pub(super) fn begin(&self, item: ItemFrame) -> Result<(), FrameError> {
        let mut state = lock(&self.state);
        let arrived = state.receiving.begin(item)?;
        add(state, arrived);
        Ok(())
    }

    pub(super) fn push(&self, stream: StreamId, chunk: &[u8]) -> Result<(), FrameError> {
        let mut state = lock(&self.state);
        let arrived = state.receiving.push(stream, chunk)?;
        add(state, arrived);
        Ok(())
    }

    /// Lends what has arrived of an item, with room for so many bytes that come next.
    pub(crate) fn lend(&self, stream: StreamId, len: usize) -> Result<Vec<u8>, FrameError> {
        lock(&self.state).receiving.lend(stream, len)
    }

    /// Takes back what was lent.
    pub(crate) fn give_back(&self, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        let arrived = state.receiving.give_back(bytes);
        add(state, arrived);
    }

    pub(super) fn end(&self, failed: Option<CallErrorKind>) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(failed);
        wake(state);
    }
}

fn add(mut state: MutexGuard<'_, State>, arrived: Option<Arrived>) {
    if let Some(arrived) = arrived {
        state.items.push_back(arrived);
        wake(state);
    }
}

/// Wakes the reader outside the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A reader's end. Dropped, its sender stops.
#[derive(Debug)]
pub(crate) struct Inlet {
    streams: Arc<Streams>,
    id: StreamId,
    incoming: Arc<Incoming>,
    /// The sender knows that nobody reads any more, or has told so itself.
    over: bool,
}

impl Inlet {
    pub(super) fn new(streams: Arc<Streams>, id: StreamId, incoming: Arc<Incoming>) -> Inlet {
        Inlet { streams, id, incoming, over: false }
    }

    pub(crate) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrived, CallErrorKind>>> {
        let mut state = lock(&self.incoming.state);
        let Some(item) = state.items.pop_front() else {
            if let Some(failed) = state.ended.take() {
                self.over = true;
                return Poll::Ready(failed.map(Err));
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            let credit = state.receiving.ask();
            drop(state);
            if let Some(credit) = credit {
                self.streams.write(|out| encode_credit(out, self.id, credit));
            }
            return Poll::Pending;
        };
        // Who has sent the end waits for no credit.
        let credit = if state.ended.is_none() { state.receiving.took(item.payload.len()) } else { None };
        drop(state);
        if let Some(credit) = credit {
            self.streams.write(|out| encode_credit(out, self.id, credit));
        }
        Poll::Ready(Some(Ok(item)))
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        if !self.over && self.streams.remove_receiving(self.id, &self.incoming) {
            self.streams.write(|out| encode_reset(out, self.id));
        }
    }
}

/// A stream whose items come from elsewhere.
pub(super) struct Remote<T, E> {
    inlet: Inlet,
    of: PayloadOf,
    app: AppId,
    /// Where items are counted: at the caller, those of results.
    edge: Option<Arc<Edge>>,
    types: PhantomData<fn() -> (T, E)>,
}

impl<T, E> Remote<T, E> {
    pub(super) fn new(inlet: Inlet, of: PayloadOf, app: AppId, edge: Option<Arc<Edge>>) -> Remote<T, E> {
        Remote { inlet, of, app, edge, types: PhantomData }
    }
}

impl<T: Crosses + 'static, E: WireError> Source<T, E> for Remote<T, E> {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T, E>>> {
        let item = match ready!(self.inlet.poll_item(cx)) {
            None => return Poll::Ready(None),
            Some(Err(kind)) => return Poll::Ready(Some(Event::Broken(kind))),
            Some(Ok(item)) => item,
        };
        if let Some(edge) = &self.edge {
            edge.item_read(item.payload.len());
        }
        let decoded = in_app(self.app, || data_code(|| decode(&item)));
        Poll::Ready(Some(decoded.unwrap_or_else(|why| {
            let why = format!("an item cannot be decoded: {why}");
            Event::Broken(uncrossable(self.of == PayloadOf::Call, why))
        })))
    }
}

fn decode<T: Crosses + 'static, E: WireError>(item: &Arrived) -> Result<Event<T, E>, DecodeError> {
    let Arrived { head, payload, is_alone } = item;
    let form = Form::try_from(head.form)?;
    if head.is_error {
        return codec::decode(form, payload).map(Event::Image);
    }
    // What shares its memory with other frames is copied: whoever keeps it must not keep them.
    let bytes = if *is_alone { codec::decode_bytes(form, payload) } else { None };
    bytes.map_or_else(|| codec::decode(form, payload), Ok).map(Event::Item)
}
