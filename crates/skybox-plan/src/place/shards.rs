//! Who owns the shards of keyed modules. A shard stays with its owner: what its keys hold in memory goes with each move.

use skybox_core::{KeyHash, SHARD_COUNT};

use super::board::Board;
use super::decision::Reason;
use super::scale::{self, Budget};

/// Among so many nodes each has a claim on each shard. Where there are more, a shard looks at [`WINDOW`] of them.
const CLAIMING_MAX: usize = 256;
/// How many nodes, from its own place in the order of their hashes, a shard looks at.
const WINDOW: usize = 16;

/// The owner of each shard, as the index of a node.
pub(super) type Owners = Vec<Option<usize>>;

/// Gives each shard of a module an owner. Owners that stay are on the board already.
pub(super) fn settle(board: &mut Board<'_>, module: usize, budget: &mut Budget) -> Owners {
    let world = board.world;
    let row = &world.modules[module];
    let before = world.facts.before.modules.get(&row.module.name);
    let node_of_seat: Vec<Option<usize>> = before
        .iter()
        .flat_map(|placed| &placed.seats)
        .map(|seat| world.node(&seat.node).filter(|node| board.has(module, *node)))
        .collect();
    let shards = 0..usize::from(SHARD_COUNT);
    let mut owners: Owners = shards
        .map(|shard| {
            let seat = before.and_then(|placed| placed.owners.get(shard).copied().flatten())?;
            node_of_seat.get(seat as usize).copied().flatten()
        })
        .collect();
    let is_missing = owners.iter().any(Option::is_none);
    let joins = row.module.relocatable && before.is_some() && !is_missing && budget.left() > 0;
    if !is_missing && !joins && row.pinned.is_none() {
        return owners;
    }
    let claims = Claims::new(board, module);
    if row.pinned.is_some() {
        // A pin redistributes: its nodes share the shards evenly, as far as there is room for the module on them.
        for (_, node) in &claims.nodes {
            if !board.has(module, *node) && board.fits(module, *node) {
                board.start(module, *node, Reason::Command);
            }
        }
        for (shard, owner) in owners.iter_mut().enumerate() {
            *owner = claims.winner(board, shard);
        }
        leave_seats(board, module, &owners);
        return owners;
    }
    for (shard, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| owner.is_none()) {
        *owner = claims.winner(board, shard);
        if let Some(node) = owner.filter(|node| !board.has(module, *node)) {
            board.start(module, node, Reason::New);
        }
    }
    if joins {
        relocate(board, module, &claims, &mut owners, budget);
    }
    owners
}

/// Nodes that have joined get what they would have had from the beginning; each of them is a move.
fn relocate(board: &mut Board<'_>, module: usize, claims: &Claims, owners: &mut Owners, budget: &mut Budget) {
    let facts = board.world.facts;
    if !board.seats[module].iter().all(|taken| scale::has_stayed(facts, taken.since_ms)) {
        return;
    }
    let mut joined = Vec::new();
    for (shard, owner) in owners.iter_mut().enumerate() {
        let Some(winner) = claims.winner(board, shard) else { continue };
        if joined.contains(&winner) {
            *owner = Some(winner);
        } else if !board.has(module, winner) && budget.left() > 0 {
            budget.spend(1);
            joined.push(winner);
            board.start(module, winner, Reason::Scale);
            *owner = Some(winner);
        }
    }
    leave_seats(board, module, owners);
}

/// Takes back the seats of those that own nothing.
fn leave_seats(board: &mut Board<'_>, module: usize, owners: &Owners) {
    let mut owns = vec![false; board.world.nodes.len()];
    for node in owners.iter().flatten() {
        owns[*node] = true;
    }
    let idle: Vec<_> =
        board.seats[module].iter().map(|taken| taken.node).filter(|node| !owns[*node]).collect();
    for node in idle {
        board.remove(module, node);
    }
}

/// The nodes that may own shards of a module, in the order of their hashes.
struct Claims {
    module: usize,
    salt: u64,
    nodes: Vec<(u64, usize)>,
}

impl Claims {
    fn new(board: &Board<'_>, module: usize) -> Claims {
        let world = board.world;
        // A pin gives each of its nodes what is its share, and one that is cordoned keeps what it has.
        let pinned = world.modules[module].pinned.is_some();
        let may_have = |node: usize| match pinned {
            true => world.may_keep(module, node),
            false => world.may_take(module, node),
        };
        let may = |node: &usize| board.has(module, *node) && may_have(*node) || board.fits(module, *node);
        let mut nodes: Vec<_> =
            (0..world.nodes.len()).filter(may).map(|node| (world.nodes[node].hash, node)).collect();
        nodes.sort_unstable();
        Claims { module, salt: KeyHash::of(world.modules[module].module.name.as_bytes()).0, nodes }
    }

    /// Rendezvous hashing: the highest claim wins, and a node that goes changes nobody else's.
    fn winner(&self, board: &Board<'_>, shard: usize) -> Option<usize> {
        let point = mix(self.salt ^ mix(shard as u64));
        let can = |(_, node): &&(u64, usize)| board.has(self.module, *node) || board.fits(self.module, *node);
        let claim = |(hash, node): &&(u64, usize)| (mix(point ^ hash), *node);
        let best = if self.nodes.len() <= CLAIMING_MAX {
            self.nodes.iter().filter(can).max_by_key(claim)
        } else {
            let from = self.nodes.partition_point(|(hash, _)| *hash < point);
            let around = self.nodes[from..].iter().chain(&self.nodes[..from]);
            around.filter(can).take(WINDOW).max_by_key(claim)
        };
        best.map(|(_, node)| *node)
    }
}

/// Spreads every bit over all of them (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
