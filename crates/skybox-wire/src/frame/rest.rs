//! What is left of a payload that does not fit in one frame.

use bytes::{BufMut, Bytes, BytesMut};
use skybox_core::CallId;

use super::stream::put_item_chunk_head;
use super::{CHUNK_BYTES_MAX, LENGTH_BYTES, PayloadOf, StreamId, kind};
use crate::field::Small;

/// Length field, kind, and a call id of at most ten bytes.
const CHUNK_HEAD_BYTES_MAX: usize = LENGTH_BYTES + 1 + 10;

/// The rest of a payload whose head was written: to be sent chunk by chunk, so that other frames pass between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    whole: Whole,
    bytes: Bytes,
}

/// What the chunks of a rest say they are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Payload(PayloadOf, CallId),
    Item(StreamId),
}

impl Rest {
    /// What `encode_call` or `encode_reply` did not write of a payload. `None` if it wrote all of it.
    pub fn new(of: PayloadOf, call: CallId, bytes: Bytes) -> Option<Rest> {
        (!bytes.is_empty()).then_some(Rest { whole: Whole::Payload(of, call), bytes })
    }

    /// What `encode_item` did not write of an item. `None` if it wrote all of it.
    pub fn of_item(stream: StreamId, bytes: Bytes) -> Option<Rest> {
        (!bytes.is_empty()).then_some(Rest { whole: Whole::Item(stream), bytes })
    }

    /// Bytes that are not yet written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends one chunk frame. Nothing once all is written.
    pub fn write_chunk(&mut self, out: &mut BytesMut) {
        if !self.is_empty() {
            let bytes = self.take_chunk(out);
            out.extend_from_slice(&bytes);
        }
    }

    /// Appends the head of one chunk frame and returns the bytes that belong directly behind it, for a
    /// connection that writes them without copying. Not to be called once all is written.
    pub fn take_chunk(&mut self, out: &mut BytesMut) -> Bytes {
        debug_assert!(!self.is_empty(), "an empty chunk is an error at the peer");
        let bytes = self.bytes.split_to(self.bytes.len().min(CHUNK_BYTES_MAX));
        match self.whole {
            Whole::Payload(of, call) => put_head(out, of, call, bytes.len()),
            Whole::Item(stream) => put_item_chunk_head(out, stream, bytes.len()),
        }
        bytes
    }
}

/// Appends one chunk frame and returns how many of the bytes it holds: at most [`CHUNK_BYTES_MAX`]. Without
/// bytes, nothing is written.
pub fn encode_chunk(out: &mut BytesMut, of: PayloadOf, call: CallId, bytes: &[u8]) -> usize {
    let len = bytes.len().min(CHUNK_BYTES_MAX);
    if len > 0 {
        put_head(out, of, call, len);
        out.extend_from_slice(&bytes[..len]);
    }
    len
}

fn put_head(out: &mut BytesMut, of: PayloadOf, call: CallId, bytes_len: usize) {
    let mut head = Small::<CHUNK_HEAD_BYTES_MAX>::new();
    head.u8(match of {
        PayloadOf::Call => kind::CALL_CHUNK,
        PayloadOf::Reply => kind::REPLY_CHUNK,
    });
    head.varint(call.0);
    let len = u32::try_from(head.as_slice().len() + bytes_len).expect("a chunk is bounded far below 4 GiB");
    out.put_u32_le(len);
    out.put_slice(head.as_slice());
}
