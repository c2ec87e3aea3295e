//! Joining the cloud whose store the configuration names. Who does that lives in `skybox-cloud`, which this crate does not
//! know; it says that it is there through the linker.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Boxed, Control, ControlError, Hello};
use crate::capacity::Capacity;
use crate::config::{PlanConfig, ResourceConfig, StoreConfig};

/// A node that wants to join, and the store by which it does.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The node.
    pub newcomer: Newcomer,
    /// The store.
    pub store: StoreConfig,
}

/// A node that wants to join.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Who it is.
    pub hello: Hello,
    /// Which build of the program it runs.
    pub build: String,
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
        let why = format!(
            "the store at {} is configured, but the program is built without the features `cloud` and `etcd` of skybox",
            joining.store
        );
        return Err(ControlError::Store { why, asked: false });
    };
    (membership.join)(joining).await
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Membership")
    }
}
