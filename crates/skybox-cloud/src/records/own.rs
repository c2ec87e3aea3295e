//! Who owns the shards of keyed modules: 32 of them at each key.
//!
//! One key a shard would be simpler, but a module has 1,024 of them: a cloud of 500 modules would keep half a million keys,
//! and every node would read them all before its first call. Shards of one key are written together by comparison with
//! what was there, so those that hand shards over at the same moment may have to look twice; nothing else is lost by it.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skybox_core::{SHARD_COUNT, Shard};

use super::{OWN, Place};

/// How many shards stand at one key.
pub const BLOCK_SHARDS: u16 = 32;
/// How many keys a module has.
pub const BLOCKS: u16 = SHARD_COUNT / BLOCK_SHARDS;

/// Who owns a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The owner.
    pub owner: Place,
    /// Higher for each new owner.
    pub epoch: u64,
    /// Who becomes its owner once this one has let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releasing_to: Option<Place>,
}

/// Who owns the shards of a block. Written as runs of shards that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Run>", into = "Vec<Run>")]
pub struct Owns(Vec<Option<Arc<Own>>>);

/// Shards, one after the other, that are alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    shards: u16,
    #[serde(flatten)]
    own: Option<Own>,
}

impl Default for Owns {
    /// Nobody owns any.
    fn default() -> Owns {
        Owns(vec![None; usize::from(BLOCK_SHARDS)])
    }
}

impl Owns {
    /// Who owns a shard of the block, which is the one of that number of the module.
    pub fn of(&self, shard: Shard) -> Option<&Arc<Own>> {
        self.0[usize::from(shard.0 % BLOCK_SHARDS)].as_ref()
    }

    /// Gives a shard of the block to somebody else.
    pub fn set(&mut self, shard: Shard, own: Own) {
        let at = usize::from(shard.0 % BLOCK_SHARDS);
        // Neighbours are mostly alike, and then they are one value.
        let neighbour = at.checked_sub(1).and_then(|before| self.0[before].clone());
        self.0[at] = Some(neighbour.filter(|neighbour| **neighbour == own).unwrap_or_else(|| Arc::new(own)));
    }

    /// Shards, one after the other, of which the same is to be said; not those that nobody owns. `block`: which block this is.
    pub fn runs(&self, block: u16) -> impl Iterator<Item = (Range<usize>, &Arc<Own>)> {
        let alike = |one: &Option<Arc<Own>>, next: &Option<Arc<Own>>| match (one, next) {
            (Some(one), Some(next)) => Arc::ptr_eq(one, next),
            (one, next) => one.is_none() && next.is_none(),
        };
        let mut from = usize::from(block * BLOCK_SHARDS);
        let runs = self.0.chunk_by(alike).map(move |run| {
            let shards = from..from + run.len();
            from = shards.end;
            (shards, run[0].as_ref())
        });
        runs.filter_map(|(shards, own)| Some((shards, own?)))
    }

    /// Each shard that somebody owns. `block`: which block this is.
    pub fn iter(&self, block: u16) -> impl Iterator<Item = (Shard, &Arc<Own>)> {
        shards_in(block).zip(&self.0).filter_map(|(shard, own)| Some((shard, own.as_ref()?)))
    }
}

impl From<Owns> for Vec<Run> {
    fn from(owns: Owns) -> Vec<Run> {
        let runs = owns.0.chunk_by(|one, next| one == next);
        runs.map(|run| Run { shards: run.len() as u16, own: run[0].as_deref().cloned() }).collect()
    }
}

impl TryFrom<Vec<Run>> for Owns {
    type Error = String;

    fn try_from(runs: Vec<Run>) -> Result<Owns, String> {
        let count: usize = runs.iter().map(|run| usize::from(run.shards)).sum();
        if count != usize::from(BLOCK_SHARDS) {
            return Err(format!("{count} shards where {BLOCK_SHARDS} stand together"));
        }
        let shards = runs.into_iter().flat_map(|run| {
            let own = run.own.map(Arc::new);
            std::iter::repeat_n(own, usize::from(run.shards))
        });
        Ok(Owns(shards.collect()))
    }
}

/// The key of a block's owners.
pub fn own(module: &str, block: u16) -> String {
    format!("{OWN}{module}/{block:02}")
}

/// The module and the block in such a key.
pub fn own_in(key: &str) -> Option<(&str, u16)> {
    let (module, block) = key.strip_prefix(OWN)?.rsplit_once('/')?;
    let block = block.parse().ok().filter(|block| *block < BLOCKS)?;
    Some((module, block))
}

/// The block in which a shard is.
pub fn block_of(shard: Shard) -> u16 {
    shard.0 / BLOCK_SHARDS
}

/// The shards of a block.
pub fn shards_in(block: u16) -> impl Iterator<Item = Shard> {
    (block * BLOCK_SHARDS..(block + 1) * BLOCK_SHARDS).map(Shard)
}

#[cfg(test)]
mod tests {
    use skybox_core::{Incarnation, NodeName};

    use super::*;

    fn own_of(node: &str, epoch: u64) -> Own {
        let owner = Place { node: NodeName::new(node), incarnation: Incarnation(7), address: "a".to_owned() };
        Own { owner, epoch, releasing_to: None }
    }

    #[test]
    fn shards_that_are_alike_are_written_once() {
        let mut owns = Owns::default();
        for shard in shards_in(3).filter(|shard| shard.0 != 100) {
            owns.set(shard, own_of("node-1", 1));
        }
        owns.set(Shard(101), own_of("node-2", 5));
        let written = super::super::text(&owns);
        assert_eq!(written.matches("node-1").count(), 2, "{written}");
        let read: Owns = serde_json::from_str(&written).expect("it was written so");
        assert_eq!(read, owns);
        assert_eq!(read.of(Shard(100)), None);
        assert_eq!(read.of(Shard(101)).map(|own| own.epoch), Some(5));
        assert_eq!(read.iter(3).count(), 31);
        let runs: Vec<_> = read.runs(3).map(|(shards, own)| (shards, own.epoch)).collect();
        assert_eq!(runs, [(96..100, 1), (101..102, 5), (102..128, 1)]);
        assert_eq!(read.iter(3).next().map(|(shard, _)| shard), Some(Shard(96)));
    }

    #[test]
    fn a_block_has_all_its_shards() {
        for shards in [0, 31, 33, u16::MAX] {
            let read = serde_json::from_str::<Owns>(&format!(r#"[{{"shards":{shards}}}]"#));
            assert!(read.is_err(), "{shards}: {read:?}");
        }
    }
}
