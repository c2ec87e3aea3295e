//! Any frame, cut anywhere, arrives as it was sent; any bytes are frames, an error, or too few.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use skybox_core::{
    CHAIN_LEN_MAX, CallErrorKind, CallId, Chain, Incarnation, InstanceId, Link, Mode, Phase, TraceContext,
};
use skybox_wire::frame::{
    Beat, CHUNK_BYTES_MAX, CallFrame, CallHead, ChunkFrame, Credit, Decoder, Frame, FrameError, ItemFrame,
    Limits, MethodNumber, ModuleNumber, Outcome, Payload, PayloadOf, ReplyBody, ReplyFrame, StreamId,
    encode_call,
};

#[path = "../../../fuzz/check/write.rs"]
mod write;

use write::write;

/// Numbers around the places where a varint gets longer, and any others.
fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..300u64, any::<u64>(), Just(u64::MAX), (0..64u32).prop_map(|bit| 1 << bit)]
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn whole(max: usize) -> impl Strategy<Value = Payload> {
    bytes(max).prop_map(|first| Payload { total: first.len() as u64, first })
}

fn chain() -> impl Strategy<Value = Chain> {
    let mode = prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)];
    let link = (any::<u64>(), number(), number(), mode).prop_map(|(node, count, call, mode)| Link {
        instance: InstanceId { node: Incarnation(node), count },
        call: CallId(call),
        mode,
    });
    prop_oneof![vec(link.clone(), 0..4), vec(link, 0..=CHAIN_LEN_MAX)]
        .prop_map(|links| Chain::from_links(&links).expect("within the bound"))
}

fn trace() -> impl Strategy<Value = TraceContext> {
    (1..u128::MAX, 1..u64::MAX, any::<u8>()).prop_map(|(trace_id, span_id, flags)| TraceContext {
        trace_id,
        span_id,
        flags,
    })
}

fn call() -> impl Strategy<Value = Frame> {
    let numbers = (number().prop_map(|n| n.max(1)), any::<u16>(), any::<u16>(), any::<u8>());
    let context = (option::of(bytes(40)), option::of(number()), option::of(trace()), chain());
    (numbers, context, option::of(any::<u16>()), whole(300)).prop_map(
        |((call, module, method, form), (key, deadline_us, trace, chain), caller, payload)| {
            Frame::Call(CallFrame {
                call: CallId(call),
                module: ModuleNumber(module),
                method: MethodNumber(method),
                form,
                key,
                deadline_us,
                trace,
                chain,
                caller: caller.map(ModuleNumber),
                payload,
            })
        },
    )
}

fn verdict() -> impl Strategy<Value = CallErrorKind> {
    prop_oneof![
        Just(CallErrorKind::Moved),
        Just(CallErrorKind::Deadline { phase: Phase::Queued }),
        any::<String>().prop_map(|why| CallErrorKind::Unplaced { why }),
        any::<(String, String)>().prop_map(|(message, place)| CallErrorKind::Crashed { message, place }),
    ]
}

fn reply() -> impl Strategy<Value = Frame> {
    let outcome = prop_oneof![Just(Outcome::Ok), Just(Outcome::UserError)];
    let body = prop_oneof![
        (outcome, any::<u8>(), whole(300)).prop_map(|(outcome, form, payload)| ReplyBody::Returned {
            outcome,
            form,
            payload
        }),
        verdict().prop_map(ReplyBody::Failed),
    ];
    (number(), any::<u16>(), body)
        .prop_map(|(call, load, body)| Frame::Reply(ReplyFrame { call: CallId(call), load, body }))
}

fn stream() -> impl Strategy<Value = Frame> {
    let of = prop_oneof![Just(PayloadOf::Call), Just(PayloadOf::Reply)];
    let id = (of, number(), 0..16u8).prop_map(|(of, call, position)| StreamId {
        of,
        call: CallId(call),
        position,
    });
    prop_oneof![
        (id.clone(), any::<bool>(), any::<u8>(), whole(300)).prop_map(|(stream, is_error, form, payload)| {
            Frame::Item(ItemFrame { stream, is_error, form, payload })
        }),
        (id.clone(), vec(any::<u8>(), 1..300)).prop_map(|(id, bytes)| Frame::ItemChunk(id, bytes.into())),
        (id.clone(), option::of(verdict())).prop_map(|(id, failed)| Frame::StreamEnd(id, failed)),
        (id.clone(), any::<u32>(), number())
            .prop_map(|(id, items, bytes)| Frame::Credit(id, Credit { items, bytes })),
        id.prop_map(Frame::Reset),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let of = prop_oneof![Just(PayloadOf::Call), Just(PayloadOf::Reply)];
    let chunk = (of, number(), vec(any::<u8>(), 1..300));
    let beat = any::<(u64, u64)>().prop_map(|(nonce, clock_us)| Beat { nonce, clock_us });
    prop_oneof![
        4 => call(),
        4 => reply(),
        4 => stream(),
        2 => chunk.prop_map(|(of, call, bytes)| {
            Frame::Chunk(ChunkFrame { of, call: CallId(call), bytes: bytes.into() })
        }),
        1 => number().prop_map(|call| Frame::Cancel(CallId(call))),
        1 => number().prop_map(|last| Frame::Drain { last: CallId(last) }),
        1 => beat.clone().prop_map(Frame::Ping),
        1 => beat.prop_map(Frame::Pong),
    ]
}

/// Feeds the bytes in pieces and returns every frame, as text, until the end or the first error.
fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<String>, Option<FrameError>) {
    let (mut frames, mut decoder, mut buffer) =
        (Vec::new(), Decoder::new(Limits::default()), BytesMut::new());
    let mut left = bytes;
    let mut cuts = cuts.iter().copied().chain(std::iter::once(usize::MAX)).cycle();
    while !left.is_empty() {
        let piece = cuts.next().map_or(left.len(), |cut| cut.min(left.len()));
        buffer.extend_from_slice(&left[..piece]);
        left = &left[piece..];
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

proptest! {
    #[test]
    fn frames_arrive_as_they_were_sent_wherever_they_are_cut(
        frames in vec(frame(), 1..8),
        cuts in vec(1..200usize, 0..20),
    ) {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| write(frame, &mut out));
        let sent: Vec<_> = frames.iter().map(|frame| format!("{frame:?}")).collect();
        prop_assert_eq!(read(&out, &cuts), (sent, None));
    }

    #[test]
    fn half_a_frame_is_no_frame(frame in frame()) {
        let mut out = BytesMut::new();
        write(&frame, &mut out);
        for cut in 0..out.len() {
            prop_assert_eq!(read(&out[..cut], &[]), (Vec::new(), None), "cut at {}", cut);
        }
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in vec(any::<u8>(), 0..400), cuts in vec(1..50usize, 0..4)) {
        read(&bytes, &cuts);
    }

    #[test]
    fn any_body_behind_a_true_length_is_a_frame_or_an_error(
        kind in 0..0x18u8,
        body in vec(any::<u8>(), 0..200),
    ) {
        let mut out = BytesMut::new();
        out.extend_from_slice(&(body.len() as u32 + 1).to_le_bytes());
        out.extend_from_slice(&[kind]);
        out.extend_from_slice(&body);
        let (frames, error) = read(&out, &[]);
        prop_assert_eq!(frames.len() + usize::from(error.is_some()), 1);
    }

    #[test]
    fn a_changed_byte_is_never_a_panic(frame in frame(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut out = BytesMut::new();
        write(&frame, &mut out);
        let at = at.index(out.len());
        out[at] = byte;
        read(&out, &[]);
    }

    #[test]
    fn any_order_of_chunks_stays_within_the_bounds(steps in vec((0..6u64, 0..7u8, 0..40usize), 0..200)) {
        bounds_hold(&steps)?;
    }
}

/// Drives a reassembly with small bounds, and asks after each step whether it keeps them.
fn bounds_hold(steps: &[(u64, u8, usize)]) -> Result<(), TestCaseError> {
    use skybox_wire::frame::{Progress, Reassembly};
    let limits = Limits {
        payload_bytes_max: 100,
        payloads_open_max: 3,
        payload_bytes_held_max: 150,
        ..Limits::default()
    };
    let mut reassembly = Reassembly::new(limits);
    for &(call, step, len) in steps {
        let call = CallId(call);
        let content = vec![call.0 as u8; len];
        let progress = match step {
            0..=2 => {
                let total = len as u64 + u64::from(step) * 45;
                reassembly.begin(call, total, Payload { total, first: content.into() })
            }
            3..=4 => reassembly.push(call, &content),
            5 => reassembly.skip(call).map(|_| Progress::Waiting),
            _ => {
                reassembly.end(call);
                Ok(Progress::Waiting)
            }
        };
        if let Ok(Progress::Whole(total, bytes)) = progress {
            prop_assert_eq!(bytes.len() as u64, total);
            prop_assert!(bytes.iter().all(|byte| u64::from(*byte) == call.0));
        }
        prop_assert!(reassembly.open_count() <= 3);
        prop_assert!(reassembly.bytes_held() <= 150);
        prop_assert!(reassembly.open_count() > 0 || reassembly.bytes_held() == 0);
    }
    Ok(())
}

#[test]
fn the_longest_frame_that_can_be_written_is_within_the_bound() {
    let link = Link {
        instance: InstanceId { node: Incarnation(u64::MAX), count: u64::MAX },
        call: CallId(u64::MAX),
        mode: Mode::Exclusive,
    };
    let chain = Chain::from_links(&[link; CHAIN_LEN_MAX]).expect("within the bound");
    let key = [0xff; skybox_wire::frame::KEY_BYTES_MAX];
    let head = CallHead {
        call: CallId(u64::MAX),
        module: ModuleNumber(u16::MAX),
        method: MethodNumber(u16::MAX),
        form: u8::MAX,
        key: Some(&key),
        deadline_us: Some(u64::MAX),
        trace: Some(TraceContext { trace_id: u128::MAX, span_id: u64::MAX, flags: u8::MAX }),
        chain: &chain,
        caller: Some(ModuleNumber(u16::MAX)),
    };
    let mut out = BytesMut::new();
    let payload = vec![1; CHUNK_BYTES_MAX + 1];
    assert_eq!(encode_call(&mut out, &head, &payload), Ok(CHUNK_BYTES_MAX));
    let Ok(Some(Frame::Call(call))) = Decoder::new(Limits::default()).next(&mut out) else {
        panic!("the longest call is refused");
    };
    assert_eq!((call.payload.total, call.payload.first.len()), (CHUNK_BYTES_MAX as u64 + 1, CHUNK_BYTES_MAX));
    assert_eq!((call.chain.len(), call.key.as_deref()), (CHAIN_LEN_MAX, Some(&key[..])));
}
