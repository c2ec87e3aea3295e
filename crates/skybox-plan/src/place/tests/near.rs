//! Moves that have to pay: near and traffic.

use super::super::Traffic;
use super::*;

fn near_db(us: [u64; 3]) -> Facts {
    let mut facts = nodes(3);
    facts.modules = vec![Module { near: Some("db".into()), ..replicated("m", 1) }];
    measure(&mut facts, us);
    facts
}

fn measure(facts: &mut Facts, us: [u64; 3]) {
    for (n, us) in (1..).zip(us) {
        facts.to_resources.insert((format!("host-{n}"), "db".into()), us);
    }
}

/// The moves of so many minutes, decided on every five seconds.
fn wait(facts: &mut Facts, minutes: u64) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..minutes * 12 {
        facts.now_ms += 5_000;
        let decision = place(facts);
        all.extend(moves(&decision));
        facts.before = decision.placement;
    }
    all
}

#[test]
fn near_moves_when_that_pays_and_only_then() {
    let mut facts = near_db([20_000, 300, 20_000]);
    assert_eq!(at(&settle(&mut facts), "m"), "2");
    measure(&mut facts, [300, 20_000, 20_000]);
    assert_eq!(wait(&mut facts, 4), [""; 0], "it stays five minutes");
    assert_eq!(wait(&mut facts, 2), ["m 2>1 near"]);
    measure(&mut facts, [300, 200, 250]);
    assert_eq!(wait(&mut facts, 60), [""; 0], "a third, but no 200 µs");
    measure(&mut facts, [20_000, 15_000, 20_000]);
    assert_eq!(wait(&mut facts, 60), [""; 0], "5 ms, but no third");
    facts.to_resources.remove(&("host-1".into(), "db".into()));
    measure(&mut facts, [30_000, 300, 300]);
    facts.to_resources.remove(&("host-1".into(), "db".into()));
    assert_eq!(wait(&mut facts, 60), [""; 0], "what is not known is no reason");
    measure(&mut facts, [30_000, 300, 300]);
    facts.frozen = true;
    assert_eq!(wait(&mut facts, 60), [""; 0]);
    facts.frozen = false;
    facts.modules[0].on = Some("no=label".into());
    for node in &mut facts.nodes[..1] {
        node.labels = labels("no=label");
    }
    assert_eq!(wait(&mut facts, 60), [""; 0], "no hard need is broken for it");
}

#[test]
fn a_figure_that_jumps_moves_nothing() {
    let mut facts = near_db([300, 20_000, 20_000]);
    settle(&mut facts);
    wait(&mut facts, 10);
    for round in 0..100 {
        measure(&mut facts, if round % 2 == 0 { [30_000, 300, 300] } else { [300, 20_000, 20_000] });
        facts.now_ms += 9_000;
        let decision = place(&facts);
        assert_eq!(moves(&decision), [""; 0]);
        facts.before = decision.placement;
    }
}

#[test]
fn near_a_module_is_near_its_closest_instance() {
    let mut facts = nodes(4);
    for (one, other, us) in
        [(1, 2, 5_000), (1, 3, 400), (1, 4, 5_000), (2, 3, 5_000), (2, 4, 5_000), (3, 4, 5_000)]
    {
        facts.between_hosts.insert((format!("host-{one}"), format!("host-{other}")), us);
    }
    facts.modules = vec![
        Module { near: Some("z".into()), apart: Some("z".into()), ..replicated("m", 1) },
        replicated("z", 1),
    ];
    facts.pins.insert("z".into(), vec![name(3)]);
    assert_eq!(at(&settle(&mut facts), "m"), "1");
}

fn callers(auto_place: bool) -> Facts {
    let mut facts = nodes(3);
    facts.modules = vec![replicated("a", 1), replicated("b", 1), replicated("c", 1)];
    settle(&mut facts);
    for module in &mut facts.modules {
        module.auto_place = auto_place && module.name == "b";
    }
    let calls = |from: &str, to: &str, calls_per_s| Traffic { from: from.into(), to: to.into(), calls_per_s };
    facts.traffic = vec![calls("a", "b", 500), calls("b", "c", 800)];
    facts
}

#[test]
fn traffic_proposes_and_moves_only_what_says_so() {
    let mut facts = callers(false);
    assert_eq!(wait(&mut facts, 10), [""; 0]);
    let proposals = place(&facts).proposals;
    let told: Vec<_> = proposals
        .iter()
        .map(|one| format!("{} {}>{} {}", one.module, one.from, one.to, one.saves_calls_per_s))
        .collect();
    assert_eq!(told, ["b node-2>node-3 800", "c node-3>node-2 800", "a node-1>node-2 500"]);
    let mut facts = callers(true);
    assert_eq!(wait(&mut facts, 10), ["b 2>3 traffic"]);
    facts.traffic[0].calls_per_s = 1_100;
    assert_eq!(wait(&mut facts, 60), [""; 0], "300 more of 800 do not pay");
    facts.traffic[0].calls_per_s = 1_300;
    assert_eq!(wait(&mut facts, 60), ["b 3>1 traffic"]);
}

#[test]
fn new_instances_go_to_their_callers() {
    let mut facts = callers(false);
    facts.before = Default::default();
    facts.pins.insert("c".into(), vec![name(3)]);
    let decision = settle(&mut facts);
    assert_eq!(["a", "b", "c"].map(|module| at(&decision, module)), ["3", "3", "3"]);
}
