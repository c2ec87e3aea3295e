//! What a node says of itself, written to the store whenever it has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use skybox_node::control::Report;
use tokio::sync::watch;

use super::Shared;
use crate::records::{GaveUp, NODE, Node, STATE, State, of_life, text};
use crate::store::{LeaseId, Op, StoreError, Txn};

/// What a node has to say.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) state: State,
    /// It hands over what it has.
    pub(super) draining: bool,
    /// The plan whose losses it has released, by module.
    pub(super) released: watch::Sender<BTreeMap<String, u64>>,
    /// The chance that each module has here.
    pub(super) chances: BTreeMap<String, u64>,
    /// Modules that people have ordered to be tried again, everywhere.
    pub(super) again: Vec<String>,
}

/// Takes in what has happened; says whether that is for the store.
pub(super) fn sayings(standing: &mut Standing, report: Report) -> bool {
    let state = &mut standing.state;
    match report {
        Report::Started { module } => {
            let gave_up = state.gave_up.remove(&module).is_some();
            state.started.insert(module) || gave_up
        }
        Report::Stopped { module } => state.started.remove(&module),
        Report::GaveUp { module, cause, failed_starts } => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let chance = standing.chances.get(&module).copied().unwrap_or_default();
            let gave_up = GaveUp { cause, failed_starts, at_ms: now.as_millis() as u64, chance };
            state.started.remove(&module);
            state.gave_up.insert(module, gave_up);
            true
        }
        Report::TriesAgain { module } => {
            state.gave_up.remove(&module);
            standing.again.push(module);
            true
        }
        Report::Released { module, version } => {
            standing.released.send_modify(|released| {
                let before = released.entry(module).or_default();
                *before = version.max(*before);
            });
            false
        }
        Report::Ready => !std::mem::replace(&mut state.ready, true),
        Report::Drained => false,
    }
}

/// Writes it whenever it has changed, or there is another lease; for as long as it is awaited.
pub(super) async fn say(shared: Arc<Shared>) {
    let mut written: Option<(LeaseId, Node, State)> = None;
    let mut failures = 0;
    let mut leases = shared.lease.subscribe();
    loop {
        let lease = shared.lease().await;
        let (node, state, again) = {
            let mut standing = shared.standing();
            let node = Node { draining: standing.draining, ..shared.node.clone() };
            (node, standing.state.clone(), std::mem::take(&mut standing.again))
        };
        if written.as_ref().is_some_and(|(at, old, said)| (*at, old, said) == (lease, &node, &state))
            && again.is_empty()
        {
            tokio::select! {
                () = shared.said.notified() => {}
                _ = leases.changed() => {}
            }
            continue;
        }
        let before = written.as_ref().filter(|(at, ..)| *at == lease);
        let mut then = Vec::new();
        if before.is_none_or(|(_, old, _)| *old != node) {
            then.push(Op::put_on(lease, of_life(NODE, node.incarnation), text(&node)));
        }
        if before.is_none_or(|(_, _, said)| *said != state) {
            then.push(Op::put_on(lease, of_life(STATE, node.incarnation), text(&state)));
        }
        for module in &again {
            let key = format!("{}{module}", crate::records::AGAIN);
            if !then.iter().any(|op| matches!(op, Op::Put { key: known, .. } if *known == key)) {
                then.push(Op::put(key, text(&format!("ordered at {}", node.name))));
            }
        }
        match shared.store.commit(Txn::of(then)).await {
            Ok(_) => {
                failures = 0;
                if *shared.lease.borrow() == Some(lease) {
                    shared.present.send_replace(Some(lease));
                }
                written = Some((lease, node, state));
            }
            Err(error) => {
                shared.standing().again.extend(again);
                match error {
                    // Another one is on its way.
                    StoreError::LeaseGone(_) => {
                        drop(tokio::time::timeout(shared.pace.longest, leases.changed()).await)
                    }
                    error => {
                        tracing::warn!("what this node runs could not be said: {error}");
                        shared.pause(failures).await;
                        failures += 1;
                    }
                }
            }
        }
    }
}
