//! Payloads that are too long to be copied, and what must not pass them.
//!
//! They wait outside the buffer of small frames. Each turn of the writer takes all small frames and one piece of one
//! of these, so that a small call waits for a piece and not for a payload. Calls of one module and key keep their
//! order all the same: they stand in one line, a small one behind a large one; and so do the items of one stream. Tasks
//! and replies have no order to keep, and a line each.

use std::collections::{HashSet, VecDeque};

use bytes::{Bytes, BytesMut};
use skybox_core::{CallId, KeyHash};
use skybox_wire::frame::{ModuleNumber, Rest, StreamId};

/// Payload bytes from which a payload is written as it is: a copy of less costs under a microsecond.
pub(super) const LARGE_BYTES: usize = 16 * 1024;
/// Lines of calls and replies that are sent in turn; further ones wait. The peer holds what has arrived of each, within
/// its bounds (256 payloads), and eight are enough for a payload of 100 KiB not to wait for those of 64 MiB. Lines of
/// streams wait for none: their readers have asked for what is in them.
const UNDER_WAY_MAX: usize = 8;
/// Bytes of small frames of one line that one turn takes.
const FOLLOWING_BYTES: usize = 64 * 1024;

/// What keeps its order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Calls of one module and key.
    Calls { module: ModuleNumber, key: Option<KeyHash> },
    /// One stream.
    Items(StreamId),
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Large {
    under_way: VecDeque<Line>,
    /// Those under way that are not of streams.
    payloads: usize,
    waiting: VecDeque<Line>,
    /// Those of the lines, and those whose last frames are being written: nothing small of theirs goes another way.
    lanes: HashSet<Lane>,
    /// Lanes whose lines have ended since the last release.
    ended: Vec<Lane>,
    bytes: usize,
    /// Those of streams among them.
    stream_bytes: usize,
}

#[derive(Debug)]
struct Line {
    lane: Option<Lane>,
    /// At least one.
    items: VecDeque<Item>,
}

/// Of what an item is a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Call(CallId),
    Reply,
    Stream,
}

/// A call, a reply, or a frame of a stream that waits.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) part: Part,
    /// The small frames up to this place were appended before it, and go out before it.
    pub(super) after: u64,
    /// Not yet sent: the frame up to its payload, or all of a small frame.
    pub(super) head: BytesMut,
    /// Belongs directly behind `head`.
    pub(super) first: Bytes,
    pub(super) rest: Option<Rest>,
}

/// What became of a call whose caller waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// It did not wait here.
    Absent,
    /// Nothing of it was sent, and nothing will be.
    Unsent,
    /// Its head was sent, and nothing more will be.
    Begun,
}

impl Item {
    fn bytes(&self) -> usize {
        self.head.len() + self.first.len() + self.rest.as_ref().map_or(0, Rest::len)
    }

    /// Appends the next frame but for the returned bytes, which belong directly behind it.
    fn next(&mut self, out: &mut BytesMut) -> Bytes {
        if !self.head.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut self.head));
            return std::mem::take(&mut self.first);
        }
        self.rest.as_mut().map_or_else(Bytes::new, |rest| rest.take_chunk(out))
    }
}

impl Large {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of them that are of streams: what their readers have asked for, and no call waits for.
    pub(super) fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    /// Whether a call or a reply is among what waits.
    pub(super) fn holds_payloads(&self) -> bool {
        self.payloads > 0 || !self.waiting.is_empty()
    }

    /// Whether a small frame of this lane has to stand in line.
    pub(super) fn holds(&self, lane: Lane) -> bool {
        self.lanes.contains(&lane)
    }

    /// Whether there is any lane whose frames have to.
    pub(super) fn holds_any(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// What was taken before is written: it holds nothing up any more.
    pub(super) fn release(&mut self) {
        while let Some(lane) = self.ended.pop() {
            if self.line_of(lane).is_none() {
                self.lanes.remove(&lane);
            }
        }
    }

    fn line_of(&mut self, lane: Lane) -> Option<&mut Line> {
        self.under_way.iter_mut().chain(&mut self.waiting).find(|line| line.lane == Some(lane))
    }

    /// Appends to the end of its line.
    pub(super) fn push(&mut self, lane: Option<Lane>, item: Item) {
        self.bytes += item.bytes();
        if matches!(lane, Some(Lane::Items(_))) {
            self.stream_bytes += item.bytes();
        }
        if let Some(lane) = lane
            && !self.lanes.insert(lane)
            && let Some(line) = self.line_of(lane)
        {
            line.items.push_back(item);
            return;
        }
        let line = Line { lane, items: VecDeque::from([item]) };
        if line.is_stream() {
            self.under_way.push_back(line);
        } else {
            self.waiting.push_back(line);
            self.admit();
        }
    }

    /// Takes the next piece: frames are appended to `out`, and the returned bytes belong directly behind them. Small
    /// frames up to `taken` are on their way. The calls whose requests end here are added to `ends`, each with where. Says as well
    /// whether the piece is of a stream.
    pub(super) fn next(
        &mut self,
        taken: u64,
        out: &mut BytesMut,
        ends: &mut Vec<(CallId, usize)>,
    ) -> (Bytes, bool) {
        for _ in 0..self.under_way.len() {
            let Some(mut line) = self.under_way.pop_front() else { break };
            let before = out.len();
            let bytes_before = self.bytes;
            let body = line.next(taken, out, ends, &mut self.bytes);
            let is_stream = line.is_stream();
            if is_stream {
                self.stream_bytes -= bytes_before - self.bytes;
            }
            if line.items.is_empty() {
                self.end(&line, true);
            } else {
                self.under_way.push_back(line);
            }
            if out.len() > before {
                return (body, is_stream);
            }
        }
        (Bytes::new(), false)
    }

    /// Takes out what is left of a call.
    pub(super) fn withdraw(&mut self, call: CallId) -> Withdrawn {
        let mut taken = withdraw_from(&mut self.under_way, call);
        let was_under_way = taken.is_some();
        taken = taken.or_else(|| withdraw_from(&mut self.waiting, call));
        let Some((item, ended)) = taken else { return Withdrawn::Absent };
        self.bytes -= item.bytes();
        if let Some(line) = ended {
            self.end(&line, was_under_way);
        }
        if item.head.is_empty() { Withdrawn::Begun } else { Withdrawn::Unsent }
    }

    /// Drops all of a stream's line, at the end of a frame.
    pub(super) fn forget(&mut self, lane: Lane) {
        if !self.lanes.contains(&lane) {
            return;
        }
        if let Some(at) = self.under_way.iter().position(|line| line.lane == Some(lane))
            && let Some(line) = self.under_way.remove(at)
        {
            let bytes = line.items.iter().map(Item::bytes).sum::<usize>();
            self.bytes -= bytes;
            self.stream_bytes -= bytes;
            self.end(&line, true);
        }
    }

    fn end(&mut self, line: &Line, was_under_way: bool) {
        self.ended.extend(line.lane);
        if was_under_way && !line.is_stream() {
            self.payloads -= 1;
            self.admit();
        }
    }

    fn admit(&mut self) {
        while self.payloads < UNDER_WAY_MAX
            && let Some(line) = self.waiting.pop_front()
        {
            self.payloads += 1;
            self.under_way.push_back(line);
        }
    }
}

/// Takes a call out, and its line with it if nothing else stands there.
fn withdraw_from(lines: &mut VecDeque<Line>, call: CallId) -> Option<(Item, Option<Line>)> {
    let is_it = |item: &Item| item.part == Part::Call(call);
    let mut places = lines.iter().enumerate();
    let (at, place) = places.find_map(|(at, line)| Some((at, line.items.iter().position(is_it)?)))?;
    let item = lines[at].items.remove(place)?;
    let ended = if lines[at].items.is_empty() { lines.remove(at) } else { None };
    Some((item, ended))
}

impl Line {
    fn is_stream(&self) -> bool {
        matches!(self.lane, Some(Lane::Items(_)))
    }

    /// One piece of a payload, or the small frames at the front.
    fn next(
        &mut self,
        taken: u64,
        out: &mut BytesMut,
        ends: &mut Vec<(CallId, usize)>,
        waiting_bytes: &mut usize,
    ) -> Bytes {
        let start = out.len();
        while let Some(item) = self.items.front_mut().filter(|item| item.after <= taken) {
            let is_small = item.first.is_empty() && item.rest.is_none();
            if out.len() > start && (!is_small || out.len() - start > FOLLOWING_BYTES) {
                break;
            }
            let before = item.bytes();
            let body = item.next(out);
            let left = item.bytes();
            *waiting_bytes -= before - left;
            if left == 0 {
                if let Part::Call(call) = item.part {
                    ends.push((call, out.len() + body.len()));
                }
                self.items.pop_front();
            }
            if !is_small {
                return body;
            }
        }
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    use skybox_wire::frame::PayloadOf;

    use super::*;

    const MODULE: Lane = Lane::Calls { module: ModuleNumber(1), key: None };

    fn large(call: u64, chunks: usize) -> Item {
        let call = CallId(call);
        let rest = Bytes::from(vec![7; chunks * skybox_wire::frame::CHUNK_BYTES_MAX]);
        let rest = Rest::new(PayloadOf::Call, call, rest);
        Item { part: Part::Call(call), after: 0, head: BytesMut::from("head"), first: "first".into(), rest }
    }

    fn small(call: u64, after: u64) -> Item {
        Item {
            part: Part::Call(CallId(call)),
            after,
            head: BytesMut::from("small"),
            first: Bytes::new(),
            rest: None,
        }
    }

    /// The calls that end, turn by turn.
    fn ends(queue: &mut Large, taken: u64) -> Vec<Vec<u64>> {
        let mut turns = Vec::new();
        loop {
            let (mut out, mut ends) = (BytesMut::new(), Vec::new());
            queue.next(taken, &mut out, &mut ends);
            if out.is_empty() {
                return turns;
            }
            turns.push(ends.into_iter().map(|(call, _): (CallId, usize)| call.0).collect());
        }
    }

    #[test]
    fn lines_take_turns_and_a_line_keeps_its_order() {
        let mut queue = Large::default();
        queue.push(Some(MODULE), large(1, 2));
        queue.push(Some(MODULE), small(2, 0));
        queue.push(Some(MODULE), small(3, 0));
        queue.push(None, large(4, 1));
        assert!(queue.holds(MODULE));
        assert_eq!(
            ends(&mut queue, 0),
            [vec![], vec![], vec![], vec![4], vec![1], vec![2, 3]],
            "the second line has one chunk less, and the small calls wait for their large one"
        );
        assert_eq!((queue.is_empty(), queue.bytes(), queue.holds(MODULE)), (true, 0, true));
        queue.release();
        assert!(!queue.holds(MODULE), "all is written");
    }

    #[test]
    fn nothing_passes_the_small_frames_that_were_appended_before() {
        let mut queue = Large::default();
        queue.push(Some(MODULE), Item { after: 100, ..large(1, 0) });
        queue.push(Some(MODULE), small(2, 200));
        assert!(ends(&mut queue, 99).is_empty());
        assert_eq!(ends(&mut queue, 100), [[1]]);
        assert_eq!(ends(&mut queue, 200), [[2]]);
    }

    #[test]
    fn a_withdrawn_call_leaves_nothing_and_others_move_up() {
        let mut queue = Large::default();
        for call in 1..=UNDER_WAY_MAX as u64 + 1 {
            queue.push(None, large(call, 1));
        }
        let (mut out, mut ended) = (BytesMut::new(), Vec::new());
        queue.next(0, &mut out, &mut ended);
        assert_eq!(queue.withdraw(CallId(1)), Withdrawn::Begun);
        assert_eq!(queue.withdraw(CallId(2)), Withdrawn::Unsent);
        assert_eq!(queue.withdraw(CallId(2)), Withdrawn::Absent);
        let mut left: Vec<u64> = ends(&mut queue, 0).concat();
        left.sort_unstable();
        assert_eq!(left, (3..=UNDER_WAY_MAX as u64 + 1).collect::<Vec<_>>());
        assert_eq!((queue.is_empty(), queue.bytes()), (true, 0));
    }
}
