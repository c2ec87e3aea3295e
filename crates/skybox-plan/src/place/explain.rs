//! Why a module is where it is, and what other nodes would have cost.

use serde::{Deserialize, Serialize};
use skybox_core::NodeName;

use super::board::{Board, Taken};
use super::decision::{Proposal, Reason, Seat, Unplaced};
use super::facts::Facts;
use super::settled::Settled;
use super::words;
use super::world::{Near, World};

/// Where a module is, why, and why not elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The module.
    pub module: String,
    /// How many instances there should be; for a keyed module how many nodes own shards.
    pub wanted: usize,
    /// Each instance.
    pub instances: Vec<Here>,
    /// Each other node.
    pub others: Vec<Elsewhere>,
    /// What cannot be met.
    pub unplaced: Option<Unplaced>,
    /// Moves that would save calls over the network; made where `auto_place` says so.
    #[serde(default)]
    pub proposals: Vec<Proposal>,
}

/// An instance, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    /// Its place.
    pub seat: Seat,
    /// What it costs there.
    pub cost: Cost,
    /// Why it is there, for people.
    pub why: String,
}

/// A node that has no instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The node.
    pub node: NodeName,
    /// What one would cost there; `None` if a need is not met.
    pub cost: Option<Cost>,
    /// Which need is not met, or what it would cost, for people.
    pub why: String,
}

/// What an instance costs on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The measured round trip to what it is near to, in microseconds; `None` if there is none, or it is unknown.
    pub near_us: Option<u64>,
    /// Calls a second that stay within the node.
    pub local_calls_per_s: u64,
    /// How full the host is with it, in thousandths.
    pub reserved_milli: u64,
}

/// Explains where the module belongs by these facts; `None` if there is no such module.
///
/// What is told is the decision on these facts: hand in those of the last decision with its placement as the one before.
pub fn explain(facts: &Facts, module: &str) -> Option<Explanation> {
    let world = World::new(facts);
    let index = world.module(module)?;
    let settled = Settled::new(&world);
    let board = &settled.board;
    let explaining = Explaining { board, module: index, wanted: &settled.wanted.instances };
    let instances: Vec<Here> =
        board.seats[index].iter().map(|taken| explaining.here(&settled, taken)).collect();
    let others = (0..world.nodes.len()).filter(|node| !board.has(index, *node));
    let others = others.map(|node| explaining.elsewhere(node)).collect();
    let unplaced = settled.unplaced(index);
    let wanted = if world.is_keyed(index) { instances.len() } else { settled.wanted.instances[index] };
    let proposals = settled.proposals.iter().filter(|proposal| proposal.module == module).cloned().collect();
    Some(Explanation { module: module.to_owned(), wanted, instances, others, unplaced, proposals })
}

struct Explaining<'a> {
    board: &'a Board<'a>,
    module: usize,
    wanted: &'a [usize],
}

impl Explaining<'_> {
    fn cost(&self, node: usize, is_here: bool) -> Cost {
        let world = self.board.world;
        let row = &world.modules[self.module];
        let mut local_milli = 0;
        for edge in row.edges.iter().filter(|edge| self.board.has(edge.other, node)) {
            let caller = if edge.outgoing { self.module } else { edge.other };
            local_milli += edge.calls_per_s.saturating_mul(1_000) / self.wanted[caller].max(1) as u64;
        }
        let more = if is_here { Default::default() } else { row.needs };
        Cost {
            near_us: self.board.near_measured_us(self.module, node),
            local_calls_per_s: local_milli / 1_000,
            reserved_milli: self.board.ledger.share_with(world.host_of(node), more),
        }
    }

    fn here(&self, settled: &Settled<'_>, taken: &Taken) -> Here {
        let world = self.board.world;
        let seat = settled.seat(self.module, taken);
        let cost = self.cost(taken.node, true);
        let why = if world.modules[self.module].pinned.is_some() {
            "it is pinned there".to_owned()
        } else {
            match seat.why {
                Reason::New => "it was started there",
                Reason::Repair => "where it was is gone, did not start it, or is not reached",
                Reason::Drain => "where it was drains",
                Reason::Command => "a person had it moved",
                Reason::Need => "where it was lacks what it needs, or what others need more",
                Reason::Scale => "there was more to do",
                Reason::Near => "it is closer",
                Reason::Traffic => "it calls what is there, or is called from there",
            }
            .to_owned()
        };
        Here { why: format!("{why}{}", self.figures(cost)), seat, cost }
    }

    fn elsewhere(&self, node: usize) -> Elsewhere {
        let world = self.board.world;
        let name = world.nodes[node].node.name.clone();
        if let Some(unmet) = self.board.unmet(self.module, node) {
            let why = words::why_not(self.board, self.module, node, unmet);
            return Elsewhere { node: name, cost: None, why };
        }
        let cost = self.cost(node, false);
        Elsewhere { node: name, cost: Some(cost), why: format!("it would do{}", self.figures(cost)) }
    }

    fn figures(&self, cost: Cost) -> String {
        let world = self.board.world;
        let row = &world.modules[self.module];
        let mut text = String::new();
        if let Some(near) = row.near {
            let name = match near {
                Near::Resource(_) => row.module.near.as_deref().unwrap_or(""),
                Near::Module(target) => &world.modules[target].module.name,
            };
            match cost.near_us {
                Some(us) => text.push_str(&format!("; {} to {name}", words::round_trip(us))),
                None => text.push_str(&format!("; the way to {name} is not measured")),
            }
        }
        if !row.edges.is_empty() {
            text.push_str(&format!("; {} calls a second stay within the node", cost.local_calls_per_s));
        }
        let percent = cost.reserved_milli / 10;
        text.push_str(&format!("; {percent} % of its host reserved with it"));
        text
    }
}
