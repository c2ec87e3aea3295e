//! What callees do and wait for, as each node counts it. The test sees it through [`crate::modules::Probe`].

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::watch;

/// Counts by name; a gate is a name somebody waits for.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    counts: Mutex<BTreeMap<String, u64>>,
    noted: Condvar,
    changed: watch::Sender<()>,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner { counts: Mutex::default(), noted: Condvar::new(), changed: watch::Sender::new(()) }
    }
}

impl Ledger {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts one more; gives the new count.
    pub fn note(&self, what: &str) -> u64 {
        let mut counts = self.counts();
        let count = counts.entry(what.to_owned()).or_default();
        *count += 1;
        let count = *count;
        drop(counts);
        self.0.noted.notify_all();
        self.0.changed.send_replace(());
        count
    }

    pub fn count(&self, what: &str) -> u64 {
        self.counts().get(what).copied().unwrap_or(0)
    }

    pub fn all(&self) -> BTreeMap<String, u64> {
        self.counts().clone()
    }

    /// Waits until something was noted.
    pub async fn noted(&self, what: &str) {
        let mut changes = self.0.changed.subscribe();
        while self.count(what) == 0 {
            // The sender lives as long as this ledger.
            drop(changes.changed().await);
        }
    }

    /// Goes through a gate: notes `… began`, waits until it is open, notes `… ended`; or `… dropped` on the way.
    pub async fn pass(&self, gate: &str) {
        let trail = Trail::begin(self, gate);
        self.noted(&format!("{gate} open")).await;
        trail.end();
    }

    /// [`Ledger::pass`], holding the thread.
    pub fn pass_now(&self, gate: &str) {
        let trail = Trail::begin(self, gate);
        let open = format!("{gate} open");
        let waited = self.0.noted.wait_while(self.counts(), |counts| !counts.contains_key(&open));
        drop(waited.unwrap_or_else(|poisoned| poisoned.into_inner()));
        trail.end();
    }
}

/// One way through a gate.
struct Trail<'l> {
    ledger: &'l Ledger,
    gate: &'l str,
    ended: bool,
}

impl<'l> Trail<'l> {
    fn begin(ledger: &'l Ledger, gate: &'l str) -> Trail<'l> {
        ledger.note(&format!("{gate} began"));
        Trail { ledger, gate, ended: false }
    }

    fn end(mut self) {
        self.ended = true;
        self.ledger.note(&format!("{} ended", self.gate));
    }
}

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.ledger.note(&format!("{} dropped", self.gate));
        }
    }
}
