//! The hazard pointers of `src/route`, in every interleaving that the memory model allows.
//!
//! The protocol's own file is compiled in here, over loom's atomics. The pair of barriers, of which the real one is
//! half a system call, is a fence on both sides: that is what the system call makes of it.

// Loom follows every order of events of a few threads; that of a model is the whole point of each test.
#![expect(dead_code, reason = "the runtime uses more of the file than the models do")]

#[path = "../src/route/hazard.rs"]
mod hazard;

mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
}

mod barrier {
    use loom::sync::atomic::{Ordering, fence};

    pub(crate) fn is_missing() -> bool {
        true
    }

    pub(crate) fn light(_missing: bool) {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }
}

use std::sync::Arc as StdArc;

use hazard::{Record, Retired, sweep};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicPtr, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// What a route leads to. Loom sees each use of `inside`, and a use beside its end is an error.
struct Value {
    inside: UnsafeCell<u32>,
    ends: StdArc<std::sync::atomic::AtomicUsize>,
}

// SAFETY: the protocol is to keep uses and the end apart; loom checks that it does.
unsafe impl Sync for Value {}
// SAFETY: as above.
unsafe impl Send for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        self.inside.with_mut(|_| ());
        self.ends.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

struct World {
    current: AtomicPtr<Value>,
    records: Vec<Record>,
    retired: Mutex<Vec<Retired>>,
    ends: StdArc<std::sync::atomic::AtomicUsize>,
}

impl World {
    fn new(readers: usize) -> (Arc<World>, StdArc<Value>) {
        let ends = StdArc::new(std::sync::atomic::AtomicUsize::new(0));
        let value = StdArc::new(Value { inside: UnsafeCell::new(7), ends: ends.clone() });
        let world = World {
            current: AtomicPtr::new(StdArc::as_ptr(&value).cast_mut()),
            records: (0..readers).map(|_| Record::new()).collect(),
            retired: Mutex::new(Vec::new()),
            ends,
        };
        (Arc::new(world), value)
    }

    /// As `route/local.rs` reads.
    fn read(&self, reader: usize) {
        let record = &self.records[reader];
        let value = record.protect(0, &self.current);
        if !value.is_null() {
            // SAFETY: named; loom checks it.
            unsafe { &*value }.inside.with(|inside| assert_eq!(unsafe { *inside }, 7));
        }
        if record.release(0) && record.hear() {
            self.clear();
        }
    }

    /// As `route.rs` replaces.
    fn replace(&self, owner: StdArc<Value>) {
        self.current.store(std::ptr::null_mut(), Ordering::Release);
        let address = StdArc::as_ptr(&owner).cast();
        self.retired.lock().unwrap().push(Retired::new(address, owner));
        self.clear();
    }

    fn clear(&self) {
        let free = sweep(self.records.iter(), &mut self.retired.lock().unwrap());
        drop(free);
    }

    fn ends(&self) -> usize {
        self.ends.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Nobody uses a value after its end, and its end comes once everybody is done, without anybody asking again.
fn readers_beside_one_who_replaces(readers: usize, preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let (world, owner) = World::new(readers);
        let threads: Vec<_> = (0..readers)
            .map(|reader| {
                let world = world.clone();
                thread::spawn(move || world.read(reader))
            })
            .collect();
        world.replace(owner);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(world.ends(), 1);
    });
}

#[test]
fn one_reader_beside_one_who_replaces() {
    readers_beside_one_who_replaces(1, 4);
}

#[test]
fn two_readers_beside_one_who_replaces() {
    readers_beside_one_who_replaces(2, 3);
}

#[test]
fn a_reader_that_comes_back_beside_one_who_replaces() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (world, owner) = World::new(1);
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                world.read(0);
                world.read(0);
            })
        };
        world.replace(owner);
        reader.join().unwrap();
        assert_eq!(world.ends(), 1);
    });
}
