//! The clocks of a process: when something was heard, and the time that deadlines carry on the wire.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

fn birth() -> Instant {
    static BIRTH: OnceLock<Instant> = OnceLock::new();
    *BIRTH.get_or_init(Instant::now)
}

static COARSE_MS: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since the process first asked.
pub(crate) fn process_ms() -> u64 {
    let now = birth().elapsed().as_millis() as u64;
    COARSE_MS.fetch_max(now, Ordering::Relaxed);
    now
}

/// The last answer of [`process_ms`], which every connection asks for several times a second.
pub(crate) fn process_ms_coarse() -> u64 {
    COARSE_MS.load(Ordering::Relaxed)
}

/// Milliseconds of a clock that goes on while the machine sleeps.
pub(crate) fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// Milliseconds of a clock that stands still while the machine sleeps.
pub(crate) fn monotonic_ms() -> u64 {
    monotonic_us() / 1_000
}

/// Microseconds of the system's monotonic clock: the same in every process of one machine.
pub(crate) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
