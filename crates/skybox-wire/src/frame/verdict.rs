//! The callee's verdict on a call that did not return, as bytes.

use skybox_core::CallErrorKind;

use super::CHUNK_BYTES_MAX;

/// Bytes of one text in a verdict. A panic message can be of any length; this much of it explains enough.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// What stands at the end of a text that was cut.
const CUT_MARK: &str = " … (cut)";

/// The verdict's bytes; they fit in one frame.
pub(super) fn to_bytes(verdict: &CallErrorKind) -> Vec<u8> {
    let bytes = postcard::to_allocvec(&cut(verdict)).expect("strings and unit variants always encode");
    if bytes.len() <= CHUNK_BYTES_MAX {
        return bytes;
    }
    // Only a kind that `cut` does not know can come here. Of what cannot be told in full, the caller must
    // assume that it may have run.
    let why = format!("the callee's verdict ({}) is too long to send", verdict.name());
    postcard::to_allocvec(&CallErrorKind::Lost { why }).expect("a string always encodes")
}

/// The verdict in `bytes`, if they are one and nothing else.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<CallErrorKind> {
    match postcard::take_from_bytes(bytes) {
        Ok((verdict, [])) => Some(verdict),
        _ => None,
    }
}

fn cut(verdict: &CallErrorKind) -> CallErrorKind {
    use CallErrorKind::*;
    match verdict.clone() {
        Unplaced { why } => Unplaced { why: cut_text(why) },
        NotStarted { cause } => NotStarted { cause: cut_text(cause) },
        Overloaded { what } => Overloaded { what: cut_text(what) },
        Denied { why } => Denied { why: cut_text(why) },
        Unreachable { why } => Unreachable { why: cut_text(why) },
        Mismatch { why } => Mismatch { why: cut_text(why) },
        Reentrant { chain } => Reentrant { chain: cut_text(chain) },
        Lost { why } => Lost { why: cut_text(why) },
        BadReply { why } => BadReply { why: cut_text(why) },
        Crashed { message, place } => Crashed { message: cut_text(message), place: cut_text(place) },
        short => short,
    }
}

fn cut_text(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX - CUT_MARK.len()));
        text.push_str(CUT_MARK);
    }
    text
}
