//! Shards and their owners.

use skybox_core::SHARD_COUNT;

use super::*;

fn keyed() -> Module {
    Module::new("limits", ModuleKind::Keyed, Replicas::fixed(1))
}

fn owners(facts: &Facts) -> Vec<Option<NodeName>> {
    let placed = &facts.before.modules["limits"];
    (0..usize::from(SHARD_COUNT)).map(|shard| placed.owner(shard).cloned()).collect()
}

fn share(facts: &Facts, n: u32) -> usize {
    owners(facts).iter().filter(|owner| **owner == Some(name(n))).count()
}

#[test]
fn shards_move_only_when_their_owner_is_gone() {
    let mut facts = nodes(3);
    facts.modules = vec![keyed()];
    settle(&mut facts);
    for n in 1..=3 {
        assert!((280..400).contains(&share(&facts, n)), "node-{n} owns {} of 1,024", share(&facts, n));
    }
    let before = owners(&facts);
    let lost = facts.nodes.remove(1);
    let decision = settle(&mut facts);
    assert!(decision.moves.iter().all(|step| step.reason == Reason::Repair && step.from == Some(name(2))));
    for (before, after) in before.iter().zip(owners(&facts)) {
        if *before == Some(name(2)) {
            assert!(after.is_some() && after != Some(name(2)));
        } else {
            assert_eq!(*before, after);
        }
    }
    let before = owners(&facts);
    facts.nodes.push(lost);
    settle(&mut facts);
    assert_eq!(owners(&facts), before, "a node that comes back takes no shard away");
    facts.gave_up.insert(("limits".into(), name(1)));
    settle(&mut facts);
    assert_eq!(owners(&facts), before, "keys are given up by their nodes alone");
    facts.nodes.clear();
    let decision = settle(&mut facts);
    assert_eq!(why(&decision), ["limits 1024: there is no node"]);
}

#[test]
fn a_node_that_drains_gives_its_shards_away() {
    let mut facts = nodes(3);
    facts.modules = vec![keyed()];
    settle(&mut facts);
    set_state(&mut facts, 3, NodeState::Draining);
    let had = share(&facts, 3);
    let decision = settle(&mut facts);
    assert_eq!(share(&facts, 3), 0);
    let moved: u16 = decision.moves.iter().map(|step| step.shards).sum();
    assert_eq!(usize::from(moved), had);
    assert!(decision.moves.iter().all(|step| step.reason == Reason::Drain), "{:?}", moves(&decision));
}

#[test]
fn relocatable_shards_go_to_nodes_that_join() {
    let mut facts = nodes(3);
    let joining = facts.nodes.pop().expect("three");
    facts.modules = vec![Module { relocatable: true, ..keyed() }];
    settle(&mut facts);
    facts.nodes.push(joining);
    settle(&mut facts);
    assert_eq!(share(&facts, 3), 0, "not before the others have had their stay");
    facts.now_ms += 5 * MINUTE_MS;
    facts.before = place(&facts).placement;
    assert!((280..400).contains(&share(&facts, 3)), "{}", share(&facts, 3));
    facts.now_ms += 5 * MINUTE_MS;
    assert_eq!(moves(&place(&facts)), [""; 0]);
}

#[test]
fn owners_meet_the_needs_and_reserve_them_once() {
    let mut facts = cloud(&[(1, 8, ""), (4, 8, ""), (4, 8, "")]);
    facts.modules = vec![Module { cpu_milli: 2_000, ..keyed() }, cores("m", 2, 2)];
    settle(&mut facts);
    assert_eq!(share(&facts, 1), 0);
    assert_eq!(at(&place(&facts), "m"), "2 3");
    facts.modules.push(cores("one more", 1, 1));
    assert_eq!(at(&place(&facts), "one more"), "1");
}

#[test]
fn a_pin_reserves_no_more_than_there_is() {
    let mut facts = cloud(&[(2, 8, ""), (2, 8, ""), (8, 8, "")]);
    // Two nodes of one host, on which there is room for one.
    facts.nodes[1].host = "host-1".into();
    facts.modules = vec![Module { cpu_milli: 2_000, ..keyed() }];
    facts.pins.insert("limits".into(), vec![name(1), name(2)]);
    settle(&mut facts);
    let shares = [share(&facts, 1), share(&facts, 2)];
    assert!(shares == [1024, 0] || shares == [0, 1024], "{shares:?}");
    assert_eq!(moves(&place(&facts)), [""; 0], "and there they stay");
}

#[test]
fn a_cordoned_node_of_a_pin_keeps_what_it_has() {
    let mut facts = nodes(3);
    facts.modules = vec![keyed()];
    facts.pins.insert("limits".into(), vec![name(1), name(2)]);
    settle(&mut facts);
    let before = owners(&facts);
    assert!(share(&facts, 1) > 400 && share(&facts, 2) > 400);
    set_state(&mut facts, 2, NodeState::Cordoned);
    settle(&mut facts);
    assert_eq!(owners(&facts), before);
}

#[test]
fn many_nodes_share_the_shards() {
    let mut facts = nodes(300);
    facts.modules = vec![keyed()];
    settle(&mut facts);
    let most = (1..=300).map(|n| share(&facts, n)).max().expect("some");
    assert!(most <= 16, "one of 300 owns {most} of 1,024");
    facts.nodes.remove(7);
    let decision = settle(&mut facts);
    assert!(decision.moves.iter().all(|step| step.from == Some(name(8))));
}

#[test]
fn a_pin_has_its_nodes_share_the_shards() {
    let mut facts = nodes(3);
    facts.modules = vec![keyed()];
    settle(&mut facts);
    facts.pins.insert("limits".into(), vec![name(1), name(3)]);
    let decision = settle(&mut facts);
    assert_eq!((share(&facts, 2), share(&facts, 1) + share(&facts, 3)), (0, 1_024));
    assert!(decision.moves.iter().all(|step| step.reason == Reason::Command), "{:?}", moves(&decision));
}
