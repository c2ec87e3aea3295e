//! How this node stands to the plan, in figures.

use std::sync::{Arc, Mutex, MutexGuard};

use skybox_node::control::{Latencies, LeaderFigures, PlanFigures};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::Freshness;

/// What is measured of it.
#[derive(Debug)]
pub(super) struct Gauges {
    lease: Mutex<Renewed>,
    /// Of the views that its plan is made of.
    views: Mutex<Vec<Freshness>>,
    begun: Instant,
    /// What it has decided, while it leads.
    pub(super) leads: Arc<watch::Sender<Option<LeaderFigures>>>,
}

#[derive(Debug)]
struct Renewed {
    /// When the last renewal was sent that was answered, or the lease was asked for.
    sent: Instant,
    took: Latencies,
}

impl Gauges {
    pub(super) fn new() -> Gauges {
        let begun = Instant::now();
        Gauges {
            lease: Mutex::new(Renewed { sent: begun, took: Latencies::default() }),
            views: Mutex::default(),
            begun,
            leads: Arc::new(watch::Sender::new(None)),
        }
    }

    /// A lease was given, as was asked at that moment.
    pub(super) fn granted(&self, sent: Instant) {
        self.lease().sent = sent;
    }

    /// A renewal was answered that was sent at that moment.
    pub(super) fn renewed(&self, sent: Instant) {
        let mut lease = self.lease();
        lease.sent = lease.sent.max(sent);
        lease.took.took(sent.elapsed());
    }

    /// Its plan is made of these from now on.
    pub(super) fn looks_at(&self, views: impl IntoIterator<Item = Freshness>) {
        *self.views.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = views.into_iter().collect();
    }

    fn lease(&self) -> MutexGuard<'_, Renewed> {
        self.lease.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn figures(&self) -> PlanFigures {
        let views = self.views.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let age = views.iter().map(Freshness::age).max().unwrap_or_else(|| self.begun.elapsed());
        drop(views);
        let lease = self.lease();
        PlanFigures {
            age_ms: age.as_millis() as u64,
            lease_age_ms: lease.sent.elapsed().as_millis() as u64,
            renewals: lease.took.clone(),
            leads: self.leads.borrow().clone(),
            ..PlanFigures::default()
        }
    }
}
