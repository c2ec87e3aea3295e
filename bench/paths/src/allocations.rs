//! Counts what is allocated, and says who did.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Allocations since the program began; one that grows counts as one more.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Whether places are noted.
static NOTING: AtomicBool = AtomicBool::new(false);
static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// To note a place allocates too.
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

/// Functions that are named of those that an allocation was made in.
const CALLERS_MAX: usize = 3;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn note(size: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    if NOTING.load(Ordering::Relaxed) {
        note_place(size);
    }
}

#[cold]
fn note_place(size: usize) {
    if NOTED.replace(true) {
        return;
    }
    let place = format!("{size} bytes: {}", callers(&Backtrace::force_capture().to_string()));
    PLACES.lock().expect("nobody panics while holding it").push(place);
    NOTED.set(false);
}

/// Where in this workspace the functions of a backtrace are, the innermost first.
fn callers(backtrace: &str) -> String {
    // Those of the compiler's and of other crates are absolute.
    let places = backtrace.lines().filter_map(|line| line.trim().strip_prefix("at ./"));
    let places = places.filter(|place| !place.contains("allocations.rs"));
    places.take(CALLERS_MAX).collect::<Vec<_>>().join(" < ")
}

/// Awaits something, and counts what is allocated meanwhile by anybody.
pub(crate) async fn count<F: Future>(future: F) -> (F::Output, u64) {
    let before = COUNT.load(Ordering::Relaxed);
    let output = future.await;
    (output, COUNT.load(Ordering::Relaxed) - before)
}

/// Awaits something, and says who allocates meanwhile.
pub(crate) async fn places<F: Future>(future: F) -> (F::Output, Vec<String>) {
    NOTING.store(true, Ordering::Relaxed);
    let output = future.await;
    NOTING.store(false, Ordering::Relaxed);
    (output, std::mem::take(&mut PLACES.lock().expect("nobody panics while holding it")))
}
