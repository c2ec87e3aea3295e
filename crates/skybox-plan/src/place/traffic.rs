//! Moves to where the callers and the called are: those that save the most calls over the network.
//!
//! What a place saves is told of one instance: the calls that stay within its node because of it, out of its share of its
//! module's and to the whole of it from callers there.

use super::better::Better;
use super::board::{Board, Taken};
use super::decision::{Proposal, Reason};
use super::keep::Kept;
use super::scale::Budget;

/// A move that would pay.
struct Saving {
    saves_milli: u64,
    module: usize,
    taken: Taken,
    to: usize,
}

/// Makes the moves that pay where `auto_place` says so, the most saved first, and proposes the others.
pub(super) fn gather(
    board: &mut Board<'_>,
    wanted: &[usize],
    better: &mut Better,
    budget: &mut Budget,
    kept: &mut Kept,
) -> Vec<Proposal> {
    let world = board.world;
    let has_edges = |module: &usize| {
        let row = &world.modules[*module];
        // To be near goes before traffic: the two would pull it to and fro.
        !row.edges.is_empty() && row.pinned.is_none() && row.near.is_none()
    };
    let mut saved = Saved { milli: vec![0; world.nodes.len()], nodes: Vec::new() };
    let mut savings = Vec::new();
    for module in (0..world.modules.len()).filter(has_edges) {
        saved.look(board, module, wanted);
        savings.extend(moves_that_pay(board, module, &saved));
    }
    savings.sort_by_key(|saving| (std::cmp::Reverse(saving.saves_milli), saving.module, saving.taken.node));
    let mut proposals = Vec::new();
    for saving in savings {
        let Saving { saves_milli, module, taken, to } = saving;
        let row = &world.modules[module];
        let auto_place = row.module.auto_place || world.facts.rules.auto_place;
        if !auto_place || world.facts.frozen {
            let name = |node: usize| world.nodes[node].node.name.clone();
            proposals.push(Proposal {
                module: row.module.name.clone(),
                from: name(taken.node),
                to: name(to),
                saves_calls_per_s: saves_milli / 1_000,
            });
            continue;
        }
        if !better.pays(world, module, &taken) || budget.left() == 0 {
            continue;
        }
        // Those before it may have changed what it would save, or taken the room.
        saved.look(board, module, wanted);
        if board.fits(module, to) && saved.pays(board, taken.node, to).is_some() {
            budget.spend(1);
            board.remove(module, taken.node);
            board.start(module, to, Reason::Traffic);
            kept.leaving.insert((module, taken.node), Reason::Traffic);
        }
    }
    proposals
}

/// What each node would save one module, in thousandths of calls a second.
struct Saved {
    milli: Vec<u64>,
    /// The nodes that would save anything, and perhaps some that would not.
    nodes: Vec<usize>,
}

impl Saved {
    fn look(&mut self, board: &Board<'_>, module: usize, wanted: &[usize]) {
        for node in self.nodes.drain(..) {
            self.milli[node] = 0;
        }
        for edge in &board.world.modules[module].edges {
            let caller = if edge.outgoing { module } else { edge.other };
            let milli = edge.calls_per_s.saturating_mul(1_000) / (wanted[caller].max(1) as u64);
            for seat in &board.seats[edge.other] {
                if self.milli[seat.node] == 0 {
                    self.nodes.push(seat.node);
                }
                self.milli[seat.node] += milli;
            }
        }
    }

    /// What a move saves, if that is enough to pay: half as much again as the place saves now, and the least that counts.
    fn pays(&self, board: &Board<'_>, from: usize, to: usize) -> Option<u64> {
        let least = board.world.facts.rules.traffic_saves_calls_per_s.saturating_mul(1_000).max(1);
        let saves = self.milli[to].checked_sub(self.milli[from])?;
        (saves >= least && saves >= self.milli[from] / 2).then_some(saves)
    }
}

/// The best move of each of a module's instances, each to a node of its own.
fn moves_that_pay(board: &Board<'_>, module: usize, saved: &Saved) -> Vec<Saving> {
    let world = board.world;
    let mut targets: Vec<(u64, usize)> = saved.nodes.iter().map(|node| (saved.milli[*node], *node)).collect();
    targets.sort_by_key(|(milli, node)| (std::cmp::Reverse(*milli), *node));
    let counts = board.spread_counts(module);
    let value = |node: usize| world.spread_value(module, node);
    let movable = |taken: &&Taken| taken.kept && !board.has_follower_on(module, taken.node);
    let mut found: Vec<Saving> = Vec::new();
    for taken in board.seats[module].iter().filter(movable) {
        let from = taken.node;
        let may = |to: usize| {
            let keeps_spread =
                value(to) == value(from) || counts[value(to) as usize] < counts[value(from) as usize];
            keeps_spread && !found.iter().any(|saving| saving.to == to) && board.fits(module, to)
        };
        for (_, to) in &targets {
            let Some(saves_milli) = saved.pays(board, from, *to) else { break };
            if may(*to) {
                found.push(Saving { saves_milli, module, taken: *taken, to: *to });
                break;
            }
        }
    }
    found
}
