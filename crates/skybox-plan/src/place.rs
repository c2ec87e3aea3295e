//! Which node of a cloud runs what: the plan, as a pure function of [`Facts`].
//!
//! # What is minimised
//!
//! In this order; what comes later never outweighs what comes before.
//!
//! 1. **Instances without a place**, of the highest priority first; among those of one priority, those that ran before
//!    what never did. A place meets every hard need: the node's state, pins, `on`, `with`, `apart`, and room for `cpu`,
//!    `memory` and `gpu` in the one account of its host. Each instance of a module is on a node of its own.
//! 2. **Pairs of instances alike in their `spread` label.** Nodes without the label are alike.
//! 3. **Moves** of instances that could have stayed where they are.
//! 4. **Time spent waiting for the network**, in nanoseconds each second: for an instance with `near`
//!    [`Rules::near_trips_per_s`] round trips to its resource, or to the closest instance of its module; for each call
//!    between modules that leaves its node [`Rules::network_call_us`]. A caller's calls are shared evenly by its
//!    instances. A round trip that is not measured counts as the longest that is.
//! 5. **How full the fullest host gets** that is given something new, then how many instances are on its node, then the
//!    node's name.
//!
//! The first plan is made greedily, the most important and the largest modules first; what then fits nowhere has others make
//! room, in chains; small clouds have something better looked for, in [`Rules::search_steps`] steps. So the answer is not
//! always the best one, but it never breaks a hard need. The same facts always give the same answer. The answer
//! handed back as [`Facts::before`] gives itself; only where something has no place may looking once more find one.
//!
//! # What moves
//!
//! Whatever can stay, stays. Beyond that the reasons are, in order: repair, drain, a person's command, hard needs, scale,
//! near and traffic. The last three are never necessary: together they cost a budget ([`Rules::moves_max`]), move only what
//! has been where it is for [`Rules::stay_ms`], and only if another place has been better for [`Rules::settle_ms`] by more
//! than figures that jump would make it: a third of a round trip, half as many calls again. They leave alone what is pinned
//! and what others are `with`. Traffic moves only what says `auto_place`; for the rest it proposes. What is near something is
//! not moved by traffic.
//!
//! An instance that is to leave a node that drains or that most others do not reach, or that did not start it, stays there while no other node can take it.
//!
//! Shards of keyed modules move for repair, drain, a command or a hard need alone, or if `relocatable` to nodes that have
//! joined. A keyed module reserves what it needs once on each node that owns any of its shards.
//!
//! # Where to start reading
//!
//! `settled.rs` has the steps in order. `world.rs` gives the facts indices, `board.rs` holds the placement while it comes
//! into being, `keep.rs`, `candidates.rs`, `repair.rs`, `spread.rs`, `search.rs`, `shards.rs`, `scale.rs`, `near.rs` and
//! `traffic.rs` are the steps, `cost.rs` the fourth of what is minimised, `words.rs` and `explain.rs` what people are told.
//!
//! ```
//! use skybox_core::{ModuleKind, NodeName, Replicas};
//! use skybox_plan::place::{Facts, Host, Module, Node, NodeState, place};
//!
//! let node = |name: &str, host: &str| Node {
//!     name: NodeName::new(name),
//!     host: host.into(),
//!     labels: Default::default(),
//!     state: NodeState::Open,
//! };
//! let host = |name: &str, cores: u64| Host { name: name.into(), cpu_milli: cores * 1_000, memory_bytes: 8 << 30, gpu: 0 };
//! let mut large = Module::new("thumbnails", ModuleKind::Task, Replicas::fixed(2));
//! large.cpu_milli = 4_000;
//! let facts = Facts {
//!     modules: vec![large],
//!     hosts: vec![host("a", 2), host("b", 8)],
//!     nodes: vec![node("node-1", "a"), node("node-2", "b")],
//!     ..Facts::default()
//! };
//! let decision = place(&facts);
//! assert_eq!(decision.placement.modules["thumbnails"].seats[0].node, NodeName::new("node-2"));
//! let why = "needs 4 cores; the only node that has none yet has 2 left: node-1";
//! assert_eq!(decision.unplaced[0].why, why);
//! ```

mod better;
mod board;
mod candidates;
mod cost;
mod decision;
mod explain;
mod facts;
mod keep;
mod ledger;
mod near;
mod repair;
mod scale;
mod search;
mod settled;
mod shards;
mod spread;
mod traffic;
#[doc(hidden)]
pub mod trials;
mod words;
mod world;

pub use decision::{Beyond, Decision, Move, Placed, Placement, Proposal, Reason, Scaled, Seat, Unplaced};
pub use explain::{Cost, Elsewhere, Explanation, Here, explain};
pub use facts::{Facts, Host, Module, Node, NodeState, Rules, Traffic};

/// Decides. The same facts always give the same answer.
pub fn place(facts: &Facts) -> Decision {
    let world = world::World::new(facts);
    settled::Settled::new(&world).decision()
}

#[cfg(test)]
mod tests;
