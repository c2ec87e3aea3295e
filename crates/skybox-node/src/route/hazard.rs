//! Which values threads are using: the protocol, without the threads.
//!
//! 1. A reader stores the value's address in its record, has its side of the [`barrier`], and looks whether the
//!    route still leads there.
//! 2. Whoever replaces a value changes the route, has the other side of the barrier, and then looks into all
//!    records. Either the reader sees the change, or its record is seen: never neither.
//! 3. A value that some record names is kept, and the record is marked as awaited before the barrier. The reader
//!    takes its name back, has the barrier, and looks at the mark: it, or the one who marked it, sees the other.

use std::any::Any;
use std::ptr;
use std::sync::Arc;

use super::atomics::{AtomicBool, AtomicPtr, Ordering};
use super::barrier;

/// Values that a thread can name at once: calls that run inside of each other on one thread. Deeper ones count
/// their instance, which costs each of them ten nanoseconds.
pub(crate) const PLACES: usize = 8;

/// What one thread uses. A thread writes its own and reads nobody's; whoever retires a value reads all of them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Record {
    places: [AtomicPtr<()>; PLACES],
    /// Somebody waits until one of the names is taken back.
    awaited: AtomicBool,
    /// The reader's side of the barrier has to be a real one.
    fenced: AtomicBool,
}

impl Record {
    pub(crate) fn new() -> Record {
        Record {
            places: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            awaited: AtomicBool::new(false),
            fenced: AtomicBool::new(barrier::is_missing()),
        }
    }

    /// Names what `current` leads to, and returns it. Null where it leads nowhere; the place has to be released
    /// all the same.
    #[inline(always)]
    pub(crate) fn protect<V>(&self, place: usize, current: &AtomicPtr<V>) -> *mut V {
        let mut value = current.load(Ordering::Acquire);
        loop {
            self.places[place].store(value.cast(), Ordering::Relaxed);
            barrier::light(self.fenced.load(Ordering::Acquire));
            let again = current.load(Ordering::Acquire);
            if again == value {
                return value;
            }
            value = again;
        }
    }

    /// Takes a name back. `true`: somebody waits for that, and [`sweep`] has to be called.
    #[inline(always)]
    #[must_use]
    pub(crate) fn release(&self, place: usize) -> bool {
        self.places[place].store(ptr::null_mut(), Ordering::Release);
        barrier::light(self.fenced.load(Ordering::Acquire));
        self.awaited.load(Ordering::Relaxed)
    }

    /// Whether a place names nothing. Asked by the thread that writes it.
    #[inline(always)]
    pub(crate) fn is_free(&self, place: usize) -> bool {
        self.places[place].load(Ordering::Relaxed).is_null()
    }

    /// The reader's side needs no barrier of its own any more: each heavy side from now on has that of the kernel.
    ///
    /// Called by whoever keeps heavy sides from running meanwhile, with a lock that they hold too. A reader that sees
    /// this change looks at the route, or at the mark, behind it, and so sees all that the heavy sides before it have
    /// done: it needs no barrier with these.
    pub(crate) fn unfence(&self) {
        self.fenced.store(false, Ordering::Release);
    }

    /// The thread has heard that somebody waits.
    pub(crate) fn hear(&self) -> bool {
        self.awaited.swap(false, Ordering::AcqRel)
    }

    fn names(&self, address: *const ()) -> bool {
        self.places.iter().any(|place| ptr::eq(place.load(Ordering::Acquire), address))
    }
}

/// A value that no route leads to any more.
#[derive(Debug)]
pub(crate) struct Retired {
    address: *const (),
    /// What it is kept alive by.
    #[expect(dead_code, reason = "held, not read")]
    count: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the address is compared and never followed.
unsafe impl Send for Retired {}

impl Retired {
    pub(crate) fn new(address: *const (), count: Arc<dyn Any + Send + Sync>) -> Retired {
        Retired { address, count }
    }
}

/// Takes out of `retired` what no record names, to be dropped outside of every lock. Whoever names one of those that
/// stay has been told to come here once it does not.
#[must_use]
pub(crate) fn sweep<'r>(
    records: impl Iterator<Item = &'r Record> + Clone,
    retired: &mut Vec<Retired>,
) -> Vec<Retired> {
    let mut free = Vec::new();
    while !retired.is_empty() {
        barrier::heavy();
        let mut told = false;
        free.extend(retired.extract_if(.., |value| {
            let mut named = false;
            for record in records.clone().filter(|record| record.names(value.address)) {
                named = true;
                // Told after the barrier, it may have looked before: then it is looked at once more.
                told |= !record.awaited.swap(true, Ordering::AcqRel);
            }
            !named
        }));
        if !told {
            break;
        }
    }
    free
}
