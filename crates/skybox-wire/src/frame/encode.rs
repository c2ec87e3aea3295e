//! Writing frames to the end of a buffer.

use bytes::{BufMut, Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId, Chain, Mode, TraceContext};

use super::{
    Beat, CHUNK_BYTES_MAX, FLAG_MORE, KEY_BYTES_MAX, LENGTH_BYTES, MethodNumber, ModuleNumber, Outcome,
    PayloadOf, Rest, call_flag, kind, mode_byte, reply_flag, verdict,
};
use crate::field::{Small, put_varint};

/// Bytes of a head without key, chain and announced length: 61 when every number is at its longest.
const SMALL_HEAD_BYTES_MAX: usize = 64;

/// Where the flags stand in a call or reply frame.
const FLAGS_AT: usize = LENGTH_BYTES + 1;

/// All of a call but its arguments.
#[derive(Clone, Copy, Debug)]
pub struct CallHead<'a> {
    /// The call; no other one on this connection has its id.
    pub call: CallId,
    /// The **callee's** number of the module.
    pub module: ModuleNumber,
    /// The method.
    pub method: MethodNumber,
    /// The payload's form, which the codec defines.
    pub form: u8,
    /// Which instance of a keyed module; at most [`KEY_BYTES_MAX`] bytes.
    pub key: Option<&'a [u8]>,
    /// Until when it must be over: microseconds on the caller's monotonic clock.
    pub deadline_us: Option<u64>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The calls under which it is made. Those that are known to have ended are left out.
    pub chain: &'a Chain,
    /// The **caller's** number of the module that makes the call.
    pub caller: Option<ModuleNumber>,
}

/// All of a reply but its result.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead {
    /// The call that ended.
    pub call: CallId,
    /// Calls in progress at the callee, saturating.
    pub load: u16,
    /// Its value, or its own error.
    pub outcome: Outcome,
    /// The payload's form, which the codec defines.
    pub form: u8,
}

/// A call that cannot be written. Nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The key is above its bound: use a shorter one, and put the rest into an argument.
    #[error("a key of {len} bytes, above the bound of {}", KEY_BYTES_MAX)]
    KeyTooLong {
        /// Its length.
        len: usize,
    },
}

/// Appends a call with as much of its arguments as fits in one frame, and returns how many bytes that is. What
/// is left goes out as chunks: [`Rest::new`].
///
/// # Errors
/// [`HeadError`]; nothing was written.
pub fn encode_call(out: &mut BytesMut, head: &CallHead<'_>, payload: &[u8]) -> Result<usize, HeadError> {
    let start = out.len();
    put_call_head(out, head)?;
    Ok(put_payload(out, start, payload))
}

/// Appends a reply with as much of its result as fits in one frame, and returns how many bytes that is. What is
/// left goes out as chunks: [`Rest::new`].
pub fn encode_reply(out: &mut BytesMut, head: &ReplyHead, payload: &[u8]) -> usize {
    let start = out.len();
    put_reply_head(out, head);
    put_payload(out, start, payload)
}

/// Appends a call but not its arguments, and returns those that belong directly behind it, for a connection that
/// writes them without copying. What is left goes out as chunks. The bytes are those of [`encode_call`].
///
/// # Errors
/// [`HeadError`]; nothing was written.
pub fn split_call(
    out: &mut BytesMut,
    head: &CallHead<'_>,
    payload: Bytes,
) -> Result<(Bytes, Option<Rest>), HeadError> {
    let start = out.len();
    put_call_head(out, head)?;
    Ok(split_payload(out, start, PayloadOf::Call, head.call, payload))
}

/// Appends a reply but not its result, as [`split_call`] does with a call.
pub fn split_reply(out: &mut BytesMut, head: &ReplyHead, payload: Bytes) -> (Bytes, Option<Rest>) {
    let start = out.len();
    put_reply_head(out, head);
    split_payload(out, start, PayloadOf::Reply, head.call, payload)
}

/// Appends a call's head; the arguments are written behind it through the returned writer.
///
/// # Errors
/// [`HeadError`]; nothing was written.
pub fn begin_call<'a>(out: &'a mut BytesMut, head: &CallHead<'_>) -> Result<PayloadWriter<'a>, HeadError> {
    let start = out.len();
    let form_at = put_call_head(out, head)?;
    Ok(PayloadWriter::new(out, start, form_at, PayloadOf::Call, head.call))
}

/// Appends a reply's head; the result is written behind it through the returned writer.
pub fn begin_reply<'a>(out: &'a mut BytesMut, head: &ReplyHead) -> PayloadWriter<'a> {
    let start = out.len();
    let form_at = put_reply_head(out, head);
    PayloadWriter::new(out, start, form_at, PayloadOf::Reply, head.call)
}

/// Appends a reply for a call that did not return. Texts above 8 KiB are cut.
pub fn encode_failure(out: &mut BytesMut, call: CallId, load: u16, verdict: &CallErrorKind) {
    let start = out.len();
    let mut small = Small::<SMALL_HEAD_BYTES_MAX>::new();
    small.fixed([0; LENGTH_BYTES]);
    small.u8(kind::REPLY);
    small.u8(reply_flag::FAILED);
    small.varint(call.0);
    small.varint(u64::from(load));
    out.put_slice(small.as_slice());
    out.put_slice(&verdict::to_bytes(verdict));
    close(out, start);
}

/// Appends a cancel frame: the caller waits no longer, and sends nothing more of the arguments.
pub fn encode_cancel(out: &mut BytesMut, call: CallId) {
    put_id_frame(out, kind::CANCEL, call);
}

/// Appends a drain frame: no call after `last` is taken, and those with a higher id did not run.
pub fn encode_drain(out: &mut BytesMut, last: CallId) {
    put_id_frame(out, kind::DRAIN, last);
}

/// Appends a ping.
pub fn encode_ping(out: &mut BytesMut, beat: Beat) {
    put_beat(out, kind::PING, beat);
}

/// Appends a pong: the ping's nonce, and one's own clock.
pub fn encode_pong(out: &mut BytesMut, beat: Beat) {
    put_beat(out, kind::PONG, beat);
}

/// A frame whose payload is being written. Dropped without [`finish`](PayloadWriter::finish), it takes the frame
/// back: a serializer that fails half-way leaves no trace.
#[derive(Debug)]
pub struct PayloadWriter<'a> {
    out: &'a mut BytesMut,
    /// Where the frame begins.
    start: usize,
    /// Where its form byte stands.
    form_at: usize,
    /// Where its payload begins; the buffer never gets shorter than this.
    payload_at: usize,
    of: PayloadOf,
    call: CallId,
    finished: bool,
}

impl<'a> PayloadWriter<'a> {
    fn new(
        out: &'a mut BytesMut,
        start: usize,
        form_at: usize,
        of: PayloadOf,
        call: CallId,
    ) -> PayloadWriter<'a> {
        let payload_at = out.len();
        PayloadWriter { out, start, form_at, payload_at, of, call, finished: false }
    }

    /// The buffer, to append the payload to. What stands in it already is not to be touched.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.out
    }

    /// Replaces the form that the head named: a codec may know it only once it has written the value.
    pub fn set_form(&mut self, form: u8) {
        self.out[self.form_at] = form;
    }

    /// Payload bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len() - self.payload_at
    }

    /// Whether no payload is written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the lengths. A payload above [`CHUNK_BYTES_MAX`] leaves a rest, which is to be sent in chunks.
    ///
    /// # Panics
    /// If the buffer was cut into the frame's head.
    #[must_use = "a rest that is not sent leaves the call waiting"]
    pub fn finish(mut self) -> Option<Rest> {
        assert!(self.out.len() >= self.payload_at, "a payload is only ever appended");
        self.finished = true;
        if self.len() <= CHUNK_BYTES_MAX {
            close(self.out, self.start);
            return None;
        }
        // The announced length goes between head and payload, so the first chunk is copied once. Only payloads
        // of more than a chunk pay for that.
        let mut payload = self.out.split_off(self.payload_at).freeze();
        announce(self.out, self.start, payload.len());
        let first: Bytes = payload.split_to(CHUNK_BYTES_MAX);
        self.out.extend_from_slice(&first);
        close(self.out, self.start);
        Rest::new(self.of, self.call, payload)
    }
}

impl Drop for PayloadWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// Returns where the form byte stands.
fn put_call_head(out: &mut BytesMut, head: &CallHead<'_>) -> Result<usize, HeadError> {
    if let Some(len) = head.key.map(<[u8]>::len).filter(|len| *len > KEY_BYTES_MAX) {
        return Err(HeadError::KeyTooLong { len });
    }
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    let flags = flag(head.key.is_some(), call_flag::KEY)
        | flag(head.deadline_us.is_some(), call_flag::DEADLINE)
        | flag(head.trace.is_some(), call_flag::TRACE)
        | flag(!head.chain.is_empty(), call_flag::CHAIN)
        | flag(head.caller.is_some(), call_flag::CALLER);

    let mut small = Small::<SMALL_HEAD_BYTES_MAX>::new();
    small.fixed([0; LENGTH_BYTES]);
    small.u8(kind::CALL);
    small.u8(flags);
    small.varint(head.call.0);
    small.varint(u64::from(head.module.0));
    small.varint(u64::from(head.method.0));
    let form_at = out.len() + small.as_slice().len();
    small.u8(head.form);
    if let Some(deadline_us) = head.deadline_us {
        small.varint(deadline_us);
    }
    if let Some(trace) = head.trace {
        small.fixed(trace.trace_id.to_le_bytes());
        small.fixed(trace.span_id.to_le_bytes());
        small.u8(trace.flags);
    }
    if let Some(caller) = head.caller {
        small.varint(u64::from(caller.0));
    }
    out.put_slice(small.as_slice());
    if let Some(key) = head.key {
        put_varint(out, key.len() as u64);
        out.put_slice(key);
    }
    if !head.chain.is_empty() {
        put_chain(out, head.chain);
    }
    Ok(form_at)
}

fn put_chain(out: &mut BytesMut, chain: &Chain) {
    let count_at = out.len();
    out.put_u8(0);
    let mut count = 0;
    // The count is set afterwards: a call of the chain may end while its links are read.
    for link in chain.links() {
        let mut small = Small::<32>::new();
        small.u8(match link.mode {
            Mode::Shared => mode_byte::SHARED,
            Mode::Exclusive => mode_byte::EXCLUSIVE,
        });
        small.fixed(link.instance.node.0.to_le_bytes());
        small.varint(link.instance.count);
        small.varint(link.call.0);
        out.put_slice(small.as_slice());
        count += 1;
    }
    // A chain has at most CHAIN_LEN_MAX links, which is 64.
    out[count_at] = count;
}

/// Returns where the form byte stands.
fn put_reply_head(out: &mut BytesMut, head: &ReplyHead) -> usize {
    let mut small = Small::<SMALL_HEAD_BYTES_MAX>::new();
    small.fixed([0; LENGTH_BYTES]);
    small.u8(kind::REPLY);
    small.u8(match head.outcome {
        Outcome::Ok => reply_flag::OK,
        Outcome::UserError => reply_flag::USER_ERROR,
    });
    small.varint(head.call.0);
    small.varint(u64::from(head.load));
    let form_at = out.len() + small.as_slice().len();
    small.u8(head.form);
    out.put_slice(small.as_slice());
    form_at
}

/// Appends what fits of the payload, ends the frame that began at `start`, and returns the bytes it took.
pub(super) fn put_payload(out: &mut BytesMut, start: usize, payload: &[u8]) -> usize {
    let len = payload.len().min(CHUNK_BYTES_MAX);
    if len < payload.len() {
        announce(out, start, payload.len());
    }
    out.extend_from_slice(&payload[..len]);
    close(out, start);
    len
}

/// Ends the frame that began at `start`, and will end with the returned bytes.
fn split_payload(
    out: &mut BytesMut,
    start: usize,
    of: PayloadOf,
    call: CallId,
    mut payload: Bytes,
) -> (Bytes, Option<Rest>) {
    let total = payload.len();
    if total > CHUNK_BYTES_MAX {
        announce(out, start, total);
    }
    let first = payload.split_to(total.min(CHUNK_BYTES_MAX));
    close_with(out, start, first.len());
    (first, Rest::new(of, call, payload))
}

/// Says in the frame that began at `start` that its payload goes on, and how long it is.
pub(super) fn announce(out: &mut BytesMut, start: usize, total: usize) {
    out[start + FLAGS_AT] |= FLAG_MORE;
    put_varint(out, total as u64);
}

/// Sets the length of the frame that began at `start` and ends here.
pub(super) fn close(out: &mut BytesMut, start: usize) {
    close_with(out, start, 0);
}

/// Sets the length of the frame that began at `start` and ends with `behind` bytes that are written elsewhere.
pub(super) fn close_with(out: &mut BytesMut, start: usize, behind: usize) {
    let len = u32::try_from(out.len() - start - LENGTH_BYTES + behind)
        .expect("head and chunk are bounded far below 4 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
}

fn put_id_frame(out: &mut BytesMut, kind: u8, call: CallId) {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u8(kind);
    put_varint(out, call.0);
    close(out, start);
}

fn put_beat(out: &mut BytesMut, kind: u8, beat: Beat) {
    out.put_u32_le(17);
    out.put_u8(kind);
    out.put_u64_le(beat.nonce);
    out.put_u64_le(beat.clock_us);
}
