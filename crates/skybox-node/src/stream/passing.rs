//! A stream on its way through a call, among the arguments or as the result.
//!
//! It is written as its position, and its items go beside the call. Which streams a payload holds is collected while
//! it is encoded, and what their readers are attached to is known while it is decoded, both by the thread: values
//! are written and read by serde, which has no place for more.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skybox_core::{CallErrorKind, CallId, Callee, Error, WireError};
use skybox_wire::frame::{PayloadOf, StreamId};
use skybox_wire::stream::STREAMS_PER_CALL_MAX;

use super::layer::{Layer, Maker, uncrossable};
use super::receiving::Remote;
use super::sending::{ItemCodec, Outlet, Sender, pump};
use super::{Event, Source, Stream, Streams};
use crate::app::AppId;
use crate::call::Crosses;
use crate::host::lock;
use crate::metrics::Edge;

/// A stream that is an argument or a result at this moment.
pub struct Passing<T, E: WireError = Error>(What<T, E>);

enum What<T, E: WireError> {
    /// It is here, until somebody takes it.
    Here(Arc<Place<T, E>>),
    /// Read while the codec proves that a payload can be read: a position and nothing else.
    Proof(u8),
}

/// Where a stream waits for whoever reads it: the method, or the task that sends its items.
struct Place<T, E: WireError> {
    of: PayloadOf,
    stream: Mutex<Option<Stream<T, E>>>,
    /// Somebody has asked for an item.
    given: AtomicBool,
}

impl<T, E: WireError> Place<T, E> {
    fn take(&self) -> Option<Stream<T, E>> {
        self.given.store(true, Ordering::Release);
        lock(&self.stream).take()
    }
}

/// A stream type as it crosses.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `skybox::Stream`",
    label = "this has the name of a stream and is none",
    note = "a type of a signature that is called `Stream` is taken for `skybox::Stream`: give yours another name"
)]
pub trait Streaming {
    /// What stands in its place among the arguments.
    type Passing;
}

impl<T, E: WireError> Streaming for Stream<T, E> {
    type Passing = Passing<T, E>;
}

impl<T: 'static, E: WireError + 'static> Passing<T, E> {
    /// An argument, at the moment of its call.
    pub(crate) fn argument(stream: Stream<T, E>, callee: Callee) -> Passing<T, E> {
        Passing::of(PayloadOf::Call, Stream::from_source(Layer::new(stream, Maker::Caller), callee))
    }

    /// A stream that has its layer already.
    pub(crate) fn of(of: PayloadOf, stream: Stream<T, E>) -> Passing<T, E> {
        let place = Place { of, stream: Mutex::new(Some(stream)), given: AtomicBool::new(false) };
        Passing(What::Here(Arc::new(place)))
    }

    /// The stream.
    pub(crate) fn into_stream(self) -> Stream<T, E> {
        let stream = match self.0 {
            What::Here(place) => place.take(),
            What::Proof(_) => None,
        };
        // A call is not sent again once its streams were asked for something, and a proof reaches no method.
        stream.unwrap_or_else(|| Stream { source: None, ..Stream::from_source(Never, super::NO_CALL) })
    }
}

/// The source of a stream without any.
struct Never;

impl<T, E: WireError> Source<T, E> for Never {
    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Option<Event<T, E>>> {
        Poll::Ready(None)
    }
}

impl<T: Crosses, E: WireError> Place<T, E> {
    /// In debug builds: the first item is encoded, also if it stays here.
    fn try_first(&self) {
        if cfg!(debug_assertions)
            && let Some(stream) = &mut *lock(&self.stream)
        {
            stream.trial = Some(match self.of {
                PayloadOf::Call => |event| try_item(event, PayloadOf::Call),
                PayloadOf::Reply => |event| try_item(event, PayloadOf::Reply),
            });
        }
    }
}

fn try_item<T: Crosses, E: WireError>(event: &Event<T, E>, of: PayloadOf) -> Result<(), CallErrorKind> {
    ItemCodec::try_out(event).map_err(|why| uncrossable(of == PayloadOf::Call, why))
}

impl<T: Crosses + 'static, E: WireError + 'static> Outlet for Place<T, E> {
    fn pump(self: Arc<Self>, sender: Sender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let taken = sender.begun(|| self.take()).await;
            drop(self);
            if let Some(stream) = taken {
                pump(stream, sender).await;
            }
        })
    }

    fn has_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }
}

/// The streams of one payload, in the order of their positions.
pub(crate) type Outlets = Vec<Arc<dyn Outlet>>;

/// Where the streams of a payload that is being decoded are attached.
#[derive(Clone)]
pub(crate) struct Landing {
    pub(crate) streams: Arc<Streams>,
    pub(crate) of: PayloadOf,
    pub(crate) call: CallId,
    pub(crate) callee: Callee,
    pub(crate) app: AppId,
    /// Where the items are counted.
    pub(crate) edge: Option<Arc<Edge>>,
    /// The payload is of a person at a command line: only what was marked as a stream is one ([`FROM_A_PERSON`]).
    pub(crate) marked: bool,
}

/// Added to a stream's position in arguments that a person has written. Without it a number that stands where a
/// stream belongs would be taken for one that nobody sends.
pub(crate) const FROM_A_PERSON: u32 = 1 << 31;

thread_local! {
    static COLLECTED: RefCell<Option<Outlets>> = const { RefCell::new(None) };
    static ARRIVING: RefCell<Option<Result<Landing, &'static str>>> = const { RefCell::new(None) };
}

/// Puts a value into a thread's cell for as long as it lives.
struct Scope<V: 'static> {
    cell: &'static std::thread::LocalKey<RefCell<Option<V>>>,
    before: Option<V>,
}

impl<V> Scope<V> {
    fn enter(cell: &'static std::thread::LocalKey<RefCell<Option<V>>>, value: V) -> Scope<V> {
        Scope { cell, before: cell.replace(Some(value)) }
    }
}

impl<V> Drop for Scope<V> {
    fn drop(&mut self) {
        self.cell.replace(self.before.take());
    }
}

/// Runs code that encodes a payload; returns the streams in it as well.
pub(crate) fn collecting<R>(encode: impl FnOnce() -> R) -> (R, Outlets) {
    let _scope = Scope::enter(&COLLECTED, Vec::new());
    let value = encode();
    (value, COLLECTED.take().unwrap_or_default())
}

/// Runs code that decodes a payload whose streams are attached there.
pub(crate) fn arriving<R>(landing: Landing, decode: impl FnOnce() -> R) -> R {
    let _scope = Scope::enter(&ARRIVING, Ok(landing));
    decode()
}

/// Runs code that decodes a payload without a way for streams.
pub(crate) fn refusing<R>(decode: impl FnOnce() -> R) -> R {
    let _scope = Scope::enter(&ARRIVING, Err("this call has no way for streams"));
    decode()
}

impl<T: Crosses + 'static, E: WireError + 'static> Serialize for Passing<T, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place: Arc<dyn Outlet> = match &self.0 {
            What::Proof(position) => return serializer.serialize_u32(u32::from(*position)),
            What::Here(place) => {
                place.try_first();
                place.clone()
            }
        };
        let position = COLLECTED.with_borrow_mut(|collected| {
            let collected = collected.as_mut().ok_or("a stream crosses only in a call")?;
            // A payload may be written more than once until its form is found.
            let known =
                collected.iter().position(|other| std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(&place)));
            let position = known.unwrap_or_else(|| {
                collected.push(place);
                collected.len() - 1
            });
            u8::try_from(position)
                .ok()
                .filter(|position| *position < STREAMS_PER_CALL_MAX)
                .ok_or("a call has too many streams")
        });
        serializer.serialize_u32(u32::from(position.map_err(S::Error::custom)?))
    }
}

impl<'de, T: Crosses + 'static, E: WireError + 'static> Deserialize<'de> for Passing<T, E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Passing<T, E>, D::Error> {
        let mut position = u32::deserialize(deserializer)?;
        if ARRIVING.with_borrow(|landing| matches!(landing, Some(Ok(landing)) if landing.marked)) {
            let unmarked = position.checked_sub(FROM_A_PERSON);
            position = unmarked.ok_or_else(|| D::Error::custom("a stream is given with --stdin"))?;
        }
        let position = u8::try_from(position)
            .ok()
            .filter(|position| *position < STREAMS_PER_CALL_MAX)
            .ok_or_else(|| D::Error::custom(format!("there is no stream {position} in a call")))?;
        let landing = match ARRIVING.with_borrow(Clone::clone) {
            None => return Ok(Passing(What::Proof(position))),
            Some(landing) => landing.map_err(D::Error::custom)?,
        };
        let Landing { streams, of, call, callee, app, edge, .. } = landing;
        let inlet = streams.attach_receiving(StreamId { of, call, position }).map_err(D::Error::custom)?;
        Ok(Passing::of(of, Stream::from_source(Remote::new(inlet, of, app, edge), callee)))
    }
}

impl<T, E: WireError> fmt::Debug for Passing<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passing")
    }
}
