//! Two sides that meet: what they agree on, and why they do not.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use skybox_core::{Incarnation, NodeName};
use skybox_wire::FieldError;
use skybox_wire::frame::ModuleNumber;
use skybox_wire::handshake::{
    Agreed, HELLO_BYTES_MAX, Handshake, HandshakeError, Hello, MAGIC, ModuleEntry, ModuleMatch, RefusalCode,
    Role,
};

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

/// Checks what the left side says, and which code the right side is told, if it did not find out by itself.
fn check_refused(
    left: (Hello, Option<(&str, u64)>),
    right: (Hello, Option<(&str, u64)>),
    text: &str,
    code: Option<RefusalCode>,
) {
    let (at_left, at_right) = meet(left, right);
    let error = at_left.expect_err("an error at the left side");
    assert_eq!(error.to_string(), text);
    let at_right = at_right.expect_err("an error at the right side");
    match code {
        Some(code) => assert_eq!(at_right, HandshakeError::Refused { code, why: text.to_owned() }),
        None => assert!(!matches!(at_right, HandshakeError::Refused { .. }), "{at_right}"),
    }
}

#[test]
fn who_does_not_belong_together_is_told_why_and_what_to_do() {
    let one = || (hello("node-1", 1), None);
    let changed = |change: fn(&mut Hello)| {
        let mut hello = hello("node-2", 2);
        change(&mut hello);
        (hello, None)
    };
    check_refused(
        one(),
        changed(|hello| hello.program = "blog".into()),
        "the peer runs program `blog` and this node `shop`: check the address, or give each program its own store",
        None,
    );
    check_refused(
        one(),
        changed(|hello| hello.protocols = (2, 3)),
        "the peer speaks protocol versions 2 to 3, this node 1 to 1: deploy a version in between first",
        None,
    );
    check_refused(one(), one(), "node node-1 is connected to itself: check the addresses of its peers", None);
    check_refused(
        one(),
        changed(|hello| hello.node = NodeName::new("node-1")),
        "the peer is also named node-1: give each node its own name, or end the other process if it is an earlier \
         life of this node",
        None,
    );
    check_refused(
        (hello("node-1", 1), Some(("node-2", 0xa))),
        (hello("node-2", 0xb), Some(("node-1", 1))),
        "node-2 (incarnation b) answers where node-2 (incarnation a) was expected: that node has moved or \
         restarted; look its address up again",
        Some(RefusalCode::NOT_EXPECTED),
    );
}

#[test]
fn an_operator_may_be_named_like_a_node() {
    let mut operator = hello("node-1", 9);
    operator.role = Role::Operator;
    let (left, right) = meet((hello("node-1", 1), None), (operator, None));
    assert_eq!(left.unwrap().peer.role, Role::Operator);
    assert_eq!(right.unwrap().peer.role, Role::Node);
}

#[test]
fn a_connection_may_judge_the_peer_before_it_is_welcomed() {
    let (mut to_peer, mut from_peer) = (BytesMut::new(), BytesMut::new());
    let mut side = Handshake::new(hello("node-1", 1), &mut to_peer).unwrap();
    let mut peer = Handshake::new(hello("node-2", 2), &mut from_peer).unwrap();
    let denied = side.feed_judged(&mut from_peer, &mut to_peer, |peer| {
        Err(format!("the certificate does not name {}", peer.node))
    });
    let why = "the certificate does not name node-2".to_owned();
    assert_eq!(denied, Err(HandshakeError::Denied { why }));
    assert_eq!(side.feed(&mut from_peer, &mut to_peer), Err(HandshakeError::Over));
    let told = peer.feed(&mut to_peer, &mut from_peer).unwrap_err();
    assert_eq!(
        told.to_string(),
        "the peer refuses this node (denied): this node refuses the peer: the certificate does not name node-2"
    );
}

/// What a fresh handshake says to these bytes, and what it sends back besides its hello.
fn answer(bytes: &[u8]) -> (Result<Option<Agreed>, HandshakeError>, BytesMut) {
    let (mut hello_out, mut out) = (BytesMut::new(), BytesMut::new());
    let mut side = Handshake::new(hello("node-1", 1), &mut hello_out).unwrap();
    (side.feed(&mut BytesMut::from(bytes), &mut out), out)
}

#[test]
fn other_protocols_are_recognised_within_eight_bytes_and_not_answered() {
    let http: [&[u8]; 4] = [b"GET / HTTP/1.1", b"POST", b"PRI * HTTP/2.0", b"HTTP/1.1 400 Bad Request"];
    let tls: [&[u8]; 3] = [&[0x16, 3, 1, 2, 0, 1], &[0x16, 3], &[0x15, 3, 3, 0, 2, 2, 70]];
    for bytes in http {
        assert_eq!(answer(bytes), (Err(HandshakeError::Http), BytesMut::new()), "{bytes:?}");
    }
    for bytes in tls {
        assert_eq!(answer(bytes), (Err(HandshakeError::Tls), BytesMut::new()), "{bytes:?}");
    }
    let (error, out) = answer(b"SKYBOX\0\x02");
    assert_eq!(error, Err(HandshakeError::NotSkybox { first: "SKYBOX\\x00\\x02".into() }));
    assert!(out.is_empty());
    for waits in [&b""[..], b"S", b"SKYBOX", b"GE", &[0x16], b"zzzzzzz"] {
        assert_eq!(answer(waits), (Ok(None), BytesMut::new()), "{waits:?}");
    }
    let (error, _) = answer(b"zzzzzzzz");
    assert!(matches!(error, Err(HandshakeError::NotSkybox { .. })));
}

fn with_hello(body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::from(&MAGIC[..]);
    bytes.put_u32_le(body.len() as u32);
    bytes.put_slice(body);
    bytes
}

/// The body of a hello, without magic and length.
fn body_of(hello: Hello) -> Vec<u8> {
    let mut out = BytesMut::new();
    Handshake::new(hello, &mut out).unwrap();
    out[12..].to_vec()
}

#[test]
fn a_malformed_hello_is_refused_and_the_peer_is_told() {
    let mut too_long = BytesMut::from(&MAGIC[..]);
    too_long.put_u32_le(HELLO_BYTES_MAX as u32 + 1);
    assert_eq!(answer(&too_long).0, Err(HandshakeError::TooLong { len: HELLO_BYTES_MAX as u32 + 1 }));

    let good = body_of(hello("node-2", 2));
    let malformed = |body: &[u8], source| {
        let (error, out) = answer(&with_hello(body));
        assert_eq!(error, Err(HandshakeError::Malformed { source }));
        assert_eq!(out[4..7], [2, 1, 0], "a refusal of code 1");
    };
    malformed(&[], FieldError::Truncated { field: "lowest protocol" });
    malformed(&good[..good.len() - 1], FieldError::Truncated { field: "module digest" });
    let mut role = good.clone();
    role[4] = 7;
    malformed(&role, FieldError::BadValue { field: "role", value: 7 });
    let mut text = good.clone();
    text[22] = 0xff;
    malformed(&text, FieldError::NotUtf8 { field: "program" });
    let counted =
        |count: u8| [&body_of(Hello { modules: vec![], ..hello("node-2", 2) })[..36], &[count][..]].concat();
    assert!(matches!(answer(&with_hello(&counted(0))).0, Ok(None)));
    malformed(&counted(1), FieldError::TooLong { field: "module count", len: 1, max: 0 });

    let twice = Hello { modules: vec![module("a", 1), module("b", 2)], ..hello("node-2", 2) };
    let mut twice = body_of(twice);
    let b = twice.iter().rposition(|byte| *byte == b'b').unwrap();
    twice[b] = b'a';
    assert_eq!(answer(&with_hello(&twice)).0, Err(HandshakeError::Twice { module: "a".into() }));

    let later = [&good[..], b"fields of a later version"].concat();
    assert_eq!(answer(&with_hello(&later)).0, Ok(None), "what a later version appends is ignored");
}

#[test]
fn a_hello_that_cannot_be_sent_is_an_error_here_and_writes_nothing() {
    let refused = |change: fn(&mut Hello)| {
        let (mut ours, mut out) = (hello("node-1", 1), BytesMut::new());
        change(&mut ours);
        let error = Handshake::new(ours, &mut out).unwrap_err();
        assert!(out.is_empty());
        error
    };
    let twice = refused(|hello| hello.modules.push(module("cart", 3)));
    assert_eq!(twice.to_string(), "two modules are named `cart`: rename one");
    let long = refused(|hello| hello.program = "x".repeat(5000));
    assert_eq!(
        long,
        HandshakeError::Ours { source: FieldError::TooLong { field: "program", len: 5000, max: 4096 } }
    );
    let many = refused(|hello| hello.modules = (0..65_536).map(|n| module(&n.to_string(), 0)).collect());
    assert_eq!(
        many,
        HandshakeError::Ours {
            source: FieldError::TooLong { field: "module count", len: 65_536, max: 65_535 }
        }
    );
    let vast = refused(|hello| hello.modules = (0..600).map(|n| module(&format!("{n:04000}"), 0)).collect());
    assert!(matches!(vast, HandshakeError::OursTooLong { .. }), "{vast}");
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let peer = with_hello(&body_of(hello("node-2", 2)));
    let then = |answer_bytes: &[u8]| {
        let mut bytes = peer.clone();
        bytes.put_u32_le(answer_bytes.len() as u32);
        bytes.put_slice(answer_bytes);
        let (outcome, out) = answer(&bytes);
        assert_eq!(out, &[3, 0, 0, 0, 1, 1, 0][..], "the peer was welcomed: what follows would be frames");
        outcome
    };
    assert!(matches!(then(&[1, 1, 0]), Ok(Some(_))));
    assert_eq!(then(&[1, 2, 0]), Err(HandshakeError::OtherVersion { ours: 1, theirs: 2 }));
    let malformed = |source| Err(HandshakeError::Malformed { source });
    assert_eq!(then(&[]), malformed(FieldError::Truncated { field: "answer" }));
    assert_eq!(then(&[9]), malformed(FieldError::BadValue { field: "answer", value: 9 }));
    assert_eq!(then(&[2, 77, 0, 2, b'n', b'o']), {
        Err(HandshakeError::Refused { code: RefusalCode(77), why: "no".into() })
    });
}

#[test]
fn frames_behind_the_answer_stay_in_the_input() {
    let mut input = with_hello(&body_of(hello("node-2", 2)));
    input.put_slice(&[3, 0, 0, 0, 1, 1, 0]);
    let whole = input.clone();
    input.put_slice(b"frames");
    let mut out = BytesMut::new();
    let mut side = Handshake::new(hello("node-1", 1), &mut out).unwrap();
    assert!(side.feed(&mut input, &mut out).unwrap().is_some());
    assert_eq!(input, &b"frames"[..]);

    let (mut byte_by_byte, mut input) =
        (Handshake::new(hello("node-1", 1), &mut out).unwrap(), BytesMut::new());
    for (at, byte) in whole.iter().enumerate() {
        input.put_u8(*byte);
        let agreed = byte_by_byte.feed(&mut input, &mut out).unwrap();
        assert_eq!(agreed.is_some(), at + 1 == whole.len());
    }
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let name = "[a-zü_]{0,20}";
    let modules = prop::collection::btree_map(name, any::<u64>(), 0..20);
    (any::<(u64, u64)>(), name, name, modules).prop_map(|((incarnation, clock_us), build, node, modules)| {
        Hello {
            incarnation: Incarnation(incarnation),
            clock_us,
            build,
            node: NodeName::new(format!("their-{node}")),
            modules: modules.into_iter().map(|(name, digest)| ModuleEntry { name, digest }).collect(),
            ..hello("", 0)
        }
    })
}

proptest! {
    #[test]
    fn any_hello_arrives_as_it_was_sent(peer in any_hello()) {
        let (left, right) = meet((hello("node-1", 1), None), (peer.clone(), None));
        prop_assert_eq!(left.unwrap().peer, peer);
        prop_assert_eq!(right.unwrap().peer, hello("node-1", 1));
    }

    #[test]
    fn any_bytes_are_refused_or_wait_for_more(
        good in 0..60usize,
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let hello = with_hello(&body_of(hello("node-2", 2)));
        let bytes = [&hello[..good.min(hello.len())], &bytes[..]].concat();
        prop_assert!(!matches!(answer(&bytes).0, Ok(Some(_))));
    }
}
