//! A connection to another node: one for each pair, for calls both ways.
//!
//! Three tasks share it: a writer, a reader, and one that asks whether the peer is still there. Callers append
//! their frames to a buffer under a short lock and wait in a table; nobody waits for the socket but the writer.

mod accept;
mod batch;
mod beat;
mod dial;
mod handshakes;
mod kin;
mod large;
mod offset;
mod open;
mod out;
mod past;
mod pending;
mod proof;
mod reader;
mod socket;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod user;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId, Context, Incarnation, NodeName, TraceContext};
use skybox_wire::codec::Form;
use skybox_wire::frame::{
    CallHead, ItemHead, MethodNumber, ModuleNumber, Outcome, PayloadOf, ReplyHead, StreamId, encode_cancel,
    encode_drain, encode_failure,
};
use skybox_wire::handshake::{Agreed, ModuleMatch, Role};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub(crate) use accept::{Listener, accept_loop};
#[cfg(feature = "tls")]
pub(crate) use dial::dial_operator_tls;
pub use dial::{Address, DialError};
pub(crate) use dial::{dial, dial_operator};
pub use handshakes::HandshakeCounts;
pub(crate) use handshakes::Handshakes;
pub(crate) use kin::{Kin, shake_link};
use large::Withdrawn;
use offset::ClockOffset;
use out::Out;
use pending::Pending;
pub(crate) use pending::PendingCall;
use proof::Proof;
pub use proof::Right;
use socket::WriteHalf;
pub use user::name_of as user_name;

use crate::app::AppInner;
use crate::clock;
use crate::host::lock;
use crate::metrics::Edge;
use crate::stream::{Outlets, Streams};
use crate::thread::CallerIndex;

/// A peer that says nothing for this long leaves rotation: a sync method may be holding its runtime.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A peer that says nothing for this long is given up, and its calls are lost.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Calls in progress over one connection, one way. A further one is refused.
const CALLS_MAX: usize = 65_535;
/// Bytes of calls and replies that may wait to be written. Calls beyond it are refused, but for one large one alone:
/// a payload may be as long as this. What streams have waiting comes in addition; their windows bound it.
const OUT_BYTES_MAX: usize = 64 << 20;
/// Replies that may wait for the end of a batch of frames before the writer is told of them.
const READER_BYTES_MAX: usize = 64 << 10;
/// A peer that lets this many bytes of replies wait does not read: the connection is closed.
const OUT_BYTES_HARD_MAX: usize = 512 << 20;

/// A call to be sent.
pub(crate) struct Request<'r> {
    pub(crate) module: u16,
    pub(crate) method: u16,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) context: &'r Context,
    /// Instead of what the context says: the span that sends the call.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) caller: CallerIndex,
    /// Those among the arguments.
    pub(crate) streams: &'r Outlets,
    /// Where their items are counted.
    pub(crate) edge: Option<&'r Arc<Edge>>,
    /// Calls of the same module and key arrive in the order in which they are sent.
    pub(crate) ordered: bool,
}

/// How often a leaving node looks whether everything has been answered.
const ANSWERED_PAUSE: Duration = Duration::from_millis(1);

/// How long the last answers of a peer that has left may take to arrive, and its end of the connection to be seen.
const LAST_ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct PeerInfo {
    pub(crate) node: NodeName,
    pub(crate) incarnation: Incarnation,
    pub(crate) role: Role,
    /// What it may do, if it is an operator.
    pub(crate) right: Right,
    /// The user of this machine whose process it is, where the kernel has said so.
    user: Option<u32>,
    agreed: Agreed,
}

impl PeerInfo {
    /// Whether the peer may have this done.
    pub(crate) fn may(&self, needed: Right) -> Result<(), CallErrorKind> {
        match self.role {
            Role::Node => Ok(()),
            Role::Operator => self.right.suffices(needed, self.node.as_str()),
        }
    }

    /// Who it is, as the transport has proven it, for those who ask later who did something.
    pub(crate) fn who(&self) -> String {
        match (self.role, self.user) {
            (Role::Node, _) => format!("node {}", self.node),
            (Role::Operator, Some(user)) => format!("user {}", user::name_of(user)),
            (Role::Operator, None) => format!("operator {}", self.node),
        }
    }
}

/// One connection.
pub(crate) struct Conn {
    peer: PeerInfo,
    app: Weak<AppInner>,
    /// Whether a cell is at one of its ends.
    kin: Kin,
    /// Both ends read the same clock: deadlines cross as they are.
    same_host: bool,
    socket: WriteHalf,
    out: Mutex<Out>,
    /// What is being written. Locked by whoever has scheduled `out`, before `out` is.
    writing: Mutex<batch::Batch>,
    /// Rung when `out` has something to write and the writer does not know.
    bell: tokio::sync::Notify,
    pending: Mutex<Pending>,
    /// Bytes of small frames that the kernel has, or is being given.
    handed_over: AtomicU64,
    /// Set once, with the reason.
    closed: OnceLock<String>,
    over: watch::Sender<bool>,
    /// The peer takes no new calls.
    draining: AtomicBool,
    /// Milliseconds of the process clock when something was last read.
    heard_ms: AtomicU64,
    /// How far the peer's clock is ahead.
    clock_offset: ClockOffset,
    /// Calls of the peer that run here.
    serving: AtomicU32,
    /// The last call of the peer that was taken.
    last_taken: AtomicU64,
    /// This side takes no new calls of the peer.
    refusing: AtomicBool,
    /// Those that got a task of their own, to be stopped when their caller goes.
    tasks: Mutex<HashMap<CallId, AbortHandle>>,
    tasks_len: AtomicU32,
    /// Calls in progress at the peer, as it last said.
    peer_load: AtomicU32,
    pub(crate) streams: Arc<Streams>,
    /// Frames of calls and replies received. Those sent are counted with what they wait in.
    frames_in: AtomicU64,
}

impl Conn {
    fn new(app: Weak<AppInner>, kin: Kin, agreed: Agreed, proof: &Proof, socket: WriteHalf) -> Conn {
        let same_host = socket.is_local();
        let hello = &agreed.peer;
        let clock_offset = ClockOffset::new(hello.clock_us, clock::monotonic_us());
        let peer = PeerInfo {
            node: hello.node.clone(),
            incarnation: hello.incarnation,
            role: hello.role,
            right: proof.right(),
            user: proof.user(),
            agreed,
        };
        Conn {
            peer,
            app,
            kin,
            same_host,
            socket,
            out: Mutex::default(),
            writing: Mutex::default(),
            bell: tokio::sync::Notify::new(),
            pending: Mutex::default(),
            handed_over: AtomicU64::new(0),
            closed: OnceLock::new(),
            over: watch::Sender::new(false),
            draining: AtomicBool::new(false),
            heard_ms: AtomicU64::new(clock::process_ms()),
            clock_offset,
            serving: AtomicU32::new(0),
            last_taken: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            tasks: Mutex::default(),
            tasks_len: AtomicU32::new(0),
            peer_load: AtomicU32::new(0),
            streams: Streams::of_conn(),
            frames_in: AtomicU64::new(0),
        }
    }

    /// Starts the tasks of a connection whose handshake is done. `rest`: bytes behind the handshake.
    fn start<R>(self: &Arc<Conn>, runtime: &tokio::runtime::Handle, read: R, rest: BytesMut)
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        self.streams.begin(self, runtime);
        runtime.spawn(reader::read(self.clone(), read, rest));
        runtime.spawn(writer::write(self.clone()));
        runtime.spawn(beat::beat(Arc::downgrade(self)));
    }

    pub(crate) fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    /// Whether calls may be sent: it is open, the peer talks and takes calls.
    pub(crate) fn is_ready(&self) -> bool {
        self.closed.get().is_none() && !self.draining.load(Ordering::Relaxed) && !self.is_silent()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Whether nothing has been heard of the peer for [`SILENT_AFTER`].
    pub(crate) fn is_silent(&self) -> bool {
        if !matches!(self.kin, Kin::Peer) {
            // It is merely busy: the kernel tells when it has ended.
            return false;
        }
        // `heard_ms` is refreshed by each beat's pong, so a coarse look is enough, and it is cheap.
        clock::process_ms_coarse().saturating_sub(self.heard_ms.load(Ordering::Relaxed))
            > SILENT_AFTER.as_millis() as u64
    }

    /// Calls in progress at the peer, ours among them.
    pub(crate) fn load(&self) -> u64 {
        let ours = lock(&self.pending).len() as u64;
        ours.max(u64::from(self.peer_load.load(Ordering::Relaxed)))
    }

    /// Call and reply frames that went either way.
    pub(crate) fn frames(&self) -> u64 {
        self.frames_in.load(Ordering::Relaxed) + lock(&self.out).frames
    }

    /// Resolves when the connection is over.
    pub(crate) async fn wait_closed(&self) {
        let mut over = self.over.subscribe();
        // The sender lives in this very connection.
        drop(over.wait_for(|over| *over).await);
    }

    /// Appends a call and takes a place in the table of those who wait. A large payload is taken out of `payload`.
    ///
    /// # Errors
    /// None of these calls ran: `Mismatch` if the peer has no such module, `Overloaded`, `Unreachable`.
    pub(crate) fn send(
        self: Arc<Conn>,
        request: &Request<'_>,
        form: Form,
        payload: &mut BytesMut,
    ) -> Result<PendingCall, CallErrorKind> {
        let module = self.peer_module(request.module)?;
        self.send_numbered(module, request, form, payload)
    }

    /// Sends a call to what the peer has under that number, with JSON for arguments, and streams among them.
    pub(crate) fn send_to(
        self: Arc<Conn>,
        module: ModuleNumber,
        method: u16,
        payload: &[u8],
        streams: &Outlets,
    ) -> Result<PendingCall, CallErrorKind> {
        let context = Context::none();
        let caller = CallerIndex(0);
        let ordered = false;
        let (key, trace, context) = (None, None, &context);
        let edge = None;
        let request = Request { module: 0, method, key, context, trace, caller, streams, edge, ordered };
        self.send_numbered(module, &request, Form::Json, &mut BytesMut::from(payload))
    }

    fn send_numbered(
        self: Arc<Conn>,
        module: ModuleNumber,
        request: &Request<'_>,
        form: Form,
        payload: &mut BytesMut,
    ) -> Result<PendingCall, CallErrorKind> {
        let deadline_us = request.context.deadline().map(|deadline| self.to_wire(deadline));
        let mut out = lock(&self.out);
        if let Some(why) = self.closed.get() {
            return Err(CallErrorKind::Unreachable { why: why.clone() });
        }
        if !out.has_room(payload.len(), OUT_BYTES_MAX) {
            let what = format!("{OUT_BYTES_MAX} bytes wait to be sent to {}", self.peer.node);
            return Err(CallErrorKind::Overloaded { what });
        }
        let mut pending = lock(&self.pending);
        if pending.len() >= CALLS_MAX {
            let what = format!("{CALLS_MAX} calls to {} are in progress", self.peer.node);
            return Err(CallErrorKind::Overloaded { what });
        }
        let call = pending.reserve();
        // Before its frame leaves: the callee may ask for an item at once.
        let streams = request.streams;
        if let Err(kind) = self.streams.attach_sending(PayloadOf::Call, call, streams, form, request.edge) {
            pending.release(call);
            return Err(kind);
        }
        let head = CallHead {
            call,
            module,
            method: MethodNumber(request.method),
            form: form as u8,
            key: request.key,
            deadline_us,
            trace: request.trace,
            chain: &request.context.chain,
            caller: request.caller.0.checked_sub(1).map(ModuleNumber),
        };
        // One with streams may go on: a deadline covers their start.
        if let (Kin::Cell(cell), Some(deadline), true) =
            (&self.kin, request.context.deadline(), streams.is_empty())
        {
            cell.owes(call, deadline);
        }
        let is_alone = out.is_alone(pending.len() == 1) && !reader::is_reading(&self);
        match out.call(&head, request.ordered, payload) {
            Ok(position) => pending.sent(call, position),
            Err(error) => {
                pending.release(call);
                if let Kin::Cell(cell) = &self.kin {
                    cell.answered(call);
                }
                self.streams.unread(PayloadOf::Call, call);
                return Err(CallErrorKind::Mismatch { why: error.to_string() });
            }
        }
        drop(pending);
        out.frames += 1;
        if is_alone {
            out.cut();
            drop(out);
            self.write_inline();
        } else {
            self.ring(out);
        }
        Ok(PendingCall::new(self, call))
    }

    fn peer_module(&self, ours: u16) -> Result<ModuleNumber, CallErrorKind> {
        match self.peer.agreed.to_peer(ModuleNumber(ours)) {
            ModuleMatch::Same(number) => Ok(number),
            ModuleMatch::OtherInterface => Err(CallErrorKind::Mismatch {
                why: format!("{} has another version of this module's methods", self.peer.node),
            }),
            ModuleMatch::Absent => {
                Err(CallErrorKind::Mismatch { why: format!("{} does not have this module", self.peer.node) })
            }
        }
    }

    /// Appends a reply. A large payload is taken out of `payload`.
    pub(crate) fn reply(&self, call: CallId, own_error: bool, form: Form, payload: &mut BytesMut) {
        self.ends(call);
        let outcome = if own_error { Outcome::UserError } else { Outcome::Ok };
        let mut out = lock(&self.out);
        let load = self.load_after_this();
        out.reply(&ReplyHead { call, load, outcome, form: form as u8 }, payload);
        self.served(out);
    }

    /// Appends the verdict of a call that returned nothing.
    pub(crate) fn reply_failed(&self, call: CallId, kind: &CallErrorKind) {
        self.ends(call);
        let mut out = lock(&self.out);
        let load = self.load_after_this();
        encode_failure(out.filling(), call, load, kind);
        self.served(out);
    }

    /// A call of the peer needs its task no more.
    fn ends(&self, call: CallId) {
        if self.tasks_len.load(Ordering::Acquire) > 0 && lock(&self.tasks).remove(&call).is_some() {
            self.tasks_len.fetch_sub(1, Ordering::Release);
        }
    }

    /// Calls of the peer that run here, but for the one that is being answered.
    fn load_after_this(&self) -> u16 {
        let others = self.serving.load(Ordering::Relaxed).saturating_sub(1);
        u16::try_from(others).unwrap_or(u16::MAX)
    }

    /// The answer to a call has been appended. Only now it counts as served, and under the lock: who sees that nothing is
    /// served any more, and then what is to be written, sees the answer there.
    fn served(&self, mut out: std::sync::MutexGuard<'_, Out>) {
        out.frames += 1;
        self.serving.fetch_sub(1, Ordering::Relaxed);
        self.ring_unless_reading(out);
    }

    /// Appends a stream's frame.
    pub(crate) fn append(&self, frame: impl FnOnce(&mut BytesMut)) {
        let mut out = lock(&self.out);
        if self.closed.get().is_none() {
            frame(out.filling());
            self.ring_unless_reading(out);
        }
    }

    /// Appends an item of a stream, whose payload is `lead` and then `payload`.
    pub(crate) fn append_item(&self, head: &ItemHead, lead: &[u8], payload: Bytes) {
        let mut out = lock(&self.out);
        if self.closed.get().is_none() {
            out.item(head, lead, payload);
            self.ring_unless_reading(out);
        }
    }

    /// Appends the end of a stream, with the reason if it broke off.
    pub(crate) fn append_stream_end(&self, stream: StreamId, failed: Option<&CallErrorKind>) {
        let mut out = lock(&self.out);
        if self.closed.get().is_none() {
            out.stream_end(stream, failed);
            self.ring_unless_reading(out);
        }
    }

    /// Nobody reads a stream any more that is sent from here.
    pub(crate) fn forget_items(&self, stream: StreamId) {
        lock(&self.out).forget_items(stream);
    }

    /// The caller of `call` waits no longer, or does not read its result. Says whether the peer may answer it still.
    pub(crate) fn cancel(&self, call: CallId) -> bool {
        let mut out = lock(&self.out);
        if self.closed.get().is_some() {
            return false;
        }
        let withdrawn = out.withdraw(call);
        // One that has not left, or not all of it, does not run there, and is answered by nobody.
        if let (Kin::Cell(cell), true) = (&self.kin, withdrawn != Withdrawn::Absent) {
            cell.answered(call);
        }
        // The peer has never heard of a call that was not sent.
        if withdrawn == Withdrawn::Unsent {
            drop(out);
        } else {
            encode_cancel(out.filling(), call);
            self.ring(out);
        }
        if withdrawn != Withdrawn::Absent {
            // Its arguments never arrive there, so nobody would ever ask their streams for an item, or end them.
            self.streams.unread(PayloadOf::Call, call);
        }
        withdrawn == Withdrawn::Absent
    }

    /// Tells the peer which of its calls were the last to be taken.
    pub(crate) fn drain(&self) {
        // Either the reader sees this, or what it takes is seen here: it notes a call before it looks.
        self.refusing.store(true, Ordering::SeqCst);
        let mut out = lock(&self.out);
        encode_drain(out.filling(), CallId(self.last_taken.load(Ordering::SeqCst)));
        self.ring(out);
    }

    /// Closes it, for a peer that others say is gone. One that has said itself that it leaves has answered what it took, and
    /// may still make calls, for requests that its `main` has begun: the end of the connection is its own, unless it dies
    /// before its answers are here, or says nothing any more.
    pub(crate) fn close_at_its_end(self: &Arc<Conn>, why: &str) {
        if !self.is_draining() {
            return self.close(why);
        }
        let Some(app) = self.app.upgrade() else { return self.close(why) };
        let (conn, why) = (self.clone(), why.to_owned());
        drop(app.runtime.spawn(async move {
            while tokio::time::timeout(LAST_ANSWERS_WAIT, conn.wait_closed()).await.is_err() {
                let owes_answers = lock(&conn.pending).len() > 0;
                if owes_answers || conn.is_silent() {
                    return conn.close(&why);
                }
            }
        }));
    }

    /// Resolves when every call of the peer that was taken here has ended, and the kernel has its reply.
    pub(crate) async fn answered(&self) {
        while self.closed.get().is_none() {
            let served = self.serving.load(Ordering::SeqCst) == 0 && self.streams.are_served();
            if served && lock(&self.out).is_written() {
                return;
            }
            // Nobody counts for this on the way of each call: a node leaves once in its life.
            tokio::time::sleep(ANSWERED_PAUSE).await;
        }
    }

    /// Stops the calls of the peer that still run here. Each is answered: it was cancelled.
    pub(crate) fn stop_serving(&self) {
        let tasks: Vec<_> = lock(&self.tasks).values().cloned().collect();
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Wakes the writer, unless this is the reader's own thread answering what it has just read: it writes all of a
    /// batch's replies at its end.
    fn ring_unless_reading(&self, mut out: std::sync::MutexGuard<'_, Out>) {
        if reader::is_reading(self) && out.bytes() < READER_BYTES_MAX {
            out.cut();
            return;
        }
        self.ring(out);
    }

    /// Wakes the writer, unless it is awake.
    fn ring(&self, mut out: std::sync::MutexGuard<'_, Out>) {
        out.cut();
        let flooded = out.bytes() > OUT_BYTES_HARD_MAX;
        let ring = out.schedule();
        drop(out);
        if ring {
            self.bell.notify_one();
        }
        if flooded {
            self.close(&format!("{} has let {OUT_BYTES_HARD_MAX} bytes of replies wait", self.peer.node));
        }
    }

    /// Ends the connection: its calls are lost, or were never sent; the peer's calls stop.
    pub(crate) fn close(&self, why: &str) {
        {
            // Under the lock, so that no call enters the table after it was emptied.
            let _out = lock(&self.out);
            if self.closed.set(why.to_owned()).is_err() {
                return;
            }
        }
        tracing::debug!(peer = %self.peer.node, why, "connection closed");
        self.socket.shut_down();
        // First, so that whoever hears of a lost call knows whether its streams were asked for anything.
        self.streams.close(why);
        let handed_over = self.handed_over.load(Ordering::Acquire);
        lock(&self.pending).fail_all(|position| {
            if position <= handed_over {
                CallErrorKind::Lost { why: why.to_owned() }
            } else {
                CallErrorKind::Unreachable { why: why.to_owned() }
            }
        });
        for (_, task) in lock(&self.tasks).drain() {
            task.abort();
        }
        self.over.send_replace(true);
        self.bell.notify_one();
        if let Some(app) = self.app.upgrade() {
            app.routes_changed();
        }
    }

    /// A deadline on this side's wire clock.
    fn to_wire(&self, deadline: Instant) -> u64 {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now().into_std());
        clock::monotonic_us() + u64::try_from(left.as_micros()).unwrap_or(u64::MAX / 2)
    }

    /// A deadline of the peer's wire clock, as ours.
    fn deadline_from_wire(&self, deadline_us: u64) -> Instant {
        let offset = if self.same_host { 0 } else { self.clock_offset.us() };
        let ours = i128::from(deadline_us) - i128::from(offset) - i128::from(clock::monotonic_us());
        // A peer may send any number; a year is as good as no deadline.
        let left = u64::try_from(ours.max(0)).unwrap_or(u64::MAX).min(365 * 24 * 3_600_000_000);
        tokio::time::Instant::now().into_std() + Duration::from_micros(left)
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("peer", &self.peer.node).field("closed", &self.closed.get()).finish()
    }
}
