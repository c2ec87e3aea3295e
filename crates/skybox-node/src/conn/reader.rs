//! The one task that reads from a connection: it hands replies to those who wait, and runs the peer's calls.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId, Context};
use skybox_wire::codec::Form;
use skybox_wire::frame::{
    Beat, Begun, CallFrame, Decoder, Frame, FrameError, Limits, Outcome, PayloadOf, Progress, Reassembly,
    ReplyBody, ReplyFrame, encode_pong,
};
use skybox_wire::handshake::Role;
use tokio::io::AsyncRead;

use super::past::{ItemBegun, Past};
use super::{Conn, Kin, Right};
use crate::app::AppInner;
use crate::call::{Arriving, Reply, ReplyTo, Serving};
use crate::clock;
use crate::host::lock;
use crate::stream::Incoming;
use crate::thread::{CallerIndex, Inherited};

/// Bytes that are read past the buffer at least: of an item of which less is missing, a copy costs less than a read.
const PAST_BYTES_MIN: usize = 8 * 1024;

thread_local! {
    /// The connection whose frames this thread is working on.
    static READING: Cell<*const Conn> = const { Cell::new(ptr::null()) };
}

/// Whether this thread is polling a call that it has just read from `conn`.
pub(super) fn is_reading(conn: &Conn) -> bool {
    ptr::eq(READING.get(), conn)
}

/// Incomplete payloads, one way each.
struct Partial {
    calls: Reassembly<CallFrame>,
    replies: Reassembly<ReplyHead>,
}

/// What a reply needs when its payload is complete.
struct ReplyHead {
    call: CallId,
    own_error: bool,
    form: u8,
}

/// Reads until the connection is over.
pub(super) async fn read<R: AsyncRead + Unpin>(conn: Arc<Conn>, mut socket: R, mut buffer: BytesMut) {
    let mut decoder = Decoder::new(Limits::default());
    let mut partial =
        Partial { calls: Reassembly::new(Limits::default()), replies: Reassembly::new(Limits::default()) };
    let mut closed = pin!(conn.wait_closed());
    let mut past = Past::default();
    let why = loop {
        // All frames of a read in one poll: what is kept across an await is copied there and back, for each of them.
        let taken =
            poll_fn(|cx| Poll::Ready(take_frames(&conn, &mut decoder, &mut partial, &mut buffer, cx)));
        let begun = match taken.await {
            Ok(begun) => begun,
            Err(error) => {
                crate::log_limit::warn("frame", &format!("{} sent a bad frame: {error}", conn.peer.node));
                break format!("{} sent a bad frame: {error}", conn.peer.node);
            }
        };
        conn.write_inline();
        let heard = || conn.heard_ms.store(clock::process_ms(), Ordering::Relaxed);
        let reading = async {
            match begun {
                Some(begun) => past.read_item(&mut socket, &mut buffer, begun, heard).await,
                None => past.read_on(&mut socket, &mut buffer, heard).await,
            }
        };
        let read = tokio::select! {
            biased;
            read = reading => read,
            () = &mut closed => return,
        };
        match read {
            Ok(true) => {}
            Ok(false) => break format!("{} closed the connection", conn.peer.node),
            Err(error) => break format!("reading from {} failed: {error}", conn.peer.node),
        }
    };
    let why = conn.why_broken(why).await;
    conn.close(&why);
}

impl Conn {
    /// Counts a call or reply that came in. Only the reader does.
    fn count_frame(&self) {
        self.frames_in.store(self.frames_in.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

fn take_frames(
    conn: &Arc<Conn>,
    decoder: &mut Decoder,
    partial: &mut Partial,
    buffer: &mut BytesMut,
    cx: &mut TaskContext<'_>,
) -> Result<Option<ItemBegun>, FrameError> {
    let app = conn.app.upgrade();
    while let Some(frame) = decoder.next(buffer)? {
        match frame {
            Frame::Call(call) => {
                conn.count_frame();
                let (id, payload) = (call.call, call.payload.clone());
                let progress = partial.calls.begin(id, call, payload)?;
                call_progress(conn, app.as_ref(), progress, cx);
            }
            Frame::Reply(reply) => {
                conn.count_frame();
                take_reply(conn, partial, reply)?;
            }
            Frame::Chunk(chunk) => match chunk.of {
                PayloadOf::Call => {
                    let progress = partial.calls.push(chunk.call, &chunk.bytes)?;
                    call_progress(conn, app.as_ref(), progress, cx);
                }
                PayloadOf::Reply => reply_progress(conn, partial.replies.push(chunk.call, &chunk.bytes)?),
            },
            Frame::Cancel(call) => {
                partial.calls.end(call);
                conn.streams.unread(PayloadOf::Reply, call);
                if let Some(task) = lock(&conn.tasks).remove(&call) {
                    conn.tasks_len.fetch_sub(1, Ordering::Release);
                    task.abort();
                }
            }
            Frame::Ping(beat) => {
                let mut out = lock(&conn.out);
                encode_pong(&mut out.urgent, Beat { nonce: beat.nonce, clock_us: clock::monotonic_us() });
                conn.ring(out);
            }
            Frame::Pong(beat) => {
                conn.clock_offset.heard(beat.nonce, beat.clock_us, clock::monotonic_us());
            }
            Frame::Drain { last } => {
                conn.draining.store(true, Ordering::Release);
                lock(&conn.pending).fail_after(last, &CallErrorKind::Moved);
                if let Some(app) = conn.app.upgrade() {
                    app.routes_changed();
                }
            }
            // Those of streams; the wire grows by kinds that both sides have agreed on first.
            frame => conn.streams.take(frame)?,
        }
    }
    let Some(Begun { frame, stream, left }) = decoder.begun(buffer, PAST_BYTES_MIN) else { return Ok(None) };
    conn.streams.take(frame)?;
    let lend = |incoming: Arc<Incoming>| incoming.lend(stream, left).map(|bytes| (incoming, bytes));
    let reader = conn.streams.incoming(stream).map(lend).transpose()?;
    Ok(Some(ItemBegun { reader, left }))
}

fn call_progress(
    conn: &Arc<Conn>,
    app: Option<&Arc<AppInner>>,
    progress: Progress<CallFrame>,
    cx: &mut TaskContext<'_>,
) {
    match progress {
        Progress::Whole(call, payload) => serve(conn, app, call, payload, cx),
        Progress::Waiting => {}
        Progress::Refused(call, why) => {
            conn.serving.fetch_add(1, Ordering::Relaxed);
            conn.reply_failed(call.call, &CallErrorKind::Mismatch { why: why.to_string() });
        }
    }
}

/// Polls a call once where it was read; it gets a task only if it has to wait. A task for each call would cost a
/// fifth to a third of the throughput.
fn serve(
    conn: &Arc<Conn>,
    app: Option<&Arc<AppInner>>,
    call: CallFrame,
    payload: Bytes,
    cx: &mut TaskContext<'_>,
) {
    let id = call.call;
    // Both before it is asked whether calls are refused: see `Conn::drain`.
    conn.serving.fetch_add(1, Ordering::SeqCst);
    // A large one is whole after smaller ones that were sent later.
    conn.last_taken.fetch_max(id.0, Ordering::SeqCst);
    let Some(app) = app else {
        // This node's `main` has ended: whoever has taken over runs the call.
        return conn.reply_failed(id, &CallErrorKind::Moved);
    };
    if conn.refusing.load(Ordering::SeqCst) {
        return conn.reply_failed(id, &CallErrorKind::Moved);
    }
    if call.module == crate::operate::THE_NODE {
        match &conn.kin {
            Kin::Peer if conn.peer.role == Role::Operator => {
                drop(app.runtime.spawn(crate::operate::answer(app.clone(), conn.clone(), id, payload)));
                return;
            }
            Kin::Peer => {}
            // What nodes ask of each other.
            Kin::Cell(_) | Kin::Node(_) if call.method == crate::between::ASK => {}
            Kin::Cell(cell) => {
                // At once: what it says of an instance comes before the replies of its calls.
                cell.heard(&payload);
                return conn.reply(id, false, Form::Json, &mut BytesMut::from(&b"null"[..]));
            }
            Kin::Node(inside) => {
                let obeying = crate::cell::obey(inside.clone(), app.clone(), conn.clone(), id, payload);
                drop(app.runtime.spawn(obeying));
                return;
            }
        }
    }
    if let Err(kind) = conn.peer.may(Right::Call) {
        return conn.reply_failed(id, &kind);
    }
    let mut running = if call.module == crate::operate::THE_NODE {
        crate::between::answer(app.clone(), conn.clone(), id, payload)
    } else {
        match arrive(conn, app, call, payload) {
            Ok(serving) => serving.run(),
            Err(kind) => return conn.reply_failed(id, &kind),
        }
    };
    if poll_reading(conn, &mut running, cx) {
        // Under the lock, so that the call's end finds itself in the table.
        let mut tasks = lock(&conn.tasks);
        conn.tasks_len.fetch_add(1, Ordering::Release);
        tasks.insert(id, app.runtime.spawn(running).abort_handle());
    }
}

/// Polls a call once; its reply, if it makes one, waits for the end of the batch. Says whether the call waits.
fn poll_reading(
    conn: &Arc<Conn>,
    call: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
    cx: &mut TaskContext<'_>,
) -> bool {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            READING.set(ptr::null());
        }
    }
    let _restore = Restore;
    READING.set(Arc::as_ptr(conn));
    call.as_mut().poll(cx).is_pending()
}

fn arrive(
    conn: &Arc<Conn>,
    app: &Arc<AppInner>,
    call: CallFrame,
    payload: Bytes,
) -> Result<Serving, CallErrorKind> {
    let Some(host) = app.hosts.get(usize::from(call.module.0)) else {
        return Err(CallErrorKind::Mismatch { why: format!("there is no module {} here", call.module.0) });
    };
    let form =
        Form::try_from(call.form).map_err(|error| CallErrorKind::Mismatch { why: error.to_string() })?;
    let caller = call.caller.and_then(|number| conn.peer.agreed.from_peer(number));
    let context = Context {
        deadline: call.deadline_us.map(|deadline| conn.deadline_from_wire(deadline)),
        trace: call.trace,
        chain: call.chain,
        ..Context::none()
    };
    let caller = CallerIndex(caller.map_or(0, |number| number.0 + 1));
    let inherited = Inherited::arrived(context, app.id, caller);
    let arriving = Arriving {
        method: call.method.0,
        form,
        payload,
        key: call.key,
        inherited,
        reply: ReplyTo::Conn(conn.clone(), call.call),
    };
    Ok(match conn.kin {
        // What it calls may be anywhere.
        Kin::Cell(_) => host.clone().pass_on(arriving),
        Kin::Peer | Kin::Node(_) => host.clone().serve(arriving),
    })
}

fn take_reply(conn: &Conn, partial: &mut Partial, reply: ReplyFrame) -> Result<(), FrameError> {
    conn.peer_load.store(u32::from(reply.load), Ordering::Relaxed);
    match reply.body {
        ReplyBody::Returned { outcome, form, payload } => {
            if let Kin::Cell(cell) = &conn.kin {
                cell.useful.note();
            }
            let head = ReplyHead { call: reply.call, own_error: outcome == Outcome::UserError, form };
            reply_progress(conn, partial.replies.begin(reply.call, head, payload)?);
        }
        ReplyBody::Failed(kind) => {
            partial.replies.end(reply.call);
            conn.streams.unread(PayloadOf::Call, reply.call);
            complete(conn, reply.call, Err(kind));
        }
    }
    Ok(())
}

fn reply_progress(conn: &Conn, progress: Progress<ReplyHead>) {
    match progress {
        Progress::Whole(head, payload) => {
            let result = match Form::try_from(head.form) {
                Ok(form) => Ok(Reply { own_error: head.own_error, form, payload }),
                Err(error) => Err(CallErrorKind::BadReply { why: error.to_string() }),
            };
            complete(conn, head.call, result);
        }
        Progress::Waiting => {}
        Progress::Refused(head, why) => {
            complete(conn, head.call, Err(CallErrorKind::BadReply { why: why.to_string() }));
        }
    }
}

fn complete(conn: &Conn, call: CallId, result: Result<Reply, CallErrorKind>) {
    if let Kin::Cell(cell) = &conn.kin {
        cell.answered(call);
    }
    let waker = lock(&conn.pending).complete(call, result);
    if let Some(waker) = waker {
        waker.wake();
    }
}
