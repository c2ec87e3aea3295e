//! Asking whether the peer is still there.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skybox_wire::frame::{Beat, encode_ping};

use super::{Conn, DEAD_AFTER, Kin};
use crate::clock;
use crate::host::lock;

/// Four pings fit into the time after which a silent peer leaves rotation.
const BEAT: Duration = Duration::from_millis(500);

/// Pings the peer, and gives it up when it has been silent for too long.
pub(super) async fn beat(conn: Weak<Conn>) {
    loop {
        {
            let Some(conn) = conn.upgrade().filter(|conn| !conn.is_closed()) else { return };
            let silent = clock::process_ms().saturating_sub(conn.heard_ms.load(Ordering::Relaxed));
            if silent > DEAD_AFTER.as_millis() as u64 && matches!(conn.kin, Kin::Peer) {
                conn.close(&format!("{} said nothing for {DEAD_AFTER:?}", conn.peer.node));
                return;
            }
            let mut out = lock(&conn.out);
            // A peer that does not read gets one ping, not thousands.
            if out.urgent.is_empty() {
                let now_us = clock::monotonic_us();
                // The answer says when it was asked.
                encode_ping(&mut out.urgent, Beat { nonce: now_us, clock_us: now_us });
            }
            conn.ring(out);
        }
        tokio::time::sleep(BEAT).await;
    }
}
