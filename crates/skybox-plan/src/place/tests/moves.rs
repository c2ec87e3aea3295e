//! What moves and what stays: repair, drain, pins, nodes that gave up.

use super::*;

#[test]
fn modules_spread_and_stay() {
    let mut facts = nodes(3);
    facts.modules = vec![replicated("a", 1), replicated("b", 1), replicated("c", 2), replicated("d", 1)];
    facts.modules[3].replicas = Replicas::PerNode;
    let first = settle(&mut facts);
    assert_eq!(["a", "b", "c", "d"].map(|module| at(&first, module)), ["1", "2", "3 1", "2 3 1"]);
    facts.nodes.remove(0);
    let second = settle(&mut facts);
    assert_eq!(["a", "b", "c", "d"].map(|module| at(&second, module)), ["2", "2", "3 2", "2 3"]);
    assert_eq!(moves(&second), ["a 1>2 repair", "c 1>2 repair", "d 1>- repair"]);
    add_node(&mut facts, 1, "");
    let third = settle(&mut facts);
    assert_eq!(moves(&third), ["d ->1 new"], "a node that comes back takes nothing away");
}

#[test]
fn a_node_that_drains_keeps_what_nobody_else_takes() {
    let mut facts = cloud(&[(8, 16, ""), (2, 16, "")]);
    facts.modules = vec![cores("large", 1, 4), cores("small", 1, 1)];
    facts.pins.insert("small".into(), vec![name(1)]);
    settle(&mut facts);
    facts.pins.clear();
    set_state(&mut facts, 1, NodeState::Draining);
    let decision = settle(&mut facts);
    assert_eq!(moves(&decision), ["small 1>2 drain"]);
    assert_eq!(
        why(&decision),
        [
            "large 1: needs 4 cores; the only node has 1 left: node-2; 1 drains; it stays on node-1 while that drains"
        ]
    );
    facts.hosts[1].cpu_milli = 8_000;
    assert_eq!(moves(&settle(&mut facts)), ["large 1>2 drain"]);
}

#[test]
fn a_cordoned_node_keeps_and_gets_nothing() {
    let mut facts = nodes(2);
    facts.modules = vec![replicated("a", 1)];
    settle(&mut facts);
    set_state(&mut facts, 1, NodeState::Cordoned);
    facts.modules.extend([replicated("b", 1), replicated("c", 1)]);
    let decision = settle(&mut facts);
    assert_eq!(["a", "b", "c"].map(|module| at(&decision, module)), ["1", "2", "2"]);
}

#[test]
fn a_pin_holds_while_one_of_its_nodes_lives() {
    let mut facts = nodes(4);
    facts.modules = vec![replicated("m", 1)];
    facts.pins.insert("m".into(), vec![name(4)]);
    assert_eq!(at(&settle(&mut facts), "m"), "4");
    let lost = facts.nodes.pop().expect("four");
    assert_eq!(moves(&settle(&mut facts)), ["m 4>1 repair"]);
    facts.nodes.push(lost);
    assert_eq!(moves(&settle(&mut facts)), ["m 1>4 command"], "the pin is remembered");
    add_node(&mut facts, 9, "");
    set_state(&mut facts, 9, NodeState::Guest);
    facts.pins.insert("m".into(), vec![name(9)]);
    assert_eq!(at(&settle(&mut facts), "m"), "9", "a guest runs what is pinned to it");
    facts.pins.insert("m".into(), vec![name(1), name(2), name(3)]);
    assert_eq!(at(&settle(&mut facts), "m"), "1 2 3");
    facts.pins.clear();
    assert_eq!(moves(&settle(&mut facts)), ["m 2>- command", "m 3>- command"]);
}

#[test]
fn what_a_node_gave_up_is_tried_on_each_other_one_once() {
    let rows: [(&[u32], &str); 7] = [
        (&[], "1"),
        (&[1], "2"),
        (&[1, 2], "3"),
        (&[1, 2, 3], "3"),
        (&[1, 3], "2"),
        (&[1, 2, 3], "2"),
        (&[], "2"),
    ];
    let mut facts = nodes(3);
    facts.modules = vec![replicated("m", 1)];
    for (gave_up, place) in rows {
        facts.gave_up = gave_up.iter().map(|n| ("m".to_owned(), name(*n))).collect();
        assert_eq!(at(&settle(&mut facts), "m"), place, "{gave_up:?} gave up");
    }
    facts.modules = vec![replicated("m", 2)];
    let rows: [(&[u32], &str); 4] = [(&[], "2 1"), (&[1], "2 3"), (&[1, 3], "2 3"), (&[3], "2 1")];
    for (gave_up, place) in rows {
        facts.gave_up = gave_up.iter().map(|n| ("m".to_owned(), name(*n))).collect();
        assert_eq!(at(&settle(&mut facts), "m"), place, "{gave_up:?} gave up");
    }
}

#[test]
fn a_node_that_loses_a_label_or_room_gives_up_the_least_important() {
    let mut facts = cloud(&[(8, 16, "disk=fast"), (8, 16, "disk=fast")]);
    facts.modules = vec![
        Module { on: Some("disk=fast".into()), ..replicated("m", 1) },
        cores("large", 1, 6),
        Module { priority: 1, ..cores("urgent", 1, 2) },
    ];
    facts.pins.insert("large".into(), vec![name(1)]);
    facts.pins.insert("urgent".into(), vec![name(1)]);
    facts.pins.insert("m".into(), vec![name(1)]);
    settle(&mut facts);
    facts.pins.clear();
    facts.nodes[0].labels.clear();
    facts.hosts[0].cpu_milli = 7_000;
    assert_eq!(moves(&settle(&mut facts)), ["large 1>2 need", "m 1>2 need"]);
}

#[test]
fn who_loses_company_follows_it() {
    let mut facts = nodes(3);
    facts.modules =
        vec![replicated("cache", 1), Module { with: Some("cache".into()), ..replicated("web", 1) }];
    assert_eq!(at(&settle(&mut facts), "web"), "1");
    facts.pins.insert("cache".into(), vec![name(3)]);
    let decision = settle(&mut facts);
    assert_eq!(moves(&decision), ["cache 1>3 command", "web 1>3 need"]);
}
