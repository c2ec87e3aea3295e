//! Which instance belongs on which node, as a value that every node reads whole.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Incarnation, NodeName, Shard};

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
        /// Why it is nowhere, or why its start failed on every node that may run it, if so.
        failed: Option<String>,
        /// How often each node that had given it up was told to try again; those without such a word are left out.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        chances: BTreeMap<NodeName, u64>,
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
    #[serde(with = "runs")]
    pub owner: Vec<u16>,
    /// For each shard that the node which is told this owns, how many owners it has had; zero for others. Empty where nobody
    /// counts them.
    #[serde(with = "runs", default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<u64>,
    /// When whoever counts them began, in milliseconds since 1970.
    #[serde(default)]
    pub generation: u64,
}

/// One value for each shard, as runs of the same one: where one node owns all of them, that is two numbers and not a
/// thousand.
mod runs {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::SHARD_COUNT;

    pub(super) fn serialize<V, S>(of_shards: &[V], serializer: S) -> Result<S::Ok, S::Error>
    where
        V: Copy + PartialEq + Serialize,
        S: Serializer,
    {
        serializer.collect_seq(of_shards.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0])))
    }

    pub(super) fn deserialize<'de, V, D>(deserializer: D) -> Result<Vec<V>, D::Error>
    where
        V: Copy + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let mut owner = Vec::with_capacity(usize::from(SHARD_COUNT));
        for (length, index) in Vec::<(usize, V)>::deserialize(deserializer)? {
            if length > usize::from(SHARD_COUNT) - owner.len() {
                return Err(D::Error::custom(format_args!("more than {SHARD_COUNT} shards")));
            }
            owner.resize(owner.len() + length, index);
        }
        Ok(owner)
    }
}

impl ModulePlan {
    /// One without keys, before anything has happened to it.
    pub fn replicated(assigned: Vec<NodeName>, serving: Vec<NodeName>) -> ModulePlan {
        ModulePlan::Replicated { assigned, serving, failed: None, chances: BTreeMap::new() }
    }
}

impl Shards {
    /// Nobody owns the shard at this moment: calls wait.
    pub const NOBODY: u16 = u16::MAX;

    /// The owner of a shard.
    pub fn owner(&self, shard: Shard) -> Option<&NodeName> {
        let index = *self.owner.get(usize::from(shard.0))?;
        self.nodes.get(usize::from(index))
    }

    /// Which of its owners this node is, if it owns the shard and somebody counts them.
    pub fn epoch(&self, shard: Shard) -> Option<Epoch> {
        let count = NonZeroU64::new(*self.epochs.get(usize::from(shard.0))?)?;
        Some(Epoch { generation: self.generation, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SHARD_COUNT;

    #[test]
    fn owners_are_told_as_runs() {
        let all = usize::from(SHARD_COUNT);
        let mut owner = vec![0; all];
        owner[3] = Shards::NOBODY;
        owner[all - 1] = 1;
        let nodes = vec![NodeName::new("a"), NodeName::new("b")];
        let shards = Shards { nodes, owner, ..Shards::default() };
        let text = serde_json::to_string(&shards).unwrap();
        assert_eq!(text, r#"{"nodes":["a","b"],"owner":[[3,0],[1,65535],[1019,0],[1,1]],"generation":0}"#);
        assert_eq!(serde_json::from_str::<Shards>(&text).unwrap(), shards);
        let epochs = (0..all as u64).map(|shard| if shard < 9 { 7 } else { 0 }).collect();
        let counted = Shards { epochs, generation: 5, ..shards.clone() };
        let text = serde_json::to_string(&counted).unwrap();
        assert_eq!(serde_json::from_str::<Shards>(&text).unwrap(), counted);
        assert_eq!(counted.epoch(Shard(8)).map(|epoch| epoch.to_string()).as_deref(), Some("5.7"));
        assert_eq!((counted.epoch(Shard(9)), shards.epoch(Shard(8))), (None, None));
        let endless = r#"{"nodes":[],"owner":[[1000,0],[25,0]]}"#;
        let why = serde_json::from_str::<Shards>(endless).unwrap_err().to_string();
        assert!(why.starts_with("more than 1024 shards"), "{why}");
    }
}
