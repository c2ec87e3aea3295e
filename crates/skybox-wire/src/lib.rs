//! The wire of Skybox: frames, codec and handshake; bytes in, frames out.
//!
//! Only this crate knows which bytes cross a connection; `docs/wire.md` specifies each of them, and golden vectors
//! pin them. It opens no socket, knows no async runtime, reads no clock and starts no thread: a connection hands
//! it what it read, and writes what it is handed.
//!
//! Start reading at [`frame`]: what a call looks like on the way. [`handshake`] comes before it on a connection,
//! [`codec`] fills its payloads; [`stream`] says when a stream may give its next item.
//!
//! ```
//! use bytes::BytesMut;
//! use skybox_core::CallId;
//! use skybox_wire::frame::{Decoder, Frame, Limits, encode_cancel};
//!
//! let mut buffer = BytesMut::new();
//! encode_cancel(&mut buffer, CallId(7));
//! let frame = Decoder::new(Limits::default()).next(&mut buffer)?;
//! assert!(matches!(frame, Some(Frame::Cancel(CallId(7)))));
//! # Ok::<(), skybox_wire::frame::FrameError>(())
//! ```

pub mod codec;
pub mod frame;
pub mod handshake;
pub mod stream;

mod field;

pub use field::FieldError;
