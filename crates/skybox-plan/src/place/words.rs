//! What the plan says to people.

use std::fmt::Write as _;

use super::board::{Board, Unmet};
use super::facts::NodeState;
use super::ledger::Amount;

/// So many cores.
pub(super) fn cores(milli: u64) -> String {
    match milli {
        1_000 => "1 core".to_owned(),
        _ => format!("{} cores", thousandths(milli)),
    }
}

fn thousandths(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// So much memory, in a unit that leaves few digits.
pub(super) fn memory(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = bytes / (unit / 10).max(1);
            return if tenths.is_multiple_of(10) {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} bytes")
}

/// A time in milliseconds, with what matters of its microseconds.
pub(super) fn round_trip(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        _ => format!("{} ms", thousandths(us / 10 * 10)),
    }
}

pub(super) fn gpus(count: u64) -> String {
    if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") }
}

fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// Why one node cannot have the module.
pub(super) fn why_not(board: &Board<'_>, module: usize, node: usize, unmet: Unmet) -> String {
    let world = board.world;
    let row = world.modules[module].module;
    match unmet {
        Unmet::Pinned => "it is pinned to others".to_owned(),
        Unmet::State(state) => state_of(state).to_owned(),
        Unmet::Label => {
            format!("`on = \"{}\"`: it does not have that label", row.on.as_deref().unwrap_or(""))
        }
        Unmet::GaveUp => "it did not start there".to_owned(),
        Unmet::Here => "it has one".to_owned(),
        Unmet::With => {
            let other = row.with.as_deref().unwrap_or("");
            format!("`with = \"{other}\"`: {other} is not there")
        }
        Unmet::Apart(other) => {
            let other = &world.modules[other].module.name;
            format!("`apart`: {other} is there")
        }
        Unmet::Room => {
            let left = board.ledger.left(world.host_of(node)).unwrap_or_default();
            let needs = world.modules[module].needs;
            let mut text = String::new();
            for (what, has) in lacking(needs, left) {
                let _ = write!(
                    text,
                    "{}needs {what}; it has {has} left",
                    if text.is_empty() { "" } else { ", " }
                );
            }
            text
        }
    }
}

fn state_of(state: NodeState) -> &'static str {
    match state {
        NodeState::Open => "it takes nothing",
        NodeState::Guest => "it takes only what is pinned to it",
        NodeState::Cordoned => "it is cordoned",
        NodeState::Draining => "it drains",
        NodeState::Unreached => "most others do not reach it",
    }
}

/// What is needed and what is left, of everything of which too little is left.
fn lacking(needs: Amount, left: Amount) -> Vec<(String, String)> {
    let mut lacking = Vec::new();
    if needs.cpu_milli > left.cpu_milli {
        lacking.push((cores(needs.cpu_milli), thousandths(left.cpu_milli)));
    }
    if needs.memory_bytes > left.memory_bytes {
        lacking.push((memory(needs.memory_bytes), memory(left.memory_bytes)));
    }
    if needs.gpu > left.gpu {
        lacking.push((gpus(needs.gpu), left.gpu.to_string()));
    }
    lacking
}

/// Why one more instance has no place: the need that the last of the nodes fail to meet.
pub(super) fn why_nowhere(board: &Board<'_>, module: usize) -> String {
    let world = board.world;
    let row = &world.modules[module];
    let all: Vec<usize> = (0..world.nodes.len()).collect();
    if all.is_empty() {
        return "there is no node".to_owned();
    }
    // Each need narrows the nodes down; whoever is left is spoken of as `them`.
    let mut left = all;
    let mut them = String::new();
    if row.pinned.is_some() {
        left.retain(|node| world.pin_allows(module, *node));
        them = " that it is pinned to".to_owned();
    }
    if let Some(on) = &row.module.on {
        let had = left.len();
        left.retain(|node| world.has_label(module, *node));
        if left.is_empty() {
            return match them.as_str() {
                "" => format!("`on = \"{on}\"`: no node has that label"),
                them => format!("`on = \"{on}\"`: none of the {}{them} has that label", nodes(had)),
            };
        }
        let _ = write!(them, " with {on}");
    }
    let open: Vec<_> = left.iter().copied().filter(|node| world.may_take(module, *node)).collect();
    if open.iter().all(|node| board.has(module, *node)) && open.len() < left.len() && open.is_empty() {
        return format!("of {}{them}, {}", nodes(left.len()), closed(board, &left));
    }
    let closed = if open.len() < left.len() {
        let others: Vec<_> = left.iter().copied().filter(|node| !open.contains(node)).collect();
        format!("; {}", closed(board, &others))
    } else {
        String::new()
    };
    left = open;
    left.retain(|node| !world.gave_up(module, *node) || board.has(module, *node));
    if left.is_empty() {
        return format!("it did not start on any node{them}{closed}");
    }
    let had = left.len();
    left.retain(|node| !board.has(module, *node));
    if left.is_empty() {
        return format!("each instance has a node of its own, and there {}{them}{closed}", are(had));
    }
    if had > left.len() {
        them = format!("{} that {} none yet", them, if left.len() == 1 { "has" } else { "have" });
    }
    if let Some(with) = &row.module.with {
        if row.with_nobody {
            return format!("`with = \"{with}\"`: there is no such module");
        }
        let had = left.len();
        left.retain(|node| row.with.is_none_or(|anchor| board.has(anchor, *node)));
        if left.is_empty() {
            return format!("`with = \"{with}\"`: {with} is on none of the {}{them}{closed}", nodes(had));
        }
        let _ = write!(them, " beside {with}");
    }
    let had = left.len();
    let apart = left.iter().find_map(|node| match board.unmet_company(module, *node) {
        Some(Unmet::Apart(other)) => Some(other),
        _ => None,
    });
    left.retain(|node| board.unmet_company(module, *node).is_none());
    if let (true, Some(other)) = (left.is_empty(), apart) {
        let other = &world.modules[other].module.name;
        return format!("`apart`: {other} is on each of the {}{them}{closed}", nodes(had));
    }
    if let Some(other) = apart {
        let _ = write!(them, " without {}", world.modules[other].module.name);
    }
    format!("{}{closed}", no_room(board, module, &left, &them))
}

fn are(count: usize) -> String {
    if count == 1 { "is only 1 node".to_owned() } else { format!("are only {}", nodes(count)) }
}

/// Why these nodes take nothing.
fn closed(board: &Board<'_>, closed: &[usize]) -> String {
    let count = |state| closed.iter().filter(|node| board.world.nodes[**node].node.state == state).count();
    let mut parts = Vec::new();
    for (state, one, many) in [
        (NodeState::Draining, "drains", "drain"),
        (NodeState::Unreached, "is not reached by most others", "are not reached by most others"),
        (NodeState::Cordoned, "is cordoned", "are cordoned"),
        (NodeState::Guest, "takes only what is pinned to it", "take only what is pinned to them"),
    ] {
        match count(state) {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {many}")),
        }
    }
    parts.join(", ")
}

/// What these nodes lack room for.
fn no_room(board: &Board<'_>, module: usize, among: &[usize], them: &str) -> String {
    let world = board.world;
    let needs = world.modules[module].needs;
    let left = |node: usize| board.ledger.left(world.host_of(node));
    let limited: Vec<(usize, Amount)> = among.iter().filter_map(|node| Some((*node, left(*node)?))).collect();
    let of = format!("of {}{them}", nodes(among.len()));
    let name = |node: usize| world.nodes[node].node.name.as_str();
    // The first by name of those that have the most of it.
    let freest = |amount: fn(&Amount) -> u64| {
        let mut freest = limited.first().copied()?;
        for one in &limited {
            if amount(&one.1) > amount(&freest.1) {
                freest = *one;
            }
        }
        Some(freest)
    };
    let which = |what: String, has: String, node: usize| match among.len() {
        1 => format!("needs {what}; the only node{them} has {has} left: {}", name(node)),
        _ => format!("needs {what}; the freest {of} has {has} left: {}", name(node)),
    };
    let by: [fn(&Amount) -> u64; 3] =
        [|amount| amount.cpu_milli, |amount| amount.memory_bytes, |amount| amount.gpu];
    for (index, amount) in by.into_iter().enumerate() {
        let Some((node, most)) = freest(amount).filter(|(_, most)| amount(most) < amount(&needs)) else {
            continue;
        };
        return match index {
            0 => which(cores(needs.cpu_milli), thousandths(most.cpu_milli), node),
            1 => which(memory(needs.memory_bytes), memory(most.memory_bytes), node),
            _ => which(gpus(needs.gpu), most.gpu.to_string(), node),
        };
    }
    let mut all = Vec::new();
    if needs.cpu_milli > 0 {
        all.push(cores(needs.cpu_milli));
    }
    if needs.memory_bytes > 0 {
        all.push(memory(needs.memory_bytes));
    }
    if needs.gpu > 0 {
        all.push(gpus(needs.gpu));
    }
    format!("needs {} on one node; none {of} has all of that left", all.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let texts = [
            (cores(1_000), "1 core"),
            (cores(4_000), "4 cores"),
            (cores(1_500), "1.5 cores"),
            (cores(250), "0.25 cores"),
            (memory(512 << 20), "512 MiB"),
            (memory(3 << 29), "1.5 GiB"),
            (memory(100), "100 bytes"),
            (round_trip(412), "412 µs"),
            (round_trip(20_000), "20 ms"),
            (round_trip(3_140), "3.14 ms"),
            (gpus(1), "1 GPU"),
        ];
        for (text, expected) in texts {
            assert_eq!(text, expected);
        }
    }
}
