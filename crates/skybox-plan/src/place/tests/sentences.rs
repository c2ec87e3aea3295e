//! What is told of needs that cannot be met.

use super::super::{Explanation, explain};
use super::*;

fn told(facts: &mut Facts) -> String {
    let decision = settle(facts);
    assert_eq!(decision.unplaced.len(), 1, "{:?}", decision.unplaced);
    let unplaced = &decision.unplaced[0];
    assert_eq!(unplaced.module, "m");
    unplaced.why.clone()
}

#[test]
fn the_unmet_need_is_named() {
    let m = || replicated("m", 1);
    let rows: Vec<(Module, &str)> = vec![
        (cores("m", 1, 40), "needs 40 cores; the freest of 3 nodes has 4 left: node-2"),
        (Module { cpu_milli: 4_500, ..m() }, "needs 4.5 cores; the freest of 3 nodes has 4 left: node-2"),
        (
            Module { memory_bytes: 9 << 30, ..m() },
            "needs 9 GiB; the freest of 3 nodes has 8 GiB left: node-3",
        ),
        (Module { gpu: 1, ..m() }, "needs 1 GPU; the freest of 3 nodes has 0 left: node-1"),
        (
            Module { cpu_milli: 3_000, memory_bytes: 5 << 30, ..m() },
            "needs 3 cores and 5 GiB on one node; none of 3 nodes has all of that left",
        ),
        (Module { on: Some("arch=riscv".into()), ..m() }, "`on = \"arch=riscv\"`: no node has that label"),
        (
            Module { on: Some("arch=arm64".into()), ..cores("m", 1, 2) },
            "needs 2 cores; the only node with arch=arm64 has 1 left: node-3",
        ),
        (Module { with: Some("nobody".into()), ..m() }, "`with = \"nobody\"`: there is no such module"),
        (
            Module { with: Some("other".into()), on: Some("arch=arm64".into()), ..m() },
            "`with = \"other\"`: other is on none of the 1 node with arch=arm64",
        ),
        (Module { apart: Some("everywhere".into()), ..m() }, "`apart`: everywhere is on each of the 3 nodes"),
        (replicated("m", 5), "each instance has a node of its own, and there are only 3 nodes"),
    ];
    for (module, expected) in rows {
        let mut facts = cloud(&[(2, 4, ""), (4, 4, ""), (1, 8, "arch=arm64")]);
        let other = Module { on: Some("zone=none".into()), priority: 1, ..replicated("other", 0) };
        facts.modules =
            vec![module, other, Module { replicas: Replicas::PerNode, ..replicated("everywhere", 0) }];
        assert_eq!(told(&mut facts), expected);
    }
}

#[test]
fn nodes_that_take_nothing_are_told() {
    let mut facts = nodes(3);
    set_state(&mut facts, 1, NodeState::Cordoned);
    set_state(&mut facts, 2, NodeState::Guest);
    facts.modules = vec![replicated("m", 2)];
    assert_eq!(
        told(&mut facts),
        "each instance has a node of its own, and there is only 1 node; 1 is cordoned, 1 takes only what is pinned to it"
    );
    set_state(&mut facts, 3, NodeState::Cordoned);
    facts.before = Default::default();
    assert_eq!(told(&mut facts), "of 3 nodes, 2 are cordoned, 1 takes only what is pinned to it");
    facts.nodes.clear();
    assert_eq!(told(&mut facts), "there is no node");
}

#[test]
fn what_did_not_start_anywhere_is_told() {
    let mut facts = nodes(2);
    facts.modules = vec![replicated("m", 1)];
    facts.gave_up = [1, 2].map(|n| ("m".to_owned(), name(n))).into();
    assert_eq!(told(&mut facts), "it did not start on any node");
}

fn others(explanation: &Explanation) -> Vec<String> {
    explanation.others.iter().map(|other| format!("{}: {}", other.node, other.why)).collect()
}

#[test]
fn a_place_is_explained_with_what_others_would_cost() {
    let mut facts = cloud(&[(8, 16, ""), (8, 16, ""), (1, 16, ""), (8, 16, "")]);
    for (n, us) in [(1, 20_000), (2, 400), (3, 300)] {
        facts.to_resources.insert((format!("host-{n}"), "db".into()), us);
    }
    facts.modules = vec![Module { near: Some("db".into()), ..cores("m", 1, 2) }];
    settle(&mut facts);
    set_state(&mut facts, 4, NodeState::Cordoned);
    let explanation = explain(&facts, "m").expect("there is one");
    let here: Vec<_> =
        explanation.instances.iter().map(|here| format!("{}: {}", here.seat.node, here.why)).collect();
    assert_eq!(here, ["node-2: it was started there; 400 µs to db; 25 % of its host reserved with it"]);
    assert_eq!(
        others(&explanation),
        [
            "node-1: it would do; 20 ms to db; 25 % of its host reserved with it",
            "node-3: needs 2 cores; it has 1 left",
            "node-4: it is cordoned",
        ]
    );
    assert_eq!(explain(&facts, "nobody"), None);
}
