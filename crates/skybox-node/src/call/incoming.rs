//! A call that came from elsewhere: decoded, run as a local one, answered.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallErrorKind, CallId, MethodDescriptor, Mode, Phase};
use skybox_wire::codec::{self, Form};
use skybox_wire::frame::PayloadOf;
use tokio::sync::oneshot;

use super::far::{data_code, encode_result, in_app, split, with_scratch};
use super::turns::{run_detached, run_exclusive, turn_exclusive, turn_shared};
use super::{Crossing, Failed, RESENDS_MAX, Reply, here};
use crate::conn::Conn;
use crate::host::{Exclusive, Hold, Host, HostCore, Shared};
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
    fn streams(&self) -> Option<(&Arc<Streams>, CallId)> {
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
    fn new(future: impl Future<Output = ()> + Send + 'static) -> Serving {
        Serving { future: Box::pin(future) }
    }

    /// The call, to its end. Dropped, it stops where its method says it may.
    pub(crate) fn run(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.future
    }
}

/// Waits for the next poll, where the code of a sync method follows that has no threads of its own.
async fn leave_the_reader(core: &HostCore, method: &MethodDescriptor) {
    if method.compute && core.pool().is_none() {
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
            let outcome = match arrival.shared(&host).await {
                Err(kind) => Err(kind),
                Ok((shared, arguments, inherited)) => {
                    let frame =
                        here::frame(&host.core, shared.instance(), Mode::Shared, method.index(), inherited);
                    here::run(&*host.core, frame, run(shared, arguments)).await.map_err(|stopped| *stopped)
                }
            };
            answer(reply, method, wire, outcome);
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
            let outcome = match arrival.shared(&host).await {
                Err(kind) => Err(kind),
                Ok((shared, arguments, inherited)) => {
                    leave_the_reader(&host.core, method.descriptor()).await;
                    let outcome = run_detached(&host.core, method, inherited, shared, arguments, run).await;
                    outcome.map_err(|stopped| *stopped)
                }
            };
            answer(reply, method, wire, outcome);
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
            let outcome = match arrival.exclusive(&host).await {
                Err(kind) => Err(kind),
                Ok((exclusive, arguments, inherited)) => {
                    leave_the_reader(&host.core, method.descriptor()).await;
                    let outcome =
                        run_exclusive(&host.core, method, inherited, exclusive, arguments, run).await;
                    outcome.map_err(|stopped| *stopped)
                }
            };
            answer(reply, method, wire, outcome);
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
    fn arrive<O: DeserializeOwned, R>(self, method: &Method<O, R>) -> (Arc<Host<T>>, Answer, Arrival<O>) {
        let Incoming { host, arriving: Arriving { form, payload, key, inherited, reply, .. } } = self;
        let landing = method.descriptor().streams.then(|| {
            let (streams, call) = reply.streams().filter(|_| form != Form::Json)?;
            let (of, callee, app) = (PayloadOf::Call, method.callee(), host.core.app_id);
            Some(Landing { streams: streams.clone(), of, call, callee, app })
        });
        let reply = Answer { to: Some(reply), json: form == Form::Json };
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
        (host, reply, Arrival { arguments, key, inherited })
    }
}

/// A decoded call on its way to its instance.
struct Arrival<O> {
    arguments: Result<O, CallErrorKind>,
    key: Option<Bytes>,
    inherited: Inherited,
}

impl<O> Arrival<O> {
    /// Takes the instance for a `&self` call; at once, if nothing has to be waited for.
    async fn shared<T: Module>(
        self,
        host: &Arc<Host<T>>,
    ) -> Result<(Shared<T>, O, Inherited), CallErrorKind> {
        let Arrival { arguments, key, inherited } = self;
        let arguments = arguments?;
        let shared = match crate::host::route_here(host, key.as_ref()) {
            Some(hold) if hold.turn.is_none() => Shared::new(hold),
            found => Box::pin(wait_shared(host, found, key, &inherited)).await?,
        };
        Ok((shared, arguments, inherited))
    }

    /// Takes the instance for a `&mut self` call.
    async fn exclusive<T: Module>(
        self,
        host: &Arc<Host<T>>,
    ) -> Result<(Exclusive<T>, O, Inherited), CallErrorKind> {
        let Arrival { arguments, key, inherited } = self;
        let arguments = arguments?;
        for _ in 0..=RESENDS_MAX {
            let (hold, head) = match crate::host::route_here(host, key.as_ref()) {
                Some(hold) => (hold, None),
                None => {
                    let (hold, head) = Box::pin(host.find_here(key.as_ref(), inherited.deadline())).await?;
                    (hold, Some(head))
                }
            };
            if let Some(exclusive) = turn_exclusive(&host.core, hold, head, &inherited).await? {
                return Ok((exclusive, arguments, inherited));
            }
        }
        Err(CallErrorKind::Gone)
    }
}

async fn wait_shared<T: Module>(
    host: &Arc<Host<T>>,
    mut found: Option<Hold<T>>,
    key: Option<Bytes>,
    inherited: &Inherited,
) -> Result<Shared<T>, CallErrorKind> {
    for _ in 0..=RESENDS_MAX {
        let (hold, head) = match found.take() {
            Some(hold) => (hold, None),
            None => {
                let (hold, head) = host.find_here(key.as_ref(), inherited.deadline()).await?;
                (hold, Some(head))
            }
        };
        if let Some(shared) = turn_shared(&host.core, hold, head, inherited).await? {
            return Ok(shared);
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
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            to.fail(CallErrorKind::Cancelled);
        }
    }
}

fn answer<O, R, W: Crossing<R>>(
    mut reply: Answer,
    method: &Method<O, R>,
    wire: W,
    outcome: Result<R, CallErrorKind>,
) {
    let Some(to) = reply.to.take() else { return };
    let data = match outcome.and_then(|result| split(wire, result)) {
        Ok(data) => data,
        Err(kind) => return to.fail(kind),
    };
    with_scratch(|buffer| {
        let encoded = if reply.json {
            encode_json(&data, buffer)
        } else if W::IS_STREAM {
            encode_streams(method, &data, buffer, &to)
        } else {
            encode_result(method, &data, buffer)
        };
        match encoded {
            Ok(form) => to.answer(data.is_err(), form, buffer),
            Err(kind) => to.fail(kind),
        }
    });
}

/// Encodes a result with a stream, which is sent once its reader asks.
fn encode_streams<O, R, V, I>(
    method: &Method<O, R>,
    data: &Result<V, I>,
    buffer: &mut BytesMut,
    to: &ReplyTo,
) -> Result<Form, CallErrorKind>
where
    V: Serialize + DeserializeOwned,
    I: Serialize + DeserializeOwned,
{
    let (encoded, outlets) = collecting(|| encode_result(method, data, buffer));
    let form = encoded?;
    if let Some((streams, call)) = to.streams() {
        let attached = streams.attach_sending(PayloadOf::Reply, call, &outlets);
        attached.map_err(|kind| CallErrorKind::BadReply { why: kind.to_string() })?;
    }
    Ok(form)
}

fn encode_json<V: Serialize, I: Serialize>(
    data: &Result<V, I>,
    buffer: &mut BytesMut,
) -> Result<Form, CallErrorKind> {
    let text = data_code(|| match data {
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
