//! What stays: everything whose node lives, does not drain, and still has what the module needs.

use std::collections::BTreeMap;

use super::board::{Board, Taken};
use super::decision::Reason;
use super::facts::NodeState;
use super::scale::{self, Wanted};

/// What became of the seats of the decision before.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Why an instance of a module left a node.
    pub(super) leaving: BTreeMap<(usize, usize), Reason>,
    /// Instances that should go elsewhere and stay if they cannot: their node drains, or has given them up.
    pub(super) reluctant: Vec<(usize, Taken)>,
    /// The instances of each module that can stay.
    pub(super) stays: Vec<Vec<Taken>>,
}

/// Puts what stays on the board. The more important go first, in case a host has less room than it had.
pub(super) fn keep(board: &mut Board<'_>, wanted: &Wanted) -> Kept {
    let world = board.world;
    let mut kept = Kept::default();
    for module in &world.order {
        let module = *module;
        if !world.is_replicated(module) && !world.is_keyed(module) {
            continue;
        }
        let Some(before) = world.facts.before.modules.get(&world.modules[module].module.name) else {
            continue;
        };
        for seat in &before.seats {
            let Some(node) = world.node(&seat.node).filter(|node| !board.has(module, *node)) else {
                continue;
            };
            let taken = Taken { node, since_ms: seat.since_ms, why: seat.why, kept: true };
            board.homes[module].push(taken);
            match why_leave(board, module, node) {
                None => board.add(module, taken),
                Some(reason) => {
                    kept.leaving.insert((module, node), reason);
                    let can_stay = match reason {
                        Reason::Repair if world.may_keep(module, node) => true,
                        Reason::Repair | Reason::Drain => {
                            world.is_replicated(module) && world.pin_allows(module, node)
                        }
                        _ => false,
                    };
                    if can_stay {
                        kept.reluctant.push((module, taken));
                    }
                }
            }
        }
        if world.is_replicated(module) {
            drop_surplus(board, module, wanted, &mut kept);
        }
    }
    kept.stays = board.seats.clone();
    kept
}

/// Why an instance has to leave its node.
fn why_leave(board: &Board<'_>, module: usize, node: usize) -> Option<Reason> {
    let world = board.world;
    match world.nodes[node].node.state {
        NodeState::Draining => return Some(Reason::Drain),
        NodeState::Unreached => return Some(Reason::Repair),
        NodeState::Open | NodeState::Guest | NodeState::Cordoned => {}
    }
    if !world.pin_allows(module, node) {
        return Some(Reason::Command);
    }
    if !world.may_keep(module, node) || board.unmet_needs(module, node).is_some() {
        return Some(Reason::Need);
    }
    // Keys are given up one by one, by their nodes.
    (world.is_replicated(module) && world.gave_up(module, node)).then_some(Reason::Repair)
}

/// Lets go what is more than wanted: first what has no right to stay for long, then what shares its value of the label,
/// then the furthest, then the last that came.
fn drop_surplus(board: &mut Board<'_>, module: usize, wanted: &Wanted, kept: &mut Kept) {
    let world = board.world;
    let wanted_now = wanted.instances[module];
    let before = world.facts.before.modules.get(&world.modules[module].module.name);
    let was = before.and_then(|placed| placed.scaled);
    let shrinks = scale::changed(was, wanted.scaled[module]).is_lt();
    let reason = if shrinks { Reason::Scale } else { Reason::Command };
    while board.seats[module].len() > wanted_now {
        let counts = board.spread_counts(module);
        let rank = |taken: &&Taken| {
            let may_go = !shrinks || scale::has_stayed(world.facts, taken.since_ms);
            let is_cordoned = world.nodes[taken.node].node.state == NodeState::Cordoned;
            let alike = counts[world.spread_value(module, taken.node) as usize];
            let free = !board.has_follower_on(module, taken.node);
            (may_go, is_cordoned, free, alike, board.near_us(module, taken.node), taken.since_ms, taken.node)
        };
        let Some(node) = board.seats[module].iter().max_by_key(rank).map(|taken| taken.node) else { return };
        board.remove(module, node);
        kept.leaving.insert((module, node), reason);
    }
}

/// Puts back what found no other place, if there is still room for it. An instance on a node that drains serves as long as
/// that does, and counts as missing.
pub(super) fn put_back(board: &mut Board<'_>, kept: &mut Kept, wanted: &[usize]) {
    for (module, taken) in std::mem::take(&mut kept.reluctant) {
        let is_short = board.seats[module].len() < wanted[module];
        if is_short && !board.has(module, taken.node) && board.unmet_needs(module, taken.node).is_none() {
            board.add(module, taken);
            kept.leaving.remove(&(module, taken.node));
        }
    }
}
