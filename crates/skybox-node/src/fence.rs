//! The deadline of a node for its keyed instances.
//!
//! A node owns keys as long as its lease lasts, and others take them over when that has ended. A node that cannot renew it
//! has to stop before that, by its own clock: by one that goes on while the machine sleeps or the process is stopped. Each
//! call of a keyed instance looks at it before it begins. When it has passed, instances are killed where they wait; what
//! goes on all the same, since it holds its thread, ends with the process.
//!
//! Once it has passed, it opens again only when nothing is left of what ran before: of a key there is never a second
//! instance beside one that goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

use skybox_core::Code;
use tokio::sync::Notify;

use crate::app::AppInner;
use crate::clock::{boottime_ms, monotonic_ms};

/// How often it is looked at whether it has passed, at least.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is looked at whether what was killed has ended.
const LEFT_LOOK: Duration = Duration::from_millis(2);
/// How long a log may take before the process is ended without it.
const LOG_WAIT: Duration = Duration::from_millis(100);

/// Until when calls of keyed instances may begin on this node.
#[derive(Debug)]
pub struct Fence {
    /// Milliseconds since some moment.
    now: fn() -> u64,
    /// By that clock; zero while they may not, whatever the time.
    open_until_ms: AtomicU64,
    /// And not before this version of the plan, which says who owns what.
    version: AtomicU64,
    state: Mutex<State>,
    /// How long what was killed may go on, before others may take over.
    grace: Duration,
    passed: Notify,
    watcher: OnceLock<Thread>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when it would be open; zero if it has been closed since.
    until_ms: u64,
    /// Something may run from before it passed.
    dirty: bool,
    /// How often it was closed.
    closings: u64,
    /// It has been open.
    was_open: bool,
}

impl Fence {
    /// One that lets nothing pass yet, by a clock that goes on while the process is stopped and while the machine sleeps.
    /// `grace`: how long after it has passed what still runs ends with the process.
    pub fn new(grace: Duration) -> Fence {
        Fence {
            now: boottime_ms,
            open_until_ms: AtomicU64::new(0),
            version: AtomicU64::new(0),
            state: Mutex::default(),
            grace,
            passed: Notify::new(),
            watcher: OnceLock::new(),
        }
    }

    /// The same, where whoever ends leases sleeps with this machine: its clock goes on while the process is stopped alone.
    pub fn of_this_machine(grace: Duration) -> Fence {
        Fence { now: monotonic_ms, ..Fence::new(grace) }
    }

    /// Now, by its clock, in milliseconds.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        (self.now)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Calls may begin until then, as soon as this version of the plan is followed, and what ran before it has passed has
    /// ended.
    pub fn extend(&self, until_ms: u64, version: u64) {
        let mut state = self.state();
        let passed = state.until_ms != 0 && self.now_ms() >= state.until_ms;
        state.dirty |= passed;
        state.until_ms = state.until_ms.max(until_ms);
        self.version.store(version, Ordering::Release);
        let open_until = if state.dirty { 0 } else { state.until_ms };
        self.open_until_ms.store(open_until, Ordering::Release);
        state.was_open |= open_until > 0;
        drop(state);
        if passed {
            self.wake();
        }
    }

    /// No call may begin from now on: others may own the keys.
    pub fn close(&self) {
        let mut state = self.state();
        state.dirty = true;
        state.until_ms = 0;
        state.closings += 1;
        self.open_until_ms.store(0, Ordering::Release);
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
    }

    /// Whether a call may begin, where this version of the plan is followed.
    #[inline]
    pub(crate) fn is_open(&self, version: u64) -> bool {
        !self.is_ahead_of(version) && !self.has_passed()
    }

    /// Whether it counts for a later version of the plan than this one.
    #[inline]
    pub(crate) fn is_ahead_of(&self, version: u64) -> bool {
        version < self.version.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn has_passed(&self) -> bool {
        self.now_ms() >= self.open_until_ms.load(Ordering::Acquire)
    }

    /// Resolves when it has passed.
    pub(crate) async fn passed(&self) {
        loop {
            let mut noted = std::pin::pin!(self.passed.notified());
            noted.as_mut().enable();
            if self.has_passed() {
                return;
            }
            noted.await;
        }
    }

    /// Whether it has been open: before that, a node has not said yet that it is there, or has not read what it owns.
    pub(crate) fn was_open(&self) -> bool {
        self.state().was_open
    }

    /// Whether there is something to end: it has passed, and nobody has seen to that yet.
    fn is_due(&self) -> bool {
        let mut state = self.state();
        if state.until_ms != 0 && self.now_ms() >= state.until_ms {
            state.dirty = true;
            self.open_until_ms.store(0, Ordering::Release);
        }
        state.dirty
    }

    /// Nothing is left of what ran before.
    fn is_clean(&self) {
        let mut state = self.state();
        state.dirty = false;
        self.open_until_ms.store(state.until_ms, Ordering::Release);
    }

    /// Whether the lease was renewed after all, and had not ended meanwhile: nobody else could have had the keys.
    fn is_ours_still(&self, closings: u64) -> bool {
        let state = self.state();
        state.closings == closings && self.now_ms() < state.until_ms
    }
}

/// Starts the thread that ends what must not go on. It ends with the App.
pub(crate) fn begin(app: &Arc<AppInner>, fence: Arc<Fence>) {
    let weak = Arc::downgrade(app);
    let watching = fence.clone();
    let named = std::thread::Builder::new().name("skybox-fence".to_owned());
    match named.spawn(move || watch(&weak, &watching)) {
        Ok(thread) => drop(fence.watcher.set(thread.thread().clone())),
        Err(error) => {
            // Nobody sees to what it leaves: it stays closed.
            fence.close();
            tracing::error!(code = %Code::FENCED, "keyed instances do not run here: no thread sees to their end: {error}");
        }
    }
}

fn watch(app: &Weak<AppInner>, fence: &Arc<Fence>) {
    while app.strong_count() > 0 {
        if fence.is_due() {
            let Some(app) = app.upgrade() else { return };
            end_all(&app, fence);
            fence.is_clean();
        }
        std::thread::park_timeout(LOOK);
    }
}

/// Ends all keyed instances here, and the process if it takes too long. This thread kills and waits, and does nothing in
/// which it could be held up.
fn end_all(app: &Arc<AppInner>, fence: &Arc<Fence>) {
    let (begun_ms, closings, until_ms) = {
        let state = fence.state();
        (fence.now_ms(), state.closings, state.until_ms)
    };
    fence.passed.notify_waiters();
    let hosts: Vec<_> = app.hosts.iter().filter(|host| host.core().has_fence()).cloned().collect();
    let killed: Vec<_> = hosts.iter().map(|host| host.clone().fence()).collect();
    let count: usize = killed.iter().map(|(count, _)| count).sum();
    aside(move || {
        if count > 0 {
            tracing::error!(
                code = %Code::FENCED,
                "the store has not been reached in time: {count} keyed instances are killed before others may have their keys"
            );
        }
        // What they leave is dropped by another than who has to be in time.
        drop(killed);
    });
    let grace = fence.grace.as_millis() as u64;
    // One that was stopped wakes late: what it kills has a moment to end.
    let due_ms = (until_ms + grace).max(begun_ms + grace / 2);
    loop {
        let left: Vec<_> = hosts.iter().filter(|host| host.fence_left() > 0).collect();
        if left.is_empty() {
            return;
        }
        if fence.now_ms() >= due_ms && !fence.is_ours_still(closings) {
            let modules: Vec<_> = left.iter().map(|host| host.core().descriptor.name).collect();
            let (modules, waited) = (modules.join(", "), fence.now_ms().saturating_sub(begun_ms));
            abort(move || {
                tracing::error!(
                    code = %Code::FENCED,
                    "code of {modules} goes on {waited} ms after it was killed: the process is ended, so that nothing runs twice"
                );
            });
        }
        std::thread::sleep(LEFT_LOOK);
    }
}

/// Ends the process with SIGABRT, after a word that it has a moment for.
pub fn abort(last_word: impl FnOnce() + Send + 'static) -> ! {
    aside(last_word);
    std::process::abort()
}

/// Does something on a thread of its own, and waits for a moment until it is done: a log whose reader hangs, or a `Drop`,
/// may never be.
fn aside(what: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let aside = move || {
        // Its panic is nobody's.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)));
        drop(done);
    };
    if std::thread::Builder::new().name("skybox-fenced".to_owned()).spawn(aside).is_ok() {
        // An error says that the other end is gone: that is what is waited for.
        let _ = is_done.recv_timeout(LOG_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_minute() -> u64 {
        boottime_ms() + 60_000
    }

    #[test]
    fn it_is_open_until_then_and_under_that_plan() {
        let fence = Fence::new(Duration::ZERO);
        assert!(!fence.is_open(u64::MAX), "nobody has opened it");
        fence.extend(in_a_minute(), 3);
        assert!(!fence.is_open(2) && fence.is_open(3) && fence.is_open(4));
        fence.extend(fence.now_ms() + 1, 3);
        assert!(fence.is_open(3), "an earlier answer takes nothing back");
    }

    #[test]
    fn once_it_has_passed_it_opens_when_nothing_is_left() {
        let fence = Fence::new(Duration::ZERO);
        fence.extend(in_a_minute(), 3);
        fence.close();
        fence.extend(in_a_minute(), 3);
        assert!(!fence.is_open(3) && fence.is_due(), "somebody has to see to what ran");
        fence.is_clean();
        assert!(fence.is_open(3) && !fence.is_due());
        // The same where the time has passed, whoever is first to look.
        fence.state().until_ms = 1;
        fence.extend(in_a_minute(), 3);
        assert!(!fence.is_open(3) && fence.is_due());
        fence.is_clean();
        assert!(fence.is_open(3));
    }

    #[tokio::test]
    async fn who_waits_is_told_also_if_it_has_passed_before() {
        let fence = Arc::new(Fence::new(Duration::ZERO));
        fence.passed().await;
        fence.extend(in_a_minute(), 0);
        let waiting = tokio::spawn({
            let fence = fence.clone();
            async move { fence.passed().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        fence.close();
        fence.passed.notify_waiters();
        waiting.await.expect("it does not panic");
    }
}
