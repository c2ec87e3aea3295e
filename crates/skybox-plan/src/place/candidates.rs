//! Where one more instance goes: the best of the nodes that meet its needs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::board::Board;
use super::decision::Reason;

/// How good a node is, the least the best: whoever follows fits too; it costs least; its host would be the least full; it
/// has the fewest instances; it is the first by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    lacks_followers: bool,
    cost: i64,
    share: u64,
    count: usize,
    node: usize,
}

/// What is the same for all nodes that are looked at for one module.
struct Looking<'a> {
    module: usize,
    wanted: &'a [usize],
    near_by_host: Option<Vec<u64>>,
}

impl Looking<'_> {
    fn new<'a>(board: &Board<'_>, module: usize, wanted: &'a [usize]) -> Looking<'a> {
        Looking { module, wanted, near_by_host: board.near_by_host(module) }
    }

    fn rank(&self, board: &Board<'_>, node: usize) -> Rank {
        let world = board.world;
        let host = world.host_of(node);
        let row = &world.modules[self.module];
        let near = self.near_by_host.as_ref().map_or(0, |by_host| world.near_cost(by_host[host]) as i64);
        let lacks_followers = !row.followers.is_empty()
            && board
                .needs_of_followers(self.module, node, self.wanted)
                .is_none_or(|needs| !board.ledger.fits(host, needs.plus(row.needs)));
        Rank {
            lacks_followers,
            cost: near + board.traffic_cost(self.module, node, self.wanted),
            share: board.ledger.share_with(host, row.needs),
            count: board.count_on(node),
            node,
        }
    }
}

/// The best node for one more instance, if there is any.
pub(super) fn best(board: &Board<'_>, module: usize, wanted: &[usize]) -> Option<usize> {
    let looking = Looking::new(board, module, wanted);
    let counts = board.spread_counts(module);
    let fits = (0..board.world.nodes.len()).filter(|node| board.fits(module, *node));
    fits.min_by_key(|node| {
        (counts[board.world.spread_value(module, *node) as usize], looking.rank(board, *node))
    })
}

/// Gives a module as many of its missing instances as fit. All nodes are looked at once, not once for each instance: what
/// changes meanwhile is looked at again when its turn comes, for it only gets worse.
pub(super) fn fill(board: &mut Board<'_>, module: usize, wanted: &[usize]) {
    let missing = wanted[module].saturating_sub(board.seats[module].len());
    match missing {
        0 => return,
        1 => {
            if let Some(node) = best(board, module, wanted) {
                board.start(module, node, Reason::New);
            }
            return;
        }
        _ => {}
    }
    let world = board.world;
    let looking = Looking::new(board, module, wanted);
    let mut by_value = vec![Vec::new(); world.spread_values(module)];
    for node in (0..world.nodes.len()).filter(|node| board.fits(module, *node)) {
        by_value[world.spread_value(module, node) as usize].push(Reverse(looking.rank(board, node)));
    }
    let mut heaps: Vec<BinaryHeap<_>> = by_value.into_iter().map(BinaryHeap::from).collect();
    let mut counts = board.spread_counts(module);
    for _ in 0..missing {
        // A figure that is too old is replaced until the best one is true.
        let found = loop {
            let tops = heaps.iter().enumerate().filter_map(|(value, heap)| Some((value, heap.peek()?.0)));
            let Some((value, rank)) = tops.min_by_key(|(value, rank)| (counts[*value], *rank)) else {
                return;
            };
            heaps[value].pop();
            if !board.fits(module, rank.node) {
                continue;
            }
            let now = looking.rank(board, rank.node);
            if now == rank {
                break (value, rank.node);
            }
            heaps[value].push(Reverse(now));
        };
        counts[found.0] += 1;
        board.start(module, found.1, Reason::New);
    }
}
