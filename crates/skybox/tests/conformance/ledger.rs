//! What callees do and wait for, as they count it. The test sees it through [`crate::modules::Probe`].
//!
//! Each node has a ledger of its own. Cells of one node have one together, which is the test's: they ask it.

mod asked;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use skybox::cloud::testing::Nodes;
use tokio::sync::watch;

use asked::Asked;

/// Counts by name; a gate is a name somebody waits for.
#[derive(Clone)]
pub struct Ledger(Where);

#[derive(Clone)]
enum Where {
    Here(Arc<Inner>),
    /// In the test's own process.
    There(Asked),
}

#[derive(Default)]
struct Inner {
    counts: Mutex<BTreeMap<String, u64>>,
    noted: Condvar,
    changed: watch::Sender<()>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger(Where::Here(Arc::default()))
    }
}

impl Inner {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn note(&self, what: &str) -> u64 {
        let mut counts = self.counts();
        let count = counts.entry(what.to_owned()).or_default();
        *count += 1;
        let count = *count;
        drop(counts);
        self.noted.notify_all();
        self.changed.send_replace(());
        count
    }

    fn count(&self, what: &str) -> u64 {
        self.counts().get(what).copied().unwrap_or(0)
    }

    /// Waits until something was noted, holding the thread.
    fn wait_for(&self, what: &str) {
        let waited = self.noted.wait_while(self.counts(), |counts| !counts.contains_key(what));
        drop(waited.unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

impl Ledger {
    /// The one that all processes of a test share: kept by the test's own, which is the first to come here.
    pub fn of_all_processes() -> Ledger {
        Ledger(match Asked::from_environment() {
            Some(asked) => Where::There(asked),
            None => Where::There(Asked::serve(Arc::default())),
        })
    }

    /// Has nodes, and their cells, find it.
    pub fn shared_with(&self, nodes: Nodes) -> Nodes {
        match &self.0 {
            Where::Here(_) => nodes,
            Where::There(asked) => asked.shared_with(nodes),
        }
    }

    /// Counts one more; gives the new count.
    pub fn note(&self, what: &str) -> u64 {
        match &self.0 {
            Where::Here(inner) => inner.note(what),
            Where::There(asked) => asked.note(what),
        }
    }

    pub fn count(&self, what: &str) -> u64 {
        match &self.0 {
            Where::Here(inner) => inner.count(what),
            Where::There(asked) => asked.count(what),
        }
    }

    pub fn all(&self) -> BTreeMap<String, u64> {
        match &self.0 {
            Where::Here(inner) => inner.counts().clone(),
            Where::There(asked) => asked.all(),
        }
    }

    /// Waits until something was noted.
    pub async fn noted(&self, what: &str) {
        let inner = match &self.0 {
            Where::Here(inner) => inner,
            Where::There(asked) => return asked.noted(what).await,
        };
        let mut changes = inner.changed.subscribe();
        while inner.count(what) == 0 {
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
        match &self.0 {
            Where::Here(inner) => inner.wait_for(&open),
            Where::There(asked) => asked.wait_for(&open),
        }
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
