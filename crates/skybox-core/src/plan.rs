//! Which instance belongs on which node, as a value that every node reads whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, NodeName, Shard};

/// The plan of a moment. Each version is complete: a reader never needs two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Grows with each change.
    pub version: u64,
    /// The living nodes.
    pub nodes: BTreeMap<NodeName, NodeEntry>,
    /// Where each module belongs.
    pub modules: BTreeMap<String, ModulePlan>,
}

/// A living node, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Which life of the node this is, if whoever plans knows.
    pub incarnation: Option<Incarnation>,
    /// Where it listens: a socket's path, or `host:port`.
    pub address: String,
    /// It takes no new calls and hands over what it has.
    pub draining: bool,
}

/// Where one module belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModulePlan {
    /// Instances on these nodes; `serving` are those whose instance is ready for calls.
    Replicated {
        /// The nodes that should have one.
        assigned: Vec<NodeName>,
        /// The nodes whose instance is ready.
        serving: Vec<NodeName>,
        /// Why it is nowhere, or why its start failed, if so.
        failed: Option<String>,
    },
    /// Keys by shard.
    Keyed(Shards),
}

/// The owner of each shard of a keyed module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// The nodes that own any.
    pub nodes: Vec<NodeName>,
    /// For each shard the index of its owner in `nodes`, or [`Shards::NOBODY`] while it is handed over.
    pub owner: Vec<u16>,
}

impl Shards {
    /// Nobody owns the shard at this moment: calls wait.
    pub const NOBODY: u16 = u16::MAX;

    /// The owner of a shard.
    pub fn owner(&self, shard: Shard) -> Option<&NodeName> {
        let index = *self.owner.get(usize::from(shard.0))?;
        self.nodes.get(usize::from(index))
    }
}
