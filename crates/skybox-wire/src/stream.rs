//! When a stream may give its next item: the two ends of one stream, without I/O.
//!
//! A stream goes one way, item by item; the other way go credits. Its rules, with [`Sending`] and [`Receiving`] at
//! the ends:
//!
//! 1. Nothing is sent before the reader has asked: a stream that nobody reads gives no item. So a call whose
//!    stream has given none can be sent to somebody else.
//! 2. The reader asks for a window of items and bytes ([`WINDOW`]), and for more when half of it has been read.
//!    An item may begin while a single byte is asked for, so a reader holds a window and one item at the most.
//! 3. The items of one stream come one after the other, each in as many frames as it needs.
//! 4. Either end can end it: the sender with an end frame (as it is over, or with the reason why it broke off), the
//!    reader with a reset. A frame for a stream that is over means nothing: it was under way when it ended.
//!
//! ```
//! use skybox_wire::stream::{Receiving, Sending};
//!
//! let (mut sending, mut receiving) = (Sending::new(), Receiving::new());
//! assert!(!sending.may_send());
//! let asked = receiving.ask().expect("nothing has been asked for yet");
//! assert!(sending.credited(asked).is_some() && sending.may_send());
//! ```

mod blocks;
mod receiving;
mod sending;

pub use receiving::{Arrived, Receiving};
pub use sending::Sending;

use crate::frame::Credit;

/// Streams in the arguments of one call. More of them are one stream of something that says whose item it is.
pub const STREAMS_PER_CALL_MAX: u8 = 16;

/// Bytes of one item. Larger ones are several items: what is joined again in memory needs no stream.
pub const ITEM_BYTES_MAX: usize = 16 << 20;

/// What a reader asks for at once: so much may be produced that nobody has read yet.
///
/// 1 MiB is four blocks of 256 KiB, or the round trip of 1 ms on a line of 10 Gbit/s. 128 items keep a stream of small
/// ones going at a million a second over a Unix socket, and are few enough where each is work.
pub const WINDOW: Credit = Credit { items: 128, bytes: 1 << 20 };
