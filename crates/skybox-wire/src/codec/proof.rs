//! What is known of one type's way through the codec.

use std::any::type_name;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Remembers which shapes of one type were verified; one `static` for each method's arguments and one for
/// its result.
///
/// It must be used with one pair of types `S`, `O` of [`encode`](super::encode) only: what one type has
/// proven says nothing of another.
///
/// All loads and stores are relaxed: each fact stands alone and is true for ever, so that seeing it late
/// costs a verification and nothing else.
pub struct Proof {
    named: AtomicBool,
    /// Made when the first payload is verified, so that a method that is never called takes no table.
    table: OnceLock<Box<Table>>,
}

impl Proof {
    #[must_use]
    pub const fn new() -> Self {
        Self { named: AtomicBool::new(false), table: OnceLock::new() }
    }

    /// Writes with names from now on, as after a peer that could not read the compact form.
    pub fn use_names(&self) {
        self.named.store(true, Ordering::Relaxed);
    }

    /// Whether this type was found to need the named form.
    #[inline]
    #[must_use]
    pub fn uses_names(&self) -> bool {
        self.named.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn table(&self) -> Option<&Table> {
        self.table.get().map(Box::as_ref)
    }

    /// Remembers segments of payloads that were written as `S` and read as `O`.
    pub(super) fn add<S: ?Sized, O>(&self, segments: &[u64]) {
        let types = [type_name::<S>(), type_name::<O>()];
        let table = self.table.get_or_init(|| Box::new(Table::new(types)));
        debug_assert_eq!(table.types, types, "one proof is used for two pairs of types");
        for &segment in segments {
            table.insert(segment);
        }
    }
}

impl Default for Proof {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proven = self.table().map_or(0, |table| table.count.load(Ordering::Relaxed));
        f.debug_struct("Proof").field("uses_names", &self.uses_names()).field("segments", &proven).finish()
    }
}

/// A set of segments with open addressing; it only grows.
pub(super) struct Table {
    /// Zero is free. A segment stands at its high eight bits or, where those are taken, after them.
    slots: [AtomicU64; Self::SLOTS],
    count: AtomicUsize,
    /// What is written and what is read, to notice a proof that is used for something else.
    types: [&'static str; 2],
}

impl Table {
    /// 2 KiB for a type, with room for a struct of a hundred options.
    const SLOTS: usize = 256;

    /// Three quarters: a search meets a free slot soon, and always. What does not fit stays unproven, and
    /// payloads that hold it are verified each time.
    pub(super) const SEGMENTS_MAX: usize = Self::SLOTS / 4 * 3;

    fn new(types: [&'static str; 2]) -> Self {
        Self { slots: [const { AtomicU64::new(0) }; Self::SLOTS], count: AtomicUsize::new(0), types }
    }

    #[inline(always)]
    pub(super) fn contains(&self, segment: u64) -> bool {
        let mut slot = Self::home(segment);
        loop {
            match self.slots[slot].load(Ordering::Relaxed) {
                found if found == segment => return true,
                0 => return false,
                _ => slot = (slot + 1) % Self::SLOTS,
            }
        }
    }

    fn insert(&self, segment: u64) {
        debug_assert_ne!(segment, 0, "zero marks a free slot");
        let mut slot = Self::home(segment);
        // The place is taken before the slot, so that the table is never full, whoever inserts beside us.
        if self.count.fetch_add(1, Ordering::Relaxed) >= Self::SEGMENTS_MAX {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        loop {
            match self.slots[slot].compare_exchange(0, segment, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) if found == segment => {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                Err(_) => slot = (slot + 1) % Self::SLOTS,
            }
        }
    }

    #[inline(always)]
    fn home(segment: u64) -> usize {
        (segment >> 56) as usize % Self::SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_still_answers() {
        let proof = Proof::new();
        let segments: Vec<u64> = (1..=1000).map(|n| n | 0xFF << 56).collect();
        proof.add::<u8, u8>(&segments);
        proof.add::<u8, u8>(&segments);
        let table = proof.table().expect("it holds segments");
        let held = segments.iter().filter(|&&segment| table.contains(segment)).count();
        assert_eq!(held, Table::SEGMENTS_MAX);
        assert!(!table.contains(7));
    }

    #[test]
    fn a_segment_is_counted_once() {
        let proof = Proof::new();
        for _ in 0..1000 {
            proof.add::<u8, u8>(&[5, 9]);
        }
        assert_eq!(format!("{proof:?}"), "Proof { uses_names: false, segments: 2 }");
    }
}
