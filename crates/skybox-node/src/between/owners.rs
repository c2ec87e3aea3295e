//! Which instances here other nodes own: they end when their owner's life does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use skybox_core::Incarnation;

use super::{Named, host_of};
use crate::app::AppInner;
use crate::conn::PeerInfo;
use crate::host::lock;

/// By the owner's life.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<HashMap<Incarnation, HashSet<Named>>>);

impl Owners {
    /// Notes who owns an instance.
    pub(crate) fn owns(&self, app: &Arc<AppInner>, owner: &PeerInfo, named: Named) {
        let life = owner.incarnation;
        let mut owners = lock(&self.0);
        if let Some(owned) = owners.get_mut(&life) {
            owned.insert(named);
            return;
        }
        owners.insert(life, HashSet::from([named]));
        drop(owners);
        let (peer, weak) = (app.links.peer(&owner.node), Arc::downgrade(app));
        app.runtime.spawn(async move {
            peer.lost(life, weak.clone()).await;
            if let Some(app) = weak.upgrade() {
                app.owners.is_lost(&app, life);
            }
        });
    }

    /// The owner has no claim to it any more.
    pub(crate) fn lets_go(&self, owner: Incarnation, named: &Named) {
        if let Some(owned) = lock(&self.0).get_mut(&owner) {
            owned.remove(named);
        }
    }

    fn is_lost(&self, app: &AppInner, owner: Incarnation) {
        let owned = lock(&self.0).remove(&owner);
        for named in owned.into_iter().flatten() {
            if let Ok(host) = host_of(app, &named.module) {
                drop(host.end_seat(named.seat));
            }
        }
    }
}
