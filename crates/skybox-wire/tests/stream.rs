//! Both ends of a stream, with everything between them under way for as long as chance wants: items come in order,
//! what nobody has read stays within the window, and nothing ever waits for the other for good.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use skybox_core::CallId;
use skybox_wire::frame::{
    Begun, Credit, Decoder, Frame, FrameError, ItemFrame, ItemHead, Limits, Payload, PayloadOf, StreamId,
    encode_item, encode_item_chunk, encode_reset, split_item,
};
use skybox_wire::stream::{Arrived, ITEM_BYTES_MAX, Receiving, Sending, WINDOW};

const STREAM: StreamId = StreamId { of: PayloadOf::Reply, call: CallId(7), position: 0 };
/// Bytes of an item in one of this test's frames.
const FRAME_BYTES: usize = 100_000;

/// One end, the other, and the lines between them.
#[derive(Default)]
struct Line {
    sending: Sending,
    receiving: Receiving,
    items: VecDeque<Part>,
    credits: VecDeque<Credit>,
    /// Arrived, and not read.
    unread: VecDeque<Bytes>,
    sent: usize,
    read: usize,
}

enum Part {
    Begin(ItemFrame),
    Chunk(Bytes),
}

fn item(number: usize, total: usize, here: usize) -> ItemFrame {
    let payload = Payload { total: total as u64, first: vec![number as u8; here].into() };
    ItemFrame { stream: STREAM, is_error: false, form: 0, payload }
}

impl Line {
    fn send(&mut self, bytes_len: usize) -> bool {
        if !self.sending.may_send() {
            return false;
        }
        let first = bytes_len.min(FRAME_BYTES);
        self.items.push_back(Part::Begin(item(self.sent, bytes_len, first)));
        for at in (first..bytes_len).step_by(FRAME_BYTES) {
            let chunk = vec![self.sent as u8; FRAME_BYTES.min(bytes_len - at)];
            self.items.push_back(Part::Chunk(chunk.into()));
        }
        self.sending.sent(bytes_len);
        self.sent += 1;
        true
    }

    fn carry_item(&mut self) -> bool {
        let Some(part) = self.items.pop_front() else { return false };
        let arrived = match part {
            Part::Begin(item) => self.receiving.begin(item),
            Part::Chunk(bytes) => self.receiving.push(STREAM, &bytes),
        };
        self.unread
            .extend(arrived.expect("what was asked for is taken").map(|Arrived { payload, .. }| payload));
        true
    }

    fn carry_credit(&mut self) -> bool {
        let Some(credit) = self.credits.pop_front() else { return false };
        self.sending.credited(credit).expect("a window is no large number");
        true
    }

    /// Wants an item. Says whether that changed anything: the first time it asks, whether or not there is one.
    fn read(&mut self) -> bool {
        let asked = self.receiving.ask();
        let has_asked = asked.is_some();
        self.credits.extend(asked);
        let Some(payload) = self.unread.pop_front() else { return has_asked };
        assert!(
            payload.first().is_none_or(|byte| *byte == self.read as u8),
            "item {} is out of place",
            self.read
        );
        self.read += 1;
        self.credits.extend(self.receiving.took(payload.len()));
        true
    }

    /// Items and bytes that were sent and not read.
    fn ahead(&self) -> (usize, usize) {
        let under_way = self.items.iter().map(|part| match part {
            Part::Begin(item) => item.payload.first.len(),
            Part::Chunk(bytes) => bytes.len(),
        });
        let bytes = under_way.sum::<usize>() + self.unread.iter().map(Bytes::len).sum::<usize>();
        (self.sent - self.read, bytes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn items_come_in_order_and_what_is_ahead_is_bounded(
        lengths in vec(prop_oneof![12 => 0..200usize, 2 => 0..300_000usize, 1 => Just(1_200_000)], 1..300),
        steps in vec(0..4u8, 0..2_000),
    ) {
        let mut line = Line::default();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let bound = (WINDOW.items as usize, WINDOW.bytes as usize + longest);
        for step in steps {
            match step {
                0 if line.sent < lengths.len() => line.send(lengths[line.sent]),
                1 => line.carry_item(),
                2 => line.carry_credit(),
                3 => line.read(),
                _ => false,
            };
            // An item that is arriving is in neither count, and was never more than the longest.
            let (items, bytes) = line.ahead();
            prop_assert!(items <= bound.0 && bytes <= bound.1, "{items} items of {bytes} bytes");
        }
        // Left to themselves, both ends come to the end.
        while line.read < lengths.len() {
            let sent = line.sent < lengths.len() && line.send(lengths[line.sent]);
            let went_on = sent | line.carry_item() | line.carry_credit() | line.read();
            prop_assert!(went_on, "stuck after {} of {}", line.read, lengths.len());
        }
    }

    #[test]
    fn a_hostile_sender_gets_an_error_and_no_memory(
        steps in vec((any::<bool>(), 0..3_000_000u64, 0..5_000usize, any::<bool>()), 0..600),
    ) {
        let mut receiving = Receiving::new();
        let mut unread = 0;
        receiving.ask();
        for (begins, total, here, reads) in steps {
            let first = Bytes::from(vec![0; here.min(total as usize)]);
            let arrived = if begins {
                let payload = Payload { total, first };
                receiving.begin(ItemFrame { stream: STREAM, is_error: false, form: 0, payload })
            } else {
                receiving.push(STREAM, &first)
            };
            match arrived {
                Err(_) => return Ok(()),
                Ok(Some(arrived)) if reads => drop(receiving.took(arrived.payload.len())),
                Ok(Some(arrived)) => unread += arrived.payload.len(),
                Ok(None) => {}
            }
            prop_assert!(unread <= WINDOW.bytes as usize + 3_000_000);
        }
    }
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let mut receiving = Receiving::new();
    let error = receiving.begin(item(0, 1, 1)).unwrap_err();
    assert_eq!(error, FrameError::StreamOverrun { stream: STREAM });
    receiving.ask();
    let error = receiving.begin(item(0, ITEM_BYTES_MAX + 1, 1)).unwrap_err();
    assert_eq!(error, FrameError::ItemTooLong { stream: STREAM, total: ITEM_BYTES_MAX as u64 + 1 });
    let mixed = FrameError::ItemsMixed { stream: STREAM };
    assert_eq!(receiving.push(STREAM, b"x").unwrap_err(), mixed);
    assert!(receiving.begin(item(0, 3, 1)).unwrap().is_none());
    assert_eq!(receiving.begin(item(1, 1, 1)).unwrap_err(), mixed);
    assert_eq!(receiving.push(STREAM, b"abc").unwrap_err(), mixed);
}

#[test]
fn nothing_is_sent_before_it_is_asked_for() {
    let mut line = Line::default();
    assert!(!line.send(1) && !line.sending.has_begun());
    assert!(line.read() && line.carry_credit() && line.sending.has_begun());
    let sent = std::iter::from_fn(|| line.send(0).then_some(())).count();
    assert_eq!(sent, WINDOW.items as usize, "items without bytes count too");
}

#[test]
fn credits_that_nobody_could_mean_are_refused() {
    let mut sending = Sending::new();
    assert!(sending.credited(Credit { items: 1, bytes: i64::MAX as u64 }).is_some());
    assert!(sending.credited(Credit { items: 1, bytes: 1 }).is_none());
    assert!(Sending::new().credited(Credit { items: 1, bytes: u64::MAX }).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However the bytes of a connection come, what is read past the buffer is what was sent.
    #[test]
    fn an_item_is_read_past_the_buffer_wherever_its_frames_are_cut(
        lengths in vec(prop_oneof![0..300usize, 60_000..200_000usize], 1..5),
        reads in vec(prop_oneof![1..40usize, 1..90_000usize], 1..60),
        left_min in prop_oneof![Just(0usize), Just(8192)],
    ) {
        let head = ItemHead { stream: STREAM, is_error: false, form: 0 };
        let payloads: Vec<Vec<u8>> = (1u8..).zip(&lengths).map(|(byte, len)| vec![byte; *len]).collect();
        let (mut sent, mut split) = (BytesMut::new(), BytesMut::new());
        for payload in &payloads {
            let mut at = encode_item(&mut sent, &head, payload);
            while at < payload.len() {
                at += encode_item_chunk(&mut sent, STREAM, &payload[at..]);
            }
            encode_reset(&mut sent, STREAM);
            let (lead, behind) = payload.split_at(payload.len().min(3));
            let (first, mut rest) = split_item(&mut split, &head, lead, Bytes::copy_from_slice(behind));
            split.extend_from_slice(&first);
            while let Some(rest) = rest.as_mut().filter(|rest| !rest.is_empty()) {
                rest.write_chunk(&mut split);
            }
            encode_reset(&mut split, STREAM);
        }
        prop_assert_eq!(&sent, &split, "without copying, the same bytes");
        prop_assert_eq!(read_past(sent, &reads, left_min), payloads);
    }
}

/// Reads all of `sent` as a connection's reader does, so many bytes at a time.
fn read_past(mut sent: BytesMut, reads: &[usize], left_min: usize) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(Limits::default());
    let (mut receiving, mut items, mut buffer) = (Receiving::new(), Vec::new(), BytesMut::new());
    receiving.ask();
    let mut reads = reads.iter().copied().cycle();
    loop {
        let mut arrived = Vec::new();
        while let Some(frame) = decoder.next(&mut buffer).unwrap() {
            arrived.extend(take(&mut receiving, frame));
        }
        if let Some(Begun { frame, stream, mut left }) = decoder.begun(&mut buffer, left_min) {
            assert!(buffer.is_empty() && left >= left_min.max(1));
            arrived.extend(take(&mut receiving, frame));
            let mut bytes = receiving.lend(stream, left).unwrap();
            while left > 0 {
                let read = sent.split_to(reads.next().unwrap_or(1).min(left));
                bytes.extend_from_slice(&read);
                left -= read.len();
            }
            arrived.extend(receiving.give_back(bytes));
        }
        for Arrived { payload, .. } in arrived {
            receiving.took(payload.len());
            items.push(payload.to_vec());
        }
        if sent.is_empty() && buffer.is_empty() {
            return items;
        }
        buffer.extend_from_slice(&sent.split_to(reads.next().unwrap_or(1).min(sent.len())));
    }
}

fn take(receiving: &mut Receiving, frame: Frame) -> Option<Arrived> {
    match frame {
        Frame::Item(item) => receiving.begin(item).unwrap(),
        Frame::ItemChunk(stream, bytes) => receiving.push(stream, &bytes).unwrap(),
        // Between items, so that what follows one is found where it should be.
        _ => None,
    }
}
