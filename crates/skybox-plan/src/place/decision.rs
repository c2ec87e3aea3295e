//! What is decided.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use skybox_core::NodeName;

/// Where everything belongs, and what the next decision has to know of this one. Hand it back as
/// [`super::Facts::before`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Each module, by name.
    pub modules: BTreeMap<String, Placed>,
    /// When moves that cost budget were decided, within the window: the oldest first.
    pub spent_ms: Vec<u64>,
}

/// Where one module belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Its instances, each on a node of its own; for a keyed module the nodes that own its shards.
    pub seats: Vec<Seat>,
    /// For each shard of a keyed module the index of its owner in `seats`; empty for other modules.
    pub owners: Vec<Option<u32>>,
    /// How many instances a range has come to.
    pub scaled: Option<Scaled>,
    /// Seats for which another place has been better, and since when, in milliseconds.
    pub better_since_ms: BTreeMap<NodeName, u64>,
}

impl Placed {
    /// The nodes, in the order of the seats.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.seats.iter().map(|seat| &seat.node)
    }

    /// The owner of a shard.
    pub fn owner(&self, shard: usize) -> Option<&NodeName> {
        let seat = self.owners.get(shard).copied().flatten()?;
        self.seats.get(seat as usize).map(|seat| &seat.node)
    }
}

/// An instance's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Where.
    pub node: NodeName,
    /// Since when it belongs there, in milliseconds.
    pub since_ms: u64,
    /// What brought it there.
    pub why: Reason,
}

/// How many instances a range has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// That many.
    pub replicas: u32,
    /// Since when there has been too much to do for them, or too little.
    pub beyond: Option<Beyond>,
}

/// A load that has been above the high mark, or below the low one, in each decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// Above.
    pub high: bool,
    /// Since when, in milliseconds.
    pub since_ms: u64,
    /// The load that was the least far beyond, in thousandths of an instance's work.
    pub load_milli: u64,
    /// Since when not all nodes have said that it still is, in milliseconds.
    #[serde(default)]
    pub partial_since_ms: Option<u64>,
}

/// Why something moves, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It was nowhere.
    New,
    /// Its node is gone, or has given it up, or most others do not reach it.
    Repair,
    /// Its node drains.
    Drain,
    /// A person said so: a pin, or another number of instances.
    Command,
    /// Its node no longer has what it needs, or makes room for what fits nowhere else.
    Need,
    /// There is more to do, or less.
    Scale,
    /// The other node is closer.
    Near,
    /// It calls, or is called by, what is there.
    Traffic,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::New => "new",
            Reason::Repair => "repair",
            Reason::Drain => "drain",
            Reason::Command => "command",
            Reason::Need => "need",
            Reason::Scale => "scale",
            Reason::Near => "near",
            Reason::Traffic => "traffic",
        })
    }
}

/// One difference between a placement and the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Of which module.
    pub module: String,
    /// From where; `None` for one more.
    pub from: Option<NodeName>,
    /// To where; `None` for one fewer.
    pub to: Option<NodeName>,
    /// How many shards of a keyed module; 0 for other modules.
    pub shards: u16,
    /// Why.
    pub reason: Reason,
}

/// What cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplaced {
    /// Whose need it is.
    pub module: String,
    /// How many instances are without a place, or without one that lasts; for a keyed module shards.
    pub missing: u32,
    /// Which need it is, for people.
    pub why: String,
}

/// A move that traffic would make if the module said `auto_place`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which module.
    pub module: String,
    /// From where.
    pub from: NodeName,
    /// To where.
    pub to: NodeName,
    /// Network calls a second that it saves.
    pub saves_calls_per_s: u64,
}

/// An answer to some [`super::Facts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where everything belongs now.
    pub placement: Placement,
    /// What that changes, by module.
    pub moves: Vec<Move>,
    /// What cannot be met, by module.
    pub unplaced: Vec<Unplaced>,
    /// What traffic would change: the most saved first.
    pub proposals: Vec<Proposal>,
}
