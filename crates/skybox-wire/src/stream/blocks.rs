//! The memory of items that are long: used again, as long as the stream goes on.
//!
//! A stream of blocks would take fresh memory for each, and give it back: the kernel clears each page and maps it,
//! which takes as long as it takes to copy what then stands there.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;

use super::WINDOW;

/// Bytes that wait to be used again. A window of them is what a stream may hold unread anyway.
const SPARE_BYTES_MAX: usize = WINDOW.bytes as usize;
/// A spare piece of memory is used for what fills at least this part of it, so that whoever keeps an item does not
/// keep much more.
const FILLED_PART: usize = 2;

/// Pieces of memory for the items of one stream.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    spare: Arc<Mutex<Spare>>,
}

#[derive(Default)]
struct Spare {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
}

/// An item's memory. Dropped by whoever read the item last, it waits to be used again.
struct Block {
    bytes: Vec<u8>,
    home: Weak<Mutex<Spare>>,
}

impl Blocks {
    /// Empty, with room for so many bytes.
    pub(super) fn take(&self, len: usize) -> Vec<u8> {
        let mut spare = lock(&self.spare);
        // The last one given back is the most likely to be in the processor's cache.
        while let Some(block) = spare.blocks.pop() {
            spare.bytes -= block.capacity();
            if block.capacity() >= len && block.capacity() / FILLED_PART <= len {
                return block;
            }
            // The items have become longer or shorter, and so will the next ones be.
        }
        drop(spare);
        Vec::with_capacity(len)
    }

    /// As what the reader gets.
    pub(super) fn give(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Block { bytes, home: Arc::downgrade(&self.spare) })
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Gone with the stream: then nobody needs it again.
        let Some(home) = self.home.upgrade() else { return };
        let mut block = mem::take(&mut self.bytes);
        block.clear();
        let mut spare = lock(&home);
        if spare.bytes + block.capacity() <= SPARE_BYTES_MAX {
            spare.bytes += block.capacity();
            spare.blocks.push(block);
        }
    }
}

fn lock(spare: &Mutex<Spare>) -> MutexGuard<'_, Spare> {
    spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").field("blocks", &self.blocks.len()).field("bytes", &self.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_its_reader_has_dropped_it() {
        let blocks = Blocks::default();
        let first = blocks.take(1000);
        let place = first.as_ptr();
        let read = blocks.give(first);
        let other = blocks.take(1000);
        assert_ne!(other.as_ptr(), place, "somebody still reads it");
        drop(read);
        let again = blocks.take(900);
        assert_eq!(again.as_ptr(), place);
        drop(blocks.give(other));
        assert!(blocks.take(100).capacity() < 1000, "an item keeps no more than twice its length");
    }

    #[test]
    fn no_more_than_a_window_waits_and_nothing_when_the_stream_is_over() {
        let blocks = Blocks::default();
        let items: Vec<_> = (0..5).map(|_| blocks.give(Vec::with_capacity(SPARE_BYTES_MAX / 4))).collect();
        let late = blocks.give(Vec::with_capacity(10));
        drop(items);
        assert_eq!(lock(&blocks.spare).bytes, SPARE_BYTES_MAX);
        let spare = Arc::downgrade(&blocks.spare);
        drop(blocks);
        assert!(spare.upgrade().is_none());
        drop(late);
    }
}
