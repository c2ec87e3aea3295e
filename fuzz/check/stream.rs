//! Bytes as the frames of a stream, at both of its ends, each beside a model that only counts.
//!
//! All frames are taken for those of one stream. What the program at this side does is said by frames that have
//! nothing to do with streams: a ping reads an item, a pong asks for the first, a drain sends an item of as many
//! bytes as its number.
//!
//! 1. What was granted is never more than a window ahead of what was read; and never nothing, once all was read.
//! 2. What was not granted is refused, and so are items that mix or are too long; all else arrives as it was sent.
//! 3. An item is sent only on a credit that the peer gave.

use std::collections::VecDeque;

use bytes::BytesMut;
use skybox_wire::frame::{Credit, Decoder, Frame, FrameError, ItemFrame, Limits, StreamId};
use skybox_wire::stream::{Arrived, ITEM_BYTES_MAX, Receiving, Sending, WINDOW};

use crate::memory;

/// Memory for each byte: the buffer, an item that is joined, its growth, and the model's copy of it.
const MEMORY_PER_BYTE_MAX: usize = 16;

/// Memory beside that: the one frame, and as much of the one item as was asked for, for which room is made.
const MEMORY_BYTES_MAX: usize = 4 * skybox_wire::frame::FRAME_BYTES_MAX + WINDOW.bytes as usize;

pub(crate) fn check(bytes: &[u8]) {
    let ((), taken) = memory::peak(|| run(bytes));
    let bound = MEMORY_BYTES_MAX + bytes.len() * MEMORY_PER_BYTE_MAX;
    assert!(taken <= bound, "{} bytes took {taken}, and {bound} is the bound", bytes.len());
}

fn run(bytes: &[u8]) {
    let (mut decoder, mut buffer) = (Decoder::new(Limits::default()), BytesMut::from(bytes));
    let (mut reader, mut sender) = (Reader::default(), Sender::default());
    while let Ok(Some(frame)) = decoder.next(&mut buffer) {
        let goes_on = match frame {
            Frame::Item(item) => reader.begin(item),
            Frame::ItemChunk(stream, chunk) => reader.push(stream, &chunk),
            Frame::Pong(_) => reader.ask(),
            Frame::Ping(_) => reader.take(),
            Frame::Credit(_, credit) => sender.credited(credit),
            Frame::Drain { last } => sender.send(last.0),
            _ => true,
        };
        if !goes_on {
            return;
        }
    }
}

/// Items and their bytes, summed up from the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    items: u128,
    bytes: u128,
}

impl Sum {
    fn add(&mut self, items: u128, bytes: u128) {
        self.items += items;
        self.bytes += bytes;
    }

    /// Whether an item may begin: one is left, and a byte.
    fn exceeds(self, other: Sum) -> bool {
        self.items > other.items && self.bytes > other.bytes
    }
}

/// The end that reads, and what it must have granted and got.
#[derive(Default)]
struct Reader {
    receiving: Receiving,
    granted: Sum,
    begun: Sum,
    taken: Sum,
    /// The item that arrives: its announced length, and what has come.
    arriving: Option<(u64, Vec<u8>)>,
    unread: VecDeque<usize>,
}

impl Reader {
    fn begin(&mut self, item: ItemFrame) -> bool {
        let (stream, payload) = (item.stream, item.payload.clone());
        let expect = if self.arriving.is_some() {
            Err(FrameError::ItemsMixed { stream })
        } else if !self.granted.exceeds(self.begun) {
            Err(FrameError::StreamOverrun { stream })
        } else if payload.total > ITEM_BYTES_MAX as u64 {
            Err(FrameError::ItemTooLong { stream, total: payload.total })
        } else {
            self.begun.add(1, payload.total.into());
            self.arriving = Some((payload.total, payload.first.to_vec()));
            Ok(())
        };
        let found = self.receiving.begin(item);
        self.compare(found, expect)
    }

    fn push(&mut self, stream: StreamId, chunk: &[u8]) -> bool {
        let expect = match &mut self.arriving {
            Some((total, here)) if (here.len() + chunk.len()) as u64 <= *total => {
                here.extend_from_slice(chunk);
                Ok(())
            }
            _ => Err(FrameError::ItemsMixed { stream }),
        };
        let found = self.receiving.push(stream, chunk);
        self.compare(found, expect)
    }

    /// Whether the connection goes on; what arrived must be what the model has, once it is all there.
    fn compare(
        &mut self,
        found: Result<Option<Arrived>, FrameError>,
        expect: Result<(), FrameError>,
    ) -> bool {
        let found = match (found, expect) {
            (Ok(found), Ok(())) => found,
            (found, expect) => {
                assert_eq!(found.map(|_| ()), expect);
                return false;
            }
        };
        let whole = self.arriving.take_if(|(total, here)| *total == here.len() as u64);
        assert_eq!(
            found.map(|arrived| arrived.payload.to_vec()),
            whole.as_ref().map(|(_, here)| here.clone())
        );
        self.unread.extend(whole.map(|(_, here)| here.len()));
        true
    }

    fn ask(&mut self) -> bool {
        let is_first = self.granted.items == 0;
        let asked = self.receiving.ask();
        assert_eq!(asked, is_first.then_some(WINDOW));
        self.grant(asked)
    }

    fn take(&mut self) -> bool {
        let Some(len) = self.unread.pop_front() else { return true };
        self.taken.add(1, len as u128);
        let asked = self.receiving.took(len);
        self.grant(asked)
    }

    fn grant(&mut self, asked: Option<Credit>) -> bool {
        if let Some(credit) = asked {
            self.granted.add(credit.items.into(), credit.bytes.into());
        }
        assert!(self.granted.items - self.taken.items <= WINDOW.items.into(), "{:?}", self.granted);
        assert!(self.granted.bytes - self.taken.bytes <= WINDOW.bytes.into(), "{:?}", self.granted);
        assert!(self.granted.exceeds(self.taken), "all was read, and nothing more is asked for");
        true
    }
}

/// The end that sends, and what it was granted and has sent.
#[derive(Default)]
struct Sender {
    sending: Sending,
    is_asked: bool,
    granted: Sum,
    sent: Sum,
}

impl Sender {
    fn credited(&mut self, credit: Credit) -> bool {
        self.is_asked = true;
        self.granted.add(credit.items.into(), credit.bytes.into());
        // What is left may be below zero, by as much as the last item was too long.
        let is_meant = self.granted.bytes <= self.sent.bytes + i64::MAX as u128;
        let goes_on = self.sending.credited(credit).is_some();
        assert_eq!(goes_on, is_meant && credit.bytes <= i64::MAX as u64, "{credit:?}");
        goes_on && self.check()
    }

    fn send(&mut self, len: u64) -> bool {
        let len = len.min(ITEM_BYTES_MAX as u64);
        if self.sending.may_send() {
            self.sending.sent(len as usize);
            self.sent.add(1, len.into());
        }
        self.check()
    }

    fn check(&self) -> bool {
        assert_eq!(self.sending.may_send(), self.granted.exceeds(self.sent), "{:?}", self.granted);
        assert_eq!(self.sending.has_begun(), self.is_asked);
        true
    }
}
