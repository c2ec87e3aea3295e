//! What waits to be written.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId, KeyHash};
use skybox_wire::frame::{
    CallHead, HeadError, ItemHead, ReplyHead, StreamId, encode_call, encode_reply, encode_stream_end,
    split_call, split_item, split_reply,
};

use super::batch::{Batch, PIECES_MAX, Piece};
use super::large::{Item, LARGE_BYTES, Lane, Large, Part, Withdrawn};

/// Bytes after which a buffer is closed and the next one begun. Health frames go between batches, so this and one
/// chunk is what they may have to wait for: two milliseconds at 1 Gbit/s.
const CUT_BYTES: usize = 128 * 1024;
/// The size of a fresh buffer.
const BUFFER_BYTES: usize = 16 * 1024;
/// What the kernel has left of a batch lets small frames in only below this: a few of the largest writes.
const LEFT_BYTES_MAX: usize = 512 * 1024;
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
    /// Those that were appended before something was last taken out.
    frames_taken: u64,
    /// When the last call was appended, no other was in progress.
    was_first: bool,
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
        if !is_large && !self.large.holds_any() {
            encode_call(&mut self.filling, head, payload)?;
            return Ok(self.position());
        }
        let lane = ordered.then(|| Lane::Calls { module: head.module, key: head.key.map(KeyHash::of) });
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
        self.large.push(lane, Item { part: Part::Call(head.call), after, head: start, first, rest });
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
        self.large.push(None, Item { part: Part::Reply, after: 0, head: start, first, rest });
    }

    /// Appends a stream's item, whose payload is `lead` and then `payload`. A large one is not copied, and the stream's
    /// next frames do not pass it.
    pub(super) fn item(&mut self, head: &ItemHead, lead: &[u8], payload: Bytes) {
        let lane = Lane::Items(head.stream);
        if payload.len() < LARGE_BYTES && !self.large.holds(lane) {
            let (first, rest) = split_item(&mut self.filling, head, lead, payload);
            debug_assert!(rest.is_none(), "what is not large is one frame");
            self.filling.extend_from_slice(&first);
            return;
        }
        let mut start = BytesMut::new();
        let (mut first, rest) = split_item(&mut start, head, lead, payload);
        if first.len() < LARGE_BYTES && rest.is_none() {
            // It goes out with others like it.
            start.extend_from_slice(&std::mem::take(&mut first));
        }
        let after = self.position();
        self.large.push(Some(lane), Item { part: Part::Stream, after, head: start, first, rest });
    }

    /// Appends a stream's end, behind all of its items.
    pub(super) fn stream_end(&mut self, stream: StreamId, failed: Option<&CallErrorKind>) {
        let lane = Lane::Items(stream);
        if !self.large.holds(lane) {
            return encode_stream_end(&mut self.filling, stream, failed);
        }
        let mut start = BytesMut::new();
        encode_stream_end(&mut start, stream, failed);
        let after = self.position();
        let item = Item { part: Part::Stream, after, head: start, first: Bytes::new(), rest: None };
        self.large.push(Some(lane), item);
    }

    /// Forgets what is not yet sent of a stream that nobody reads.
    pub(super) fn forget_items(&mut self, stream: StreamId) {
        self.large.forget(Lane::Items(stream));
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

    /// Whether a call's payload of so many bytes may be appended. One large one alone always may: the longest is as long
    /// as the bound. What streams have waiting does not count: their readers have asked for it and bound it, and a call
    /// would be refused for as long as a stream runs.
    pub(super) fn has_room(&self, payload_bytes: usize, bytes_max: usize) -> bool {
        let alone = !self.large.holds_payloads() && payload_bytes >= LARGE_BYTES;
        let waiting = self.bytes() - self.large.stream_bytes();
        waiting + payload_bytes <= bytes_max || (alone && waiting <= bytes_max)
    }

    /// Bytes that wait, urgent frames apart.
    pub(super) fn bytes(&self) -> usize {
        let left = self.left.as_ref().map_or(0, Batch::bytes);
        self.full_bytes + self.filling.len() + self.large.bytes() + left
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.left.is_none() && self.bytes() == 0
    }

    /// Whether the caller that appends now is the only one, as far as can be told: it and the one before it have found
    /// no other call in progress. The first of many that were woken together finds none either, but the one before it
    /// did.
    pub(super) fn is_alone(&mut self, is_first: bool) -> bool {
        std::mem::replace(&mut self.was_first, is_first) && is_first
    }

    /// Whether calls or replies wait that others like them may follow at once.
    pub(super) fn gathers(&self) -> bool {
        self.frames > self.frames_taken
    }

    /// Whether all that was ever appended has been written.
    pub(super) fn is_written(&self) -> bool {
        self.is_empty() && !self.scheduled
    }

    /// Gives back a batch that the kernel did not take all of. What has begun is written to its end before anything
    /// else.
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

    /// Takes what is to be written next into `batch`, which gives its space back: small frames and one piece of a large
    /// payload, or several pieces where no small frame waits. `false` when there is nothing, and the writer must be
    /// told again.
    pub(super) fn take(&mut self, batch: &mut Batch) -> bool {
        self.frames_taken = self.frames;
        if let Some(left) = self.left.take() {
            *batch = left;
            // The piece that the kernel has begun to take is finished first; what comes behind it gives way. Not to
            // more than a peer that reads slowly takes: large payloads are to have their turn.
            let full = batch.bytes() > LEFT_BYTES_MAX && self.urgent.is_empty();
            let small = if full { Piece::default() } else { self.take_small(batch) };
            if !small.is_empty() {
                batch.push_in_front(small, self.taken);
            }
            return true;
        }
        self.large.release();
        batch.clear(self.taken);
        let mut piece = self.take_small(batch);
        let pieces_max = if piece.is_empty() { PIECES_MAX } else { 1 };
        let has_urgent = piece.small < piece.head.len();
        while !has_urgent && batch.pieces() < pieces_max && !self.large.is_empty() {
            let before = piece.head.len();
            let (body, is_stream) = self.large.next(self.taken, &mut piece.head, &mut piece.ends);
            piece.body = body;
            piece.may_be_passed = before == 0 && is_stream;
            if piece.is_empty() {
                break;
            }
            batch.push(std::mem::take(&mut piece), self.taken);
        }
        if !piece.is_empty() {
            batch.push(piece, self.taken);
        }
        self.scheduled = !batch.is_empty();
        self.scheduled
    }

    /// Takes urgent frames, else a buffer of small ones, which may be empty.
    fn take_small(&mut self, batch: &mut Batch) -> Piece {
        let mut piece = Piece { head: batch.take_spare(), ..Piece::default() };
        if !self.urgent.is_empty() {
            std::mem::swap(&mut self.urgent, &mut piece.head);
            return piece;
        }
        if let Some(full) = self.full.pop_front() {
            self.full_bytes -= full.len();
            piece.head = full;
        } else {
            std::mem::swap(&mut self.filling, &mut piece.head);
        }
        piece.small = piece.head.len();
        self.taken += piece.small as u64;
        piece
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Chain;
    use skybox_wire::frame::{
        CHUNK_BYTES_MAX, Decoder, Frame, Limits, MethodNumber, ModuleNumber, PayloadOf,
    };

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

    fn bytes(batch: &Batch) -> Vec<u8> {
        batch.with_slices(|slices| slices.iter().flat_map(|slice| slice.to_vec()).collect())
    }

    /// Everything that waits.
    fn rest(out: &mut Out) -> BytesMut {
        let (mut batch, mut stream) = (Batch::default(), BytesMut::new());
        while out.take(&mut batch) {
            stream.extend_from_slice(&bytes(&batch));
        }
        assert!(out.is_written());
        stream
    }

    fn frames(mut stream: BytesMut) -> Vec<String> {
        let mut decoder = Decoder::new(Limits::default());
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next(&mut stream).unwrap() {
            frames.push(match frame {
                Frame::Call(call) => format!("call {}", call.call.0),
                Frame::Chunk(chunk) => format!("chunk {}", chunk.call.0),
                Frame::Item(item) => format!("item {}", item.payload.first[0]),
                Frame::ItemChunk(..) => "chunk".to_owned(),
                Frame::StreamEnd(..) => "end".to_owned(),
                other => format!("{other:?}"),
            });
        }
        assert!(stream.is_empty());
        frames
    }

    /// Everything that is written, frame by frame.
    fn written(out: &mut Out) -> Vec<String> {
        frames(rest(out))
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
        assert_eq!((&bytes(&batch)[..], batch.reached()), (&b"ping"[..], CUT_BYTES as u64));
        let mut left = 0;
        while out.take(&mut batch) {
            left += bytes(&batch).len();
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
        let ends = |batch: &Batch| batch.ends().collect::<Vec<_>>();
        assert_eq!((batch.end(), ends(&batch)), (position, vec![CallId(2)]));
        batch.advance(position as usize - 1);
        assert_eq!(batch.reached(), position - 1);
        out.put_back(std::mem::take(&mut batch));
        let next = call(&mut out, 3, 2, 10);
        assert!(out.take(&mut batch));
        assert_eq!((batch.end(), batch.reached()), (next, position - 1));
        batch.advance(1);
        assert_eq!((batch.end(), batch.reached(), ends(&batch)), (next, position, vec![CallId(2)]));
        let left = bytes(&batch).len();
        batch.advance(left - 1);
        assert_eq!((batch.reached(), ends(&batch)), (next - 1, vec![]));
        batch.advance(1);
        assert!(batch.is_empty() && !out.take(&mut batch));
    }

    #[test]
    fn of_small_calls_that_share_a_piece_those_that_are_written_have_ended() {
        let mut out = Out::default();
        let mut batch = Batch::default();
        call(&mut out, 1, 0, CHUNK_BYTES_MAX);
        // Behind the large one, since they are of the same module.
        (2..=4).for_each(|id| assert_eq!(call(&mut out, id, 0, 100), UNSENT));
        let ends = |batch: &Batch| batch.ends().map(|call| call.0).collect::<Vec<_>>();
        let each = call(&mut Out::default(), 2, 0, 100) as usize;
        assert!(out.take(&mut batch));
        assert_eq!(ends(&batch), [1, 2, 3, 4]);
        batch.advance(bytes(&batch).len() - 3 * each);
        assert_eq!(ends(&batch), [2, 3, 4]);
        batch.advance(each - 1);
        assert_eq!(ends(&batch), [2, 3, 4]);
        batch.advance(1);
        assert_eq!(ends(&batch), [3, 4], "the peer has all of it, and may run it");
        batch.advance(each + 1);
        assert_eq!(ends(&batch), [4]);
    }

    #[test]
    fn what_the_kernel_left_counts_and_takes_in_no_more_than_its_bound() {
        let mut out = Out::default();
        let mut batch = Batch::default();
        let mut longest = 0;
        for _ in 0..100 {
            out.filling().extend_from_slice(&[7; CUT_BYTES]);
            out.cut();
            assert!(out.take(&mut batch));
            batch.advance(10);
            out.put_back(std::mem::take(&mut batch));
            longest = longest.max(out.left.as_ref().map_or(0, Batch::bytes));
        }
        assert_eq!(out.bytes(), 100 * (CUT_BYTES - 10));
        assert!(longest <= LEFT_BYTES_MAX + CUT_BYTES, "{longest}");
    }

    const STREAM: StreamId = StreamId { of: PayloadOf::Reply, call: CallId(70), position: 0 };

    fn item(out: &mut Out, bytes_len: usize) {
        let head = ItemHead { stream: STREAM, is_error: false, form: 0 };
        out.item(&head, &[], vec![bytes_len as u8; bytes_len].into());
        out.cut();
    }

    #[test]
    fn items_of_a_stream_keep_their_order_and_small_calls_pass_them() {
        let mut out = Out::default();
        item(&mut out, 1);
        item(&mut out, 2 * CHUNK_BYTES_MAX);
        item(&mut out, 2);
        out.stream_end(STREAM, None);
        call(&mut out, 1, 0, 10);
        let frames = written(&mut out);
        assert_eq!(frames, ["item 1", "call 1", "item 0", "chunk", "item 2", "end"]);
        item(&mut out, 3);
        assert_eq!(out.large.bytes(), 0, "once all is written, a small item needs no line");
        assert_eq!(written(&mut out), ["item 3"]);
    }

    #[test]
    fn the_writer_waits_for_others_like_calls_and_for_nothing_else() {
        let (mut out, mut batch) = (Out::default(), Batch::default());
        item(&mut out, LARGE_BYTES);
        item(&mut out, 1);
        assert!(!out.gathers(), "nobody else is about to send");
        call(&mut out, 1, 0, 10);
        out.frames += 1;
        assert!(out.gathers());
        while out.take(&mut batch) {}
        assert!(!out.gathers());
    }

    #[test]
    fn a_caller_is_alone_where_the_one_before_it_was_too() {
        let mut out = Out::default();
        let alone = [true, true, true, false, true, true].map(|is_first| out.is_alone(is_first));
        assert_eq!(alone, [false, true, true, false, false, true]);
    }

    #[test]
    fn what_streams_have_waiting_takes_no_room_from_calls() {
        const MAX: usize = 4 * CHUNK_BYTES_MAX;
        let mut out = Out::default();
        item(&mut out, MAX);
        item(&mut out, 1);
        assert!(out.has_room(0, MAX) && out.has_room(MAX, MAX), "a call as large as the bound is alone");
        call(&mut out, 1, 0, MAX);
        assert!(!out.has_room(0, MAX) && !out.has_room(MAX, MAX), "a call waits, and fills it");
        out.forget_items(STREAM);
        assert!(!out.has_room(0, MAX));
        rest(&mut out);
        assert!(out.has_room(MAX, MAX) && out.large.stream_bytes() == 0);
        item(&mut out, MAX);
        rest(&mut out);
        assert_eq!(out.large.stream_bytes(), 0);
    }

    #[test]
    fn what_comes_while_a_write_is_blocked_passes_items_but_not_those_of_its_own_stream() {
        let mut out = Out::default();
        let mut batch = Batch::default();
        item(&mut out, 3 * LARGE_BYTES);
        item(&mut out, 2 * LARGE_BYTES);
        assert!(out.take(&mut batch) && out.large.is_empty());
        let mut stream = BytesMut::from(&bytes(&batch)[..100]);
        batch.advance(100);
        out.put_back(std::mem::take(&mut batch));
        for id in [1, 2] {
            call(&mut out, id, 0, 10);
            assert!(out.take(&mut batch));
            out.put_back(std::mem::take(&mut batch));
        }
        item(&mut out, 7);
        stream.extend_from_slice(&rest(&mut out));
        assert_eq!(frames(stream), ["item 0", "call 1", "call 2", "item 0", "item 7"]);
    }

    #[test]
    fn a_cancel_does_not_pass_the_call_that_it_cancels() {
        let mut out = Out::default();
        let mut batch = Batch::default();
        item(&mut out, LARGE_BYTES);
        call(&mut out, 1, 0, LARGE_BYTES);
        assert!(out.take(&mut batch));
        out.put_back(std::mem::take(&mut batch));
        assert_eq!(out.withdraw(CallId(1)), Withdrawn::Absent);
        skybox_wire::frame::encode_cancel(out.filling(), CallId(1));
        assert_eq!(written(&mut out), ["item 0", "call 1", "Cancel(CallId(1))"]);
    }

    #[test]
    fn what_nobody_reads_any_more_is_not_sent() {
        let mut out = Out::default();
        item(&mut out, LARGE_BYTES);
        item(&mut out, 1);
        out.forget_items(STREAM);
        assert!(out.bytes() == 0 && !out.large.holds(Lane::Calls { module: ModuleNumber(0), key: None }));
        call(&mut out, 1, 0, 10);
        assert_eq!(written(&mut out), ["call 1"]);
    }
}
