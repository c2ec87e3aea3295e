//! Frames: what crosses a connection once the handshake is done.
//!
//! A frame is its length (u32, little-endian, counting what follows), a kind (u8) and its fields; `docs/wire.md`
//! has every byte. Here are three steps, each without I/O:
//!
//! 1. `encode_…` and `begin_…` append frames to a buffer. A payload longer than [`CHUNK_BYTES_MAX`] leaves a
//!    [`Rest`], which the connection sends chunk by chunk between other frames.
//! 2. [`Decoder`] splits frames off a buffer; payloads share it. What is missing of a stream's item can be read to
//!    where it belongs, past the buffer: [`Decoder::begun`].
//! 3. [`Reassembly`] joins chunked payloads, within bounds.
//!
//! # Rules between frames
//! - No two calls that one side makes over one connection have one id, and none is zero. Frames of small calls pass
//!   the payloads of others, also of calls with a lower id.
//! - Whoever stops a payload before its announced end says so: the caller with a cancel frame, the callee with a
//!   reply that failed. Nothing of that payload follows.
//! - Streams go beside the calls they belong to; [`stream`](crate::stream) has their rules.

mod decode;
mod encode;
mod error;
mod reassembly;
mod rest;
mod stream;
mod verdict;

use bytes::Bytes;
use skybox_core::{CallErrorKind, CallId, Chain, TraceContext};

pub use decode::Decoder;
pub use encode::{
    CallHead, HeadError, PayloadWriter, ReplyHead, begin_call, begin_reply, encode_call, encode_cancel,
    encode_drain, encode_failure, encode_ping, encode_pong, encode_reply, split_call, split_reply,
};
pub use error::FrameError;
pub use reassembly::{PayloadRefused, Progress, Reassembly};
pub use rest::{Rest, encode_chunk};
pub use stream::{
    Begun, Credit, ItemFrame, ItemHead, StreamId, encode_credit, encode_item, encode_item_chunk,
    encode_reset, encode_stream_end, split_item,
};

/// Payload bytes in one frame. Long enough that the head costs nothing, short enough that a ping waits less than
/// a millisecond behind it at 1 Gbit/s. The odd KiB lets a block of 64 KiB with a few fields around it be one frame.
pub const CHUNK_BYTES_MAX: usize = 65 * 1024;

/// Bytes of an instance-choosing key. Keys are ids and names; a longer one is a payload in the wrong place.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// Bytes of one frame behind its length field: a full chunk, and 8 KiB for the longest head (a key, and
/// 64 chain links of at most 29 bytes).
pub const FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX + 8 * 1024;

/// Bytes of a frame's length field.
pub const LENGTH_BYTES: usize = 4;

/// Bounds of one direction of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame; a longer one ends the connection. Default [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// Bytes of one payload; a longer one fails its call. Default 64 MiB: what is larger belongs in a stream
    /// or in a store.
    pub payload_bytes_max: usize,
    /// Payloads that may be incomplete at once; a further one fails its call. Default 256.
    pub payloads_open_max: usize,
    /// Bytes of all incomplete payloads together; the payload that exceeds it fails its call. Default 256 MiB:
    /// four of the longest.
    pub payload_bytes_held_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_bytes_max: FRAME_BYTES_MAX,
            payload_bytes_max: 64 << 20,
            payloads_open_max: 256,
            payload_bytes_held_max: 256 << 20,
        }
    }
}

/// A module's place in the list that its side sent in its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleNumber(pub u16);

/// A method's place in its module's list; the interface digest guards that both sides mean the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodNumber(pub u16);

/// Which payload of a call a chunk belongs to, or which a stream is part of. Both sides count their own calls, so the
/// id alone would not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PayloadOf {
    /// The arguments: sent by the caller.
    Call,
    /// The result: sent by the callee.
    Reply,
}

/// Whether a method returned its value or its own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its value.
    Ok,
    /// Its error.
    UserError,
}

/// A payload, or its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Bytes of the whole payload, as its sender announced it.
    pub total: u64,
    /// What arrived with the head.
    pub first: Bytes,
}

impl Payload {
    /// Whether nothing more will come.
    pub fn is_whole(&self) -> bool {
        self.first.len() as u64 == self.total
    }
}

/// One frame, as it arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Frame {
    /// A call, with the beginning of its arguments.
    Call(CallFrame),
    /// The end of a call, with the beginning of its result.
    Reply(ReplyFrame),
    /// More of a payload.
    Chunk(ChunkFrame),
    /// The caller waits no longer.
    Cancel(CallId),
    /// Asks for a pong.
    Ping(Beat),
    /// Answers a ping: its nonce, and the answering side's clock.
    Pong(Beat),
    /// The sender takes no call after `last`: those with a higher id did not run. Zero if it took none.
    Drain {
        /// The last call it took.
        last: CallId,
    },
    /// One item of a stream, or its beginning.
    Item(ItemFrame),
    /// More of a stream's item: at least one byte.
    ItemChunk(StreamId, Bytes),
    /// A stream gives no more items: it has ended, or broken off for a reason.
    StreamEnd(StreamId, Option<CallErrorKind>),
    /// The reader of a stream takes so much more.
    Credit(StreamId, Credit),
    /// The reader of a stream wants no more of it.
    Reset(StreamId),
}

/// A call frame.
#[derive(Clone, Debug)]
pub struct CallFrame {
    /// The call, as its caller counts.
    pub call: CallId,
    /// The callee's number of the module.
    pub module: ModuleNumber,
    /// The method.
    pub method: MethodNumber,
    /// The payload's form, which the codec defines.
    pub form: u8,
    /// Which instance of a keyed module.
    pub key: Option<Bytes>,
    /// Until when it must be over: microseconds on the caller's monotonic clock.
    pub deadline_us: Option<u64>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The calls under which it is made, innermost first.
    pub chain: Chain,
    /// The caller's number of the module that makes the call.
    pub caller: Option<ModuleNumber>,
    /// The arguments.
    pub payload: Payload,
}

/// A reply frame.
#[derive(Clone, Debug)]
pub struct ReplyFrame {
    /// The call that ended.
    pub call: CallId,
    /// Calls in progress at the callee; [`u16::MAX`] means that many or more.
    pub load: u16,
    /// How it ended.
    pub body: ReplyBody,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum ReplyBody {
    /// The method returned.
    Returned {
        /// Its value, or its own error.
        outcome: Outcome,
        /// The payload's form, which the codec defines.
        form: u8,
        /// The value or the error.
        payload: Payload,
    },
    /// It did not return: the callee's verdict.
    Failed(CallErrorKind),
}

/// A chunk frame.
#[derive(Clone, Debug)]
pub struct ChunkFrame {
    /// Arguments or result.
    pub of: PayloadOf,
    /// Whose.
    pub call: CallId,
    /// The bytes, at least one.
    pub bytes: Bytes,
}

/// What a ping and a pong carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Chosen by who asks, returned by who answers.
    pub nonce: u64,
    /// Microseconds on the monotonic clock of who sends this frame.
    pub clock_us: u64,
}

/// The byte that says what a frame is.
mod kind {
    pub(super) const CALL: u8 = 1;
    pub(super) const REPLY: u8 = 2;
    pub(super) const CALL_CHUNK: u8 = 3;
    pub(super) const REPLY_CHUNK: u8 = 4;
    pub(super) const CANCEL: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const PONG: u8 = 7;
    pub(super) const DRAIN: u8 = 8;
    pub(super) const ITEM: u8 = 0x10;
    pub(super) const ITEM_CHUNK: u8 = 0x11;
    pub(super) const STREAM_END: u8 = 0x12;
    pub(super) const CREDIT: u8 = 0x13;
    pub(super) const RESET: u8 = 0x14;
}

/// Bits of a call frame's flags byte: which optional fields are there.
mod call_flag {
    pub(super) const KEY: u8 = 1 << 0;
    pub(super) const DEADLINE: u8 = 1 << 1;
    pub(super) const TRACE: u8 = 1 << 2;
    pub(super) const CHAIN: u8 = 1 << 3;
    pub(super) const CALLER: u8 = 1 << 4;
    pub(super) const RESERVED: u8 = 0b1100_0000;
}

/// Bits of a reply frame's flags byte.
mod reply_flag {
    pub(super) const OUTCOME: u8 = 0b11;
    pub(super) const OK: u8 = 0;
    pub(super) const USER_ERROR: u8 = 1;
    pub(super) const FAILED: u8 = 2;
    pub(super) const RESERVED: u8 = 0b1101_1100;
}

/// Bits of the flags byte of a stream's frames.
mod stream_flag {
    pub(super) const OF_REPLY: u8 = 1 << 0;
    /// Of an item: it is an error. Of an end: it broke off.
    pub(super) const FAILED: u8 = 1 << 1;
}

/// In the flags of calls, replies and items: the payload goes on in chunks, and its length is announced.
const FLAG_MORE: u8 = 1 << 5;

/// A link's mode byte.
mod mode_byte {
    pub(super) const SHARED: u8 = 0;
    pub(super) const EXCLUSIVE: u8 = 1;
}
