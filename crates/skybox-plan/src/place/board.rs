//! The placement while it comes into being: who has a seat where, what that reserves, and what would not go.

use super::decision::Reason;
use super::facts::NodeState;
use super::ledger::{Amount, Ledger};
use super::world::World;

/// An instance's place, or for a keyed module that a node owns shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) node: usize,
    pub(super) since_ms: u64,
    pub(super) why: Reason,
    /// It was there before this decision.
    pub(super) kept: bool,
}

/// Which need a node does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    Pinned,
    State(NodeState),
    Label,
    GaveUp,
    /// It has one already.
    Here,
    With,
    /// It has this module, from which the other stays apart.
    Apart(usize),
    Room,
}

#[derive(Clone)]
pub(super) struct Board<'w> {
    pub(super) world: &'w World<'w>,
    pub(super) seats: Vec<Vec<Taken>>,
    on_node: Vec<Vec<u32>>,
    /// Where instances were before this decision: one that comes back has never left.
    pub(super) homes: Vec<Vec<Taken>>,
    pub(super) ledger: Ledger,
    /// What was done, so that what leads nowhere can be undone.
    done: Vec<Done>,
}

#[derive(Clone, Copy)]
enum Done {
    Added { module: usize, node: usize },
    Removed { module: usize, at: usize, taken: Taken },
}

impl<'w> Board<'w> {
    pub(super) fn new(world: &'w World<'w>) -> Board<'w> {
        Board {
            world,
            seats: vec![Vec::new(); world.modules.len()],
            on_node: vec![Vec::new(); world.nodes.len()],
            homes: vec![Vec::new(); world.modules.len()],
            ledger: world.ledger(),
            done: Vec::new(),
        }
    }

    pub(super) fn has(&self, module: usize, node: usize) -> bool {
        self.on_node[node].contains(&(module as u32))
    }

    pub(super) fn modules_on(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.on_node[node].iter().map(|module| *module as usize)
    }

    pub(super) fn count_on(&self, node: usize) -> usize {
        self.on_node[node].len()
    }

    /// Whether the node can be given the module now.
    pub(super) fn fits(&self, module: usize, node: usize) -> bool {
        self.unmet(module, node).is_none()
    }

    /// Why it cannot; the need that is the hardest to change comes first.
    pub(super) fn unmet(&self, module: usize, node: usize) -> Option<Unmet> {
        let world = self.world;
        if !world.may_take(module, node) {
            let pinned = world.pin_allows(module, node);
            return Some(if pinned { Unmet::State(world.nodes[node].node.state) } else { Unmet::Pinned });
        }
        if world.gave_up(module, node) {
            return Some(Unmet::GaveUp);
        }
        if self.has(module, node) {
            return Some(Unmet::Here);
        }
        self.unmet_needs(module, node)
    }

    /// Which annotation is not met there, for one that is not counted there.
    pub(super) fn unmet_needs(&self, module: usize, node: usize) -> Option<Unmet> {
        let world = self.world;
        if !world.has_label(module, node) {
            return Some(Unmet::Label);
        }
        self.unmet_company(module, node).or_else(|| (!self.has_room(module, node)).then_some(Unmet::Room))
    }

    pub(super) fn unmet_company(&self, module: usize, node: usize) -> Option<Unmet> {
        let row = &self.world.modules[module];
        if row.with_nobody || row.with.is_some_and(|anchor| !self.has(anchor, node)) {
            return Some(Unmet::With);
        }
        row.apart.iter().find(|other| self.has(**other, node)).map(|other| Unmet::Apart(*other))
    }

    pub(super) fn has_room(&self, module: usize, node: usize) -> bool {
        self.ledger.fits(self.world.host_of(node), self.world.modules[module].needs)
    }

    pub(super) fn add(&mut self, module: usize, taken: Taken) {
        debug_assert!(!self.has(module, taken.node), "one instance a node");
        self.ledger.reserve(self.world.host_of(taken.node), self.world.modules[module].needs);
        self.on_node[taken.node].push(module as u32);
        self.seats[module].push(taken);
        self.done.push(Done::Added { module, node: taken.node });
    }

    /// One more instance.
    pub(super) fn start(&mut self, module: usize, node: usize, why: Reason) {
        let home = self.homes[module].iter().find(|home| home.node == node).copied();
        let new = Taken { node, since_ms: self.world.facts.now_ms, why, kept: false };
        self.add(module, home.unwrap_or(new));
    }

    pub(super) fn remove(&mut self, module: usize, node: usize) -> Option<Taken> {
        let at = self.seats[module].iter().position(|taken| taken.node == node)?;
        self.on_node[node].retain(|other| *other as usize != module);
        self.ledger.release(self.world.host_of(node), self.world.modules[module].needs);
        let taken = self.seats[module].remove(at);
        self.done.push(Done::Removed { module, at, taken });
        Some(taken)
    }

    /// Where [`Board::undo`] goes back to.
    pub(super) fn mark(&self) -> usize {
        self.done.len()
    }

    /// Undoes what was done since the mark.
    pub(super) fn undo(&mut self, mark: usize) {
        while self.done.len() > mark {
            match self.done.pop() {
                Some(Done::Added { module, node }) => {
                    self.remove(module, node);
                    self.done.pop();
                }
                Some(Done::Removed { module, at, taken }) => {
                    self.add(module, taken);
                    self.done.pop();
                    let last = self.seats[module].pop().expect("just added");
                    self.seats[module].insert(at, last);
                }
                None => return,
            }
        }
    }

    /// What a module's followers that are still to be placed need beside it on one node.
    pub(super) fn needs_of_followers(&self, module: usize, node: usize, wanted: &[usize]) -> Option<Amount> {
        let world = self.world;
        let mut sum = Amount::default();
        let mut open = world.modules[module].followers.clone();
        let mut seen = vec![module];
        while let Some(follower) = open.pop() {
            if seen.contains(&follower) || self.seats[follower].len() >= wanted[follower] {
                continue;
            }
            seen.push(follower);
            let row = &world.modules[follower];
            let clashes = || row.apart.iter().any(|other| self.has(*other, node) || seen.contains(other));
            if !world.may_take(follower, node)
                || world.gave_up(follower, node)
                || !world.has_label(follower, node)
                || clashes()
            {
                return None;
            }
            sum = sum.plus(row.needs);
            open.extend(&row.followers);
        }
        Some(sum)
    }

    /// Whether somebody else is there only because this module is.
    pub(super) fn has_follower_on(&self, module: usize, node: usize) -> bool {
        self.world.modules[module].followers.iter().any(|follower| self.has(*follower, node))
    }

    /// Pairs of a module's instances that share a value of its spread label.
    pub(super) fn clashes(&self, module: usize) -> u64 {
        if self.world.modules[module].spread.is_none() {
            return 0;
        }
        let counts = self.spread_counts(module);
        counts.iter().map(|count| count * count.saturating_sub(1) / 2).sum()
    }

    pub(super) fn spread_counts(&self, module: usize) -> Vec<u64> {
        let mut counts = vec![0; self.world.spread_values(module)];
        for taken in &self.seats[module] {
            counts[self.world.spread_value(module, taken.node) as usize] += 1;
        }
        counts
    }
}
