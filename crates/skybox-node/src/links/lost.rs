//! When another node counts as lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use skybox_core::Incarnation;
use tokio::time::Instant;

use super::Peer;
use crate::app::AppInner;

/// How long a node whose connection has broken may stay unreachable before it counts as lost, if the plan says nothing
/// of it. A connection that breaks while both ends live is open again within milliseconds.
const UNREACHABLE_MAX: Duration = Duration::from_secs(1);
/// The pause between two tries to reach it.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Peer {
    /// Resolves when this life of the node is over as far as can be told: the plan has it in another one or has it no
    /// more, or it cannot be reached for a second after its connection broke. The last is no proof of its death.
    pub(crate) async fn lost(self: Arc<Self>, life: Incarnation, app: Weak<AppInner>) {
        let mut changes = self.changes.subscribe();
        let mut unreachable_since: Option<Instant> = None;
        let mut was_planned = false;
        loop {
            changes.borrow_and_update();
            let open = self.conn.load_full().filter(|conn| !conn.is_closed());
            // A node may be connected before the plan has it here: who is heard is believed more than the plan.
            let heard = open.as_ref().is_some_and(|conn| conn.peer().incarnation == life);
            let is_planned = self.entry.load().is_some();
            let gone = !heard && (self.is_in_another_life(life) || (was_planned && !is_planned));
            was_planned |= is_planned;
            let Some(app) = app.upgrade().filter(|_| !gone) else { return };
            let conn = match open {
                Some(conn) => Ok(conn),
                None => self.connect(&app).await,
            };
            drop(app);
            match conn {
                Ok(conn) if conn.peer().incarnation != life => return,
                Ok(conn) => {
                    unreachable_since = None;
                    tokio::select! {
                        biased;
                        // The sender lives in the peer.
                        _ = changes.changed() => {}
                        () = conn.wait_closed() => {}
                    }
                }
                Err(_) => {
                    let since = *unreachable_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= UNREACHABLE_MAX {
                        return;
                    }
                    drop(tokio::time::timeout(RETRY_PAUSE, changes.changed()).await);
                }
            }
        }
    }
}
