//! What waits to be written.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Bytes after which a buffer is closed and the next one begun. Health frames go between buffers, so this is
/// what they may have to wait for: a millisecond at 1 Gbit/s.
const CUT_BYTES: usize = 128 * 1024;
/// The size of a fresh buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Frames that wait to be written, cut at frame boundaries.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Pings and pongs: written before everything else.
    pub(super) urgent: BytesMut,
    full: VecDeque<BytesMut>,
    filling: BytesMut,
    /// Bytes in `full`.
    full_bytes: usize,
    /// What the kernel did not take of an ordinary buffer: first of all.
    left: BytesMut,
    /// Bytes of ordinary frames that were ever taken out.
    taken: u64,
    /// The writer has been told.
    scheduled: bool,
    /// Calls and replies that were ever appended.
    pub(super) frames: u64,
}

impl Out {
    /// The buffer to append an ordinary frame to.
    pub(super) fn filling(&mut self) -> &mut BytesMut {
        &mut self.filling
    }

    /// Closes the current buffer if it is long enough. Called between frames.
    pub(super) fn cut(&mut self) {
        if self.filling.len() >= CUT_BYTES {
            let full = std::mem::replace(&mut self.filling, BytesMut::with_capacity(BUFFER_BYTES));
            self.full_bytes += full.len();
            self.full.push_back(full);
        }
    }

    /// Bytes of ordinary frames that wait.
    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.filling.len()
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.left.is_empty() && self.bytes() == 0
    }

    /// Whether all that was ever appended has been written.
    pub(super) fn is_written(&self) -> bool {
        self.is_empty() && !self.scheduled
    }

    /// Gives back what the kernel did not take.
    pub(super) fn put_back(&mut self, taken: Taken, rest: BytesMut) {
        match taken {
            Taken::Ordinary => self.left = rest,
            // Half an urgent frame has to be finished before anything else is written.
            Taken::Urgent => {
                let mut urgent = rest;
                urgent.extend_from_slice(&self.urgent);
                self.urgent = urgent;
            }
        }
    }

    /// The place of the next byte in the stream of ordinary frames.
    pub(super) fn position(&self) -> u64 {
        self.taken + self.bytes() as u64
    }

    /// Marks the writer as told. `false` if it was already.
    pub(super) fn schedule(&mut self) -> bool {
        !std::mem::replace(&mut self.scheduled, true)
    }

    /// Takes what is to be written next into `batch`, which comes empty and gives its space back: urgent frames,
    /// else one buffer of ordinary ones. Says which; `None` when there is nothing, and the writer must be told
    /// again.
    pub(super) fn take(&mut self, batch: &mut BytesMut) -> Option<Taken> {
        debug_assert!(batch.is_empty());
        if !self.left.is_empty() {
            std::mem::swap(&mut self.left, batch);
            return Some(Taken::Ordinary);
        }
        if !self.urgent.is_empty() {
            std::mem::swap(&mut self.urgent, batch);
            return Some(Taken::Urgent);
        }
        if let Some(full) = self.full.pop_front() {
            self.full_bytes -= full.len();
            *batch = full;
        } else if !self.filling.is_empty() {
            std::mem::swap(&mut self.filling, batch);
        } else {
            self.scheduled = false;
            return None;
        }
        self.taken += batch.len() as u64;
        Some(Taken::Ordinary)
    }
}

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Urgent,
    Ordinary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_frames_pass_and_positions_count_ordinary_bytes() {
        let mut out = Out::default();
        let mut batch = BytesMut::new();
        for _ in 0..3 {
            out.filling().extend_from_slice(&[7; CUT_BYTES]);
            out.cut();
        }
        out.filling().extend_from_slice(b"last");
        assert!(out.schedule() && !out.schedule());
        assert_eq!(out.position(), 3 * CUT_BYTES as u64 + 4);
        assert_eq!(out.take(&mut batch), Some(Taken::Ordinary));
        batch.clear();
        out.urgent.extend_from_slice(b"ping");
        assert_eq!((out.take(&mut batch), &batch[..]), (Some(Taken::Urgent), &b"ping"[..]));
        let mut left = 0;
        loop {
            batch.clear();
            match out.take(&mut batch) {
                Some(_) => left += batch.len(),
                None => break,
            }
        }
        assert_eq!(left, 2 * CUT_BYTES + 4);
        assert_eq!(out.position(), 3 * CUT_BYTES as u64 + 4);
        assert!(out.schedule(), "an idle writer has to be told again");
    }
}
