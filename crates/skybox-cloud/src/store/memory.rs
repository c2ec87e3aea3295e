//! A store in the memory of one process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keyspace::Keyspace;
use super::{Asked, Changes, Committed, Lease, LeaseId, Listed, Revision, Store, StoreError, Txn, Watch};

/// How often a watch without changes says how far it has seen.
const PROGRESS: Duration = Duration::from_secs(1);
/// How often it is looked whether the store is still there, at least.
const LOOK: Duration = Duration::from_secs(1);
/// Where nobody has looked for so long, this process was stopped. Whoever has a lease may have tried to renew it meanwhile.
const STOPPED: Duration = Duration::from_secs(2);

/// A store that lasts as long as this value. Copies are the same store.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    space: Mutex<(Keyspace, Duration)>,
    began: Instant,
    /// The last step.
    revision: watch::Sender<Revision>,
    /// A lease may end earlier than was thought.
    leases: Arc<Notify>,
}

impl Memory {
    /// An empty one. The runtime ends its leases.
    pub fn new(runtime: &tokio::runtime::Handle) -> Memory {
        let inner = Arc::new(Inner {
            space: Mutex::default(),
            began: Instant::now(),
            revision: watch::Sender::new(Revision::default()),
            leases: Arc::default(),
        });
        runtime.spawn(expire(Arc::downgrade(&inner), inner.leases.clone()));
        Memory(inner)
    }

    /// An empty one that takes the place of this one: no lease or revision of this is one of that.
    pub fn successor(&self, runtime: &tokio::runtime::Handle) -> Memory {
        let next = Memory::new(runtime);
        let space = self.0.space().0.successor();
        next.0.revision.send_replace(space.revision());
        next.0.space().0 = space;
        next
    }

    /// Forgets all changes up to this one, as etcd does when it is told to, or by itself.
    pub fn compact(&self, revision: Revision) {
        self.0.space().0.forget(revision);
    }
}

impl Inner {
    /// The keys, and when they were last looked at.
    fn space(&self) -> MutexGuard<'_, (Keyspace, Duration)> {
        self.space.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Looks or changes, with the leases ended whose time is over; then tells those who watch.
    fn step<V>(&self, step: impl FnOnce(&mut Keyspace, Duration) -> V) -> V {
        let mut space = self.space();
        let (space, looked) = &mut *space;
        let now = self.now();
        let unseen = now.saturating_sub(std::mem::replace(looked, now));
        if unseen >= STOPPED {
            space.prolong(unseen);
        }
        space.expire(now);
        let value = step(space, now);
        let revision = space.revision();
        // Under the lock: in the order of the steps.
        self.revision.send_if_modified(|last| std::mem::replace(last, revision) != revision);
        value
    }
}

/// Ends leases in time, for those who watch.
async fn expire(inner: Weak<Inner>, leases: Arc<Notify>) {
    loop {
        let until = {
            let Some(inner) = inner.upgrade() else { return };
            let next = inner.step(|space, now| space.expire(now));
            next.map_or(LOOK, |ends| ends.saturating_sub(inner.now()).min(LOOK))
        };
        drop(tokio::time::timeout(until, leases.notified()).await);
    }
}

impl Store for Memory {
    fn list(&self, prefix: &str) -> Asked<'_, Listed> {
        let prefix = prefix.to_owned();
        Box::pin(async move { Ok(self.0.step(|space, _| space.list(&prefix))) })
    }

    fn commit(&self, txn: Txn) -> Asked<'_, Committed> {
        Box::pin(async move { self.0.step(|space, _| space.commit(&txn)) })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Asked<'_, Box<dyn Watch>> {
        let (inner, prefix) = (self.0.clone(), prefix.to_owned());
        Box::pin(async move {
            let (revision, speaks_at) = (inner.revision.subscribe(), Instant::now() + PROGRESS);
            let from = from.max(Revision(1));
            let watch = Watching { inner, prefix, from, revision, speaks_at, over: false };
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }

    fn grant(&self, ttl: Duration) -> Asked<'_, Lease> {
        Box::pin(async move {
            let lease = self.0.step(|space, now| space.grant(ttl, now));
            self.0.leases.notify_one();
            Ok(lease)
        })
    }

    fn renew(&self, lease: LeaseId) -> Asked<'_, ()> {
        Box::pin(async move { self.0.step(|space, now| space.renew(lease, now)) })
    }

    fn revoke(&self, lease: LeaseId) -> Asked<'_, ()> {
        Box::pin(async move {
            self.0.step(|space, _| space.revoke(lease));
            Ok(())
        })
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("revision", &self.0.space().0.revision()).finish_non_exhaustive()
    }
}

struct Watching {
    inner: Arc<Inner>,
    prefix: String,
    from: Revision,
    revision: watch::Receiver<Revision>,
    /// When it says something in any case.
    speaks_at: Instant,
    over: bool,
}

impl Watch for Watching {
    fn next(&mut self) -> Asked<'_, Changes> {
        Box::pin(async move {
            if self.over {
                let why = "the watch has ended".to_owned();
                return Err(StoreError::Unreachable { why, may_have_run: false });
            }
            loop {
                self.revision.borrow_and_update();
                let seen = self.inner.step(|space, _| space.changes(&self.prefix, self.from));
                let seen = seen.inspect_err(|_| self.over = true)?;
                self.from = self.from.max(seen.revision.next());
                if !seen.changes.is_empty() || Instant::now() >= self.speaks_at {
                    self.speaks_at = Instant::now() + PROGRESS;
                    return Ok(seen);
                }
                // The sender lives in this very store.
                drop(tokio::time::timeout_at(self.speaks_at, self.revision.changed()).await);
            }
        })
    }
}
