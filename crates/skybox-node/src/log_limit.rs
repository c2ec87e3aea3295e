//! Log lines about what others send, at most one a second for each cause: a flood of garbage must not become a
//! flood of logs.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

struct Last {
    at: Instant,
    swallowed: u64,
}

/// Logs a warning, unless one of the same cause was logged within the last second.
pub(crate) fn warn(cause: &'static str, message: &str) {
    static LAST: Mutex<Option<HashMap<&'static str, Last>>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let last = last.get_or_insert_with(HashMap::new);
    let now = Instant::now();
    let swallowed = match last.get_mut(cause) {
        Some(last) if now - last.at < EVERY => {
            last.swallowed += 1;
            return;
        }
        Some(last) => std::mem::replace(last, Last { at: now, swallowed: 0 }).swallowed,
        None => {
            last.insert(cause, Last { at: now, swallowed: 0 });
            0
        }
    };
    tracing::warn!(cause, swallowed, "{message}");
}
