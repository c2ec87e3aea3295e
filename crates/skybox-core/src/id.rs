//! Newtypes for everything that is counted or named across processes.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Shards of a keyed module. Enough that thousands of nodes share them evenly, few enough that the whole
/// table of owners fits in one message.
pub const SHARD_COUNT: u16 = 1024;

/// The name of a node, unique among the living nodes of a program: `node-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// Wraps a name.
    pub fn new(name: impl Into<String>) -> NodeName {
        NodeName(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a node: a restarted node keeps its name and gets a new incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// One life of an instance, unique in the whole cloud: the incarnation of its node and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId {
    /// The node's life in which it was started.
    pub node: Incarnation,
    /// Which of that node's instances it is; counts from one.
    pub count: u64,
}

/// The low half of the node's life, and the count: enough to tell the instances of a cloud apart.
impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}.{}", self.node.0 as u32, self.count)
    }
}

/// One call, unique within the node that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// Which of the owners that a shard has had one after the other: higher for each later one, also after the store was set up
/// anew. Code that writes for its key elsewhere can say it with each write, so that a successor's are not undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// When the store began, in milliseconds since 1970.
    pub generation: u64,
    /// How many owners the shard has had since, this one among them.
    pub count: NonZeroU64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.count)
    }
}

/// A hash of a key's encoded bytes, the same on every node and in every version: it decides the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// Hashes a key's encoded bytes (FNV-1a with a final mix; stable across builds, unlike std's hashers).
    pub fn of(key: &[u8]) -> KeyHash {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &byte in key {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        // FNV's low bits follow the last byte closely; the mix spreads them over the shards.
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        KeyHash(hash ^ (hash >> 32))
    }

    /// The shard that owns the key.
    pub fn shard(self) -> Shard {
        Shard((self.0 % u64::from(SHARD_COUNT)) as u16)
    }
}

/// A slice of a keyed module's keys, below [`SHARD_COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_the_shards() {
        let mut filled = vec![0u32; usize::from(SHARD_COUNT)];
        for n in 0..100_000u32 {
            filled[usize::from(KeyHash::of(format!("user-{n}").as_bytes()).shard().0)] += 1;
        }
        let (min, max) = (filled.iter().min().unwrap(), filled.iter().max().unwrap());
        assert!(*min > 40 && *max < 200, "about 98 a shard, found {min} to {max}");
    }

    #[test]
    fn a_key_keeps_its_shard_for_ever() {
        // Pinned: another value here would give every key a second owner during a rollout.
        assert_eq!(KeyHash::of(b""), KeyHash(0xfdbd_f6ac_4fc5_2e7f), "{:x}", KeyHash::of(b"").0);
    }
}
