//! Why bytes are not frames.

use skybox_core::{CHAIN_LEN_MAX, CallId};

use super::StreamId;
use crate::FieldError;
use crate::stream::ITEM_BYTES_MAX;

/// The peer broke the protocol. Nothing that follows on the connection can be trusted: close it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length field is above the bound. Nothing was reserved for it.
    #[error("a frame of {len} bytes, above the bound of {max}")]
    TooLong {
        /// What the length field says.
        len: u32,
        /// The bound.
        max: usize,
    },
    /// The length field is zero: there is no room for a kind.
    #[error("a frame without a kind")]
    Empty,
    /// No such kind in this version of the protocol.
    #[error("unknown frame kind {kind:#04x}")]
    UnknownKind {
        /// What arrived.
        kind: u8,
    },
    /// A flag that has no meaning.
    #[error("unknown flags in a {frame} frame: {flags:#010b}")]
    UnknownFlags {
        /// The frame's kind.
        frame: &'static str,
        /// What arrived.
        flags: u8,
    },
    /// A field is not what it should be.
    #[error("a malformed {frame} frame")]
    Field {
        /// The frame's kind.
        frame: &'static str,
        /// Which field, and what is wrong with it.
        #[source]
        source: FieldError,
    },
    /// Bytes behind the last field.
    #[error("{len} bytes too many in a {frame} frame")]
    Trailing {
        /// The frame's kind.
        frame: &'static str,
        /// How many.
        len: usize,
    },
    /// More links than a chain may have.
    #[error("a chain of {len} links, above the bound of {}", CHAIN_LEN_MAX)]
    ChainTooLong {
        /// What arrived.
        len: usize,
    },
    /// The verdict of a failed call cannot be read.
    #[error("the verdict on call {} cannot be read", .call.0)]
    BadVerdict {
        /// The call.
        call: CallId,
    },
    /// The payload is said to go on, yet what is announced is already here.
    #[error("call {} announces a payload of {total} bytes that goes on after {here}", .call.0)]
    BadTotal {
        /// The call.
        call: CallId,
        /// The announced length.
        total: u64,
        /// What the frame holds.
        here: usize,
    },
    /// A chunk without a single byte.
    #[error("an empty chunk for call {}", .call.0)]
    EmptyChunk {
        /// The call.
        call: CallId,
    },
    /// A chunk for a payload that was never announced, or is complete.
    #[error("a chunk for call {}, which has no open payload", .call.0)]
    ChunkWithoutCall {
        /// The call.
        call: CallId,
    },
    /// More than was announced.
    #[error("the payload of call {} is longer than the {total} bytes it announced", .call.0)]
    ChunkTooLong {
        /// The call.
        call: CallId,
        /// The announced length.
        total: u64,
    },
    /// A second head for a call whose payload is still incomplete.
    #[error("call {} appears twice", .call.0)]
    Twice {
        /// The call.
        call: CallId,
    },
    /// The peer goes on sending payloads that were refused, or given up, and begins more of them.
    #[error("too many open payloads: {count} were refused or given up and are still being sent")]
    TooManyPayloads {
        /// How many.
        count: usize,
    },
    /// An item, or bytes of one, that the reader has not asked for.
    #[error("{stream} has more items than its reader asked for")]
    StreamOverrun {
        /// The stream.
        stream: StreamId,
    },
    /// An item above its bound.
    #[error("{stream} has an item of {total} bytes, above the bound of {ITEM_BYTES_MAX}")]
    ItemTooLong {
        /// The stream.
        stream: StreamId,
        /// What was announced.
        total: u64,
    },
    /// A further item while one is incomplete, bytes of an item that has not begun, or more than it announced.
    #[error("{stream} has items that are not one after the other")]
    ItemsMixed {
        /// The stream.
        stream: StreamId,
    },
    /// A reader's credits add up to more than anybody could mean.
    #[error("the reader of {stream} asks for more than can be counted")]
    CreditTooHigh {
        /// The stream.
        stream: StreamId,
    },
}
