//! Splitting frames off a buffer.

use bytes::{Buf, Bytes, BytesMut};
use skybox_core::{CHAIN_LEN_MAX, CallId, Chain, Incarnation, InstanceId, Link, Mode, TraceContext};

use super::{
    Beat, Begun, CallFrame, ChunkFrame, FLAG_MORE, Frame, FrameError, KEY_BYTES_MAX, LENGTH_BYTES, Limits,
    MethodNumber, ModuleNumber, Outcome, Payload, PayloadOf, ReplyBody, ReplyFrame, call_flag, kind,
    mode_byte, reply_flag, verdict,
};
use crate::FieldError;
use crate::field::Fields;

/// Splits frames off what was read from a connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    frame_bytes_max: usize,
}

impl Decoder {
    /// A decoder with these bounds.
    pub fn new(limits: Limits) -> Decoder {
        Decoder { frame_bytes_max: limits.frame_bytes_max }
    }

    /// Takes the first frame off the buffer; `None` if it is not yet complete. Payloads and keys share the
    /// buffer's memory.
    ///
    /// The length is checked before anything is reserved; then the buffer gets room for the frame's missing
    /// bytes, so that the next read can complete it.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection. The buffer is left as it was, and the same error comes again.
    #[inline]
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let len = u32::from_le_bytes(*length);
        let max = self.frame_bytes_max;
        let frame_len = usize::try_from(len).ok().filter(|len| *len <= max);
        let Some(frame_len) = frame_len else { return Err(FrameError::TooLong { len, max }) };
        if frame_len == 0 {
            return Err(FrameError::Empty);
        }
        let end = LENGTH_BYTES + frame_len;
        if buffer.len() < end {
            buffer.reserve(end - buffer.len());
            return Ok(None);
        }
        let kind = buffer[LENGTH_BYTES];
        let body = Body { buffer, at: LENGTH_BYTES + 1, end };
        match kind {
            kind::CALL => body.call(),
            kind::REPLY => body.reply(),
            kind::CALL_CHUNK => body.chunk(PayloadOf::Call),
            kind::REPLY_CHUNK => body.chunk(PayloadOf::Reply),
            kind::CANCEL => body.id("cancel").map(|call| Some(Frame::Cancel(call))),
            kind::PING => body.beat("ping").map(|beat| Some(Frame::Ping(beat))),
            kind::PONG => body.beat("pong").map(|beat| Some(Frame::Pong(beat))),
            kind::DRAIN => body.id("drain").map(|last| Some(Frame::Drain { last })),
            kind::ITEM => body.item(),
            kind::ITEM_CHUNK => body.item_chunk(),
            kind::STREAM_END => body.stream_end(),
            kind::CREDIT => body.credit(),
            kind::RESET => body.reset(),
            kind => Err(FrameError::UnknownKind { kind }),
        }
    }

    /// Takes what is here of an item or a chunk of one, when [`next`](Decoder::next) has found the frame incomplete
    /// and at least `left_min` of its bytes are missing. The buffer is empty then, and the bytes that are missing can
    /// be read to where they belong. `None`, and nothing taken, if the frame is another one, or its head incomplete.
    pub fn begun(&mut self, buffer: &mut BytesMut, left_min: usize) -> Option<Begun> {
        let length = buffer.first_chunk::<LENGTH_BYTES>()?;
        let kind = *buffer.get(LENGTH_BYTES)?;
        let end = LENGTH_BYTES + u32::from_le_bytes(*length) as usize;
        let is_begun = end <= LENGTH_BYTES + self.frame_bytes_max && end >= buffer.len() + left_min.max(1);
        let body = Body { buffer, at: LENGTH_BYTES + 1, end };
        if is_begun { body.item_so_far(kind) } else { None }
    }
}

/// One complete frame at the front of the buffer: its fields stand in `at..end`.
///
/// Each reader ends by building the answer of [`Decoder::next`] in place: a frame is so large that passing it
/// through further results made reading a small one take 1.3 times as long.
pub(super) struct Body<'b> {
    pub(super) buffer: &'b mut BytesMut,
    pub(super) at: usize,
    pub(super) end: usize,
}

impl Body<'_> {
    #[inline]
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.buffer[self.at..self.end])
    }

    fn call(self) -> Result<Option<Frame>, FrameError> {
        let in_call = |source| FrameError::Field { frame: "call", source };
        let mut fields = self.fields();
        let flags = fields.u8("flags").map_err(in_call)?;
        if flags & call_flag::RESERVED != 0 {
            return Err(FrameError::UnknownFlags { frame: "call", flags });
        }
        let has = |flag: u8| flags & flag != 0;
        let call = CallId(fields.varint("call").map_err(in_call)?);
        if call.0 == 0 {
            // A drain frame says "none" with it.
            return Err(in_call(FieldError::BadValue { field: "call", value: 0 }));
        }
        let module = ModuleNumber(fields.varint_u16("module").map_err(in_call)?);
        let method = MethodNumber(fields.varint_u16("method").map_err(in_call)?);
        let form = fields.u8("form").map_err(in_call)?;
        let mut deadline_us = None;
        if has(call_flag::DEADLINE) {
            deadline_us = Some(fields.varint("deadline").map_err(in_call)?);
        }
        let mut trace = None;
        if has(call_flag::TRACE) {
            trace = Some(read_trace(&mut fields).map_err(in_call)?);
        }
        let mut caller = None;
        if has(call_flag::CALLER) {
            caller = Some(ModuleNumber(fields.varint_u16("caller").map_err(in_call)?));
        }
        let mut key_span = None;
        if has(call_flag::KEY) {
            let len = fields.bytes("key", KEY_BYTES_MAX).map_err(in_call)?.len();
            key_span = Some(fields.at() - len..fields.at());
        }
        let mut chain = Chain::none();
        if has(call_flag::CHAIN) {
            chain = read_chain(&mut fields)?;
        }
        let total = read_total(&mut fields, flags, call, "call", self.end - self.at)?;
        let (payload_at, payload_len) = (self.at + fields.at(), fields.left());

        let mut taken = 0;
        let mut key = None;
        if let Some(span) = key_span {
            self.buffer.advance(self.at + span.start);
            key = Some(take_bytes(self.buffer, span.len()));
            taken = self.at + span.end;
        }
        self.buffer.advance(payload_at - taken);
        let payload = Payload { total, first: take_bytes(self.buffer, payload_len) };
        Ok(Some(Frame::Call(CallFrame {
            call,
            module,
            method,
            form,
            key,
            deadline_us,
            trace,
            chain,
            caller,
            payload,
        })))
    }

    fn reply(self) -> Result<Option<Frame>, FrameError> {
        let in_reply = |source| FrameError::Field { frame: "reply", source };
        let mut fields = self.fields();
        let flags = fields.u8("flags").map_err(in_reply)?;
        let call = CallId(fields.varint("call").map_err(in_reply)?);
        let load = fields.varint_u16("load").map_err(in_reply)?;
        let unknown = Err(FrameError::UnknownFlags { frame: "reply", flags });
        if flags & reply_flag::RESERVED != 0 {
            return unknown;
        }
        let outcome = match flags & reply_flag::OUTCOME {
            reply_flag::OK => Outcome::Ok,
            reply_flag::USER_ERROR => Outcome::UserError,
            reply_flag::FAILED if flags & FLAG_MORE == 0 => {
                let verdict = verdict::from_bytes(fields.rest()).ok_or(FrameError::BadVerdict { call })?;
                self.buffer.advance(self.end);
                return Ok(Some(Frame::Reply(ReplyFrame { call, load, body: ReplyBody::Failed(verdict) })));
            }
            _ => return unknown,
        };
        let form = fields.u8("form").map_err(in_reply)?;
        let total = read_total(&mut fields, flags, call, "reply", self.end - self.at)?;
        let (payload_at, payload_len) = (self.at + fields.at(), fields.left());
        self.buffer.advance(payload_at);
        let payload = Payload { total, first: take_bytes(self.buffer, payload_len) };
        Ok(Some(Frame::Reply(ReplyFrame {
            call,
            load,
            body: ReplyBody::Returned { outcome, form, payload },
        })))
    }

    fn chunk(self, of: PayloadOf) -> Result<Option<Frame>, FrameError> {
        let mut fields = self.fields();
        let call = fields.varint("call").map_err(|source| FrameError::Field { frame: "chunk", source })?;
        let call = CallId(call);
        let (bytes_at, bytes_len) = (self.at + fields.at(), fields.left());
        if bytes_len == 0 {
            return Err(FrameError::EmptyChunk { call });
        }
        self.buffer.advance(bytes_at);
        Ok(Some(Frame::Chunk(ChunkFrame { of, call, bytes: take_bytes(self.buffer, bytes_len) })))
    }

    fn id(self, frame: &'static str) -> Result<CallId, FrameError> {
        let mut fields = self.fields();
        let call = fields.varint("call").map_err(|source| FrameError::Field { frame, source })?;
        let left = fields.left();
        self.take_all(left, frame)?;
        Ok(CallId(call))
    }

    fn beat(self, frame: &'static str) -> Result<Beat, FrameError> {
        let mut fields = self.fields();
        let in_frame = |source| FrameError::Field { frame, source };
        let nonce = fields.u64("nonce").map_err(in_frame)?;
        let clock_us = fields.u64("clock_us").map_err(in_frame)?;
        let left = fields.left();
        self.take_all(left, frame)?;
        Ok(Beat { nonce, clock_us })
    }

    /// Takes the frame off the buffer if its fields left nothing over.
    pub(super) fn take_all(self, left: usize, frame: &'static str) -> Result<(), FrameError> {
        if left > 0 {
            return Err(FrameError::Trailing { frame, len: left });
        }
        self.buffer.advance(self.end);
        Ok(())
    }
}

/// The payload's whole length: announced if it goes on, else all of the frame that is left. The frame has `len` bytes
/// from where `fields` began.
#[inline]
pub(super) fn read_total(
    fields: &mut Fields<'_>,
    flags: u8,
    call: CallId,
    frame: &'static str,
    len: usize,
) -> Result<u64, FrameError> {
    if flags & FLAG_MORE == 0 {
        return Ok(len.saturating_sub(fields.at()) as u64);
    }
    let total = fields.varint("total").map_err(|source| FrameError::Field { frame, source })?;
    let here = len.saturating_sub(fields.at());
    if total <= here as u64 {
        return Err(FrameError::BadTotal { call, total, here });
    }
    Ok(total)
}

fn read_trace(fields: &mut Fields<'_>) -> Result<TraceContext, FieldError> {
    let trace_id = u128::from_le_bytes(fields.fixed("trace id")?);
    let span_id = fields.u64("span id")?;
    let flags = fields.u8("trace flags")?;
    // A zero id means "no trace" to every tracing system; the flag already says that.
    if trace_id == 0 {
        return Err(FieldError::BadValue { field: "trace id", value: 0 });
    }
    if span_id == 0 {
        return Err(FieldError::BadValue { field: "span id", value: 0 });
    }
    Ok(TraceContext { trace_id, span_id, flags })
}

fn read_chain(fields: &mut Fields<'_>) -> Result<Chain, FrameError> {
    let in_call = |source| FrameError::Field { frame: "call", source };
    let len = usize::from(fields.u8("chain length").map_err(in_call)?);
    if len > CHAIN_LEN_MAX {
        return Err(FrameError::ChainTooLong { len });
    }
    let mut links = Vec::with_capacity(len);
    for _ in 0..len {
        links.push(read_link(fields).map_err(in_call)?);
    }
    Chain::from_links(&links).ok_or(FrameError::ChainTooLong { len })
}

fn read_link(fields: &mut Fields<'_>) -> Result<Link, FieldError> {
    let mode = match fields.u8("link mode")? {
        mode_byte::SHARED => Mode::Shared,
        mode_byte::EXCLUSIVE => Mode::Exclusive,
        other => return Err(FieldError::BadValue { field: "link mode", value: u64::from(other) }),
    };
    let node = Incarnation(fields.u64("link node")?);
    let count = fields.varint("link instance")?;
    let call = CallId(fields.varint("link call")?);
    Ok(Link { instance: InstanceId { node, count }, call, mode })
}

/// Takes bytes off the buffer without copying. Without bytes, nothing needs to be shared.
#[inline]
pub(super) fn take_bytes(buffer: &mut BytesMut, len: usize) -> Bytes {
    if len == 0 { Bytes::new() } else { buffer.split_to(len).freeze() }
}
