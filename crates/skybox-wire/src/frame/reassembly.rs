//! Joining payloads that came in several frames.

use std::collections::BTreeMap;

use bytes::Bytes;
use skybox_core::CallId;

use super::{FrameError, Limits, Payload};

/// Refused or given-up payloads whose chunks are still under way and dropped as they come. A peer stops when it
/// reads the refusal, so an honest one has at most a round trip's worth of them.
const SKIPPED_MAX: usize = 4096;

/// The incomplete payloads of one direction of one connection: one for the calls that come in, one for the
/// replies. `H` is what the connection needs when the payload is complete: the frame's head, for instance.
///
/// It holds copies, grown with what really arrived: what a peer announces reserves nothing, and small chunks do
/// not keep large read buffers alive.
#[derive(Debug)]
pub struct Reassembly<H> {
    limits: Limits,
    open: BTreeMap<CallId, Open<H>>,
    /// Bytes still to come of payloads that nobody wants.
    skipped: BTreeMap<CallId, Skipped>,
    /// Bytes of all open payloads; the sum over `open`.
    bytes_held: usize,
}

#[derive(Debug)]
struct Open<H> {
    head: H,
    total: u64,
    /// Shorter than `total`.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Skipped {
    total: u64,
    /// Above zero.
    left: u64,
}

/// What a frame did to its payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress<H> {
    /// It is complete.
    Whole(H, Bytes),
    /// More is to come, or nobody wants it.
    Waiting,
    /// It exceeds a bound. Its call fails, the connection goes on: answer it, or fail it if it is a reply. The
    /// chunks that are under way are dropped as they come.
    Refused(H, PayloadRefused),
}

/// Which bound a payload exceeds. Its call alone fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadRefused {
    /// It is too long.
    #[error("a payload of {total} bytes, above the bound of {max}")]
    TooLong {
        /// What was announced.
        total: u64,
        /// The bound.
        max: usize,
    },
    /// Too many are incomplete at once.
    #[error("{max} payloads are incomplete on this connection, and no more are taken")]
    TooManyOpen {
        /// The bound.
        max: usize,
    },
    /// All incomplete ones together are too long.
    #[error("incomplete payloads on this connection hold their bound of {max} bytes")]
    TooManyBytes {
        /// The bound.
        max: usize,
    },
}

impl<H> Reassembly<H> {
    /// Without any payload.
    pub fn new(limits: Limits) -> Reassembly<H> {
        Reassembly { limits, open: BTreeMap::new(), skipped: BTreeMap::new(), bytes_held: 0 }
    }

    /// Takes the beginning of a payload; a whole one is returned as it is.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn begin(&mut self, call: CallId, head: H, payload: Payload) -> Result<Progress<H>, FrameError> {
        if self.open.contains_key(&call) || self.skipped.contains_key(&call) {
            return Err(FrameError::Twice { call });
        }
        let Payload { total, first } = payload;
        let here = first.len() as u64;
        if total > self.limits.payload_bytes_max as u64 {
            self.skip_rest(call, total, here)?;
            let max = self.limits.payload_bytes_max;
            return Ok(Progress::Refused(head, PayloadRefused::TooLong { total, max }));
        }
        if here == total {
            return Ok(Progress::Whole(head, first));
        }
        if self.open.len() >= self.limits.payloads_open_max {
            self.skip_rest(call, total, here)?;
            let max = self.limits.payloads_open_max;
            return Ok(Progress::Refused(head, PayloadRefused::TooManyOpen { max }));
        }
        if !self.has_room(first.len()) {
            self.skip_rest(call, total, here)?;
            return Ok(Progress::Refused(head, self.full()));
        }
        self.bytes_held += first.len();
        self.open.insert(call, Open { head, total, bytes: first.to_vec() });
        Ok(Progress::Waiting)
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn push(&mut self, call: CallId, chunk: &[u8]) -> Result<Progress<H>, FrameError> {
        let room = self.has_room(chunk.len());
        let Some(open) = self.open.get_mut(&call) else {
            return self.push_skipped(call, chunk.len() as u64);
        };
        let (total, here) = (open.total, (open.bytes.len() + chunk.len()) as u64);
        if here > total {
            return Err(FrameError::ChunkTooLong { call, total });
        }
        if room && here < total {
            open.append(chunk);
            self.bytes_held += chunk.len();
            return Ok(Progress::Waiting);
        }
        let mut open = self.open.remove(&call).expect("it was found just now");
        self.bytes_held -= open.bytes.len();
        if !room {
            self.skip_rest(call, total, here)?;
            return Ok(Progress::Refused(open.head, self.full()));
        }
        open.append(chunk);
        Ok(Progress::Whole(open.head, open.bytes.into()))
    }

    /// Gives up a payload that nobody wants any more; what still comes of it is dropped. Returns its head if it
    /// was open.
    ///
    /// # Errors
    /// [`FrameError::TooManyPayloads`]: close the connection.
    pub fn skip(&mut self, call: CallId) -> Result<Option<H>, FrameError> {
        let Some(open) = self.remove(call) else { return Ok(None) };
        self.skip_rest(call, open.total, open.bytes.len() as u64)?;
        Ok(Some(open.head))
    }

    /// Ends a payload of which the peer says that nothing more comes: by a cancel frame, or by a reply that
    /// failed. Returns its head if it was open.
    pub fn end(&mut self, call: CallId) -> Option<H> {
        self.skipped.remove(&call);
        self.remove(call).map(|open| open.head)
    }

    /// Bytes that incomplete payloads hold.
    pub fn bytes_held(&self) -> usize {
        self.bytes_held
    }

    /// Payloads that are incomplete and wanted.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    fn remove(&mut self, call: CallId) -> Option<Open<H>> {
        let open = self.open.remove(&call)?;
        self.bytes_held -= open.bytes.len();
        Some(open)
    }

    fn has_room(&self, len: usize) -> bool {
        len <= self.limits.payload_bytes_held_max.saturating_sub(self.bytes_held)
    }

    fn full(&self) -> PayloadRefused {
        PayloadRefused::TooManyBytes { max: self.limits.payload_bytes_held_max }
    }

    /// Remembers that what is left of a payload is to be dropped; `here` bytes of it have come.
    fn skip_rest(&mut self, call: CallId, total: u64, here: u64) -> Result<(), FrameError> {
        if here == total {
            return Ok(());
        }
        let count = self.skipped.len();
        if count >= SKIPPED_MAX {
            return Err(FrameError::TooManyPayloads { count });
        }
        self.skipped.insert(call, Skipped { total, left: total - here });
        Ok(())
    }

    fn push_skipped(&mut self, call: CallId, len: u64) -> Result<Progress<H>, FrameError> {
        let Some(skipped) = self.skipped.get_mut(&call) else {
            return Err(FrameError::ChunkWithoutCall { call });
        };
        let total = skipped.total;
        skipped.left = skipped.left.checked_sub(len).ok_or(FrameError::ChunkTooLong { call, total })?;
        if skipped.left == 0 {
            self.skipped.remove(&call);
        }
        Ok(Progress::Waiting)
    }
}

impl<H> Open<H> {
    /// Doubles the room when it is used up, but never beyond the announced length.
    fn append(&mut self, chunk: &[u8]) {
        let missing = usize::try_from(self.total).unwrap_or(usize::MAX) - self.bytes.len();
        if self.bytes.capacity() - self.bytes.len() < chunk.len() {
            self.bytes.reserve_exact(missing.min(self.bytes.len().max(chunk.len())));
        }
        self.bytes.extend_from_slice(chunk);
    }
}
