//! A pair of memory barriers of which one side costs nothing.
//!
//! Two threads each write one word and then read the other's; at least one of them has to see the other's write.
//! The processor holds plain stores back, so both sides need a full barrier: six nanoseconds, on every call. Linux'
//! `membarrier(2)` makes every running thread of the process execute one instead, so the side that is seldom taken
//! pays for both, and for the other it is enough that the compiler keeps the order. Where the system call is missing
//! (an old kernel, a seccomp filter), both sides have their barrier.
//!
//! The kernel wants to know beforehand which processes will ask, and takes its time over that once a process has
//! threads: about ten milliseconds, more than all the rest of a start. So [`register`] is called on a thread of its own,
//! and until it is done both sides have their barrier too. The change from one to the other is safe if no heavy side
//! runs meanwhile: see [`Record::unfence`](super::hazard::Record::unfence).

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

/// Whether the kernel knows that this process will ask.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Whether the readers' side needs a barrier of its own.
pub(crate) fn is_missing() -> bool {
    !REGISTERED.load(Ordering::Relaxed)
}

/// Has the kernel know; says whether it can do what is asked for. Milliseconds.
pub(super) fn register() -> bool {
    membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
        && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

/// From now on the heavy side asks the kernel. Called where no heavy side runs, once [`register`] has returned true.
pub(super) fn rely_on_the_kernel() {
    REGISTERED.store(true, Ordering::Relaxed);
}

/// The side that is taken often. `missing`: what [`is_missing`] said.
#[inline(always)]
pub(crate) fn light(missing: bool) {
    if missing {
        fence(Ordering::SeqCst);
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

/// The side that is taken seldom: microseconds.
pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
    if !is_missing() {
        membarrier(MembarrierCommand::PrivateExpedited)
            .expect("the kernel has registered the process for this, and knows no other reason to refuse");
    }
}
