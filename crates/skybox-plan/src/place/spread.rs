//! Instances that share a value of their spread label, where another value has room: one of them goes there.

use super::board::Board;
use super::candidates;
use super::decision::Reason;
use super::keep::Kept;

/// Mends what the fewest moves mend.
pub(super) fn mend(board: &mut Board<'_>, wanted: &[usize], kept: &mut Kept) {
    let world = board.world;
    let spread = |module: &&usize| world.is_replicated(**module) && world.modules[**module].spread.is_some();
    for module in world.order.iter().filter(spread) {
        let module = *module;
        if world.modules[module].pinned.is_some() {
            continue;
        }
        while let Some((from, to)) = better(board, module, wanted) {
            board.remove(module, from);
            board.start(module, to, Reason::Need);
            kept.leaving.insert((module, from), Reason::Need);
        }
    }
}

/// A move that leaves fewer pairs alike: from the fullest value to the emptiest that has room.
fn better(board: &mut Board<'_>, module: usize, wanted: &[usize]) -> Option<(usize, usize)> {
    let world = board.world;
    let counts = board.spread_counts(module);
    let fullest = counts.iter().copied().max()?;
    if fullest <= counts.iter().copied().min()? + 1 {
        return None;
    }
    let value = |node: usize| counts[world.spread_value(module, node) as usize];
    // The last that came goes first.
    let mut from: Vec<_> =
        board.seats[module].iter().copied().filter(|taken| value(taken.node) == fullest).collect();
    from.sort_by_key(|taken| std::cmp::Reverse((taken.since_ms, taken.node)));
    from.retain(|taken| !board.has_follower_on(module, taken.node));
    // What it leaves may be what the other value's node lacks room for, but only if both share a host.
    for taken in from {
        let mark = board.mark();
        board.remove(module, taken.node);
        let to = candidates::best(board, module, wanted);
        board.undo(mark);
        if let Some(to) = to.filter(|to| value(*to) + 1 < fullest) {
            return Some((taken.node, to));
        }
    }
    None
}
