//! What is missing gets a place. Where there is none, others make room: they move on, or go if they are less important.

use std::collections::BTreeMap;

use super::board::{Board, Taken, Unmet};
use super::candidates;
use super::decision::Reason;
use super::scale::Budget;
use super::shards::{self, Owners};
use super::world::World;

/// How many others may move on, one for another, for one that fits nowhere.
const CHAIN_MAX: usize = 3;
/// How many may leave one host for it.
const LEAVING_MAX: usize = 3;
/// How many nodes are looked at in one decision for the sake of those that fit nowhere: some ten milliseconds.
const VISITS_MAX: usize = 300_000;
/// What it costs to have one try to move on, in such looks.
const VISITS_OF_TRY: usize = 50;

/// Fills what is missing, the important first; gives the owners of keyed modules' shards.
pub(super) fn fill(board: &mut Board<'_>, wanted: &[usize], budget: &mut Budget) -> BTreeMap<usize, Owners> {
    let world = board.world;
    let mut owners = BTreeMap::new();
    for module in &world.order {
        if world.is_replicated(*module) {
            candidates::fill(board, *module, wanted);
        } else if world.is_keyed(*module) {
            owners.insert(*module, shards::settle(board, *module, budget));
        }
    }
    owners
}

/// Has others make room for what is still missing.
pub(super) fn make_room(board: &mut Board<'_>, wanted: &[usize]) {
    let world = board.world;
    let mut visits = VISITS_MAX;
    for module in world.order.iter().filter(|module| world.is_replicated(**module)) {
        candidates::fill(board, *module, wanted);
        while board.seats[*module].len() < wanted[*module] {
            let made = others_move(board, *module, wanted, CHAIN_MAX, &mut visits)
                || others_go(board, *module, wanted, &mut visits);
            if !made {
                break;
            }
        }
    }
}

/// Whether the host would do if it were empty.
fn could_fit(world: &World<'_>, module: usize, node: usize) -> bool {
    let whole = world.whole(world.host_of(node));
    whole.is_none_or(|whole| world.modules[module].needs.fits_in(whole))
}

/// The nodes that only other instances keep the module from.
fn blocked(board: &Board<'_>, module: usize, visits: &mut usize) -> Vec<usize> {
    let count = board.world.nodes.len();
    *visits = visits.saturating_sub(count);
    let is_blocked = |node: &usize| matches!(board.unmet(module, *node), Some(Unmet::Room | Unmet::Apart(_)));
    (0..count).filter(is_blocked).collect()
}

/// Who could make room, those first whose going costs least.
fn in_the_way(board: &Board<'_>, module: usize, node: usize) -> Vec<(usize, Taken)> {
    let world = board.world;
    let others: Vec<(usize, usize)> = match board.unmet(module, node) {
        Some(Unmet::Apart(other)) => vec![(other, node)],
        Some(Unmet::Room) => {
            let host = world.host_of(node);
            let nodes = world.nodes_of(host).iter().copied();
            nodes.flat_map(|node| board.modules_on(node).map(move |other| (other, node))).collect()
        }
        _ => Vec::new(),
    };
    let mut others: Vec<_> = others
        .into_iter()
        .filter(|(other, node)| {
            *other != module && world.is_replicated(*other) && !board.has_follower_on(*other, *node)
        })
        .filter_map(|(other, node)| {
            Some((other, *board.seats[other].iter().find(|taken| taken.node == node)?))
        })
        .collect();
    let size = |other: usize| world.modules[other].needs;
    others.sort_by_key(|(other, taken)| {
        (taken.kept, world.modules[*other].module.priority, size(*other).cpu_milli, *other, taken.node)
    });
    others
}

/// Places one more instance by letting others move to where they fit as well.
fn others_move(
    board: &mut Board<'_>,
    module: usize,
    wanted: &[usize],
    chain: usize,
    visits: &mut usize,
) -> bool {
    if chain == 0 {
        return false;
    }
    let mut nodes = blocked(board, module, visits);
    nodes.retain(|node| could_fit(board.world, module, *node));
    for node in nodes {
        if *visits == 0 {
            return false;
        }
        if make_room_on(board, module, node, wanted, (chain, LEAVING_MAX), visits) {
            return true;
        }
    }
    false
}

fn make_room_on(
    board: &mut Board<'_>,
    module: usize,
    node: usize,
    wanted: &[usize],
    (chain, leaving): (usize, usize),
    visits: &mut usize,
) -> bool {
    for (other, taken) in in_the_way(board, module, node) {
        if *visits == 0 {
            return false;
        }
        *visits = visits.saturating_sub(VISITS_OF_TRY);
        let mark = board.mark();
        board.remove(other, taken.node);
        let mut made = board.fits(module, node);
        if made {
            board.start(module, node, Reason::New);
        } else if leaving > 1 {
            made = make_room_on(board, module, node, wanted, (chain, leaving - 1), visits);
        }
        if made && move_on(board, other, taken.node, wanted, chain, visits) {
            return true;
        }
        board.undo(mark);
    }
    false
}

/// Finds another place for one that has made room.
fn move_on(
    board: &mut Board<'_>,
    other: usize,
    left: usize,
    wanted: &[usize],
    chain: usize,
    visits: &mut usize,
) -> bool {
    *visits = visits.saturating_sub(board.world.nodes.len());
    match candidates::best(board, other, wanted) {
        Some(node) if node != left => {
            board.start(other, node, Reason::Need);
            true
        }
        _ => others_move(board, other, wanted, chain - 1, visits),
    }
}

/// Places one more instance where less important ones go for it, as few as possible.
fn others_go(board: &mut Board<'_>, module: usize, wanted: &[usize], visits: &mut usize) -> bool {
    let world = board.world;
    let priority = |other: usize| world.modules[other].module.priority;
    if world.order.iter().all(|other| priority(*other) >= priority(module)) {
        return false;
    }
    let mut fewest: Option<(usize, usize)> = None;
    for node in blocked(board, module, visits) {
        let mark = board.mark();
        let count = let_go(board, module, node).len();
        if count > 0 && fewest.is_none_or(|(best, _)| count < best) {
            fewest = Some((count, node));
        }
        board.undo(mark);
    }
    let Some((_, node)) = fewest else { return false };
    let gone = let_go(board, module, node);
    board.start(module, node, Reason::New);
    for other in gone {
        candidates::fill(board, other, wanted);
    }
    true
}

/// Takes the less important away, the least first, until the module fits; nobody if that does not do.
fn let_go(board: &mut Board<'_>, module: usize, node: usize) -> Vec<usize> {
    let world = board.world;
    let mark = board.mark();
    let priority = |other: usize| world.modules[other].module.priority;
    let mut others = in_the_way(board, module, node);
    others.retain(|(other, _)| priority(*other) < priority(module));
    others.sort_by_key(|(other, _)| priority(*other));
    let mut gone = Vec::new();
    for (other, taken) in others {
        board.remove(other, taken.node);
        gone.push(other);
        if board.fits(module, node) {
            return gone;
        }
    }
    board.undo(mark);
    Vec::new()
}
