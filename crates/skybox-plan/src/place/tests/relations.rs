//! Each relation of the annotation table, over unequal hosts.

use super::*;

/// Hosts of 2, 4, 8 and 16 cores in two zones; the largest is the only one of its kind.
fn unequal() -> Facts {
    let mut facts = cloud(&[
        (2, 4, "zone=a arch=amd64"),
        (4, 64, "zone=a arch=amd64"),
        (8, 16, "zone=b arch=amd64"),
        (16, 8, "zone=b arch=arm64"),
    ]);
    facts.hosts[2].gpu = 1;
    facts
}

#[test]
fn a_table_of_placements() {
    let plain = || replicated("m", 1);
    let other = |n| Module { priority: 1, ..replicated("other", n) };
    let rows: Vec<(&str, Vec<Module>, &str)> = vec![
        ("cpu goes where it fits", vec![cores("m", 1, 12)], "4"),
        ("cpu leaves the least full host", vec![cores("m", 2, 4)], "4 3"),
        ("memory likewise", vec![Module { memory_bytes: 20 << 30, ..plain() }], "2"),
        ("both", vec![Module { memory_bytes: 10 << 30, cpu_milli: 6_000, ..plain() }], "3"),
        ("gpu", vec![Module { gpu: 1, ..plain() }], "3"),
        ("on", vec![Module { on: Some("arch=arm64".into()), ..plain() }], "4"),
        ("spread", vec![Module { spread: Some("zone".into()), ..replicated("m", 2) }], "1 3"),
        (
            "spread of more than there are values",
            vec![Module { spread: Some("zone".into()), ..replicated("m", 3) }],
            "1 3 2",
        ),
        ("with", vec![cores("other", 1, 12), Module { with: Some("other".into()), ..plain() }], "4"),
        (
            "with one that finds room for both",
            vec![other(1), Module { with: Some("other".into()), ..cores("m", 1, 16) }],
            "4",
        ),
        ("apart", vec![other(3), Module { apart: Some("other".into()), ..plain() }], "4"),
        ("apart, said by the other", vec![Module { apart: Some("m".into()), ..other(3) }, plain()], "4"),
        (
            "per node, with a label",
            vec![Module { replicas: Replicas::PerNode, on: Some("zone=b".into()), ..plain() }],
            "3 4",
        ),
        ("room on one host is shared", vec![cores("other", 1, 16), cores("m", 1, 8)], "3"),
    ];
    for (what, modules, expected) in rows {
        for reversed in [false, true] {
            let mut facts = unequal();
            facts.modules = modules.clone();
            if reversed {
                facts.modules.reverse();
                facts.nodes.reverse();
            }
            let decision = settle(&mut facts);
            assert_eq!(at(&decision, "m"), expected, "{what}: {:?}", why(&decision));
            assert_eq!(decision.unplaced, [], "{what}");
        }
    }
}

#[test]
fn nodes_of_one_host_share_its_capacity() {
    let mut facts = cloud(&[(4, 8, ""), (2, 8, "")]);
    facts.nodes[1].host = "host-1".into();
    facts.modules = vec![cores("m", 2, 3)];
    let decision = settle(&mut facts);
    assert_eq!(at(&decision, "m"), "1");
    assert_eq!(why(&decision), ["m 1: needs 3 cores; the only node that has none yet has 1 left: node-2"]);
}

#[test]
fn an_unlisted_host_has_no_limits() {
    let mut facts = cloud(&[(1, 1, "")]);
    add_node(&mut facts, 2, "");
    facts.modules = vec![cores("m", 1, 500)];
    assert_eq!(at(&settle(&mut facts), "m"), "2");
}

#[test]
fn company_in_a_circle_follows_the_first() {
    let mut facts = nodes(3);
    facts.modules = vec![
        Module { with: Some("b".into()), ..replicated("a", 2) },
        Module { with: Some("c".into()), ..replicated("b", 2) },
        Module { with: Some("a".into()), ..replicated("c", 2) },
    ];
    let decision = settle(&mut facts);
    let places = ["a", "b", "c"].map(|module| {
        let mut nodes: Vec<_> = decision.placement.modules[module].nodes().cloned().collect();
        nodes.sort();
        nodes
    });
    assert_eq!((&places[0], &places[0]), (&places[1], &places[2]));
    assert_eq!(decision.unplaced, []);
}

#[test]
fn the_important_go_first_and_take_the_place_of_others() {
    let mut facts = cloud(&[(4, 8, "")]);
    facts.modules = vec![cores("m", 1, 3)];
    assert_eq!(at(&settle(&mut facts), "m"), "1");
    facts.modules.push(Module { priority: 1, ..cores("urgent", 1, 2) });
    let decision = settle(&mut facts);
    assert_eq!((at(&decision, "urgent").as_str(), at(&decision, "m").as_str()), ("1", ""));
    assert_eq!(why(&decision), ["m 1: needs 3 cores; the only node has 2 left: node-1"]);
    facts.modules[1].priority = 0;
    facts.modules.push(cores("equal", 1, 1));
    let decision = settle(&mut facts);
    assert_eq!(moves(&decision), ["equal ->1 new"], "nobody goes for an equal");
}

#[test]
fn others_make_room_for_what_fits_nowhere() {
    // Large clouds have nothing better looked for.
    for search_steps in [0, 5_000] {
        let mut facts = cloud(&[(4, 8, ""), (4, 8, ""), (2, 8, "")]);
        facts.rules.search_steps = search_steps;
        facts.modules = vec![cores("a", 1, 2), cores("b", 1, 2)];
        settle(&mut facts);
        facts.modules.push(cores("large", 1, 4));
        let decision = settle(&mut facts);
        assert_eq!(decision.unplaced, []);
        assert_eq!(decision.moves.len(), 2, "{:?}", moves(&decision));
        assert!(decision.moves.iter().any(|step| step.reason == Reason::Need), "{:?}", moves(&decision));
    }
}

#[test]
fn a_zone_that_comes_back_gets_its_share() {
    let mut facts = cloud(&[(8, 8, "zone=a"), (8, 8, "zone=a"), (8, 8, "zone=b")]);
    facts.modules = vec![Module { spread: Some("zone".into()), ..replicated("m", 2) }];
    assert_eq!(at(&settle(&mut facts), "m"), "1 3");
    let lost = facts.nodes.pop().expect("three");
    assert_eq!(moves(&settle(&mut facts)), ["m 3>2 repair"]);
    facts.nodes.push(lost);
    facts.frozen = true;
    assert_eq!(moves(&settle(&mut facts)), [""; 0], "not while all is frozen");
    facts.frozen = false;
    facts.now_ms += 1;
    assert_eq!(moves(&settle(&mut facts)), ["m 2>3 need"]);
}
