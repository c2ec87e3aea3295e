//! The lease by which others know that a node lives.

use std::sync::Arc;
use std::time::Duration;

use skybox_core::Code;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;
use crate::store::{Lease, StoreError};

/// How often it is renewed within its time.
const RENEWALS: u32 = 4;
/// Of its time, the part after which a renewal that is not answered is asked for once more, beside the first: a member of
/// etcd that has lost its leader answers late, and a slow one answers still.
const HEDGE_PARTS: u32 = 12;
/// So many renewals are on their way at once.
const HEDGES_MAX: usize = 8;

/// Gets a lease, renews it, and gets another one when it has ended; for as long as it is awaited.
pub(super) async fn keep(shared: Arc<Shared>, ttl: Duration) {
    let mut left = shared.left.subscribe();
    tokio::select! {
        () = keep_on(&shared, ttl) => {}
        // The sender lives in what this holds.
        _ = left.wait_for(|left| *left) => {}
    }
}

async fn keep_on(shared: &Arc<Shared>, ttl: Duration) {
    let mut failures = 0;
    loop {
        let (sent, sent_ms) = (Instant::now(), shared.fence.now_ms());
        match shared.store.grant(ttl).await {
            Ok(lease) => {
                failures = 0;
                shared.gauges.granted(sent);
                shared.renewed(lease.id, sent_ms, lease.ttl);
                shared.lease.send_replace(Some(lease.id));
                renew(shared, lease).await;
                shared.lapsed();
                shared.lease.send_replace(None);
            }
            Err(error) => {
                tracing::warn!("this node has no lease: {error}");
                shared.pause(failures).await;
                failures += 1;
            }
        }
    }
}

/// Renews it until it has ended.
async fn renew(shared: &Arc<Shared>, lease: Lease) {
    let mut renewed = Instant::now();
    let mut late = false;
    loop {
        // From when it was sent: that is what the store counts from at the earliest.
        tokio::time::sleep_until(renewed + lease.ttl / RENEWALS).await;
        match renew_once(shared, lease, renewed, &mut late).await {
            Some(sent) => renewed = sent,
            None => {
                let silent = renewed.elapsed();
                tracing::warn!(
                    code = %Code::LEASE_LOST,
                    "this node was taken for lost: the store has not heard it for {silent:?}; it joins anew"
                );
                return;
            }
        }
        if std::mem::take(&mut late) {
            tracing::info!("the lease of this node is renewed again");
        }
    }
}

/// Asks until one renewal is answered; when that was sent. `None`: it has ended.
async fn renew_once(shared: &Arc<Shared>, lease: Lease, before: Instant, late: &mut bool) -> Option<Instant> {
    let mut asked = JoinSet::new();
    let mut next = Instant::now();
    let mut looked_ms = shared.fence.now_ms();
    loop {
        tokio::select! {
            biased;
            Some(answered) = asked.join_next() => match answered {
                Ok((Ok(()), sent, sent_ms)) => {
                    shared.renewed(lease.id, sent_ms, lease.ttl);
                    shared.gauges.renewed(sent);
                    return Some(sent);
                }
                Ok((Err(StoreError::LeaseGone(_)), ..)) => return None,
                Ok((Err(error), ..)) => {
                    if before.elapsed() > lease.ttl && !std::mem::replace(late, true) {
                        // It may last all the same: a store that was away gives all leases their time anew.
                        tracing::warn!("the lease of this node could not be renewed for {:?}: {error}", before.elapsed());
                    }
                }
                Err(error) => tracing::error!("a renewal of the lease of this node has ended: {error}"),
            },
            () = tokio::time::sleep_until(next), if asked.len() < HEDGES_MAX => {
                let (sent, sent_ms) = (Instant::now(), shared.fence.now_ms());
                if shared.parent_ends_leases {
                    let passed_ms = sent_ms.saturating_sub(std::mem::replace(&mut looked_ms, sent_ms));
                    if !asked.is_empty() && passed_ms <= 2 * (lease.ttl / HEDGE_PARTS).as_millis() as u64 {
                        // The parent does not answer, and this process has not been stopped meanwhile: it is the parent
                        // that is. It takes keys from nobody as long, and then gives all leases their time anew.
                        shared.renewed(lease.id, sent_ms, lease.ttl);
                    }
                }
                let shared = shared.clone();
                asked.spawn(async move { (shared.store.renew(lease.id).await, sent, sent_ms) });
                next = Instant::now() + lease.ttl / HEDGE_PARTS;
            }
        }
    }
}

/// Ends the lease: nobody has to wait until it has ended by itself.
pub(super) async fn give_back(shared: Arc<Shared>) {
    /// The lease ends by itself if the store does not answer.
    const WAIT: Duration = Duration::from_secs(2);
    shared.left.send_replace(true);
    // Before others may have what was its own.
    shared.lapsed();
    let Some(lease) = shared.lease.send_replace(None) else { return };
    if let Ok(Err(error)) = tokio::time::timeout(WAIT, shared.store.revoke(lease)).await {
        tracing::debug!("the lease of this node ends by itself: {error}");
    }
}
