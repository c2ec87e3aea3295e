//! What is to be done once: one node at a time tries, until one succeeds; the others wait.

use std::sync::Arc;

use skybox_node::control::OnceTurn;
use tokio::runtime::Handle;

use super::Shared;
use crate::records::{ONCE, Once, text};
use crate::store::{Condition, Entry, LeaseId, Op, Revision, StoreError, Txn, follow};

/// Bytes of an error that are told to the others.
const CAUSE_BYTES_MAX: usize = 16 * 1024;

/// Asks for the turn; resolves with it, or with what came of it elsewhere.
pub(super) async fn turn(runtime: &Handle, shared: Arc<Shared>, name: &str) -> Result<OnceTurn, StoreError> {
    let key = format!("{ONCE}{}/{name}", shared.node.build);
    let followed = follow(runtime, shared.store.clone(), &key, shared.pace);
    let mut views = followed.views();
    let mut waited = false;
    loop {
        // Before it is looked at: what comes afterwards is seen.
        views.mark_unchanged();
        let view = tokio::select! {
            view = followed.at(Revision::default()) => view,
            error = followed.in_trouble() => return Err(error),
        };
        let entry = view.entries.get(&key);
        match entry.map(|entry| (entry, read(entry))) {
            Some((_, Some(Once::Done))) => return Ok(OnceTurn::Done),
            Some((_, Some(Once::Failed { cause, .. }))) if waited => return Ok(OnceTurn::Failed(cause)),
            Some((_, Some(Once::Running { by }))) => {
                if !std::mem::replace(&mut waited, true) {
                    tracing::info!("waits until `once(\"{name}\")` has been done on {by}");
                }
                // The sender lives as long as the key is followed.
                drop(views.changed().await);
            }
            _ => {
                if let Some(turn) = claim(runtime, &shared, &key, entry).await? {
                    return Ok(turn);
                }
                drop(views.changed().await);
            }
        }
    }
}

fn read(entry: &Entry) -> Option<Once> {
    serde_json::from_str(&entry.value).ok()
}

/// Takes the turn, if nobody else has.
async fn claim(
    runtime: &Handle,
    shared: &Arc<Shared>,
    key: &str,
    before: Option<&Entry>,
) -> Result<Option<OnceTurn>, StoreError> {
    let lease = shared.lease().await;
    let count = match before.and_then(read) {
        Some(Once::Failed { count, .. }) => count,
        _ => 0,
    };
    let unchanged = match before {
        Some(entry) => Condition::ChangedAt(key.to_owned(), entry.changed),
        None => Condition::Absent(key.to_owned()),
    };
    let running = text(&Once::Running { by: shared.node.name.clone() });
    let committed = shared.store.commit(Txn::when([unchanged], [Op::put_on(lease, key, running)])).await?;
    if !committed.met {
        return Ok(None);
    }
    let (runtime, shared, key) = (runtime.clone(), shared.clone(), key.to_owned());
    let turn = Turn { shared, key, lease, since: committed.revision, count };
    Ok(Some(OnceTurn::Run(Box::new(move |outcome| {
        // On the thread of the store: what came of it is said, whoever still waits.
        let told = runtime.spawn(turn.ended(outcome));
        Box::pin(async move { drop(told.await) })
    }))))
}

struct Turn {
    shared: Arc<Shared>,
    key: String,
    lease: LeaseId,
    since: Revision,
    count: u64,
}

impl Turn {
    /// Says what came of it.
    async fn ended(self, outcome: Result<(), String>) {
        let value = match outcome {
            Ok(()) => Once::Done,
            Err(mut cause) => {
                let end = (0..=CAUSE_BYTES_MAX.min(cause.len())).rev().find(|at| cause.is_char_boundary(*at));
                cause.truncate(end.unwrap_or(0));
                Once::Failed { cause, count: self.count + 1 }
            }
        };
        let mut failures = 0;
        loop {
            let unchanged = Condition::ChangedAt(self.key.clone(), self.since);
            let txn = Txn::when([unchanged], [Op::put(self.key.clone(), text(&value))]);
            match self.shared.store.commit(txn).await {
                Ok(committed) if committed.met => return,
                Ok(_) => {
                    let lease = self.lease;
                    tracing::warn!(
                        key = self.key,
                        "the turn was somebody else's by then: lease {lease} had ended"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(key = self.key, "what came of it could not be said: {error}");
                    self.shared.pause(failures).await;
                    failures += 1;
                }
            }
        }
    }
}
