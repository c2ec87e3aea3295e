//! Ranges follow the measured load, and stop before they swing.

use super::*;

fn range() -> Facts {
    let mut facts = nodes(4);
    facts.modules = vec![Module { replicas: Replicas::Range { min: 1, max: 4 }, ..replicated("m", 1) }];
    settle(&mut facts);
    facts
}

/// After a while with so much to do.
fn after(facts: &mut Facts, minutes: u64, load_milli: Option<u64>) -> (usize, Vec<String>) {
    facts.modules[0].load_milli = load_milli;
    let mut all = Vec::new();
    for _ in 0..minutes * 6 {
        facts.now_ms += 10_000;
        let decision = place(facts);
        all.extend(moves(&decision));
        facts.before = decision.placement;
    }
    (facts.before.modules["m"].seats.len(), all)
}

#[test]
fn a_range_follows_its_load() {
    let mut facts = range();
    let none = Vec::<String>::new();
    assert_eq!(after(&mut facts, 10, None), (1, none.clone()), "unknown is not idle, nor busy");
    assert_eq!(after(&mut facts, 10, Some(800)), (1, none.clone()), "at the mark");
    let (count, grown) = after(&mut facts, 1, Some(1_500));
    assert_eq!((count, grown.len()), (3, 2), "{grown:?}");
    assert!(grown.iter().all(|step| step.ends_with("scale")), "{grown:?}");
    assert_eq!(after(&mut facts, 1, Some(9_000)).0, 4, "as far as it goes");
    assert_eq!(
        after(&mut facts, 10, Some(1_500)),
        (4, none.clone()),
        "three would be half busy: not low enough"
    );
    assert_eq!(after(&mut facts, 4, Some(1_000)), (4, none.clone()), "not low for long enough");
    assert_eq!(after(&mut facts, 60, None), (4, none), "what is not measured keeps what it has");
    let (count, shrunk) = after(&mut facts, 6, Some(1_000));
    assert_eq!((count, shrunk.len()), (2, 2), "{shrunk:?}");
    assert_eq!(after(&mut facts, 60, Some(0)).0, 1);
}

#[test]
fn what_some_nodes_say_is_the_least_that_there_is_to_do() {
    let mut facts = range();
    facts.modules[0].load_is_partial = true;
    assert_eq!(after(&mut facts, 1, Some(1_500)).0, 3, "enough to grow");
    assert_eq!(after(&mut facts, 60, Some(100)).0, 3, "and no reason to shrink");
    facts.modules[0].load_is_partial = false;
    assert_eq!(after(&mut facts, 4, Some(100)).0, 3);
    // One look without one of the nodes, and then more of them.
    let without = |facts: &mut Facts, looks: u64| {
        facts.modules[0].load_is_partial = true;
        (0..looks).for_each(|_| {
            facts.now_ms += 5_000;
            facts.before = place(facts).placement;
        });
        facts.modules[0].load_is_partial = false;
    };
    without(&mut facts, 1);
    assert_eq!(after(&mut facts, 2, Some(100)).0, 1, "the while goes on where it is not known to be over");
    assert_eq!(after(&mut facts, 1, Some(1_500)).0, 3);
    assert_eq!(after(&mut facts, 4, Some(100)).0, 3);
    without(&mut facts, 12);
    assert_eq!(after(&mut facts, 4, Some(100)).0, 3, "and begins anew after more than a moment");
    assert_eq!(after(&mut facts, 2, Some(100)).0, 1);
}

#[test]
fn a_lost_replica_of_a_range_is_repaired_whatever_the_budget() {
    let mut facts = range();
    assert_eq!(after(&mut facts, 1, Some(1_500)).0, 3);
    facts.rules.moves_max = 0;
    facts.nodes.remove(0);
    let decision = settle(&mut facts);
    assert_eq!(at(&decision, "m").split(' ').count(), 3);
    assert_eq!(moves(&decision), ["m 1>4 repair"]);
}

#[test]
fn growing_costs_budget() {
    let mut facts = range();
    facts.rules.moves_max = 1;
    facts.modules[0].load_milli = Some(4_000);
    for (after_ms, count) in [(0, 1), (9_999, 1), (1, 2), (30_000, 2), (30_000, 3), (59_999, 3), (1, 4)] {
        facts.now_ms += after_ms;
        facts.before = place(&facts).placement;
        assert_eq!(facts.before.modules["m"].seats.len(), count);
    }
    let mut frozen = range();
    frozen.frozen = true;
    assert_eq!(after(&mut frozen, 10, Some(4_000)).0, 1);
}
