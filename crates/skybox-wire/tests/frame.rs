//! Frames and payloads, and every way in which they break the protocol.

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId, Chain};
use skybox_wire::FieldError;
use skybox_wire::frame::{
    CHUNK_BYTES_MAX, CallHead, Decoder, FRAME_BYTES_MAX, Frame, FrameError, HeadError, KEY_BYTES_MAX, Limits,
    MethodNumber, ModuleNumber, Outcome, Payload, PayloadOf, PayloadRefused, Progress, Reassembly, ReplyBody,
    ReplyHead, Rest, StreamId, begin_call, begin_reply, encode_call, encode_failure, encode_reply,
    split_call,
};

fn head(chain: &Chain) -> CallHead<'_> {
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
fn a_call_written_in_place_equals_one_written_from_a_slice_and_is_reassembled() {
    for len in [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX + 5] {
        let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let chain = Chain::none();
        let (mut whole, mut in_place) = (BytesMut::new(), BytesMut::new());
        let written = encode_call(&mut whole, &head(&chain), &payload).unwrap();
        let mut writer = begin_call(&mut in_place, &head(&chain)).unwrap();
        writer.buffer().extend_from_slice(&payload);
        let rest = writer.finish();
        assert_eq!(whole, in_place);
        let mut apart = BytesMut::new();
        let (first, rest_apart) =
            split_call(&mut apart, &head(&chain), Bytes::copy_from_slice(&payload)).unwrap();
        apart.extend_from_slice(&first);
        assert_eq!((apart, &rest_apart), (whole, &rest));
        assert_eq!(rest.as_ref().map_or(0, |rest| rest.len()), len - written);
        if let Some(mut rest) = rest {
            while !rest.is_empty() {
                rest.write_chunk(&mut in_place);
            }
        }
        let mut decoder = Decoder::new(Limits::default());
        let mut reassembly = Reassembly::new(Limits::default());
        let Some(Frame::Call(call)) = decoder.next(&mut in_place).unwrap() else { panic!("no call") };
        let mut progress = reassembly.begin(call.call, (), call.payload).unwrap();
        while let Some(frame) = decoder.next(&mut in_place).unwrap() {
            let Frame::Chunk(chunk) = frame else { panic!("no chunk") };
            assert_eq!(progress, Progress::Waiting);
            progress = reassembly.push(chunk.call, &chunk.bytes).unwrap();
        }
        assert_eq!(progress, Progress::Whole((), payload.into()));
    }
}

#[test]
fn a_verdict_arrives_as_it_was_given() {
    let mut buffer = BytesMut::new();
    let verdict = CallErrorKind::Crashed { message: "no".into(), place: "src/a.rs:3".into() };
    encode_failure(&mut buffer, CallId(9), 4, &verdict);
    let frame = Decoder::new(Limits::default()).next(&mut buffer).unwrap();
    let Some(Frame::Reply(reply)) = frame else { panic!("{frame:?}") };
    let ReplyBody::Failed(read) = reply.body else { panic!("{reply:?}") };
    assert_eq!((read, reply.call, reply.load), (verdict, CallId(9), 4));
}

fn refused(bytes: &[u8]) -> FrameError {
    Decoder::new(Limits::default()).next(&mut BytesMut::from(bytes)).expect_err("an error")
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

#[test]
fn a_length_of_four_gibibytes_is_refused_before_anything_is_reserved() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    let capacity = buffer.capacity();
    let error = Decoder::new(Limits::default()).next(&mut buffer).unwrap_err();
    assert_eq!(error, FrameError::TooLong { len: u32::MAX, max: FRAME_BYTES_MAX });
    assert_eq!(error.to_string(), "a frame of 4294967295 bytes, above the bound of 74752");
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn every_break_of_the_protocol_is_named() {
    let field = |frame, source| FrameError::Field { frame, source };
    let truncated = |frame, name| field(frame, FieldError::Truncated { field: name });
    let value = |frame, name, value| field(frame, FieldError::BadValue { field: name, value });
    let cases: Vec<(&[u8], FrameError)> = vec![
        (&[], FrameError::Empty),
        (&[0], FrameError::UnknownKind { kind: 0 }),
        (&[9], FrameError::UnknownKind { kind: 9 }),
        (&[0x15], FrameError::UnknownKind { kind: 0x15 }),
        (&[0x10, 4, 5, 0, 0], FrameError::UnknownFlags { frame: "item", flags: 4 }),
        (&[0x10, 0, 5, 16, 0], value("item", "position", 16)),
        (&[0x10, 0, 5, 0], truncated("item", "form")),
        (&[0x10, 32, 5, 0, 0, 2, 1, 1], FrameError::BadTotal { call: CallId(5), total: 2, here: 2 }),
        (&[0x11, 2, 5, 0, 1], FrameError::UnknownFlags { frame: "item chunk", flags: 2 }),
        (&[0x11, 0, 5, 0], FrameError::EmptyChunk { call: CallId(5) }),
        (&[0x12, 0, 5, 0, 1], FrameError::Trailing { frame: "stream end", len: 1 }),
        (&[0x12, 2, 5, 0, 99], FrameError::BadVerdict { call: CallId(5) }),
        (&[0x13, 0, 5, 0, 1], truncated("credit", "bytes")),
        (
            &[0x13, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 1],
            FrameError::CreditTooHigh {
                stream: StreamId { of: PayloadOf::Call, call: CallId(5), position: 0 },
            },
        ),
        (&[0x14, 0, 5, 0, 1], FrameError::Trailing { frame: "reset", len: 1 }),
        (&[1], truncated("call", "flags")),
        (&[1, 0x80], FrameError::UnknownFlags { frame: "call", flags: 0x80 }),
        (&[1, 0, 5], truncated("call", "module")),
        (&[1, 0, 0, 3, 1, 0], value("call", "call", 0)),
        (&[1, 0, 0x80, 0], field("call", FieldError::BadVarint { field: "call" })),
        (&[1, 0, 5, 0x80, 0x80, 4], value("call", "module", 65_536)),
        (&[1, 0, 5, 3, 1], truncated("call", "form")),
        (&[1, 1, 5, 3, 1, 0, 4, b'k'], truncated("call", "key")),
        (
            &[1, 1, 5, 3, 1, 0, 0x81, 0x20],
            field("call", FieldError::TooLong { field: "key", len: 4097, max: 4096 }),
        ),
        (&[1, 4, 5, 3, 1, 0, 1, 2], truncated("call", "trace id")),
        (&[1, 8, 5, 3, 1, 0, 65], FrameError::ChainTooLong { len: 65 }),
        (&[1, 8, 5, 3, 1, 0, 1], truncated("call", "link mode")),
        (&[1, 8, 5, 3, 1, 0, 1, 2], value("call", "link mode", 2)),
        (&[1, 0x20, 5, 3, 1, 0, 2, b'a', b'b'], FrameError::BadTotal { call: CallId(5), total: 2, here: 2 }),
        (&[2, 3, 5, 0], FrameError::UnknownFlags { frame: "reply", flags: 3 }),
        (&[2, 0x22, 5, 0], FrameError::UnknownFlags { frame: "reply", flags: 0x22 }),
        (&[2, 0, 5, 0], truncated("reply", "form")),
        (&[2, 2, 5, 0, 99], FrameError::BadVerdict { call: CallId(5) }),
        (&[2, 2, 5, 0, 5, 0], FrameError::BadVerdict { call: CallId(5) }),
        (&[3, 5], FrameError::EmptyChunk { call: CallId(5) }),
        (&[4], truncated("chunk", "call")),
        (&[5, 5, 0], FrameError::Trailing { frame: "cancel", len: 1 }),
        (&[6, 0, 0], truncated("ping", "nonce")),
        (&[8], truncated("drain", "call")),
    ];
    for (body, expected) in cases {
        let bytes = framed(body);
        assert_eq!(refused(&bytes), expected, "{body:x?}");
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut decoder = Decoder::new(Limits::default());
        assert!(decoder.next(&mut buffer).is_err() && decoder.next(&mut buffer).is_err(), "{body:x?}");
        assert_eq!(buffer, bytes, "a refused frame stays in the buffer");
    }
}

#[test]
fn a_payload_that_breaks_the_protocol_ends_the_connection() {
    let mut reassembly = Reassembly::new(Limits::default());
    let begin = |total, first: &'static [u8]| Payload { total, first: Bytes::from_static(first) };
    let call = CallId(1);
    assert_eq!(reassembly.push(call, b"x"), Err(FrameError::ChunkWithoutCall { call }));
    assert_eq!(reassembly.begin(call, (), begin(4, b"ab")), Ok(Progress::Waiting));
    assert_eq!(reassembly.begin(call, (), begin(2, b"ab")), Err(FrameError::Twice { call }));
    assert_eq!(reassembly.push(call, b"cde"), Err(FrameError::ChunkTooLong { call, total: 4 }));
    assert_eq!(reassembly.push(call, b"cd"), Ok(Progress::Whole((), Bytes::from_static(b"abcd"))));
    assert_eq!(reassembly.push(call, b"e"), Err(FrameError::ChunkWithoutCall { call }));
}

#[test]
fn a_payload_above_a_bound_fails_its_call_alone_and_the_rest_of_it_is_dropped() {
    let limits = Limits {
        payload_bytes_max: 10,
        payloads_open_max: 2,
        payload_bytes_held_max: 12,
        ..Limits::default()
    };
    let mut reassembly = Reassembly::new(limits);
    let begin = |total, first: &'static [u8]| Payload { total, first: Bytes::from_static(first) };

    let too_long = PayloadRefused::TooLong { total: 11, max: 10 };
    assert_eq!(reassembly.begin(CallId(1), "one", begin(11, b"ab")), Ok(Progress::Refused("one", too_long)));
    assert_eq!(reassembly.push(CallId(1), b"cdefgh"), Ok(Progress::Waiting));
    let beyond = FrameError::ChunkTooLong { call: CallId(1), total: 11 };
    assert_eq!(reassembly.push(CallId(1), b"ijkl"), Err(beyond));
    assert_eq!(reassembly.end(CallId(1)), None);
    assert_eq!(reassembly.push(CallId(1), b"x"), Err(FrameError::ChunkWithoutCall { call: CallId(1) }));

    assert_eq!(reassembly.begin(CallId(2), "two", begin(10, b"abcdefgh")), Ok(Progress::Waiting));
    assert_eq!(reassembly.begin(CallId(3), "three", begin(9, b"ab")), Ok(Progress::Waiting));
    let many = PayloadRefused::TooManyOpen { max: 2 };
    assert_eq!(reassembly.begin(CallId(4), "four", begin(9, b"ab")), Ok(Progress::Refused("four", many)));
    let whole = Progress::Whole("five", Bytes::from_static(b"whole"));
    assert_eq!(reassembly.begin(CallId(5), "five", begin(5, b"whole")), Ok(whole));
    let full = PayloadRefused::TooManyBytes { max: 12 };
    assert_eq!(reassembly.push(CallId(3), b"cde"), Ok(Progress::Refused("three", full)));
    assert_eq!(reassembly.push(CallId(3), b"fghi"), Ok(Progress::Waiting));
    assert_eq!(reassembly.push(CallId(3), b"j"), Err(FrameError::ChunkWithoutCall { call: CallId(3) }));

    assert_eq!((reassembly.open_count(), reassembly.bytes_held()), (1, 8));
    assert_eq!(reassembly.skip(CallId(2)), Ok(Some("two")));
    assert_eq!((reassembly.open_count(), reassembly.bytes_held()), (0, 0));
    assert_eq!(reassembly.push(CallId(2), b"ij"), Ok(Progress::Waiting));
    assert_eq!(reassembly.push(CallId(2), b"k"), Err(FrameError::ChunkWithoutCall { call: CallId(2) }));
}

#[test]
fn a_peer_that_goes_on_with_refused_payloads_is_stopped() {
    let limits = Limits { payloads_open_max: 0, ..Limits::default() };
    let mut reassembly = Reassembly::new(limits);
    let stopped = (1..10_000).find_map(|call| {
        let payload = Payload { total: 2, first: Bytes::from_static(b"a") };
        reassembly.begin(CallId(call), (), payload).err().map(|error| (call, error))
    });
    assert_eq!(stopped, Some((4097, FrameError::TooManyPayloads { count: 4096 })));
}

#[test]
fn the_form_can_be_set_once_the_value_is_written() {
    let chain = Chain::none();
    let key = CallHead { key: Some(b"key"), ..head(&chain) };
    let reply = ReplyHead { call: CallId(u64::MAX), load: 1000, outcome: Outcome::UserError, form: 0 };
    let (mut written, mut expected) = (BytesMut::from(&b"before"[..]), BytesMut::from(&b"before"[..]));
    let mut writer = begin_call(&mut written, &key).unwrap();
    writer.buffer().extend_from_slice(b"arguments");
    writer.set_form(1);
    assert_eq!(writer.finish(), None);
    let mut writer = begin_reply(&mut written, &reply);
    writer.set_form(2);
    assert_eq!(writer.finish(), None);
    encode_call(&mut expected, &CallHead { form: 1, ..key }, b"arguments").unwrap();
    encode_reply(&mut expected, &ReplyHead { form: 2, ..reply }, b"");
    assert_eq!(written, expected);
}

#[test]
fn a_frame_that_is_not_finished_leaves_no_trace() {
    let mut buffer = BytesMut::from(&b"before"[..]);
    let chain = Chain::none();
    let mut writer = begin_call(&mut buffer, &head(&chain)).unwrap();
    writer.buffer().extend_from_slice(b"half of the argu");
    drop(writer);
    assert_eq!(buffer, &b"before"[..]);
    let key = [0; KEY_BYTES_MAX + 1];
    let error = encode_call(&mut buffer, &CallHead { key: Some(&key), ..head(&chain) }, b"").unwrap_err();
    assert_eq!(error, HeadError::KeyTooLong { len: KEY_BYTES_MAX + 1 });
    assert_eq!(buffer, &b"before"[..]);
}

#[test]
fn a_chunk_can_be_sent_without_copying_its_bytes() {
    let payload = Bytes::from(vec![5; CHUNK_BYTES_MAX + 7]);
    let mut rest = Rest::new(PayloadOf::Reply, CallId(300), payload.clone()).expect("not empty");
    let (mut copied, mut joined) = (BytesMut::new(), BytesMut::new());
    let mut other = rest.clone();
    while !rest.is_empty() {
        rest.write_chunk(&mut copied);
        let bytes = other.take_chunk(&mut joined);
        joined.extend_from_slice(&bytes);
    }
    assert!(other.is_empty());
    assert_eq!(copied, joined);
    assert_eq!(Rest::new(PayloadOf::Call, CallId(1), Bytes::new()), None);
}

#[test]
fn the_longest_verdict_fits_and_still_says_whether_the_call_ran() {
    let text = || "ü".repeat(1 << 20);
    let (message, place, why) = (text(), text(), text());
    for verdict in [CallErrorKind::Crashed { message, place }, CallErrorKind::Denied { why }] {
        let mut buffer = BytesMut::new();
        encode_failure(&mut buffer, CallId(9), 0, &verdict);
        let Ok(Some(Frame::Reply(reply))) = Decoder::new(Limits::default()).next(&mut buffer) else {
            panic!("no reply");
        };
        let ReplyBody::Failed(read) = reply.body else { panic!("{reply:?}") };
        assert_eq!(read.name(), verdict.name());
        assert!(read.to_string().ends_with("ü … (cut)"));
    }
}
