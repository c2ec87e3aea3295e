//! A call that came from elsewhere: decoded, run as a local one, answered.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallErrorKind, CallId, MethodDescriptor, Mode, Phase};
use skybox_wire::codec::{self, Form};
use skybox_wire::frame::PayloadOf;
use tokio::sync::oneshot;

use super::far::{data_code, encode_result, in_app, split, with_scratch};
use super::here::{Alone, Inline, InlineOrBoxed, Kept, Running};
use super::relayed::STREAM_KEY;
use super::turns::turn;
use super::{Crossing, Failed, RESENDS_MAX, Reply, To};
use crate::conn::Conn;
use crate::host::{Exclusive, Head, Hold, Host, HostCore, Near, Shared, Taken, Which, route_here};
use crate::module::{Method, Module};
use crate::stream::{Landing, STRICT_CALL, Streams, arriving, collecting, refusing};
use crate::thread::Inherited;

/// A call as it arrives.
pub(crate) struct Arriving {
    pub(crate) method: u16,
    pub(crate) form: Form,
    pub(crate) payload: Bytes,
    pub(crate) key: Option<Bytes>,
    pub(crate) inherited: Inherited,
    pub(crate) reply: ReplyTo,
}

/// Where an answer goes.
pub(crate) enum ReplyTo {
    Conn(Arc<Conn>, CallId),
    /// In this process: in strict mode with a way for streams, for a person at a command line without.
    Channel(oneshot::Sender<Result<Reply, Failed>>, Option<Arc<Streams>>),
}

impl ReplyTo {
    /// Where the streams of the call are, if it can have any.
    pub(super) fn streams(&self) -> Option<(&Arc<Streams>, CallId)> {
        match self {
            ReplyTo::Conn(conn, call) => Some((&conn.streams, *call)),
            ReplyTo::Channel(_, streams) => streams.as_ref().map(|streams| (streams, STRICT_CALL)),
        }
    }

    pub(crate) fn fail(self, kind: CallErrorKind) {
        match self {
            ReplyTo::Conn(conn, call) => conn.reply_failed(call, &kind),
            // Nobody listens to the answer of a call that was cancelled.
            ReplyTo::Channel(answer, _) => drop(answer.send(Err(kind))),
        }
    }

    /// Answers with a result; a large payload is taken out of `payload`.
    pub(crate) fn answer(self, own_error: bool, form: Form, payload: &mut BytesMut) {
        match self {
            ReplyTo::Conn(conn, call) => conn.reply(call, own_error, form, payload),
            ReplyTo::Channel(answer, _) => {
                drop(answer.send(Ok(Reply { own_error, form, payload: Bytes::copy_from_slice(payload) })));
            }
        }
    }
}

/// A call from elsewhere, on its way to a method of `T`.
pub struct Incoming<T: Module> {
    host: Arc<Host<T>>,
    arriving: Arriving,
}

/// A call from elsewhere, ready to be polled. Its first poll gives it its place before those that arrive later, and
/// does not hold its thread: code that may is not run before the second.
pub struct Serving {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Serving {
    pub(super) fn new(future: impl Future<Output = ()> + Send + 'static) -> Serving {
        Serving { future: Box::pin(future) }
    }

    /// The call, to its end. Dropped, it stops where its method says it may.
    pub(crate) fn run(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.future
    }
}

/// Waits for the next poll, where the code of a sync method follows that has no threads of its own.
async fn leave_the_reader(method: &MethodDescriptor) {
    if method.compute {
        tokio::task::yield_now().await;
    }
}

impl<T: Module> Incoming<T> {
    pub(crate) fn new(host: Arc<Host<T>>, arriving: Arriving) -> Incoming<T> {
        Incoming { host, arriving }
    }

    /// The number of the method that is called.
    pub fn method(&self) -> u16 {
        self.arriving.method
    }

    /// The call of a `&self` method.
    pub fn shared<O, R, W, F, Fut>(self, method: &'static Method<O, R>, wire: W, run: F) -> Serving
    where
        T: Sync,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        Serving::new(async move {
            let (host, reply, arrival) = self.arrive(method);
            let outcome = match arrival.take(&host, Mode::Shared).await {
                Err(kind) => Err(Box::new(kind)),
                Ok((taken, arguments, inherited)) => {
                    // SAFETY: a call drops its code before what it has taken.
                    let code = |taken: &Taken<T>| {
                        // SAFETY: a call drops its code before what it has taken.
                        Inline::new(run(unsafe { taken.shared() }, arguments))
                    };
                    Running::new(&host.core, taken, method.index(), inherited, wire, code).await
                }
            };
            answer(&host.core, reply, method, wire, outcome.map_err(|stopped| *stopped));
        })
    }

    /// The call of a `&self` method that is sync, `#[compute]` or `#[to_completion]`.
    pub fn detached<O, R, W, F, Fut>(self, method: &'static Method<O, R>, wire: W, run: F) -> Serving
    where
        T: Sync,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        Serving::new(async move {
            let (host, reply, arrival) = self.arrive(method);
            let outcome = match arrival.take(&host, Mode::Shared).await {
                Err(kind) => Err(Box::new(kind)),
                Ok((taken, arguments, inherited)) => {
                    let (core, descriptor) = (&host.core, method.descriptor());
                    if let Some(pool) = core.pool_for(descriptor) {
                        let deadline = inherited.deadline();
                        let code = |taken: &Taken<T>| {
                            // SAFETY: a call drops its code before what it has taken.
                            Inline::new(run(unsafe { taken.shared() }, arguments))
                        };
                        let job = Running::new(core, taken, method.index(), inherited, wire, code);
                        pool.run(deadline, job).await.unwrap_or_else(|kind| Err(Box::new(kind)))
                    } else {
                        leave_the_reader(descriptor).await;
                        let code = |taken: &Taken<T>| {
                            // SAFETY: a call drops its code before what it has taken.
                            let code = run(unsafe { taken.shared() }, arguments);
                            InlineOrBoxed::new(core, descriptor, code)
                        };
                        Running::new(core, taken, method.index(), inherited, wire, code).await
                    }
                }
            };
            answer(&host.core, reply, method, wire, outcome.map_err(|stopped| *stopped));
        })
    }

    /// The call of a `&mut self` method.
    pub fn exclusive<O, R, W, F, Fut>(self, method: &'static Method<O, R>, wire: W, run: F) -> Serving
    where
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Exclusive<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        Serving::new(async move {
            let (host, reply, arrival) = self.arrive(method);
            let outcome = match arrival.take(&host, Mode::Exclusive).await {
                Err(kind) => Err(Box::new(kind)),
                Ok((taken, arguments, inherited)) => {
                    let (core, descriptor) = (&host.core, method.descriptor());
                    // SAFETY: a call drops its code before what it has taken, and it has the exclusive turn, so
                    // nobody else is in the slot or has a reference.
                    let settle =
                        |taken: &Taken<T>| unsafe { taken.slot().put(run(taken.exclusive(), arguments)) };
                    if let Some(pool) = core.pool_for(descriptor) {
                        let deadline = inherited.deadline();
                        let job = Alone::start(core, taken, method.index(), inherited, wire, settle);
                        pool.run(deadline, job).await.unwrap_or_else(|kind| Err(Box::new(kind)))
                    } else {
                        leave_the_reader(descriptor).await;
                        let code = |taken: &Taken<T>| Kept::in_slot(core, descriptor, settle(taken));
                        Running::new(core, taken, method.index(), inherited, wire, code).await
                    }
                }
            };
            answer(&host.core, reply, method, wire, outcome.map_err(|stopped| *stopped));
        })
    }

    /// The call of a method that this version does not have.
    pub fn unknown(self) -> Serving {
        let why = format!(
            "there is no method {} in this version of `{}`",
            self.arriving.method,
            T::descriptor().name
        );
        let reply = self.arriving.reply;
        Serving::new(async move { reply.fail(CallErrorKind::Mismatch { why }) })
    }

    /// Decodes the arguments.
    fn arrive<O: DeserializeOwned, R>(self, method: &Method<O, R>) -> (Arc<Host<T>>, Answer, Arrival<T, O>) {
        let Incoming { host, arriving: Arriving { form, payload, key, inherited, reply, .. } } = self;
        let landing = method.descriptor().streams.then(|| {
            let (streams, call) = reply.streams()?;
            let (of, callee, app) = (PayloadOf::Call, method.callee(), host.core.app_id);
            let marked = form == Form::Json;
            Some(Landing { streams: streams.clone(), of, call, callee, app, edge: None, marked })
        });
        let began = host.core.served.count_remote(0).then(Instant::now);
        let late = |deadline| deadline <= tokio::time::Instant::now().into_std();
        let arguments = if inherited.deadline().is_some_and(late) {
            Err(CallErrorKind::Deadline { phase: Phase::Queued })
        } else {
            let decode = || decode_arguments::<O>(method.descriptor().parameters, form, &payload);
            let decoded = in_app(host.core.app_id, || match landing {
                None => decode(),
                Some(None) => refusing(decode),
                Some(Some(landing)) => arriving(landing, decode),
            });
            decoded.map_err(|why| CallErrorKind::Mismatch { why })
        };
        let to = host.named(key);
        let of = to.looked_at(&host.core);
        let reply = Answer { to: Some(reply), json: form == Form::Json, began, of };
        (host, reply, Arrival { arguments, to, inherited })
    }
}

/// A decoded call on its way to its instance.
struct Arrival<T, O> {
    arguments: Result<O, CallErrorKind>,
    to: To<T>,
    inherited: Inherited,
}

impl<T: Module, O> Arrival<T, O> {
    /// Takes the instance; at once, if nothing has to be waited for.
    async fn take(self, host: &Arc<Host<T>>, mode: Mode) -> Result<(Taken<T>, O, Inherited), CallErrorKind> {
        let Arrival { arguments, to, inherited } = self;
        let arguments = arguments?;
        let near = route_here(host, &to).map(Near::into_hold);
        let taken = match near {
            Some(hold) if hold.turn.is_none() => Taken::new(hold, mode),
            near => Box::pin(wait(host, near, to, mode, &inherited)).await?,
        };
        Ok((taken, arguments, inherited))
    }
}

/// Waits for the instance and its turn.
async fn wait<T: Module>(
    host: &Arc<Host<T>>,
    mut near: Option<Hold<T>>,
    to: To<T>,
    mode: Mode,
    inherited: &Inherited,
) -> Result<Taken<T>, CallErrorKind> {
    let mut first = match &to {
        To::Key(key) if near.is_none() => host.core.decided(key, inherited.deadline()).await?,
        _ => None,
    };
    for _ in 0..=RESENDS_MAX {
        let (hold, head) = match near.take().or_else(|| route_here(host, &to).map(Near::into_hold)) {
            Some(hold) => (hold, None),
            None => {
                let finding = host.find_here(&to, inherited.deadline(), None);
                let (hold, head) = Head::waits_for(first.as_ref(), finding).await?;
                (hold, Some(head))
            }
        };
        // From here on it has a place before those behind it on the instance itself.
        first.take();
        if let Some(taken) = turn(&host.core, hold, head, mode, inherited).await? {
            return Ok(taken);
        }
    }
    Err(CallErrorKind::Gone)
}

fn decode_arguments<O: DeserializeOwned>(
    parameters: &[&str],
    form: Form,
    payload: &[u8],
) -> Result<O, String> {
    let array;
    let payload = match form {
        Form::Json => {
            array = codec::json_arguments(payload, parameters).map_err(|error| error.to_string())?;
            &array[..]
        }
        _ => payload,
    };
    data_code(|| codec::decode(form, payload))
        .map_err(|why| format!("the arguments cannot be decoded: {why}"))
}

/// The duty to answer. Dropped without an answer, the caller hears that the call was cancelled.
struct Answer {
    to: Option<ReplyTo>,
    /// The caller is a person at a command line.
    json: bool,
    /// When it came, if it is one of those that are timed.
    began: Option<Instant>,
    /// Which of several instances it is for, if somebody looks at them.
    of: Option<Which>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            to.fail(CallErrorKind::Cancelled);
        }
    }
}

fn answer<O, R, W: Crossing<R>>(
    core: &HostCore,
    mut reply: Answer,
    method: &Method<O, R>,
    wire: W,
    outcome: Result<R, CallErrorKind>,
) {
    let Some(to) = reply.to.take() else { return };
    core.served.answered(0, reply.began);
    if let (Some(which), Some(began)) = (&reply.of, reply.began) {
        core.tallies.took(which.clone(), began.elapsed());
    }
    let data = match outcome.and_then(|result| split(wire, result)) {
        Ok(data) => data,
        Err(kind) => {
            core.served.call_error(&kind);
            reply.of.take().into_iter().for_each(|which| core.tallies.error(which));
            return to.fail(kind);
        }
    };
    if data.is_err() {
        core.served.own_error();
        reply.of.take().into_iter().for_each(|which| core.tallies.error(which));
    }
    with_scratch(|buffer| {
        let encode = |buffer: &mut BytesMut| match reply.json {
            true => encode_json(&data, buffer, W::IS_STREAM),
            false => encode_result(method, &data, buffer),
        };
        let encoded = if W::IS_STREAM { encode_streams(encode, buffer, &to) } else { encode(buffer) };
        match encoded {
            Ok(form) => to.answer(data.is_err(), form, buffer),
            Err(kind) => to.fail(kind),
        }
    });
}

/// Encodes a result with a stream, which is sent once its reader asks.
fn encode_streams(
    encode: impl FnOnce(&mut BytesMut) -> Result<Form, CallErrorKind>,
    buffer: &mut BytesMut,
    to: &ReplyTo,
) -> Result<Form, CallErrorKind> {
    let (encoded, outlets) = collecting(|| encode(buffer));
    let form = encoded?;
    if let Some((streams, call)) = to.streams() {
        let attached = streams.attach_sending(PayloadOf::Reply, call, &outlets, form, None);
        attached.map_err(|kind| CallErrorKind::BadReply { why: kind.to_string() })?;
    }
    Ok(form)
}

fn encode_json<V: Serialize, I: Serialize>(
    data: &Result<V, I>,
    buffer: &mut BytesMut,
    is_stream: bool,
) -> Result<Form, CallErrorKind> {
    let text = data_code(|| match data {
        // Whoever passes it on knows no types.
        Ok(position) if is_stream => serde_json::to_vec(&BTreeMap::from([(STREAM_KEY, position)])),
        Ok(value) => serde_json::to_vec(value),
        Err(image) => serde_json::to_vec(image),
    });
    let text = text.map_err(|why| CallErrorKind::BadReply { why: format!("it has no JSON form: {why}") })?;
    buffer.extend_from_slice(&text);
    Ok(Form::Json)
}

impl<T: Module> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({}.{})", T::descriptor().name, self.arriving.method)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}
