//! One of many members: what a node asks of the store, without the node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Result;
use skybox_cloud::records::{ASSIGN, NODE, Node, of_life, text};
use skybox_cloud::store::{Etcd, LeaseId, Op, Revision, Store, Txn};
use skybox_core::{Incarnation, NodeName};
use tokio::task::JoinSet;

/// How long a lease lasts: that of nodes.
const TTL: Duration = Duration::from_secs(6);
/// How often it is renewed: as often as nodes do.
const RENEW: Duration = Duration::from_millis(1_500);

/// What all members count.
#[derive(Default)]
pub(super) struct Counts {
    /// Events that their watches of assignments have brought.
    pub(super) assigned: AtomicU64,
    /// Events that their watches of all members have brought.
    pub(super) nodes: AtomicU64,
    /// Renewals that have failed.
    pub(super) failed: AtomicU64,
    /// Somebody else renews all leases for a while.
    pub(super) renewed_by_others: AtomicBool,
    /// Microseconds of each renewal since it was last emptied.
    renewals: Mutex<Vec<u32>>,
}

impl Counts {
    /// Microseconds of each renewal since this was last asked.
    pub(super) fn renewals(&self) -> Vec<u32> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.renewals.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A member; dropped, it ends without a word.
pub(super) struct Member {
    pub(super) store: Arc<Etcd>,
    pub(super) lease: LeaseId,
    _tasks: JoinSet<Result<()>>,
}

/// What a member says of itself: as much as a node does.
pub(super) fn record(number: usize) -> Node {
    Node {
        name: NodeName::new(format!("node-{number}")),
        incarnation: life(number),
        address: format!("10.0.{}.{}:7600", number / 256, number % 256),
        build: "0123456789abcdef".to_owned(),
        host: format!("host-{number}"),
        account: format!("host-{number}"),
        labels: [("arch", "amd64"), ("os", "linux"), ("zone", "a")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        cpu_milli: 4_000,
        memory_bytes: 8 << 30,
        capacity_from: "4 cores (online), 8 GiB (the machine)".to_owned(),
        ..Node::default()
    }
}

/// Names it in the store. Spread over all there are, as nodes draw theirs at random.
pub(super) fn life(number: usize) -> Incarnation {
    Incarnation((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Joins, and does from then on what nodes do without end: it renews its lease and hears what is assigned to it; and, if it
/// watches all, where the others are.
pub(super) async fn join(
    store: Etcd,
    number: usize,
    watches_all: bool,
    counts: Arc<Counts>,
) -> Result<Member> {
    let store = Arc::new(store);
    let lease = store.grant(TTL).await?.id;
    let put = Op::put_on(lease, of_life(NODE, life(number)), text(&record(number)));
    let from = store.commit(Txn::of([put])).await?.revision.next();
    let mut tasks = JoinSet::new();
    tasks.spawn(count(store.clone(), of_life(ASSIGN, life(number)), from, counts.clone(), |counts| {
        &counts.assigned
    }));
    if watches_all {
        tasks.spawn(count(store.clone(), NODE.to_owned(), from, counts.clone(), |counts| &counts.nodes));
    }
    let renewing = store.clone();
    tasks.spawn(async move {
        // Not all in the same moment.
        tokio::time::sleep(RENEW.mul_f64(number as f64 * 0.618 % 1.0)).await;
        let mut beat = tokio::time::interval(RENEW);
        loop {
            beat.tick().await;
            if !counts.renewed_by_others.load(Ordering::Relaxed) {
                renew(&renewing, lease, &counts).await;
            }
        }
    });
    Ok(Member { store, lease, _tasks: tasks })
}

/// Renews a lease, and counts that.
pub(super) async fn renew(store: &Etcd, lease: LeaseId, counts: &Counts) {
    let sent = Instant::now();
    match store.renew(lease).await {
        Ok(()) => {
            let took = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
            counts.lock().push(took);
        }
        Err(_) => drop(counts.failed.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Counts what a watch brings.
async fn count(
    store: Arc<Etcd>,
    prefix: String,
    from: Revision,
    counts: Arc<Counts>,
    of: fn(&Counts) -> &AtomicU64,
) -> Result<()> {
    let mut watch = store.watch(&prefix, from).await?;
    loop {
        let told = watch.next().await?.changes.len();
        of(&counts).fetch_add(told as u64, Ordering::Relaxed);
    }
}
