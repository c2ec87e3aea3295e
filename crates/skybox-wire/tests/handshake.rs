//! Two sides that meet: what they agree on, and why they do not.

use bytes::BytesMut;
use skybox_core::{Incarnation, NodeName};
use skybox_wire::frame::ModuleNumber;
use skybox_wire::handshake::{Agreed, Handshake, HandshakeError, Hello, ModuleEntry, ModuleMatch, Role};

fn module(name: &str, digest: u64) -> ModuleEntry {
    ModuleEntry { name: name.into(), digest }
}

fn hello(node: &str, incarnation: u64) -> Hello {
    Hello {
        protocols: (1, 1),
        role: Role::Node,
        incarnation: Incarnation(incarnation),
        clock_us: 5,
        program: "shop".into(),
        build: "b1".into(),
        node: NodeName::new(node),
        modules: vec![module("cart", 10), module("thumbnail", 20)],
    }
}

type Outcome = Result<Agreed, HandshakeError>;

/// Lets both sides talk until neither has anything to say.
fn meet(left: (Hello, Option<(&str, u64)>), right: (Hello, Option<(&str, u64)>)) -> (Outcome, Outcome) {
    let (mut to_right, mut to_left) = (BytesMut::new(), BytesMut::new());
    let start = |(hello, expected): (Hello, Option<(&str, u64)>), out: &mut BytesMut| {
        let side = Handshake::new(hello, out).unwrap();
        match expected {
            Some((node, incarnation)) => side.expecting(NodeName::new(node), Incarnation(incarnation)),
            None => side,
        }
    };
    let (mut left, mut right) = (start(left, &mut to_right), start(right, &mut to_left));
    let (mut at_left, mut at_right) = (None, None);
    for _ in 0..4 {
        if at_left.is_none() {
            at_left = left.feed(&mut to_left, &mut to_right).transpose();
        }
        if at_right.is_none() {
            at_right = right.feed(&mut to_right, &mut to_left).transpose();
        }
    }
    (at_left.expect("an outcome"), at_right.expect("an outcome"))
}

#[test]
fn both_sides_agree_and_know_each_others_module_numbers() {
    let mut theirs = hello("node-2", 2);
    theirs.build = "b2".into();
    theirs.protocols = (1, 9);
    theirs.modules = vec![module("stock", 1), module("thumbnail", 20), module("cart", 11)];
    let (left, right) = meet((hello("node-1", 1), None), (theirs.clone(), Some(("node-1", 1))));
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!((left.protocol, right.protocol), (1, 1));
    assert_eq!((&left.peer, &right.peer), (&theirs, &hello("node-1", 1)));
    let number = ModuleNumber;
    assert_eq!(left.to_peer(number(0)), ModuleMatch::OtherInterface);
    assert_eq!(left.to_peer(number(1)), ModuleMatch::Same(number(1)));
    assert_eq!(right.to_peer(number(0)), ModuleMatch::Absent);
    assert_eq!(right.to_peer(number(7)), ModuleMatch::Absent);
    assert_eq!((left.from_peer(number(0)), left.from_peer(number(2))), (None, Some(number(0))));
    assert_eq!(left.from_peer(number(9)), None);
    assert_eq!(left.peer_module(number(0)), Some("stock"));
}
