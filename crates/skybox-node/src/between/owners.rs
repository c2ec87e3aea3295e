//! Which instances here other nodes own: they end when their owner's life does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use skybox_core::Incarnation;

use super::{Named, end_at_last, host_of};
use crate::app::AppInner;
use crate::conn::Conn;
use crate::host::lock;
use crate::links::Peer;

/// By the owner's life.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<HashMap<Incarnation, Owned>>);

/// With the node where each is, if that is not this one: then the owner is a cell of this one.
type Owned = HashMap<Named, Option<Arc<Peer>>>;

impl Owners {
    /// Notes who owns an instance: whoever is at the other end of this connection.
    pub(crate) fn owns(&self, app: &Arc<AppInner>, owner: &Arc<Conn>, named: Named, at: Option<Arc<Peer>>) {
        let life = owner.peer().incarnation;
        let mut owners = lock(&self.0);
        if let Some(owned) = owners.get_mut(&life) {
            owned.insert(named, at);
            return;
        }
        owners.insert(life, HashMap::from([(named, at)]));
        drop(owners);
        let weak = Arc::downgrade(app);
        // A cell has one connection in its life, and is no node that could be dialled.
        let cell = owner.cell().map(|_| owner.clone());
        let peer = cell.is_none().then(|| app.links.peer(&owner.peer().node));
        app.runtime.spawn(async move {
            if let Some(cell) = cell {
                cell.wait_closed().await;
            }
            if let Some(peer) = peer {
                peer.lost(life, weak.clone()).await;
            }
            if let Some(app) = weak.upgrade() {
                app.owners.is_lost(&app, life);
            }
        });
    }

    /// The owner has no claim to it any more. Says whether it had.
    pub(crate) fn lets_go(&self, owner: Incarnation, named: &Named) -> bool {
        lock(&self.0).get_mut(&owner).is_some_and(|owned| owned.remove(named).is_some())
    }

    fn is_lost(&self, app: &Arc<AppInner>, owner: Incarnation) {
        let owned = lock(&self.0).remove(&owner);
        for (named, at) in owned.into_iter().flatten() {
            match at {
                None => {
                    if let Ok(host) = host_of(app, &named.module) {
                        drop(host.end_seat(named.seat));
                    }
                }
                Some(peer) => drop(app.runtime.spawn(end_at_last(Arc::downgrade(app), peer, named))),
            }
        }
    }
}
