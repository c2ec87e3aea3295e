//! The lease by which others know that a node lives.

use std::sync::Arc;
use std::time::Duration;

use skybox_core::Code;
use tokio::time::Instant;

use super::Shared;
use crate::store::{Lease, StoreError};

/// How often it is renewed within its time.
const RENEWALS: u32 = 3;

/// Gets a lease, renews it, and gets another one when it has ended; for as long as it is awaited.
pub(super) async fn keep(shared: Arc<Shared>, ttl: Duration) {
    let mut failures = 0;
    loop {
        match shared.store.grant(ttl).await {
            Ok(lease) => {
                failures = 0;
                shared.lease.send_replace(Some(lease.id));
                renew(&shared, lease).await;
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
async fn renew(shared: &Shared, lease: Lease) {
    let every = lease.ttl / RENEWALS;
    let mut renewed = Instant::now();
    let mut failures = 0;
    let mut late = false;
    loop {
        // From when it was sent: that is what the store counts from at the earliest.
        tokio::time::sleep_until(renewed + every).await;
        loop {
            let sent = Instant::now();
            let why = match tokio::time::timeout(every, shared.store.renew(lease.id)).await {
                Ok(Ok(())) => {
                    if std::mem::take(&mut late) {
                        tracing::info!("the lease of this node is renewed again");
                    }
                    (renewed, failures) = (sent, 0);
                    break;
                }
                Ok(Err(StoreError::LeaseGone(_))) => {
                    let silent = renewed.elapsed();
                    tracing::warn!(
                        code = %Code::LEASE_LOST,
                        "this node was taken for lost: the store has not heard it for {silent:?}; it joins anew"
                    );
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the store has not answered within {every:?}"),
            };
            if renewed.elapsed() > lease.ttl && !std::mem::replace(&mut late, true) {
                // It may last all the same: a store that was away gives all leases their time anew.
                tracing::warn!(
                    "the lease of this node could not be renewed for {:?}: {why}",
                    renewed.elapsed()
                );
            }
            shared.pause(failures).await;
            failures += 1;
        }
    }
}

/// Ends the lease: nobody has to wait until it has ended by itself.
pub(super) async fn give_back(shared: Arc<Shared>) {
    /// The lease ends by itself if the store does not answer.
    const WAIT: Duration = Duration::from_secs(2);
    let Some(lease) = *shared.lease.borrow() else { return };
    if let Ok(Err(error)) = tokio::time::timeout(WAIT, shared.store.revoke(lease)).await {
        tracing::debug!("the lease of this node ends by itself: {error}");
    }
}
