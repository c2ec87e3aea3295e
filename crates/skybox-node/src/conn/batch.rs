//! What is written at once.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use skybox_core::CallId;

/// Pieces of large payloads that one write takes where no small frames wait: more than a socket's buffer has room
/// for by default, so that each write fills it.
pub(super) const PIECES_MAX: usize = 4;
/// Slices of one write: of each piece two, and those of what was left over and of what has come in between.
const SLICES_MAX: usize = 2 * (PIECES_MAX + 2);
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Buffered frames, and pieces of large payloads.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pieces: VecDeque<Piece>,
    /// Where the batch ends in the stream of small frames.
    end: u64,
    /// Used again, for the next buffer of small frames.
    spare: BytesMut,
}

/// Whole frames. Nothing else is written between their bytes.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) head: BytesMut,
    /// Belongs directly behind `head`.
    pub(super) body: Bytes,
    /// Bytes at the front of `head` that belong to the stream of small frames.
    pub(super) small: usize,
    /// The calls whose requests end in what is left of this piece, but not among the small frames, each with its
    /// distance from here to its last byte. Several small calls of one lane may share a piece, and the kernel may take
    /// the first of them alone.
    pub(super) ends: Vec<(CallId, usize)>,
    /// Small frames that come later may go out before it: it holds nothing but items.
    pub(super) may_be_passed: bool,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

impl Batch {
    /// Empties it; its space is used again.
    pub(super) fn clear(&mut self, end: u64) {
        self.pieces.clear();
        self.end = end;
    }

    /// A buffer without content.
    pub(super) fn take_spare(&mut self) -> BytesMut {
        std::mem::take(&mut self.spare)
    }

    /// Appends a piece. The stream of small frames goes up to `end` with it.
    pub(super) fn push(&mut self, piece: Piece, end: u64) {
        self.end = end;
        self.pieces.push_back(piece);
    }

    /// Inserts small frames as far in front as they may stand: behind the piece that may be written in part, and
    /// behind what does not let them pass.
    pub(super) fn push_in_front(&mut self, piece: Piece, end: u64) {
        self.end = end;
        // Urgent frames pass all but what has begun.
        let passes = |piece: &Piece| piece.may_be_passed;
        let held_up =
            if piece.small == 0 { None } else { self.pieces.iter().rposition(|piece| !passes(piece)) };
        let held_up = held_up.map_or(0, |at| at + 1);
        self.pieces.insert(held_up.max(self.pieces.len().min(1)), piece);
    }

    /// Bytes that are not written yet.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Piece::len).sum()
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Calls `write` with what is to be written, in order and without empty slices.
    pub(super) fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for piece in &self.pieces {
            for bytes in [&piece.head[..], &piece.body[..]] {
                if !bytes.is_empty() && count < SLICES_MAX {
                    slices[count] = IoSlice::new(bytes);
                    count += 1;
                }
            }
        }
        write(&slices[..count])
    }

    /// The kernel has taken so many bytes.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > written {
                let of_head = written.min(piece.head.len());
                piece.small = piece.small.saturating_sub(of_head);
                piece.head.advance(of_head);
                piece.body.advance(written - of_head);
                piece.ends.retain_mut(|(_, end)| {
                    let is_left = *end > written;
                    *end = end.saturating_sub(written);
                    is_left
                });
                return;
            }
            written -= piece.len();
            let mut head = self.pieces.pop_front().unwrap_or_default().head;
            if head.capacity() > self.spare.capacity() && head.capacity() <= KEPT_BYTES_MAX {
                head.clear();
                self.spare = head;
            }
        }
    }

    /// The calls whose requests end in what is not written, but not among the small frames.
    pub(super) fn ends(&self) -> impl Iterator<Item = CallId> {
        self.pieces.iter().flat_map(|piece| &piece.ends).map(|(call, _)| *call)
    }

    /// How far the stream of small frames goes once this batch is written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How far it goes with what has been written of this batch.
    pub(super) fn reached(&self) -> u64 {
        self.end - self.pieces.iter().map(|piece| piece.small as u64).sum::<u64>()
    }
}
