//! What writing and reading one small call and its reply costs, in nanoseconds, without any connection.
//!
//! `cargo run --release -p skybox-wire --example frame_cost`

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use skybox_core::{CallId, Chain, Incarnation, InstanceId, Link, Mode, TraceContext};
use skybox_wire::frame::{
    CallHead, Decoder, Limits, MethodNumber, ModuleNumber, Outcome, ReplyHead, begin_call, begin_reply,
};

/// Frames in one buffer: about what a busy connection reads at once.
const BATCH: u64 = 64;
/// Batches in one round.
const BATCHES: u64 = 4_000;
/// Rounds; the fastest is printed, since other programs only ever add to it.
const ROUNDS: usize = 15;

fn main() {
    let payload = [7u8; 60];
    let plain = Chain::none();
    let link = Link {
        instance: InstanceId { node: Incarnation(0x1234_5678_9abc_def0), count: 3 },
        call: CallId(70_000),
        mode: Mode::Shared,
    };
    let deep = plain.push(link).and_then(|chain| chain.push(link)).expect("two links are few");
    let call = CallHead {
        call: CallId(70_000),
        module: ModuleNumber(3),
        method: MethodNumber(1),
        form: 0,
        key: None,
        deadline_us: None,
        trace: None,
        chain: &plain,
        caller: Some(ModuleNumber(9)),
    };
    let trace = TraceContext { trace_id: 1 << 100, span_id: 1 << 50, flags: 1 };
    let full = CallHead {
        deadline_us: Some(1 << 40),
        trace: Some(trace),
        chain: &deep,
        key: Some(b"user-17"),
        ..call
    };
    let reply = ReplyHead { call: CallId(70_000), load: 12, outcome: Outcome::Ok, form: 0 };

    measure("small call", |out| {
        let mut writer = begin_call(out, black_box(&call)).expect("no key");
        writer.buffer().extend_from_slice(&payload);
        assert!(writer.finish().is_none());
    });
    measure("small reply", |out| {
        let mut writer = begin_reply(out, black_box(&reply));
        writer.buffer().extend_from_slice(&payload);
        assert!(writer.finish().is_none());
    });
    measure("call with key, deadline, trace, two links", |out| {
        let mut writer = begin_call(out, black_box(&full)).expect("a short key");
        writer.buffer().extend_from_slice(&payload);
        assert!(writer.finish().is_none());
    });
}

fn measure(what: &str, mut encode: impl FnMut(&mut BytesMut)) {
    let mut decoder = Decoder::new(Limits::default());
    let (mut encode_ns, mut decode_ns) = (Vec::new(), Vec::new());
    let mut frame_len = 0;
    for _ in 0..ROUNDS {
        let (mut encoding, mut decoding) = (0, 0);
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        for _ in 0..BATCHES {
            buffer.reserve(16 * 1024);
            let start = Instant::now();
            for _ in 0..BATCH {
                encode(&mut buffer);
            }
            encoding += start.elapsed().as_nanos();
            frame_len = buffer.len() / BATCH as usize;
            let start = Instant::now();
            while let Some(frame) = decoder.next(&mut buffer).expect("frames just written") {
                black_box(frame);
            }
            decoding += start.elapsed().as_nanos();
        }
        encode_ns.push(encoding as f64 / (BATCH * BATCHES) as f64);
        decode_ns.push(decoding as f64 / (BATCH * BATCHES) as f64);
    }
    let (encode_ns, decode_ns) = (fastest(encode_ns), fastest(decode_ns));
    println!("{what}: {frame_len} bytes, encode {encode_ns:.1} ns, decode {decode_ns:.1} ns");
}

fn fastest(samples: Vec<f64>) -> f64 {
    samples.into_iter().fold(f64::INFINITY, f64::min)
}
