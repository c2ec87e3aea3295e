//! A pair of memory barriers of which one side costs nothing.
//!
//! Two threads each write one word and then read the other's; at least one of them has to see the other's write.
//! The processor holds plain stores back, so both sides need a full barrier: six nanoseconds, on every call. Linux'
//! `membarrier(2)` makes every running thread of the process execute one instead, so the side that is seldom taken
//! pays for both, and for the other it is enough that the compiler keeps the order. Where the system call is missing
//! (an old kernel, a seccomp filter), both sides have their barrier.

use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence, fence};

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

/// Whether the readers' side needs a barrier of its own. The first to ask registers the process with the kernel, so
/// a reader asks before it relies on the answer.
pub(crate) fn is_missing() -> bool {
    static MISSING: OnceLock<bool> = OnceLock::new();
    *MISSING.get_or_init(|| {
        !membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
            || membarrier(MembarrierCommand::RegisterPrivateExpedited).is_err()
    })
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
