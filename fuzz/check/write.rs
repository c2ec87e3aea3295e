//! Any frame, written as its sender would.

use bytes::BytesMut;
use skybox_wire::frame::{
    CallHead, Frame, ItemFrame, ItemHead, ReplyBody, ReplyFrame, ReplyHead, encode_call, encode_cancel,
    encode_chunk, encode_credit, encode_drain, encode_failure, encode_item, encode_item_chunk, encode_ping,
    encode_pong, encode_reply, encode_reset, encode_stream_end,
};

/// Appends the frame; what it holds of its payload is the whole payload.
pub(crate) fn write(frame: &Frame, out: &mut BytesMut) {
    match frame {
        Frame::Call(call) => {
            let head = CallHead {
                call: call.call,
                module: call.module,
                method: call.method,
                form: call.form,
                key: call.key.as_deref(),
                deadline_us: call.deadline_us,
                trace: call.trace,
                chain: &call.chain,
                caller: call.caller,
            };
            encode_call(out, &head, &call.payload.first).expect("a short key");
        }
        Frame::Reply(ReplyFrame { call, load, body: ReplyBody::Failed(verdict) }) => {
            encode_failure(out, *call, *load, verdict);
        }
        Frame::Reply(ReplyFrame { call, load, body: ReplyBody::Returned { outcome, form, payload } }) => {
            let head = ReplyHead { call: *call, load: *load, outcome: *outcome, form: *form };
            encode_reply(out, &head, &payload.first);
        }
        Frame::Chunk(chunk) => assert!(encode_chunk(out, chunk.of, chunk.call, &chunk.bytes) > 0),
        Frame::Cancel(call) => encode_cancel(out, *call),
        Frame::Drain { last } => encode_drain(out, *last),
        Frame::Ping(beat) => encode_ping(out, *beat),
        Frame::Pong(beat) => encode_pong(out, *beat),
        Frame::Item(ItemFrame { stream, is_error, form, payload }) => {
            let head = ItemHead { stream: *stream, is_error: *is_error, form: *form };
            encode_item(out, &head, &payload.first);
        }
        Frame::ItemChunk(id, bytes) => assert!(encode_item_chunk(out, *id, bytes) > 0),
        Frame::StreamEnd(id, failed) => encode_stream_end(out, *id, failed.as_ref()),
        Frame::Credit(id, credit) => encode_credit(out, *id, *credit),
        Frame::Reset(id) => encode_reset(out, *id),
        other => panic!("a frame of a kind that this test does not know: {other:?}"),
    }
}
