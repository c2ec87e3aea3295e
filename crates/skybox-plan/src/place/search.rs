//! Something better than the first plan, for clouds that are small enough to look: every choice, in the order of what
//! promises most, as far as it may still be better than the best that was found, and for so many steps.

use super::board::{Board, Taken};
use super::decision::Reason;
use super::keep::Kept;
use super::world::World;

/// Where there are more, so few steps would see too little.
const NODES_MAX: usize = 16;
const INSTANCES_MAX: usize = 64;

/// What is minimised, in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// For each priority, the highest first: instances that ran and have no place, and instances that are missing.
    missing: Vec<(usize, usize)>,
    /// Pairs of instances alike in their spread label.
    clashes: u64,
    /// Instances that could have stayed.
    displaced: usize,
    /// Nanoseconds of waiting in a second.
    cost: u64,
}

struct Search<'s, 'w> {
    board: Board<'w>,
    wanted: &'s [usize],
    kept: &'s Kept,
    order: Vec<usize>,
    /// Which place in the priorities a module has.
    class: Vec<usize>,
    classes: usize,
    /// Whose places are decided, on this way.
    decided: Vec<bool>,
    steps: u64,
    best: Score,
    found: Option<Vec<Vec<usize>>>,
}

/// Whether a cloud is small enough to look.
pub(super) fn is_small(world: &World<'_>, wanted: &[usize]) -> bool {
    world.facts.rules.search_steps > 0
        && world.nodes.len() <= NODES_MAX
        && wanted.iter().sum::<usize>() <= INSTANCES_MAX
}

/// Replaces what is on the board if there is something better.
pub(super) fn improve(board: &mut Board<'_>, wanted: &[usize], kept: &Kept) {
    let world = board.world;
    let steps = world.facts.rules.search_steps;
    if world.facts.frozen || !is_small(world, wanted) {
        return;
    }
    let order: Vec<usize> =
        world.order.iter().copied().filter(|module| world.is_replicated(*module)).collect();
    let mut priorities: Vec<i32> =
        order.iter().map(|module| world.modules[*module].module.priority).collect();
    priorities.sort_unstable_by_key(|priority| std::cmp::Reverse(*priority));
    priorities.dedup();
    let class = |module: usize| {
        let own = world.modules[module].module.priority;
        priorities.iter().position(|priority| *priority == own).unwrap_or(0)
    };
    let mut search = Search {
        board: board.clone(),
        wanted,
        kept,
        class: (0..world.modules.len()).map(class).collect(),
        classes: priorities.len(),
        decided: (0..world.modules.len()).map(|module| !world.is_replicated(module)).collect(),
        order,
        steps,
        best: Score { missing: Vec::new(), clashes: 0, displaced: 0, cost: 0 },
        found: None,
    };
    let undecided = search.decided.clone();
    search.decided.fill(true);
    search.best = search.score();
    if search.best.missing.iter().all(|missing| *missing == (0, 0))
        && (search.best.clashes, search.best.displaced, search.best.cost) == (0, 0, 0)
    {
        return;
    }
    let is_new = |module: &usize| board.seats[*module].iter().any(|taken| !taken.kept);
    let all_as_it_was = search.best.clashes == 0 && !search.order.iter().any(is_new);
    if all_as_it_was && search.best.missing.iter().all(|missing| *missing == (0, 0)) {
        return;
    }
    search.decided = undecided;
    for module in search.order.clone() {
        for taken in board.seats[module].iter().rev() {
            search.board.remove(module, taken.node);
        }
    }
    search.module(0);
    if let Some(found) = search.found {
        replace(board, found);
    }
}

fn replace(board: &mut Board<'_>, found: Vec<Vec<usize>>) {
    let before = board.seats.clone();
    let replicated: Vec<_> =
        board.world.order.iter().copied().filter(|module| board.world.is_replicated(*module)).collect();
    for module in &replicated {
        for taken in &before[*module] {
            board.remove(*module, taken.node);
        }
    }
    for module in replicated {
        for node in &found[module] {
            board.start(module, *node, Reason::New);
        }
    }
}

impl Search<'_, '_> {
    fn score(&self) -> Score {
        let mut missing = vec![(0, 0); self.classes];
        let (mut clashes, mut displaced) = (0, 0);
        for module in self.order.iter().filter(|module| self.decided[**module]) {
            let seats = &self.board.seats[*module];
            let stays = &self.kept.stays[*module];
            let class = &mut missing[self.class[*module]];
            class.0 += stays.len().saturating_sub(seats.len());
            class.1 += self.wanted[*module].saturating_sub(seats.len());
            clashes += self.board.clashes(*module);
            displaced +=
                stays.iter().filter(|stay| !seats.iter().any(|taken| taken.node == stay.node)).count();
        }
        let cost = self.board.total_cost(self.wanted, |module| self.decided[module]);
        Score { missing, clashes, displaced, cost }
    }

    /// Decides on the module at this place of the order, and on those after it.
    fn module(&mut self, at: usize) {
        let Some(module) = self.order.get(at).copied() else {
            let score = self.score();
            if score < self.best {
                self.best = score;
                let nodes = |seats: &Vec<Taken>| seats.iter().map(|taken| taken.node).collect();
                self.found = Some(self.board.seats.iter().map(nodes).collect());
            }
            return;
        };
        let world = self.board.world;
        let stays = |node: usize| self.kept.stays[module].iter().any(|taken| taken.node == node);
        let may = |node: &usize| {
            (stays(*node) || world.may_take(module, *node) && !world.gave_up(module, *node))
                && self.board.unmet_needs(module, *node).is_none()
        };
        let mut nodes: Vec<usize> = (0..world.nodes.len()).filter(may).collect();
        nodes.sort_by_key(|node| {
            let near = world.near_cost(self.board.near_us(module, *node)) as i64;
            let cost = near + self.board.traffic_cost(module, *node, self.wanted);
            (!stays(*node), cost, *node)
        });
        self.choose(at, module, &nodes, 0);
    }

    /// With the first of the nodes, and without it.
    fn choose(&mut self, at: usize, module: usize, nodes: &[usize], chosen: usize) {
        if self.steps == 0 {
            return;
        }
        self.steps -= 1;
        let full = chosen == self.wanted[module];
        let Some((node, rest)) = nodes.split_first().filter(|_| !full) else {
            self.decided[module] = true;
            if self.score() < self.best {
                self.module(at + 1);
            }
            self.decided[module] = false;
            return;
        };
        if self.board.unmet_needs(module, *node).is_none() {
            let mark = self.board.mark();
            self.board.start(module, *node, Reason::New);
            self.choose(at, module, rest, chosen + 1);
            self.board.undo(mark);
        }
        // Without it there may be too few for anything better.
        let short = self.wanted[module].saturating_sub(chosen + rest.len());
        let is_worse = short > 0 && {
            let mut least = self.score();
            least.missing[self.class[module]].1 += short;
            least >= self.best
        };
        if !is_worse {
            self.choose(at, module, rest, chosen);
        }
    }
}
