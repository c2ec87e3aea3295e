//! The records of this process's threads, and the values that wait for them.
//!
//! Thread-locals are read and written with `with`: their `get` and `set` take a detour that the compiler does not
//! inline.

use std::cell::Cell;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicPtr;
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;

use super::barrier;
use super::hazard::{PLACES, Record, Retired, sweep};

/// All records, and those that no thread has. They are never freed, so their number is that of the threads that
/// ever made calls at the same time.
struct Records {
    all: Vec<&'static Record>,
    free: Vec<&'static Record>,
}

static RECORDS: Mutex<Records> = Mutex::new(Records { all: Vec::new(), free: Vec::new() });
static RETIRED: Mutex<Vec<Retired>> = Mutex::new(Vec::new());

thread_local! {
    static RECORD: Cell<Option<&'static Record>> = const { Cell::new(None) };
    /// The first place that names nothing; those before it do.
    static FREE_PLACE: Cell<usize> = const { Cell::new(0) };
    static LEASE: Lease = Lease::take();
}

/// A value's name in this thread's record: its place there, plus one. One word, since a call carries it through its
/// whole first poll; the record is the thread's anyway.
#[derive(Debug)]
pub(crate) struct Name {
    place: NonZeroUsize,
    /// The record is another one on another thread.
    not_send: PhantomData<*const ()>,
}

impl Name {
    /// Names what `current` leads to. `None` if it leads nowhere, or the thread has no place left.
    #[inline(always)]
    pub(super) fn of<V>(current: &AtomicPtr<V>) -> Option<(NonNull<V>, Name)> {
        let record = match RECORD.with(Cell::get) {
            Some(record) => record,
            None => lease()?,
        };
        let place = FREE_PLACE.with(Cell::get);
        if place >= PLACES {
            return None;
        }
        let value = record.protect(place, current);
        let place = NonZeroUsize::MIN.saturating_add(place);
        FREE_PLACE.with(|free| free.set(place.get()));
        // Empty or not, the place is given back by dropping this.
        let name = Name { place, not_send: PhantomData };
        Some((NonNull::new(value)?, name))
    }
}

impl Name {
    /// Takes it back, as dropping it does, where it is called.
    #[inline(always)]
    pub(crate) fn end(self) {
        self.take_back();
        std::mem::forget(self);
    }

    /// Calls end in the order opposite to that in which they began, so the last name is the first to go; the place of
    /// one that goes earlier is free again once those above it are. Called once.
    #[inline(always)]
    fn take_back(&self) {
        let Some(record) = RECORD.with(Cell::get) else { return };
        let place = self.place.get() - 1;
        let awaited = record.release(place);
        if FREE_PLACE.with(Cell::get) == place + 1 {
            let mut free = place;
            while free > 0 && record.is_free(free - 1) {
                free -= 1;
            }
            FREE_PLACE.with(|place| place.set(free));
        }
        if awaited {
            tidy_up(record);
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// Keeps a value until no thread names it.
pub(super) fn retire(value: Retired) {
    lock(&RETIRED).push(value);
    clear();
}

#[cold]
fn tidy_up(record: &Record) {
    if record.hear() {
        clear();
    }
}

fn clear() {
    let free = {
        let mut retired = lock(&RETIRED);
        let records = lock(&RECORDS);
        sweep(records.all.iter().copied(), &mut retired)
    };
    // Outside the locks: these are values of users, and what they drop may make calls.
    drop(free);
}

#[cold]
fn lease() -> Option<&'static Record> {
    // A call made by a late destructor of this thread gets none.
    let record = LEASE.try_with(|lease| lease.0).ok()?;
    RECORD.set(Some(record));
    Some(record)
}

/// A thread's right to a record.
struct Lease(&'static Record);

/// Has the kernel do the readers' side of the barrier from now on, once it can.
fn unfence() {
    if !barrier::register() {
        return;
    }
    // Sweeps hold this lock over their side of the barrier, and a new record asks under it.
    let records = lock(&RECORDS);
    barrier::rely_on_the_kernel();
    records.all.iter().for_each(|record| record.unfence());
}

impl Lease {
    fn take() -> Lease {
        static REGISTER: Once = Once::new();
        REGISTER.call_once(|| {
            // Without the thread calls have a barrier each, and are right all the same.
            drop(thread::Builder::new().name("skybox-barrier".to_owned()).spawn(unfence));
        });
        let mut records = lock(&RECORDS);
        if let Some(record) = records.free.pop() {
            return Lease(record);
        }
        let record: &'static Record = Box::leak(Box::new(Record::new()));
        records.all.push(record);
        Lease(record)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        RECORD.set(None);
        lock(&RECORDS).free.push(self.0);
    }
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
