//! The bytes of frames and handshake, pinned for every language that speaks them.
//!
//! `golden/*.hex` are the vectors: hexadecimal digits, with a comment from `#` to the end of a line. They were
//! made from `docs/wire.md` by another program than this one. A change here is a new protocol version.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId, Chain, Incarnation, InstanceId, Link, Mode, NodeName, Phase};
use skybox_wire::frame::{
    Beat, CallHead, Credit, Decoder, Frame, ItemHead, Limits, MethodNumber, ModuleNumber, Outcome, PayloadOf,
    Progress, Reassembly, ReplyBody, ReplyHead, StreamId, encode_call, encode_cancel, encode_credit,
    encode_drain, encode_failure, encode_item, encode_ping, encode_pong, encode_reply, encode_reset,
    encode_stream_end,
};
use skybox_wire::handshake::{Handshake, Hello, ModuleEntry, Role};

#[path = "golden/vector.rs"]
mod vector;

use vector::{golden, unhex};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares what was written with a vector, and prints it in the vector's form where they differ.
fn check(name: &str, written: &BytesMut) {
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(golden(name), written, "{name}.hex differs from what is written now: {hex}");
}

fn frames(name: &str) -> Vec<Frame> {
    let (mut bytes, mut decoder) = (golden(name), Decoder::new(Limits::default()));
    let frames = std::iter::from_fn(|| decoder.next(&mut bytes).expect("a frame")).collect();
    assert!(bytes.is_empty(), "{name}.hex ends with half a frame");
    frames
}

fn plain(chain: &Chain) -> CallHead<'_> {
    CallHead {
        call: CallId(300),
        module: ModuleNumber(3),
        method: MethodNumber(1),
        form: 0,
        key: None,
        deadline_us: None,
        trace: None,
        chain,
        caller: None,
    }
}

#[test]
fn a_plain_call() {
    let mut out = BytesMut::new();
    encode_call(&mut out, &plain(&Chain::none()), b"hello").unwrap();
    check("call_plain", &out);
    let [Frame::Call(call)] = &frames("call_plain")[..] else { panic!("one call") };
    assert_eq!((call.call, call.module, call.method), (CallId(300), ModuleNumber(3), MethodNumber(1)));
    assert_eq!((&call.payload.first[..], call.payload.is_whole()), (&b"hello"[..], true));
    assert!(call.chain.is_empty() && call.key.is_none() && call.trace.is_none() && call.caller.is_none());
}

#[test]
fn a_call_with_everything() {
    let link = |node, count, call, mode| Link {
        instance: InstanceId { node: Incarnation(node), count },
        call: CallId(call),
        mode,
    };
    let links = [link(0x1122_3344_5566_7788, 3, 69_999, Mode::Exclusive), link(0x99, 130, 4, Mode::Shared)];
    let chain = Chain::from_links(&links).unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let head = CallHead {
        call: CallId(70_000),
        module: ModuleNumber(200),
        form: 1,
        key: Some(b"user-17"),
        deadline_us: Some(1_500_000),
        trace: Some(trace),
        caller: Some(ModuleNumber(9)),
        ..plain(&chain)
    };
    let mut out = BytesMut::new();
    encode_call(&mut out, &head, &[0xca, 0xfe]).unwrap();
    check("call_full", &out);
    let [Frame::Call(call)] = &frames("call_full")[..] else { panic!("one call") };
    assert_eq!(call.chain.links().collect::<Vec<_>>(), links);
    assert_eq!((call.key.as_deref(), call.deadline_us), (head.key, head.deadline_us));
    assert_eq!((call.trace, call.caller, call.form), (head.trace, head.caller, 1));
    assert_eq!(call.payload.first, &[0xca, 0xfe][..]);
}

#[test]
fn a_call_in_chunks() {
    let mut reassembly = Reassembly::new(Limits::default());
    let progress: Vec<_> = frames("call_in_chunks")
        .into_iter()
        .map(|frame| match frame {
            Frame::Call(call) => reassembly.begin(call.call, (), call.payload),
            Frame::Chunk(chunk) => reassembly.push(chunk.call, &chunk.bytes),
            other => panic!("{other:?}"),
        })
        .collect();
    let whole = Progress::Whole((), Bytes::from_static(b"abcdefghij"));
    assert_eq!(progress, [Ok(Progress::Waiting), Ok(Progress::Waiting), Ok(whole)]);
}

#[test]
fn replies() {
    let head = ReplyHead { call: CallId(300), load: 12, outcome: Outcome::Ok, form: 0 };
    let mut out = BytesMut::new();
    encode_reply(&mut out, &head, b"world");
    encode_reply(&mut out, &ReplyHead { outcome: Outcome::UserError, load: u16::MAX, form: 1, ..head }, b"");
    assert_eq!(out, golden("replies")[..out.len()]);
    let [.., Frame::Reply(begun), Frame::Chunk(rest)] = &frames("replies")[..] else { panic!("four frames") };
    let ReplyBody::Returned { outcome: Outcome::Ok, form: 0, payload } = &begun.body else {
        panic!("{begun:?}")
    };
    assert_eq!((payload.total, &payload.first[..], &rest.bytes[..]), (6, &b"abcd"[..], &b"ef"[..]));
}

#[test]
fn verdicts() {
    use CallErrorKind::*;
    let w = || "w".to_owned();
    let verdicts = [
        Unplaced { why: w() },
        NotStarted { cause: w() },
        Overloaded { what: w() },
        Denied { why: w() },
        Unreachable { why: w() },
        Moved,
        Gone,
        Mismatch { why: w() },
        Reentrant { chain: w() },
        Deadline { phase: Phase::Unsent },
        Deadline { phase: Phase::Queued },
        Deadline { phase: Phase::Sent },
        Deadline { phase: Phase::Running },
        Lost { why: w() },
        Cancelled,
        BadReply { why: w() },
        Crashed { message: "no".into(), place: "a.rs:3".into() },
    ];
    let mut out = BytesMut::new();
    verdicts.iter().for_each(|verdict| encode_failure(&mut out, CallId(5), 0, verdict));
    check("verdicts", &out);
    let read: Vec<_> = frames("verdicts")
        .into_iter()
        .map(|frame| match frame {
            Frame::Reply(reply) => reply.body,
            other => panic!("{other:?}"),
        })
        .collect();
    for (body, verdict) in read.iter().zip(&verdicts) {
        assert!(matches!(body, ReplyBody::Failed(read) if read == verdict), "{body:?} is not {verdict:?}");
    }
    let named: std::collections::BTreeSet<_> = verdicts.iter().map(CallErrorKind::name).collect();
    assert_eq!(named.len(), CallErrorKind::NAMES.len(), "every kind has a vector");
}

#[test]
fn control() {
    let nonce = 0x0102_0304_0506_0708;
    let mut out = BytesMut::new();
    encode_cancel(&mut out, CallId(300));
    encode_ping(&mut out, Beat { nonce, clock_us: 1_000_000 });
    encode_pong(&mut out, Beat { nonce, clock_us: 2_000_001 });
    encode_drain(&mut out, CallId(299));
    encode_drain(&mut out, CallId(0));
    check("control", &out);
    let read = frames("control");
    assert!(matches!(read[0], Frame::Cancel(CallId(300))));
    assert!(matches!(read[2], Frame::Pong(Beat { clock_us: 2_000_001, .. })));
    assert!(matches!(read[4], Frame::Drain { last: CallId(0) }));
}

#[test]
fn streams() {
    let argument = StreamId { of: PayloadOf::Call, call: CallId(300), position: 1 };
    let result = StreamId { of: PayloadOf::Reply, call: CallId(300), position: 0 };
    let mut out = BytesMut::new();
    encode_credit(&mut out, argument, Credit { items: 128, bytes: 64 });
    encode_item(&mut out, &ItemHead { stream: argument, is_error: false, form: 0 }, b"hi");
    encode_item(&mut out, &ItemHead { stream: result, is_error: true, form: 1 }, b"");
    assert_eq!(out, golden("streams")[..out.len()]);
    let mut out = BytesMut::new();
    encode_stream_end(&mut out, result, None);
    encode_stream_end(&mut out, result, Some(&CallErrorKind::Lost { why: "w".into() }));
    encode_reset(&mut out, StreamId { position: 2, ..argument });
    assert!(golden("streams").ends_with(&out));

    let read = frames("streams");
    let [credit, item, error, begun, chunk, end, failed, reset] = &read[..] else { panic!("{read:?}") };
    let asked = Credit { items: 128, bytes: 64 };
    assert!(matches!(credit, Frame::Credit(id, credit) if (*id, *credit) == (argument, asked)));
    let Frame::Item(item) = item else { panic!("{item:?}") };
    assert_eq!((item.stream, item.is_error, &item.payload.first[..]), (argument, false, &b"hi"[..]));
    let Frame::Item(error) = error else { panic!("{error:?}") };
    assert_eq!((error.stream, error.is_error, error.form, error.payload.total), (result, true, 1, 0));
    let Frame::Item(begun) = begun else { panic!("{begun:?}") };
    assert_eq!((begun.payload.total, &begun.payload.first[..]), (3, &b"ab"[..]));
    assert!(matches!(chunk, Frame::ItemChunk(id, bytes) if *id == result && &bytes[..] == b"c"));
    assert!(matches!(end, Frame::StreamEnd(id, None) if *id == result));
    assert!(matches!(failed, Frame::StreamEnd(_, Some(CallErrorKind::Lost { why })) if why == "w"));
    assert!(matches!(reset, Frame::Reset(StreamId { position: 2, .. })));
}

fn node_1() -> Hello {
    let module = |name: &str, digest| ModuleEntry { name: name.into(), digest };
    Hello {
        protocols: (1, 1),
        role: Role::Node,
        incarnation: Incarnation(0x1122_3344_5566_7788),
        clock_us: 1_000_000,
        program: "shop".into(),
        build: "b1".into(),
        node: NodeName::new("node-1"),
        modules: vec![module("cart", 0xa0a1_a2a3_a4a5_a6a7), module("thumbnail", 0x14)],
    }
}

#[test]
fn handshake() {
    let mut out = BytesMut::new();
    Handshake::new(node_1(), &mut out).unwrap();
    check("hello", &out);

    let node_2 = Hello { node: NodeName::new("node-2"), ..node_1() };
    let (mut input, mut out) = (golden("hello"), BytesMut::new());
    let mut side = Handshake::new(node_2.clone(), &mut BytesMut::new()).unwrap();
    assert_eq!(side.feed(&mut input, &mut out), Ok(None));
    check("welcome", &out);
    let agreed = side.feed(&mut golden("welcome"), &mut out).unwrap().expect("agreed");
    assert_eq!((agreed.peer, agreed.protocol), (node_1(), 1));

    out.clear();
    let mut side = Handshake::new(node_2, &mut BytesMut::new()).unwrap();
    side.feed_judged(&mut golden("hello"), &mut out, |_| Err("no certificate".into())).unwrap_err();
    check("refusal", &out);
}

/// Each example of the specification is one of the vectors, byte for byte.
#[test]
fn the_examples_of_the_specification() {
    let text = std::fs::read_to_string(root().join("../../docs/wire.md")).expect("docs/wire.md");
    let mut names = Vec::new();
    for block in text.split("\n```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name, then the bytes");
        let (example, _) = rest.split_once("\n```").expect("an end");
        assert_eq!(unhex(example), golden(name), "the example `{name}`");
        names.push(name);
    }
    assert_eq!(names, ["hello", "welcome", "call_plain"]);
}
