//! The steps of a decision, and what comes out of them.

use std::collections::BTreeMap;

use super::better::Better;
use super::board::{Board, Taken};
use super::decision::{Decision, Move, Placed, Proposal, Reason, Seat, Unplaced};
use super::facts::NodeState;
use super::keep::{self, Kept};
use super::scale::{self, Budget, Wanted};
use super::shards::Owners;
use super::world::World;
use super::{near, repair, search, spread, traffic, words};

/// How often what is missing is looked after in one decision.
const ROUNDS_MAX: usize = 4;

/// A decision with all that led to it.
pub(super) struct Settled<'w> {
    pub(super) board: Board<'w>,
    pub(super) wanted: Wanted,
    kept: Kept,
    budget: Budget,
    better: Better,
    owners: BTreeMap<usize, Owners>,
    pub(super) proposals: Vec<Proposal>,
}

impl<'w> Settled<'w> {
    /// Decides.
    pub(super) fn new(world: &'w World<'w>) -> Settled<'w> {
        let mut budget = Budget::new(world.facts);
        let wanted = scale::wanted(world, &mut budget);
        let mut board = Board::new(world);
        let mut better = Better::new(world);
        // 1. What can stay, stays.
        let mut kept = keep::keep(&mut board, &wanted);
        // 2. What is missing gets a place, if there is one.
        let owners = repair::fill(&mut board, &wanted.instances, &mut budget);
        for _ in 0..ROUNDS_MAX {
            if world.facts.frozen {
                break;
            }
            let mark = board.mark();
            // 3. If there is none, others make room.
            repair::make_room(&mut board, &wanted.instances);
            // 4. Instances that should differ in a label do, as far as there are places.
            spread::mend(&mut board, &wanted.instances, &mut kept);
            // 5. A small cloud has something better looked for. All of this again, while that changes anything.
            search::improve(&mut board, &wanted.instances, &kept);
            if board.mark() == mark {
                break;
            }
        }
        // 6. What found no other place stays where it should not.
        keep::put_back(&mut board, &mut kept, &wanted.instances);
        // 7. What may move because that pays, within the budget.
        near::come_closer(&mut board, &wanted.instances, &mut better, &mut budget, &mut kept);
        let proposals = traffic::gather(&mut board, &wanted.instances, &mut better, &mut budget, &mut kept);
        Settled { board, wanted, kept, budget, better, owners, proposals }
    }

    /// What a decision says of it.
    pub(super) fn decision(mut self) -> Decision {
        let world = self.board.world;
        let mut decision = Decision::default();
        let mut by_name: Vec<usize> = (0..world.modules.len()).collect();
        by_name.sort_by_key(|module| world.modules[*module].module.name.as_str());
        for module in by_name {
            if !world.is_replicated(module) && !world.is_keyed(module) {
                continue;
            }
            let name = &world.modules[module].module.name;
            self.arrange(module);
            if world.is_keyed(module) {
                self.shard_moves(module, &mut decision.moves);
            } else {
                self.moves(module, &mut decision.moves);
            }
            decision.unplaced.extend(self.unplaced(module));
            let placed = self.placed(module);
            decision.placement.modules.insert(name.clone(), placed);
        }
        decision.placement.spent_ms = self.budget.spent_ms;
        decision.proposals = self.proposals;
        decision
    }

    /// Those that were there first, in the order in which they were: the same nodes are the same decision.
    fn arrange(&mut self, module: usize) {
        let seats = &mut self.board.seats[module];
        let stays = &self.kept.stays[module];
        if seats.len() >= stays.len() && seats.iter().zip(stays).all(|(taken, stay)| taken.node == stay.node)
        {
            return;
        }
        let at = |node: usize| stays.iter().position(|stay| stay.node == node).unwrap_or(stays.len());
        seats.sort_by_key(|taken| at(taken.node));
    }

    fn name(&self, node: usize) -> skybox_core::NodeName {
        self.board.world.nodes[node].node.name.clone()
    }

    fn before(&self, module: usize) -> Option<&'w Placed> {
        let world = self.board.world;
        world.facts.before.modules.get(&world.modules[module].module.name)
    }

    pub(super) fn seat(&self, _module: usize, taken: &Taken) -> Seat {
        Seat { node: self.name(taken.node), since_ms: taken.since_ms, why: taken.why }
    }

    fn placed(&mut self, module: usize) -> Placed {
        let seats: Vec<Seat> =
            self.board.seats[module].iter().map(|taken| self.seat(module, taken)).collect();
        let owners = match self.owners.get(&module) {
            None => Vec::new(),
            Some(owners) => {
                let seats = &self.board.seats[module];
                let index_of: BTreeMap<usize, u32> =
                    seats.iter().enumerate().map(|(index, taken)| (taken.node, index as u32)).collect();
                owners.iter().map(|owner| owner.and_then(|node| index_of.get(&node).copied())).collect()
            }
        };
        let nodes: Vec<_> = seats.iter().map(|seat| &seat.node).collect();
        let better_since_ms = self.better.take(module, &nodes);
        Placed { seats, owners, scaled: self.wanted.scaled[module], better_since_ms }
    }

    /// The moves of a module without keys: who left is matched with who came, in order.
    fn moves(&mut self, module: usize, moves: &mut Vec<Move>) {
        let world = self.board.world;
        let before = self.before(module);
        let seats = &self.board.seats[module];
        if seats.len() == before.map_or(0, |placed| placed.seats.len())
            && seats.iter().all(|taken| taken.kept)
        {
            return;
        }
        let mut left = Vec::new();
        for seat in before.iter().flat_map(|placed| &placed.seats) {
            match world.node(&seat.node) {
                None => left.push((seat.node.clone(), Reason::Repair)),
                Some(node) if self.board.has(module, node) => {}
                Some(node) => {
                    let reason = self.kept.leaving.get(&(module, node)).copied().unwrap_or(Reason::Need);
                    left.push((seat.node.clone(), reason));
                }
            }
        }
        // What goes for good is matched last.
        left.sort_by_key(|(_, reason)| *reason);
        let was = before.and_then(|placed| placed.scaled);
        let grows = scale::changed(was, self.wanted.scaled[module]).is_gt();
        let mut left = left.into_iter();
        let name = &world.modules[module].module.name;
        let came: Vec<usize> =
            (0..self.board.seats[module].len()).filter(|at| !self.board.seats[module][*at].kept).collect();
        for at in came {
            let (from, reason) = match left.next() {
                Some((from, reason)) => (Some(from), reason),
                None => (None, if grows { Reason::Scale } else { Reason::New }),
            };
            self.board.seats[module][at].why = reason;
            let to = Some(self.name(self.board.seats[module][at].node));
            moves.push(Move { module: name.clone(), from, to, shards: 0, reason });
        }
        for (from, reason) in left {
            moves.push(Move { module: name.clone(), from: Some(from), to: None, shards: 0, reason });
        }
    }

    /// The moves of a keyed module: shards that go from one node to another go together.
    fn shard_moves(&mut self, module: usize, moves: &mut Vec<Move>) {
        let world = self.board.world;
        let before = self.before(module);
        let Some(owners) = self.owners.get(&module) else { return };
        let mut together: BTreeMap<(Option<&skybox_core::NodeName>, Option<usize>), u16> = BTreeMap::new();
        for (shard, owner) in owners.iter().enumerate() {
            let was = before.and_then(|placed| placed.owner(shard));
            let is = owner.map(|node| &world.nodes[node].node.name);
            if was != is {
                *together.entry((was, *owner)).or_insert(0) += 1;
            }
        }
        let mut why = BTreeMap::new();
        for ((was, is), shards) in together {
            let reason = match was.map(|name| world.node(name)) {
                None => Reason::New,
                Some(None) => Reason::Repair,
                Some(Some(node)) => match self.kept.leaving.get(&(module, node)) {
                    Some(reason) => *reason,
                    None if world.modules[module].pinned.is_some() => Reason::Command,
                    None => Reason::Scale,
                },
            };
            if let Some(node) = is {
                why.entry(node).or_insert(reason);
            }
            let (from, to) = (was.cloned(), is.map(|node| self.name(node)));
            let name = world.modules[module].module.name.clone();
            moves.push(Move { module: name, from, to, shards, reason });
        }
        for taken in self.board.seats[module].iter_mut().filter(|taken| !taken.kept) {
            taken.why = why.get(&taken.node).copied().unwrap_or(taken.why);
        }
    }

    /// What cannot be met of a module.
    pub(super) fn unplaced(&self, module: usize) -> Option<Unplaced> {
        let world = self.board.world;
        let name = &world.modules[module].module.name;
        if let Some(owners) = self.owners.get(&module) {
            let missing = owners.iter().filter(|owner| owner.is_none()).count() as u32;
            let unplaced = |why| Unplaced { module: name.clone(), missing, why };
            return (missing > 0).then(|| unplaced(words::why_nowhere(&self.board, module)));
        }
        let seats = &self.board.seats[module];
        let drains = |taken: &&Taken| world.nodes[taken.node].node.state.leaves();
        let draining: Vec<_> = seats.iter().filter(drains).collect();
        let missing = (self.wanted.instances[module] + draining.len()).saturating_sub(seats.len());
        if missing == 0 {
            return None;
        }
        let mut why = words::why_nowhere(&self.board, module);
        for taken in draining {
            let node = world.nodes[taken.node].node;
            let until = match node.state {
                NodeState::Unreached => "although most others do not reach that",
                _ => "while that drains",
            };
            why.push_str(&format!("; it stays on {} {until}", node.name));
        }
        Some(Unplaced { module: name.clone(), missing: missing as u32, why })
    }
}
