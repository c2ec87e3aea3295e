//! The frames of streams: items and their ends one way, credits and resets the other.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId};

use super::decode::{Body, read_total, take_bytes};
use super::encode::{announce, close, close_with, put_payload};
use super::{
    CHUNK_BYTES_MAX, FLAG_MORE, Frame, FrameError, LENGTH_BYTES, Payload, PayloadOf, Rest, kind, stream_flag,
    verdict,
};
use crate::FieldError;
use crate::field::{Fields, Small};
use crate::stream::STREAMS_PER_CALL_MAX;

/// Length field, kind, flags, a call id of at most ten bytes, the position, and two more numbers.
const HEAD_BYTES_MAX: usize = LENGTH_BYTES + 1 + 1 + 10 + 1 + 20;

/// Which stream: one argument of a call, or its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// An argument's items come from the caller, a result's from the callee.
    pub of: PayloadOf,
    /// The call, as its caller counts.
    pub call: CallId,
    /// Its place among the streams of that payload, below
    /// [`STREAMS_PER_CALL_MAX`].
    pub position: u8,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            PayloadOf::Call => "argument",
            PayloadOf::Reply => "result",
        };
        write!(f, "stream {} in the {of} of call {}", self.position, self.call.0)
    }
}

/// What the reader of a stream can take in addition to what it has asked for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Credit {
    /// Items.
    pub items: u32,
    /// Bytes of items. The last item may exceed them.
    pub bytes: u64,
}

/// One item, or its beginning.
#[derive(Clone, Debug)]
pub struct ItemFrame {
    /// Of which stream.
    pub stream: StreamId,
    /// It is an error, and no value.
    pub is_error: bool,
    /// The payload's form, which the codec defines.
    pub form: u8,
    /// The value or the error.
    pub payload: Payload,
}

/// An item or a chunk of which a part is here: see [`Decoder::begun`](super::Decoder::begun).
#[derive(Clone, Debug)]
pub struct Begun {
    /// [`Frame::Item`] or [`Frame::ItemChunk`], with what is here of its bytes, which may be none.
    pub frame: Frame,
    /// Of which stream.
    pub stream: StreamId,
    /// Bytes of the frame that come next on the connection, all of them the item's. At least one.
    pub left: usize,
}

/// All of an item but its payload.
#[derive(Clone, Copy, Debug)]
pub struct ItemHead {
    /// Of which stream.
    pub stream: StreamId,
    /// It is an error, and no value.
    pub is_error: bool,
    /// The payload's form, which the codec defines.
    pub form: u8,
}

/// Appends an item with as much of its payload as fits in one frame, and returns how many bytes that is. What is
/// left goes out as chunks: [`Rest::of_item`].
pub fn encode_item(out: &mut BytesMut, head: &ItemHead, payload: &[u8]) -> usize {
    let start = out.len();
    put_item_head(out, head);
    put_payload(out, start, payload)
}

/// Appends an item but not its payload, and returns what belongs directly behind it, for a connection that writes it
/// without copying. What is left goes out as chunks. `lead` is the payload's beginning, of a few bytes: the bytes are
/// those of [`encode_item`] with both.
pub fn split_item(
    out: &mut BytesMut,
    head: &ItemHead,
    lead: &[u8],
    mut payload: Bytes,
) -> (Bytes, Option<Rest>) {
    debug_assert!(lead.len() < CHUNK_BYTES_MAX, "what leads is copied, and stands in the first frame");
    let start = out.len();
    put_item_head(out, head);
    let total = lead.len() + payload.len();
    if total > CHUNK_BYTES_MAX {
        announce(out, start, total);
    }
    out.put_slice(lead);
    let first = payload.split_to(payload.len().min(CHUNK_BYTES_MAX - lead.len()));
    close_with(out, start, first.len());
    (first, Rest::of_item(head.stream, payload))
}

fn put_item_head(out: &mut BytesMut, head: &ItemHead) {
    let failed = if head.is_error { stream_flag::FAILED } else { 0 };
    let mut small = begin(kind::ITEM, head.stream, failed);
    small.u8(head.form);
    out.put_slice(small.as_slice());
}

/// Appends a chunk of an item and returns how many of the bytes it holds: at most [`CHUNK_BYTES_MAX`]. Without
/// bytes, nothing is written.
pub fn encode_item_chunk(out: &mut BytesMut, stream: StreamId, bytes: &[u8]) -> usize {
    let len = bytes.len().min(CHUNK_BYTES_MAX);
    if len > 0 {
        put_item_chunk_head(out, stream, len);
        out.put_slice(&bytes[..len]);
    }
    len
}

/// Appends a chunk up to its bytes, of which there are so many.
pub(super) fn put_item_chunk_head(out: &mut BytesMut, stream: StreamId, bytes_len: usize) {
    let start = out.len();
    out.put_slice(begin(kind::ITEM_CHUNK, stream, 0).as_slice());
    close_with(out, start, bytes_len);
}

/// Appends the end of a stream, with the reason if it broke off.
pub fn encode_stream_end(out: &mut BytesMut, stream: StreamId, failed: Option<&CallErrorKind>) {
    let start = out.len();
    let flag = failed.map_or(0, |_| stream_flag::FAILED);
    out.put_slice(begin(kind::STREAM_END, stream, flag).as_slice());
    if let Some(why) = failed {
        out.put_slice(&verdict::to_bytes(why));
    }
    close(out, start);
}

/// Appends what the reader of a stream can take in addition.
pub fn encode_credit(out: &mut BytesMut, stream: StreamId, credit: Credit) {
    let start = out.len();
    let mut small = begin(kind::CREDIT, stream, 0);
    small.varint(u64::from(credit.items));
    small.varint(credit.bytes);
    out.put_slice(small.as_slice());
    close(out, start);
}

/// Appends that the reader of a stream wants no more of it.
pub fn encode_reset(out: &mut BytesMut, stream: StreamId) {
    let start = out.len();
    out.put_slice(begin(kind::RESET, stream, 0).as_slice());
    close(out, start);
}

/// The beginning that all frames of streams share.
fn begin(kind: u8, stream: StreamId, flags: u8) -> Small<HEAD_BYTES_MAX> {
    let of = match stream.of {
        PayloadOf::Call => 0,
        PayloadOf::Reply => stream_flag::OF_REPLY,
    };
    let mut small = Small::new();
    small.fixed([0; LENGTH_BYTES]);
    small.u8(kind);
    small.u8(flags | of);
    small.varint(stream.call.0);
    small.u8(stream.position);
    small
}

/// Reads the beginning that all frames of streams share: the stream, and the flags that are set besides.
fn read_begin(fields: &mut Fields<'_>, frame: &'static str, known: u8) -> Result<(StreamId, u8), FrameError> {
    let in_frame = |source| FrameError::Field { frame, source };
    let flags = fields.u8("flags").map_err(in_frame)?;
    if flags & !(known | stream_flag::OF_REPLY) != 0 {
        return Err(FrameError::UnknownFlags { frame, flags });
    }
    let of = if flags & stream_flag::OF_REPLY == 0 { PayloadOf::Call } else { PayloadOf::Reply };
    let call = CallId(fields.varint("call").map_err(in_frame)?);
    let position = fields.u8("position").map_err(in_frame)?;
    if position >= STREAMS_PER_CALL_MAX {
        return Err(in_frame(FieldError::BadValue { field: "position", value: u64::from(position) }));
    }
    Ok((StreamId { of, call, position }, flags & known))
}

/// An item's fields before its payload. `here`: bytes of the frame from its flags on.
fn read_item(fields: &mut Fields<'_>, here: usize) -> Result<(ItemHead, u64), FrameError> {
    let (stream, flags) = read_begin(fields, "item", stream_flag::FAILED | FLAG_MORE)?;
    let form = fields.u8("form").map_err(|source| FrameError::Field { frame: "item", source })?;
    let total = read_total(fields, flags, stream.call, "item", here)?;
    Ok((ItemHead { stream, is_error: flags & stream_flag::FAILED != 0, form }, total))
}

impl Body<'_> {
    pub(super) fn item(self) -> Result<Option<Frame>, FrameError> {
        let mut fields = self.fields();
        let (ItemHead { stream, is_error, form }, total) = read_item(&mut fields, self.end - self.at)?;
        let at = fields.at();
        let first = self.rest_at(at);
        let payload = Payload { total, first };
        Ok(Some(Frame::Item(ItemFrame { stream, is_error, form, payload })))
    }

    pub(super) fn item_chunk(self) -> Result<Option<Frame>, FrameError> {
        let mut fields = self.fields();
        let (stream, _) = read_begin(&mut fields, "item chunk", 0)?;
        if fields.left() == 0 {
            return Err(FrameError::EmptyChunk { call: stream.call });
        }
        let at = fields.at();
        let bytes = self.rest_at(at);
        Ok(Some(Frame::ItemChunk(stream, bytes)))
    }

    pub(super) fn stream_end(self) -> Result<Option<Frame>, FrameError> {
        let mut fields = self.fields();
        let (stream, flags) = read_begin(&mut fields, "stream end", stream_flag::FAILED)?;
        let mut failed = None;
        let mut left = fields.left();
        if flags != 0 {
            let why = verdict::from_bytes(fields.rest());
            failed = Some(why.ok_or(FrameError::BadVerdict { call: stream.call })?);
            left = 0;
        }
        self.take_all(left, "stream end")?;
        Ok(Some(Frame::StreamEnd(stream, failed)))
    }

    pub(super) fn credit(self) -> Result<Option<Frame>, FrameError> {
        let in_credit = |source| FrameError::Field { frame: "credit", source };
        let mut fields = self.fields();
        let (stream, _) = read_begin(&mut fields, "credit", 0)?;
        let items = fields.varint("items").map_err(in_credit)?;
        let bytes = fields.varint("bytes").map_err(in_credit)?;
        let left = fields.left();
        let items = u32::try_from(items).map_err(|_| FrameError::CreditTooHigh { stream })?;
        self.take_all(left, "credit")?;
        Ok(Some(Frame::Credit(stream, Credit { items, bytes })))
    }

    pub(super) fn reset(self) -> Result<Option<Frame>, FrameError> {
        let mut fields = self.fields();
        let (stream, _) = read_begin(&mut fields, "reset", 0)?;
        let left = fields.left();
        self.take_all(left, "reset")?;
        Ok(Some(Frame::Reset(stream)))
    }

    /// Takes all there is of an item or a chunk off the buffer, which ends inside its payload.
    pub(super) fn item_so_far(self, kind: u8) -> Option<Begun> {
        let mut fields = Fields::new(&self.buffer[self.at..]);
        // If its fields are not all here, or not what they should be, the whole frame is worth waiting for.
        let (head, total) = match kind {
            kind::ITEM => read_item(&mut fields, self.end - self.at).map(|(head, total)| (head, Some(total))),
            kind::ITEM_CHUNK => read_begin(&mut fields, "item chunk", 0)
                .map(|(stream, _)| (ItemHead { stream, is_error: false, form: 0 }, None)),
            _ => return None,
        }
        .ok()?;
        let at = self.at + fields.at();
        let left = self.end - self.buffer.len().max(at);
        let ItemHead { stream, is_error, form } = head;
        bytes::Buf::advance(self.buffer, at);
        let first = self.buffer.split().freeze();
        let frame = match total {
            Some(total) => {
                Frame::Item(ItemFrame { stream, is_error, form, payload: Payload { total, first } })
            }
            None => Frame::ItemChunk(stream, first),
        };
        Some(Begun { frame, stream, left })
    }

    /// Takes the frame off the buffer; what stands behind its fields shares the buffer's memory.
    fn rest_at(self, fields_len: usize) -> Bytes {
        let at = self.at + fields_len;
        bytes::Buf::advance(self.buffer, at);
        take_bytes(self.buffer, self.end - at)
    }
}
