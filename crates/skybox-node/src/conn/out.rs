//! What waits to be written.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use skybox_core::{CallId, KeyHash};
use skybox_wire::frame::{
    CallHead, HeadError, PayloadOf, ReplyHead, encode_call, encode_reply, split_call, split_reply,
};

use super::large::{Item, LARGE_BYTES, Lane, Large, Withdrawn};

/// Bytes after which a buffer is closed and the next one begun. Health frames go between batches, so this and one
/// chunk is what they may have to wait for: two milliseconds at 1 Gbit/s.
const CUT_BYTES: usize = 128 * 1024;
/// The size of a fresh buffer.
const BUFFER_BYTES: usize = 16 * 1024;
/// A batch's buffer that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A request whose last byte is not in the stream of small frames, or not yet sent.
pub(super) const UNSENT: u64 = u64::MAX;

/// Frames that wait to be written: small ones in buffers, cut at frame boundaries; large payloads as they are.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Pings and pongs: written before everything else.
    pub(super) urgent: BytesMut,
    full: VecDeque<BytesMut>,
    filling: BytesMut,
    /// Bytes in `full`.
    full_bytes: usize,
    large: Large,
    /// What the kernel did not take of a batch: first of all.
    left: Option<Batch>,
    /// Bytes of small frames that were ever taken out.
    taken: u64,
    /// The writer has been told.
    scheduled: bool,
    /// Calls and replies that were ever appended.
    pub(super) frames: u64,
}

/// What is written at once: buffered frames, then perhaps a piece of a large payload.
#[derive(Debug, Default)]
pub(super) struct Batch {
    head: BytesMut,
    body: Bytes,
    /// Bytes at the front of `head` that belong to the stream of small frames.
    small: usize,
    /// The calls whose requests end in this batch, but not among the small frames.
    pub(super) ends: Vec<CallId>,
    /// Where the batch ends in the stream of small frames.
    end: u64,
}

impl Batch {
    /// What is to be written, in this order.
    pub(super) fn slices(&self) -> (&[u8], &[u8]) {
        (&self.head, &self.body)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// The kernel has taken so many bytes.
    pub(super) fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len());
        self.small = self.small.saturating_sub(of_head);
        self.head.advance(of_head);
        self.body.advance(written - of_head);
    }

    /// How far the stream of small frames goes once this batch is written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How far it goes with what has been written of this batch.
    pub(super) fn reached(&self) -> u64 {
        self.end - self.small as u64
    }

    /// Empties it; its space is used again.
    fn clear(&mut self) {
        if self.head.capacity() > KEPT_BYTES_MAX {
            self.head = BytesMut::new();
        }
        self.head.clear();
        self.body.clear();
        self.ends.clear();
        self.small = 0;
    }
}

impl Out {
    /// The buffer to append a small frame to.
    pub(super) fn filling(&mut self) -> &mut BytesMut {
        &mut self.filling
    }

    /// Appends a call; a large payload is taken out of `payload`. Returns where in the stream of small frames its last
    /// byte will stand, or [`UNSENT`] if it goes out beside it. `ordered`: calls of its module and key do not pass it.
    ///
    /// # Errors
    /// [`HeadError`]; nothing was appended.
    pub(super) fn call(
        &mut self,
        head: &CallHead<'_>,
        ordered: bool,
        payload: &mut BytesMut,
    ) -> Result<u64, HeadError> {
        let is_large = payload.len() >= LARGE_BYTES;
        if !is_large && self.large.is_empty() {
            encode_call(&mut self.filling, head, payload)?;
            return Ok(self.position());
        }
        let lane = ordered.then(|| Lane { module: head.module, key: head.key.map(KeyHash::of) });
        let mut start = BytesMut::new();
        let (first, rest) = if is_large {
            split_call(&mut start, head, std::mem::take(payload).freeze())?
        } else if lane.is_some_and(|lane| self.large.holds(lane)) {
            encode_call(&mut start, head, payload)?;
            (Bytes::new(), None)
        } else {
            encode_call(&mut self.filling, head, payload)?;
            return Ok(self.position());
        };
        let after = self.position();
        self.large.push(lane, Item { of: PayloadOf::Call, call: head.call, after, head: start, first, rest });
        Ok(UNSENT)
    }

    /// Appends a reply; a large payload is taken out of `payload`.
    pub(super) fn reply(&mut self, head: &ReplyHead, payload: &mut BytesMut) {
        if payload.len() < LARGE_BYTES {
            encode_reply(&mut self.filling, head, payload);
            return;
        }
        let mut start = BytesMut::new();
        let (first, rest) = split_reply(&mut start, head, std::mem::take(payload).freeze());
        let item = Item { of: PayloadOf::Reply, call: head.call, after: 0, head: start, first, rest };
        self.large.push(None, item);
    }

    /// Takes back what is not yet sent of a call.
    pub(super) fn withdraw(&mut self, call: CallId) -> Withdrawn {
        if self.large.is_empty() { Withdrawn::Absent } else { self.large.withdraw(call) }
    }

    /// Closes the current buffer if it is long enough. Called between frames.
    pub(super) fn cut(&mut self) {
        if self.filling.len() >= CUT_BYTES {
            let full = std::mem::replace(&mut self.filling, BytesMut::with_capacity(BUFFER_BYTES));
            self.full_bytes += full.len();
            self.full.push_back(full);
        }
    }

    /// Whether a payload of so many bytes may be appended. One alone always may: the largest is as long as the bound.
    pub(super) fn has_room(&self, payload_bytes: usize, bytes_max: usize) -> bool {
        let alone = self.large.is_empty() && payload_bytes >= LARGE_BYTES;
        self.bytes() + payload_bytes <= bytes_max || (alone && self.bytes() <= bytes_max)
    }

    /// Bytes of ordinary frames that wait.
    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.filling.len() + self.large.bytes()
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.left.is_none() && self.bytes() == 0
    }

    /// Whether all that was ever appended has been written.
    pub(super) fn is_written(&self) -> bool {
        self.is_empty() && !self.scheduled
    }

    /// Gives back a batch that the kernel did not take all of: it is written to its end before anything else.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.left = Some(batch);
    }

    /// The place of the next byte in the stream of small frames.
    fn position(&self) -> u64 {
        self.taken + (self.full_bytes + self.filling.len()) as u64
    }

    /// Marks the writer as told. `false` if it was already.
    pub(super) fn schedule(&mut self) -> bool {
        !std::mem::replace(&mut self.scheduled, true)
    }

    /// Takes what is to be written next into `batch`, which gives its space back: urgent frames, else one buffer of
    /// small ones and one piece of a large payload. `false` when there is nothing, and the writer must be told again.
    pub(super) fn take(&mut self, batch: &mut Batch) -> bool {
        if let Some(left) = self.left.take() {
            *batch = left;
            return true;
        }
        batch.clear();
        batch.end = self.taken;
        if !self.urgent.is_empty() {
            std::mem::swap(&mut self.urgent, &mut batch.head);
            return true;
        }
        if let Some(full) = self.full.pop_front() {
            self.full_bytes -= full.len();
            batch.head = full;
        } else {
            std::mem::swap(&mut self.filling, &mut batch.head);
        }
        batch.small = batch.head.len();
        self.taken += batch.small as u64;
        batch.end = self.taken;
        if !self.large.is_empty() {
            batch.body = self.large.next(self.taken, &mut batch.head, &mut batch.ends);
        }
        self.scheduled = !batch.is_empty();
        self.scheduled
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Chain;
    use skybox_wire::frame::{CHUNK_BYTES_MAX, Decoder, Frame, Limits, MethodNumber, ModuleNumber};

    use super::*;

    fn call(out: &mut Out, call: u64, module: u16, payload_bytes: usize) -> u64 {
        let head = CallHead {
            call: CallId(call),
            module: ModuleNumber(module),
            method: MethodNumber(0),
            form: 0,
            key: None,
            deadline_us: None,
            trace: None,
            chain: &Chain::none(),
            caller: None,
        };
        let mut payload = BytesMut::from(&vec![7; payload_bytes][..]);
        let position = out.call(&head, true, &mut payload).unwrap();
        out.cut();
        position
    }

    /// Everything that is written, frame by frame.
    fn written(out: &mut Out) -> Vec<String> {
        let (mut batch, mut stream) = (Batch::default(), BytesMut::new());
        while out.take(&mut batch) {
            let (head, body) = batch.slices();
            stream.extend_from_slice(head);
            stream.extend_from_slice(body);
        }
        let mut decoder = Decoder::new(Limits::default());
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next(&mut stream).unwrap() {
            frames.push(match frame {
                Frame::Call(call) => format!("call {}", call.call.0),
                Frame::Chunk(chunk) => format!("chunk {}", chunk.call.0),
                other => format!("{other:?}"),
            });
        }
        assert!(stream.is_empty() && out.is_written());
        frames
    }

    #[test]
    fn urgent_frames_pass_and_positions_count_the_bytes_of_small_frames() {
        let mut out = Out::default();
        let mut batch = Batch::default();
        for _ in 0..3 {
            out.filling().extend_from_slice(&[7; CUT_BYTES]);
            out.cut();
        }
        out.filling().extend_from_slice(b"last");
        assert!(out.schedule() && !out.schedule());
        assert_eq!(out.position(), 3 * CUT_BYTES as u64 + 4);
        assert!(out.take(&mut batch));
        out.urgent.extend_from_slice(b"ping");
        assert!(out.take(&mut batch));
        assert_eq!((batch.slices().0, batch.reached()), (&b"ping"[..], CUT_BYTES as u64));
        let mut left = 0;
        while out.take(&mut batch) {
            left += batch.slices().0.len();
        }
        assert_eq!(left, 2 * CUT_BYTES + 4);
        assert_eq!(out.position(), 3 * CUT_BYTES as u64 + 4);
        assert!(out.schedule(), "an idle writer has to be told again");
    }

    #[test]
    fn small_calls_pass_a_large_one_but_not_those_of_the_same_module() {
        let mut out = Out::default();
        assert_eq!(call(&mut out, 1, 0, 3 * CHUNK_BYTES_MAX), UNSENT);
        assert_eq!(call(&mut out, 2, 0, 10), UNSENT);
        assert_ne!(call(&mut out, 3, 1, 10), UNSENT);
        assert_eq!(written(&mut out), ["call 3", "call 1", "chunk 1", "chunk 1", "call 2"]);
        assert_ne!(call(&mut out, 4, 0, 10), UNSENT);
        assert_eq!(written(&mut out), ["call 4"]);
    }

    #[test]
    fn a_large_call_does_not_pass_the_small_ones_before_it() {
        let mut out = Out::default();
        let filled = (1..).find(|id| {
            call(&mut out, *id, 0, LARGE_BYTES - 1);
            out.full.len() == 2
        });
        let last = filled.unwrap() + 1;
        call(&mut out, last, 0, LARGE_BYTES);
        assert_eq!(written(&mut out).last(), Some(&format!("call {last}")));
    }

    #[test]
    fn what_the_kernel_left_goes_first_and_is_not_counted_as_handed_over() {
        let mut out = Out::default();
        let mut batch = Batch::default();
        let position = call(&mut out, 1, 0, 10);
        call(&mut out, 2, 1, CHUNK_BYTES_MAX);
        assert!(out.take(&mut batch));
        assert_eq!((batch.end(), &batch.ends[..]), (position, &[CallId(2)][..]));
        batch.advance(position as usize - 1);
        assert_eq!(batch.reached(), position - 1);
        out.put_back(std::mem::take(&mut batch));
        out.urgent.extend_from_slice(b"ping");
        assert!(out.take(&mut batch));
        batch.advance(1);
        assert_eq!((batch.reached(), &batch.ends[..]), (position, &[CallId(2)][..]));
        let (head, body) = batch.slices();
        batch.advance(head.len() + body.len());
        assert!(batch.is_empty() && out.take(&mut batch));
        assert_eq!(batch.slices().0, b"ping");
    }
}
