//! The end of a stream where its items are read.

use bytes::Bytes;

use super::blocks::Blocks;
use super::{ITEM_BYTES_MAX, WINDOW};
use crate::frame::{Credit, FrameError, ItemFrame, ItemHead, StreamId};

/// What was asked for, and the item that is arriving.
#[derive(Debug, Default)]
pub struct Receiving {
    asked: bool,
    /// Asked for, and not begun to arrive.
    items_left: u64,
    /// Below zero by as much as the last item is longer than what was asked for.
    bytes_left: i64,
    /// Read since more was asked for.
    read: Credit,
    partial: Option<Partial>,
    blocks: Blocks,
}

#[derive(Debug)]
struct Partial {
    head: ItemHead,
    total: usize,
    /// Shorter than `total`. Room is made for as much as was asked for; beyond that it grows with what really arrived.
    bytes: Vec<u8>,
}

/// An item that is complete.
#[derive(Debug)]
pub struct Arrived {
    /// All of it but its payload.
    pub head: ItemHead,
    /// The value or the error.
    pub payload: Bytes,
    /// The payload has its memory for itself, and shares none with what else was read: keeping it keeps nothing more.
    pub is_alone: bool,
}

impl Receiving {
    /// Of a stream that nothing has been asked of.
    pub fn new() -> Receiving {
        Receiving::default()
    }

    /// The reader wants an item: what to ask for, if it is the first.
    pub fn ask(&mut self) -> Option<Credit> {
        (!std::mem::replace(&mut self.asked, true)).then(|| self.credit(WINDOW))
    }

    /// The reader has taken an item of so many bytes: what to ask for in addition, if it is time to.
    pub fn took(&mut self, bytes_len: usize) -> Option<Credit> {
        self.read.items += 1;
        self.read.bytes += bytes_len as u64;
        let due = self.read.items * 2 >= WINDOW.items || self.read.bytes * 2 >= WINDOW.bytes;
        due.then(|| {
            let read = std::mem::take(&mut self.read);
            self.credit(read)
        })
    }

    fn credit(&mut self, credit: Credit) -> Credit {
        self.items_left += u64::from(credit.items);
        self.bytes_left += credit.bytes as i64;
        credit
    }

    /// Takes an item's beginning. A whole one is returned.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn begin(&mut self, item: ItemFrame) -> Result<Option<Arrived>, FrameError> {
        let ItemFrame { stream, is_error, form, payload } = item;
        if self.partial.is_some() {
            return Err(FrameError::ItemsMixed { stream });
        }
        if self.items_left == 0 || self.bytes_left <= 0 {
            return Err(FrameError::StreamOverrun { stream });
        }
        let total = usize::try_from(payload.total).ok().filter(|total| *total <= ITEM_BYTES_MAX);
        let total = total.ok_or(FrameError::ItemTooLong { stream, total: payload.total })?;
        self.items_left -= 1;
        self.bytes_left -= total as i64;
        let head = ItemHead { stream, is_error, form };
        if payload.is_whole() {
            return Ok(Some(Arrived { head, payload: payload.first, is_alone: false }));
        }
        let mut bytes = self.blocks.take(total.min(WINDOW.bytes as usize));
        bytes.extend_from_slice(&payload.first);
        self.partial = Some(Partial { head, total, bytes });
        Ok(None)
    }

    /// Takes a chunk of the item that is arriving.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn push(&mut self, stream: StreamId, chunk: &[u8]) -> Result<Option<Arrived>, FrameError> {
        let mut bytes = self.lend(stream, chunk.len())?;
        bytes.extend_from_slice(chunk);
        Ok(self.give_back(bytes))
    }

    /// Lends what has arrived of an item, with room for so many bytes, which are to be appended. Until it is given
    /// back nothing else may be done with this stream's frames; its credits go on.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn lend(&mut self, stream: StreamId, len: usize) -> Result<Vec<u8>, FrameError> {
        let mixed = FrameError::ItemsMixed { stream };
        let Some(partial) = &mut self.partial else { return Err(mixed) };
        let missing = partial.total - partial.bytes.len();
        if len > missing {
            return Err(mixed);
        }
        let bytes = &mut partial.bytes;
        if bytes.capacity() - bytes.len() < len {
            // Twice as much each time, and never beyond what is announced.
            bytes.reserve_exact(missing.min(bytes.len().max(len)));
        }
        Ok(std::mem::take(bytes))
    }

    /// Takes back what was lent; it may be that less was appended than was wanted.
    pub fn give_back(&mut self, bytes: Vec<u8>) -> Option<Arrived> {
        let mut partial = self.partial.take()?;
        debug_assert!(bytes.len() <= partial.total, "more was appended than there was room for");
        if bytes.len() == partial.total {
            let payload = self.blocks.give(bytes);
            return Some(Arrived { head: partial.head, payload, is_alone: true });
        }
        partial.bytes = bytes;
        self.partial = Some(partial);
        None
    }
}
