//! The deadline of a node for its keyed instances.
//!
//! A node owns keys as long as its lease lasts, and others take them over when that has ended. A node that cannot renew it
//! has to stop before that, by its own clock: by one that goes on while the machine sleeps or the process is stopped. Each
//! call of a keyed instance looks at it before it begins. When it has passed, instances are killed where they wait; what
//! goes on all the same, since it holds its thread, ends with the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use skybox_core::Code;
use tokio::sync::Notify;

use crate::app::AppInner;
use crate::clock::boottime_ms;

/// How often it is looked at whether it has passed, at least.
const LOOK: Duration = Duration::from_millis(50);

/// Until when calls of keyed instances may begin on this node.
#[derive(Debug)]
pub struct Fence {
    /// By [`boottime_ms`]; zero while they may not.
    until_ms: AtomicU64,
    /// And not before this version of the plan, which says who owns what.
    version: AtomicU64,
    /// How long before others may take over what is killed may go on.
    grace: Duration,
    passed: Notify,
}

impl Fence {
    /// One that lets nothing pass yet. `grace`: how long after it has passed what still runs ends with the process.
    pub fn new(grace: Duration) -> Fence {
        Fence { until_ms: AtomicU64::new(0), version: AtomicU64::new(0), grace, passed: Notify::new() }
    }

    /// Now, by the clock that deadlines here are of: in milliseconds, and it goes on while the machine sleeps.
    pub fn now_ms() -> u64 {
        boottime_ms()
    }

    /// Calls may begin until then, as soon as this version of the plan is followed.
    pub fn extend(&self, until_ms: u64, version: u64) {
        self.version.store(version, Ordering::Release);
        self.until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    /// No call may begin from now on.
    pub fn close(&self) {
        self.until_ms.store(0, Ordering::Release);
    }

    /// Whether a call may begin, where this version of the plan is followed.
    #[inline]
    pub(crate) fn is_open(&self, version: u64) -> bool {
        version >= self.version.load(Ordering::Acquire) && !self.has_passed()
    }

    pub(crate) fn has_passed(&self) -> bool {
        boottime_ms() >= self.until_ms.load(Ordering::Acquire)
    }

    /// Resolves when it has passed, and instances are killed.
    pub(crate) async fn passed(&self) {
        self.passed.notified().await;
    }
}

/// Starts the thread that ends what must not go on. It ends with the App.
pub(crate) fn begin(app: &Arc<AppInner>, fence: Arc<Fence>) {
    let weak = Arc::downgrade(app);
    let named = std::thread::Builder::new().name("skybox-fence".to_owned());
    if let Err(error) = named.spawn(move || watch(&weak, &fence)) {
        // Without it nothing would end in time.
        tracing::error!(code = %Code::FENCED, "keyed instances do not run here: no thread sees to their end: {error}");
        app.control.fence().iter().for_each(|fence| fence.close());
    }
}

fn watch(app: &Weak<AppInner>, fence: &Arc<Fence>) {
    let mut was_open = false;
    while app.strong_count() > 0 {
        if !fence.has_passed() {
            was_open = true;
        } else if std::mem::take(&mut was_open) {
            let Some(app) = app.upgrade() else { return };
            end_all(&app, fence);
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends all keyed instances here, and the process if it takes too long.
fn end_all(app: &Arc<AppInner>, fence: &Arc<Fence>) {
    let until = Instant::now() + fence.grace;
    let ends: Vec<_> = app.hosts.iter().filter_map(|host| host.clone().fence()).collect();
    fence.passed.notify_waiters();
    let ended = Arc::new(AtomicBool::new(false));
    let all_ended = ended.clone();
    let count: usize = ends.iter().map(|(count, _)| count).sum();
    if count > 0 {
        tracing::error!(
            code = %Code::FENCED,
            "the store has not been reached in time: {count} keyed instances are killed before others may have their keys"
        );
    }
    app.runtime.spawn(async move {
        for (_, end) in ends {
            end.await;
        }
        all_ended.store(true, Ordering::Release);
    });
    while !ended.load(Ordering::Acquire) && fence.has_passed() {
        if Instant::now() >= until {
            let modules: Vec<_> =
                app.hosts.iter().map(|host| host.core()).filter(|core| core.has_fence()).collect();
            let modules: Vec<_> = modules.iter().map(|core| core.descriptor.name).collect();
            tracing::error!(
                code = %Code::FENCED,
                "code of {} goes on {:?} after it was killed: the process is ended, so that nothing runs twice",
                modules.join(", "),
                fence.grace
            );
            std::process::abort();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_open_until_then_and_under_that_plan() {
        let fence = Fence::new(Duration::ZERO);
        assert!(!fence.is_open(u64::MAX), "nobody has opened it");
        fence.extend(Fence::now_ms() + 60_000, 3);
        assert!(!fence.is_open(2) && fence.is_open(3) && fence.is_open(4));
        fence.extend(Fence::now_ms() + 1, 3);
        assert!(fence.is_open(3), "an earlier answer takes nothing back");
        fence.close();
        assert!(!fence.is_open(3));
    }
}
