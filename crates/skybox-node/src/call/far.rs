//! A call that leaves its caller: to another node, or in strict mode through the codec onto another task.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallErrorKind, Context, ModuleKind, NodeName, Phase, TraceContext};
use skybox_wire::codec::{self, Form};
use skybox_wire::frame::PayloadOf;
use tokio::sync::oneshot;

use super::find::Tries;
use super::turns::refuse;
use super::{Arriving, Crossing, Relayed, ReplyTo, catch};
use crate::app::AppId;
use crate::conn::{Conn, PendingCall, Request};
use crate::host::{AnyHost, Head, Host, HostCore};
use crate::links::Peer;
use crate::metrics::Edge;
use crate::module::{Method, Module};
use crate::spans::Sending;
use crate::stream::{Outlets, ReplyWay, STRICT_CALL, Streams, Unanswered, arriving, collecting};
use crate::thread::{CallerIndex, Inherited};

/// How long a caller that reached no node waits before it tries again, unless the plan changes before.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(25);

/// How long past its deadline a call waits for its callee's verdict. Both ends see the same deadline pass at the same
/// moment, and only the callee knows whether the call had begun: its "it still waited for its turn" is worth more than
/// the caller's "it may have run". A verdict takes one way back, under a millisecond on one machine; this leaves a
/// busy scheduler and a slow network the rest. Nobody waits longer for a callee that is silent.
const VERDICT_GRACE: Duration = Duration::from_millis(100);

/// Encode buffers that grew beyond this are given back: one large call must not hold memory for ever.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// How a call leaves.
pub(crate) enum Link {
    /// To another node.
    Peer(Arc<Conn>),
    /// To this very process, with everything that a network would do to it.
    Strict,
}

impl Link {
    pub(crate) fn node(&self) -> Option<NodeName> {
        match self {
            Link::Peer(conn) => Some(conn.peer().node.clone()),
            Link::Strict => None,
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The method returned its own error.
    pub(crate) own_error: bool,
    pub(crate) form: Form,
    pub(crate) payload: Bytes,
}

/// A verdict instead of a reply.
pub(crate) type Failed = CallErrorKind;

/// The outcome of sending once.
pub(crate) enum Sent<R> {
    Answered(R),
    Failed(CallErrorKind),
}

/// Whether a call that failed this way may be sent again.
pub(crate) fn may_resend(kind: &CallErrorKind, idempotent: bool) -> bool {
    match kind {
        CallErrorKind::Unreachable { .. } | CallErrorKind::Moved | CallErrorKind::Overloaded { .. } => true,
        CallErrorKind::Lost { .. } => idempotent,
        _ => false,
    }
}

/// Opens a connection to one of the peers, whichever can be reached first, beginning anywhere.
pub(crate) async fn connect(core: &HostCore, peers: &[Arc<Peer>]) -> Result<Link, String> {
    let Some(app) = core.app.upgrade() else { return Err("the App has ended".to_owned()) };
    let offset = app.random.below(peers.len() as u64) as usize;
    let mut why = String::new();
    for n in 0..peers.len() {
        let peer = &peers[(offset + n) % peers.len()];
        match peer.connect(&app).await {
            Ok(conn) => return Ok(Link::Peer(conn)),
            Err(error) => why = format!("{} could not be reached: {error}", peer.node),
        }
    }
    Err(why)
}

/// A call that was sent, with what is needed to take its answer.
pub(crate) struct SentCall {
    pending: PendingCall,
    sending: Sending,
    /// When, if this call is timed.
    began: Option<Instant>,
    caller: CallerIndex,
}

/// Sends a call over a connection. `None` if it could not be encoded or handed over: the long way says why.
pub(crate) fn send<A, O, R>(
    core: &HostCore,
    conn: Arc<Conn>,
    method: &'static Method<O, R>,
    inherited: &Inherited,
    key: Option<&[u8]>,
    arguments: &A,
) -> Option<SentCall>
where
    A: Serialize,
    O: Serialize + DeserializeOwned,
{
    if method.descriptor().streams {
        // The long way knows whether it may be sent again.
        return None;
    }
    let caller = inherited.caller();
    let edge = core.edges.edge(caller, method.index());
    let mut began = None;
    let sending = Sending::new(core, method.index(), inherited, Some(&conn.peer().node));
    let sent = encode_arguments(method, arguments, |form, payload, streams| {
        began = edge.count_remote(payload.len()).then(Instant::now);
        conn.send(&request(core, method.index(), inherited, &sending, key, &streams), form, payload)
    });
    Some(SentCall { pending: sent.ok()?.ok()?, sending, began, caller })
}

impl SentCall {
    /// Waits for the answer. A failure is the first of the tries.
    #[inline]
    pub(crate) async fn answer<O, R, W: Crossing<R>>(
        self,
        core: &HostCore,
        method: &'static Method<O, R>,
        wire: W,
    ) -> Result<R, Tries> {
        let SentCall { mut pending, sending, began, caller } = self;
        match (&mut pending).await {
            Ok(reply) => {
                sending.answered(&reply);
                let edge = core.edges.edge(caller, method.index());
                Ok(take_reply(core, method, wire, edge, began, &reply, pending.way()))
            }
            Err(kind) => {
                sending.failed(&kind);
                let mut tries = Tries::default();
                tries.failed(Some(pending.node().clone()), core.placement.load().version, kind);
                Err(tries)
            }
        }
    }
}

fn take_reply<O, R, W: Crossing<R>>(
    core: &HostCore,
    method: &'static Method<O, R>,
    wire: W,
    edge: &Arc<Edge>,
    began: Option<Instant>,
    reply: &Reply,
    way: ReplyWay<'_>,
) -> R {
    edge.answered(reply.payload.len(), began);
    if reply.own_error {
        edge.own_error();
    }
    decode_reply(core, method, wire, edge, reply, way)
}

/// Sends a call once and waits for its answer.
#[expect(clippy::too_many_arguments, reason = "one call's parts, each of another owner")]
pub(crate) async fn call<T: Module, A, O, R, W>(
    host: &Arc<Host<T>>,
    link: &Link,
    head: Option<Head>,
    method: &'static Method<O, R>,
    wire: W,
    inherited: &Inherited,
    key: Option<&[u8]>,
    arguments: &A,
    edge: &Arc<Edge>,
) -> Sent<R>
where
    A: Serialize + Sync,
    O: Serialize + DeserializeOwned + 'static,
    R: 'static,
    W: Crossing<R>,
{
    let mut began = None;
    let core = &host.core;
    let mut outlets = Outlets::new();
    // Where the clocks of two machines are told apart by what a message took, the callee may think that there is time left.
    if inherited.deadline().is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std()) {
        let kind = CallErrorKind::Deadline { phase: Phase::Unsent };
        return Sent::Answered(refuse(method, wire, edge, kind));
    }
    let sending = Sending::new(core, method.index(), inherited, link.node().as_ref());
    let failed = match link {
        Link::Peer(conn) => {
            let sent = encode_arguments(method, arguments, |form, payload, streams| {
                began = edge.count_remote(payload.len()).then(Instant::now);
                let sent = conn.clone().send(
                    &request(core, method.index(), inherited, &sending, key, &streams),
                    form,
                    payload,
                );
                outlets = streams;
                sent
            });
            // It is on its way: the next call may follow.
            drop(head);
            let mut pending = match sent {
                Err(kind) => return Sent::Answered(refuse(method, wire, edge, kind)),
                Ok(Err(kind)) => return Sent::Failed(kind),
                Ok(Ok(pending)) => pending,
            };
            match answer_in_time(&mut pending, inherited.deadline(), &outlets).await {
                Ok(reply) => {
                    sending.answered(&reply);
                    let reply = take_reply(core, method, wire, edge, began, &reply, pending.way());
                    return Sent::Answered(reply);
                }
                Err(kind) => kind,
            }
        }
        Link::Strict => {
            let encoded = encode_arguments(method, arguments, |form, payload, streams| {
                outlets = streams;
                (form, Bytes::copy_from_slice(payload))
            });
            let (form, payload) = match encoded {
                Err(kind) => return Sent::Answered(refuse(method, wire, edge, kind)),
                Ok(encoded) => encoded,
            };
            began = edge.count_remote(payload.len()).then(Instant::now);
            let answer =
                strict(host, method, inherited, sending.trace(inherited), key, form, payload, &outlets);
            match answer_in_time(answer, inherited.deadline(), &outlets).await {
                Ok((reply, streams)) => {
                    sending.answered(&reply);
                    let way = ReplyWay::Strict(streams.as_ref());
                    return Sent::Answered(take_reply(core, method, wire, edge, began, &reply, way));
                }
                Err(kind) => kind,
            }
        }
    };
    sending.failed(&failed);
    if outlets.iter().any(|outlet| outlet.has_given()) {
        // What was given is gone: nobody else can be asked.
        return Sent::Answered(refuse(method, wire, edge, failed));
    }
    Sent::Failed(failed)
}

fn request<'r>(
    core: &'r HostCore,
    method: u16,
    inherited: &'r Inherited,
    sending: &Sending,
    key: Option<&'r [u8]>,
    streams: &'r Outlets,
) -> Request<'r> {
    Request {
        module: core.index,
        method,
        key,
        context: inherited.context(),
        trace: sending.trace(inherited),
        caller: inherited.caller(),
        streams,
        edge: Some(core.edges.edge(inherited.caller(), method)),
        // A task has no handle and no state: there is nothing by which its calls could have an order.
        ordered: core.descriptor.kind != ModuleKind::Task,
    }
}

/// The callee enforces the deadline and says how far the call had come. The caller's own clock bounds the wait all the
/// same, a [`VERDICT_GRACE`] later: the callee may be gone. Once the callee reads a stream of the call, neither clock
/// counts: a deadline covers the start of a stream.
async fn answer_in_time<V>(
    answer: impl Future<Output = Result<V, Failed>>,
    deadline: Option<Instant>,
    outlets: &Outlets,
) -> Result<V, Failed> {
    let Some(deadline) = deadline else { return answer.await };
    let mut answer = pin!(answer);
    match tokio::time::timeout_at((deadline + VERDICT_GRACE).into(), &mut answer).await {
        Ok(answered) => answered,
        Err(_) if outlets.iter().any(|outlet| outlet.has_given()) => answer.await,
        Err(_) => Err(CallErrorKind::Deadline { phase: Phase::Sent }),
    }
}

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Encodes with a buffer that the thread keeps: user code may take long, so it never writes into a connection's.
pub(crate) fn with_scratch<V>(f: impl FnOnce(&mut BytesMut) -> V) -> V {
    // A `Serialize` that makes a call finds the buffer taken; it gets one of its own.
    let mut buffer = SCRATCH
        .with(|scratch| scratch.try_borrow_mut().map(|mut b| std::mem::take(&mut *b)).unwrap_or_default());
    buffer.clear();
    let value = f(&mut buffer);
    if buffer.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.with(|scratch| {
            if let Ok(mut kept) = scratch.try_borrow_mut() {
                *kept = buffer;
            }
        });
    }
    value
}

fn encode_arguments<A, O, R, V>(
    method: &Method<O, R>,
    arguments: &A,
    f: impl FnOnce(Form, &mut BytesMut, Outlets) -> V,
) -> Result<V, CallErrorKind>
where
    A: Serialize,
    O: Serialize + DeserializeOwned,
{
    with_scratch(|buffer| {
        let encode = |buffer| data_code(|| codec::encode::<A, O>(arguments, &method.arguments, buffer));
        let (encoded, outlets) = if method.descriptor().streams {
            collecting(|| encode(buffer))
        } else {
            (encode(buffer), Outlets::new())
        };
        let form = encoded
            .map_err(|why| CallErrorKind::Mismatch { why: format!("an argument cannot cross: {why}") })?;
        Ok(f(form, buffer, outlets))
    })
}

fn decode_reply<O, R, W: Crossing<R>>(
    core: &HostCore,
    method: &Method<O, R>,
    wire: W,
    edge: &Arc<Edge>,
    reply: &Reply,
    way: ReplyWay<'_>,
) -> R {
    let landing = if W::IS_STREAM { way.landing(method.callee(), core.app_id, Some(edge)) } else { None };
    let decode = || {
        if reply.own_error {
            codec::decode::<W::Image>(reply.form, &reply.payload).map(Err)
        } else {
            codec::decode::<W::Ok>(reply.form, &reply.payload).map(Ok)
        }
    };
    let decoded = in_app(core.app_id, || match landing {
        None => data_code(decode),
        Some(landing) => arriving(landing, || data_code(decode)),
    });
    match decoded {
        Ok(data) => wire.join(data),
        Err(why) => {
            if W::IS_STREAM {
                way.unread();
            }
            refuse(method, wire, edge, CallErrorKind::BadReply { why })
        }
    }
}

/// Runs what a type's author wrote to write or read it. A panic there is one more reason why the value cannot
/// cross; it passes no call, and takes no connection down with all the calls on it.
pub(crate) fn data_code<V, E: fmt::Display>(code: impl FnOnce() -> Result<V, E>) -> Result<V, String> {
    match catch(AssertUnwindSafe(code)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panicked) => Err(format!("its code panicked: {}", panicked.message)),
    }
}

thread_local! {
    static DECODING_IN: std::cell::Cell<AppId> = const { std::cell::Cell::new(AppId::NONE) };
}

/// Decodes as part of an App, so that handles among the values find it.
pub(crate) fn in_app<V>(app: AppId, f: impl FnOnce() -> V) -> V {
    struct Restore(AppId);
    impl Drop for Restore {
        fn drop(&mut self) {
            DECODING_IN.set(self.0);
        }
    }
    let _restore = Restore(DECODING_IN.replace(app));
    f()
}

/// The App whose values are being decoded on this thread.
pub(crate) fn decoding_in() -> AppId {
    DECODING_IN.get()
}

/// In debug builds the first inline call of each method is also encoded and decoded, so that a type that cannot
/// cross is found on the first laptop and not in the first deployment.
pub(crate) fn prove_arguments<A, O, R>(method: &Method<O, R>, arguments: &A) -> Result<(), CallErrorKind>
where
    A: Serialize,
    O: Serialize + DeserializeOwned,
{
    if method.tried[0].swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    encode_arguments(method, arguments, |_, _, _| ())
        .inspect_err(|_| method.tried[0].store(false, Ordering::Relaxed))
}

/// As [`prove_arguments`], for the result.
pub(crate) fn prove_result<O, R, W: Crossing<R>>(
    method: &Method<O, R>,
    wire: W,
    result: R,
) -> Result<R, CallErrorKind> {
    if method.tried[1].swap(true, Ordering::Relaxed) {
        return Ok(result);
    }
    let proven = split(wire, result).and_then(|data| {
        with_scratch(|buffer| collecting(|| encode_result(method, &data, buffer)).0)?;
        Ok(wire.join(data))
    });
    proven.inspect_err(|_| method.tried[1].store(false, Ordering::Relaxed))
}

/// A result as data.
pub(crate) fn split<R, W: Crossing<R>>(wire: W, result: R) -> Result<Result<W::Ok, W::Image>, CallErrorKind> {
    data_code(|| Ok::<_, Infallible>(wire.split(result))).map_err(|why| CallErrorKind::BadReply { why })
}

/// Encodes a method's result.
pub(crate) fn encode_result<O, R, V, I>(
    method: &Method<O, R>,
    data: &Result<V, I>,
    buffer: &mut BytesMut,
) -> Result<Form, CallErrorKind>
where
    V: Serialize + DeserializeOwned,
    I: Serialize + DeserializeOwned,
{
    let encoded = data_code(|| match data {
        Ok(value) => codec::encode::<V, V>(value, &method.result, buffer),
        Err(image) => codec::encode::<I, I>(image, &method.error, buffer),
    });
    encoded.map_err(|why| CallErrorKind::BadReply { why })
}

/// Strict mode: the call runs on another task, after a moment, from bytes; an idempotent one sometimes twice.
#[expect(clippy::too_many_arguments, reason = "one call's parts, each of another owner")]
async fn strict<T: Module, O, R>(
    host: &Arc<Host<T>>,
    method: &'static Method<O, R>,
    inherited: &Inherited,
    trace: Option<TraceContext>,
    key: Option<&[u8]>,
    form: Form,
    payload: Bytes,
    outlets: &Outlets,
) -> Result<(Reply, Option<Arc<Streams>>), Failed> {
    let Some(app) = host.core.app.upgrade() else { return Err(CallErrorKind::Gone) };
    let descriptor = method.descriptor();
    let context = Context { trace, ..inherited.context().clone() };
    let streams = descriptor.streams.then(|| Streams::strict(host.core.runtime.clone()));
    let unanswered = Unanswered(streams.clone());
    if let Some(streams) = &streams {
        let edge = host.core.edges.edge(inherited.caller(), method.index());
        streams.attach_sending(PayloadOf::Call, STRICT_CALL, outlets, form, Some(edge))?;
    }
    let twice = descriptor.idempotent && !descriptor.streams && app.random.below(4) == 0;
    let mut last = Err(CallErrorKind::Cancelled);
    for _ in 0..=u32::from(twice) {
        // As on a connection, calls arrive in the order in which they were sent.
        let arrival = host.core.strict_way.clone().lock_owned().await;
        let (reply, answer) = oneshot::channel();
        let arriving = Arriving {
            method: method.index(),
            form,
            payload: payload.clone(),
            key: key.map(Bytes::copy_from_slice),
            inherited: Inherited::arrived(context.clone(), host.core.app_id, inherited.caller()),
            reply: ReplyTo::Channel(reply, streams.clone()),
        };
        let serving = host.clone().serve(arriving);
        let delay = app.random.below(3);
        let task = AbortOnDrop(host.core.runtime.spawn(async move {
            match delay {
                0 => {}
                1 => tokio::task::yield_now().await,
                _ => tokio::time::sleep(Duration::from_micros(200)).await,
            }
            let mut running = serving.run();
            let pending = poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx).is_pending())).await;
            drop(arrival);
            if pending {
                running.await;
            }
        }));
        last = answer.await.unwrap_or(Err(CallErrorKind::Cancelled));
        drop(task);
    }
    last.map(|reply| (reply, unanswered.answered()))
}

/// Sends a call from the command line on to where its module is.
pub(crate) async fn relay(
    core: &HostCore,
    conn: &Arc<Conn>,
    method: u16,
    key: Option<&[u8]>,
    payload: &[u8],
    outlets: &Outlets,
) -> Result<Relayed, Failed> {
    let inherited = Inherited::nothing();
    let mut payload = BytesMut::from(payload);
    let request = request(core, method, &inherited, &Sending::of_an_operator(), key, outlets);
    let mut pending = conn.clone().send(&request, Form::Json, &mut payload)?;
    let reply = (&mut pending).await?;
    Ok(Relayed::read(core, method, &reply, pending.way()))
}

/// Runs a call from the command line here.
pub(crate) async fn relay_here<T: Module>(
    host: &Arc<Host<T>>,
    method: u16,
    key: Option<Bytes>,
    payload: Bytes,
    outlets: &Outlets,
) -> Result<Relayed, Failed> {
    let (reply, answer) = oneshot::channel();
    let core = &host.core;
    let streams = Streams::strict(core.runtime.clone());
    let unanswered = Unanswered(Some(streams.clone()));
    streams.attach_sending(PayloadOf::Call, STRICT_CALL, outlets, Form::Json, None)?;
    let inherited = Inherited::nothing().within(core.app_id, CallerIndex(0));
    let reply = ReplyTo::Channel(reply, Some(streams));
    let arriving = Arriving { method, form: Form::Json, payload, key, inherited, reply };
    let task = AbortOnDrop(core.runtime.spawn(host.clone().serve(arriving).run()));
    let reply = answer.await.unwrap_or(Err(CallErrorKind::Cancelled))?;
    drop(task);
    Ok(Relayed::read(core, method, &reply, ReplyWay::Strict(unanswered.answered().as_ref())))
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
