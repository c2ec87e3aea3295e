//! Frames that are written are read back.

use bytes::BytesMut;
use skybox_core::{CallErrorKind, CallId, Chain};
use skybox_wire::frame::{
    CHUNK_BYTES_MAX, CallHead, Decoder, Frame, Limits, MethodNumber, ModuleNumber, Progress, Reassembly,
    ReplyBody, begin_call, encode_call, encode_failure,
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
