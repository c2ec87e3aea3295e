//! Bytes as frames: what a connection does with what it has read, under bounds so small that bytes reach them.
//!
//! 1. A frame is a frame wherever the bytes before and in it were cut.
//! 2. A frame that was read, written again, is read as the same.
//! 3. Whatever payloads announce, those that are incomplete stay within the bounds, and what is complete is as long
//!    as was announced.

use bytes::BytesMut;
use skybox_wire::frame::{
    Decoder, Frame, FrameError, Limits, Payload, PayloadOf, Progress, Reassembly, ReplyBody, ReplyFrame,
};

use crate::memory;

#[path = "write.rs"]
mod write;

const LIMITS: Limits = Limits {
    frame_bytes_max: skybox_wire::frame::FRAME_BYTES_MAX,
    payload_bytes_max: 100,
    payloads_open_max: 3,
    payload_bytes_held_max: 150,
};

/// Room for the one frame that is not complete, and what the buffer doubles.
const MEMORY_BYTES_MAX: usize = 4 * skybox_wire::frame::FRAME_BYTES_MAX;

/// Bytes held for each byte that arrived: the buffer, and an entry for each refused payload, of which the shortest
/// frame has nine bytes.
const MEMORY_PER_BYTE_MAX: usize = 16;

/// Payload bytes up to which a frame is written again. The writer cuts the texts of longer verdicts, and chunks
/// longer payloads.
const REWRITTEN_BYTES_MAX: usize = 8 * 1024;

pub(crate) fn check(bytes: &[u8]) {
    let ((), taken) = memory::peak(|| join(bytes));
    let bound = MEMORY_BYTES_MAX + bytes.len() * MEMORY_PER_BYTE_MAX;
    assert!(taken <= bound, "{} bytes took {taken}, and {bound} is the bound", bytes.len());

    let (frames, error) = read(bytes, bytes.len());
    let (frames_cut, error_cut) = read(bytes, 1);
    assert_eq!(text(&frames), text(&frames_cut), "frames depend on where the bytes are cut");
    assert_eq!(error, error_cut, "the error depends on where the bytes are cut");
    if bytes.len() <= REWRITTEN_BYTES_MAX {
        frames.into_iter().for_each(check_written_again);
    }
}

/// Frames have no equality of their own; their texts show every field.
fn text(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| format!("{frame:?}")).collect()
}

/// Every frame in the bytes, which arrive in pieces of this length, until they end or the first error.
fn read(bytes: &[u8], piece_len: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut frames, mut decoder, mut buffer) = (Vec::new(), Decoder::new(LIMITS), BytesMut::new());
    for piece in bytes.chunks(piece_len.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn check_written_again(mut frame: Frame) {
    // No writer leaves a payload off where it likes; so what is here is taken for all of it.
    if let Some(payload) = payload_mut(&mut frame) {
        payload.total = payload.first.len() as u64;
    }
    let mut out = BytesMut::new();
    write::write(&frame, &mut out);
    let (again, error) = read(&out, out.len());
    assert_eq!((text(&again), error), (text(&[frame]), None), "written as {out:?}");
}

fn payload_mut(frame: &mut Frame) -> Option<&mut Payload> {
    match frame {
        Frame::Call(call) => Some(&mut call.payload),
        Frame::Reply(ReplyFrame { body: ReplyBody::Returned { payload, .. }, .. }) => Some(payload),
        Frame::Item(item) => Some(&mut item.payload),
        _ => None,
    }
}

/// Joins the payloads of calls and of replies until the bytes end or the connection would.
fn join(bytes: &[u8]) {
    let (mut decoder, mut buffer) = (Decoder::new(LIMITS), BytesMut::from(bytes));
    let (mut calls, mut replies) = (Reassembly::new(LIMITS), Reassembly::new(LIMITS));
    while let Ok(Some(frame)) = decoder.next(&mut buffer) {
        let progress = match frame {
            Frame::Call(call) => calls.begin(call.call, call.payload.total, call.payload),
            Frame::Reply(ReplyFrame { call, body, .. }) => match body {
                ReplyBody::Returned { payload, .. } => replies.begin(call, payload.total, payload),
                ReplyBody::Failed(_) => {
                    replies.end(call);
                    Ok(Progress::Waiting)
                }
            },
            Frame::Chunk(chunk) if chunk.of == PayloadOf::Call => calls.push(chunk.call, &chunk.bytes),
            Frame::Chunk(chunk) => replies.push(chunk.call, &chunk.bytes),
            Frame::Cancel(call) => {
                calls.end(call);
                Ok(Progress::Waiting)
            }
            // Stands for this side's giving up a reply, which no frame of the peer says.
            Frame::Drain { last } => replies.skip(last).map(|_| Progress::Waiting),
            _ => Ok(Progress::Waiting),
        };
        match progress {
            Ok(Progress::Whole(total, payload)) => assert_eq!(payload.len() as u64, total),
            Ok(Progress::Waiting | Progress::Refused(..)) => {}
            Err(_) => return,
        }
        for reassembly in [&calls, &replies] {
            assert!(reassembly.open_count() <= LIMITS.payloads_open_max);
            assert!(reassembly.bytes_held() <= LIMITS.payload_bytes_held_max);
            assert!(reassembly.open_count() > 0 || reassembly.bytes_held() == 0);
        }
    }
}
