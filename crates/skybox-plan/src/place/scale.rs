//! How many instances there should be, and what moves for scale, near and traffic may still cost.

use std::cmp::Ordering;

use skybox_core::Replicas;

use super::decision::{Beyond, Placed, Scaled};
use super::facts::{Facts, Rules};
use super::world::World;

/// Moves that may still be made for scale, near and traffic.
#[derive(Debug)]
pub(super) struct Budget {
    now_ms: u64,
    moves_max: usize,
    /// When those of the window were made.
    pub(super) spent_ms: Vec<u64>,
}

impl Budget {
    pub(super) fn new(facts: &Facts) -> Budget {
        let Rules { moves_max, window_ms, .. } = facts.rules;
        let counts = |at: &&u64| **at <= facts.now_ms && facts.now_ms - **at < window_ms;
        let spent_ms = facts.before.spent_ms.iter().filter(counts).copied().collect();
        Budget { now_ms: facts.now_ms, moves_max: if facts.frozen { 0 } else { moves_max }, spent_ms }
    }

    pub(super) fn left(&self) -> usize {
        self.moves_max.saturating_sub(self.spent_ms.len())
    }

    pub(super) fn spend(&mut self, moves: usize) {
        self.spent_ms.extend(std::iter::repeat_n(self.now_ms, moves));
    }
}

/// How many instances of each module there should be.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) instances: Vec<usize>,
    /// What ranges have come to.
    pub(super) scaled: Vec<Option<Scaled>>,
}

/// Decides for all modules.
pub(super) fn wanted(world: &World<'_>, budget: &mut Budget) -> Wanted {
    let mut wanted = Wanted { instances: Vec::new(), scaled: Vec::new() };
    for (module, row) in world.modules.iter().enumerate() {
        let (instances, scaled) = match row.module.replicas {
            _ if !world.is_replicated(module) => (0, None),
            Replicas::Range { min, max } if min < max => {
                let scaled = range(world, module, (min, max), budget);
                (world.wanted_of_form(module, scaled.replicas), Some(scaled))
            }
            Replicas::Range { max, .. } => (world.wanted_of_form(module, max), None),
            Replicas::PerNode => (world.wanted_of_form(module, 0), None),
        };
        wanted.instances.push(instances);
        wanted.scaled.push(scaled);
    }
    wanted
}

/// The number of instances of a range.
///
/// 1. It is what it was, within its bounds, while nothing is measured, while it is pinned, and while all is frozen.
/// 2. Above the high mark for a moment it grows to the aim, as far as the budget goes.
/// 3. Where one fewer would be below the low mark for a while, it shrinks to the aim; only instances that have had their
///    stay go, and only as many as the budget allows. The aim is above the low mark and below the high one, so that
///    what has just grown is not about to shrink, nor the other way round.
///
/// The moment and the while begin anew with each figure that is not beyond the mark, and what counts is the figure that
/// was the least far beyond it. A figure that some nodes are missing in says that there is at least so much to do: it can
/// be above the high mark, and is never below the low one; and for a moment it ends nothing that has begun.
fn range(world: &World<'_>, module: usize, (min, max): (u32, u32), budget: &mut Budget) -> Scaled {
    let facts = world.facts;
    let rules = &facts.rules;
    let row = &world.modules[module];
    let before = facts.before.modules.get(&row.module.name);
    let was = before.and_then(|placed| placed.scaled);
    // One that had a fixed number until now begins with what there is.
    let there = || before.map_or(min, |before| u32::try_from(before.seats.len()).unwrap_or(max));
    let replicas = was.map_or_else(there, |scaled| scaled.replicas).clamp(min, max);
    let same = Scaled { replicas, beyond: None };
    let load = row.module.load_milli.filter(|_| row.pinned.is_none() && !facts.frozen);
    let (Some(load), Some(before)) = (load, before) else { return same };
    let percent = |instances: u32| load / 10 / u64::from(instances.max(1));
    let high = percent(replicas) > rules.load_high_percent;
    let low = replicas > min && percent(replicas - 1) < rules.load_low_percent;
    let begun = was.and_then(|scaled| scaled.beyond);
    if row.module.load_is_partial && !high {
        // It is not known to be otherwise than it was.
        let beyond = begun.filter(|beyond| beyond.high || low).map(|beyond| Beyond {
            partial_since_ms: beyond.partial_since_ms.or(Some(facts.now_ms)),
            ..beyond
        });
        let is_recent = |since_ms: u64| facts.now_ms.saturating_sub(since_ms) <= rules.settle_ms;
        return Scaled {
            replicas,
            beyond: beyond.filter(|beyond| beyond.partial_since_ms.is_none_or(is_recent)),
        };
    }
    if !(low || high && replicas < max) {
        return same;
    }
    let so_far = begun.filter(|beyond| beyond.high == high);
    let beyond = match so_far {
        None => Beyond { high, since_ms: facts.now_ms, load_milli: load, partial_since_ms: None },
        Some(Beyond { load_milli: least, since_ms, .. }) => {
            let load_milli = if high { least.min(load) } else { least.max(load) };
            Beyond { high, since_ms, load_milli, partial_since_ms: None }
        }
    };
    let waits_ms = if high { rules.settle_ms } else { rules.low_for_ms };
    let waiting = Scaled { replicas, beyond: Some(beyond) };
    if facts.now_ms.saturating_sub(beyond.since_ms) < waits_ms {
        return waiting;
    }
    let aim = beyond.load_milli.div_ceil(rules.load_aim_percent.max(1) * 10);
    let aim = u32::try_from(aim).unwrap_or(u32::MAX).clamp(min, max);
    let differ = aim.abs_diff(replicas) as usize;
    let can = if high { differ } else { differ.min(may_go(facts, before)) }.min(budget.left());
    budget.spend(can);
    let replicas = if high { replicas + can as u32 } else { replicas - can as u32 };
    // What the budget or a stay holds back is made up for as soon as they allow it.
    Scaled { replicas, beyond: (can < differ).then_some(beyond) }
}

/// How many of its instances have been where they are for long enough.
fn may_go(facts: &Facts, placed: &Placed) -> usize {
    placed.seats.iter().filter(|seat| has_stayed(facts, seat.since_ms)).count()
}

pub(super) fn has_stayed(facts: &Facts, since_ms: u64) -> bool {
    facts.now_ms.saturating_sub(since_ms) >= facts.rules.stay_ms
}

/// How a range differs from the one before.
pub(super) fn changed(was: Option<Scaled>, is: Option<Scaled>) -> Ordering {
    match (was, is) {
        (Some(was), Some(is)) => is.replicas.cmp(&was.replicas),
        _ => Ordering::Equal,
    }
}
