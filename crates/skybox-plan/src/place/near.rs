//! Moves to where a round trip is shorter, if that pays.

use super::better::Better;
use super::board::{Board, Taken};
use super::decision::Reason;
use super::keep::Kept;
use super::scale::Budget;
use super::search;
use super::world::Near;

/// Moves the furthest of each module's instances first, as far as the budget goes.
pub(super) fn come_closer(
    board: &mut Board<'_>,
    wanted: &[usize],
    better: &mut Better,
    budget: &mut Budget,
    kept: &mut Kept,
) {
    let world = board.world;
    if world.facts.frozen {
        return;
    }
    let is_near = |module: &&usize| {
        let row = &world.modules[**module];
        world.is_replicated(**module) && row.near.is_some() && row.pinned.is_none()
    };
    for module in world.order.iter().filter(is_near) {
        let module = *module;
        let mut seats: Vec<(u64, Taken)> = board.seats[module]
            .iter()
            .filter(|taken| !board.has_follower_on(module, taken.node))
            .filter_map(|taken| Some((board.near_measured_us(module, taken.node)?, *taken)))
            .collect();
        seats.sort_by_key(|(us, taken)| (std::cmp::Reverse(*us), taken.node));
        for (now_us, taken) in seats {
            let Some(to) = closer(board, module, taken.node, now_us) else { continue };
            if !taken.kept {
                // It has not been started yet, and others have made room since its place was chosen. In a small cloud that
                // was looked at already.
                let costs = |node| {
                    world.near_cost(board.near_us(module, node)) as i64
                        + board.traffic_cost(module, node, wanted)
                };
                if !search::is_small(world, wanted) && costs(to) < costs(taken.node) {
                    board.remove(module, taken.node);
                    board.start(module, to, Reason::New);
                }
            } else if better.pays(world, module, &taken) && budget.left() > 0 {
                budget.spend(1);
                board.remove(module, taken.node);
                board.start(module, to, Reason::Near);
                kept.leaving.insert((module, taken.node), Reason::Near);
            }
        }
    }
}

/// The closest node that is closer by enough to pay.
fn closer(board: &mut Board<'_>, module: usize, from: usize, now_us: u64) -> Option<usize> {
    let world = board.world;
    let saves_us = world.facts.rules.near_saves_us.max(now_us / 3);
    let most_us = now_us.checked_sub(saves_us.max(1))?;
    let counts = board.spread_counts(module);
    let value = |node: usize| world.spread_value(module, node);
    let keeps_spread = |node: usize| {
        value(node) == value(from) || counts[value(node) as usize] < counts[value(from) as usize]
    };
    let mut best: Option<(u64, u64, usize)> = None;
    let mut look = |us: u64, node: usize| {
        if keeps_spread(node) && board.fits(module, node) {
            let share = board.ledger.share_with(world.host_of(node), world.modules[module].needs);
            let rank = (us, share, node);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        best
    };
    match world.modules[module].near? {
        Near::Resource(resource) => {
            for host in world.closest_hosts(resource) {
                let us = world.to_resource_us(resource, *host);
                let found = world.nodes_of(*host).iter().fold(None, |_, node| look(us, *node));
                // The next one is as close at best: it is looked at only if it could be less full.
                if us > most_us || found.is_some_and(|(best_us, ..)| us > best_us) {
                    break;
                }
            }
        }
        Near::Module(_) => {
            let by_host = board.near_by_host(module)?;
            for (host, us) in by_host.iter().enumerate().filter(|(_, us)| **us <= most_us) {
                for node in world.nodes_of(host) {
                    look(*us, *node);
                }
            }
        }
    }
    best.filter(|(us, ..)| *us <= most_us).map(|(_, _, node)| node)
}
