//! Joining a cloud: the one whose store the configuration names, or that of this machine, whose store the parent has. Who
//! does that lives in `skybox-cloud`, which this crate does not know; it says that it is there through the linker.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Boxed, Control, ControlError, Hello, ParentLink};
use crate::capacity::Capacity;
use crate::config::{PlanConfig, ResourceConfig, StoreConfig};

/// A node that wants to join, and by what.
#[derive(Debug)]
pub struct Joining {
    /// The node.
    pub newcomer: Newcomer,
    /// By what.
    pub through: Through,
}

/// By what a node joins.
#[derive(Debug)]
pub enum Through {
    /// The store of many machines.
    Store(Box<StoreConfig>),
    /// The parent of this machine, and its store.
    Parent(ParentLink),
}

/// A node that wants to join.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Who it is.
    pub hello: Hello,
    /// Which build of the program it runs.
    pub build: String,
    /// It runs what is pinned to it and nothing else.
    pub guest: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it may use.
    pub capacity: Capacity,
    /// What modules may be near to, by name.
    pub resources: BTreeMap<String, ResourceConfig>,
    /// How it plans when it leads.
    pub plan: PlanConfig,
}

/// Something that makes nodes members of a cloud.
pub struct Membership {
    /// Joins; resolves once the node has been told what it is to run.
    pub join: fn(Joining) -> Boxed<'static, Joined>,
}

/// How it went.
pub type Joined = Result<Arc<dyn Control>, ControlError>;

inventory::collect!(Membership);

/// Joins.
pub(crate) async fn join(joining: Joining) -> Joined {
    let Some(membership) = inventory::iter::<Membership>().next() else {
        let why = match joining.through {
            Through::Store(store) => format!(
                "the store at {store} is configured, but the program is built without the features `cloud` and `etcd` of \
                 skybox"
            ),
            Through::Parent(_) => {
                "this process is a node of several, but the program is built without the feature `cloud` \
                                   of skybox"
                    .to_owned()
            }
        };
        return Err(ControlError::Store { why, asked: false });
    };
    (membership.join)(joining).await
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Membership")
    }
}
