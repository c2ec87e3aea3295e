//! Values to bytes and back: what `Serialize` writes, `Deserialize` reads back unchanged, or the call fails
//! before it runs.
//!
//! Start reading at [`encode`]. It writes no frames, keeps no schema, and does not evolve types: both sides
//! are one version, which the handshake sees to.
//!
//! ```
//! use bytes::BytesMut;
//! use skybox_wire::codec::{Form, Proof, decode, encode};
//!
//! static ARGUMENTS: Proof = Proof::new();
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut out = BytesMut::new();
//! let form = encode::<(&str, u32), (String, u32)>(&("ada", 3), &ARGUMENTS, &mut out)?;
//! assert_eq!(form, Form::Compact);
//! assert_eq!(decode::<(String, u32)>(form, &out)?, ("ada".to_owned(), 3));
//! # Ok(())
//! # }
//! ```
//!
//! # Which form
//! Ordinary types are postcard's bytes. Those bytes say nothing of themselves, so a `Deserialize` that
//! asks for other things than were written fails, or reads nonsense: skipped fields, untagged and
//! internally tagged enums, `flatten`, `serde_json::Value`. Such a type is found by trying:
//!
//! 1. Writing follows the shape of the payload. If each of its segments is in the [`Proof`], done.
//! 2. Otherwise the bytes are read back, here, as the type that the peer will read. Every call of
//!    `Deserialize` is compared with the call of `Serialize` that wrote those bytes, and what was read,
//!    written once more, must be what was written first. If so, the segments are proven.
//! 3. Otherwise, and at once for skipped fields, unknown lengths and items without bytes, the payload is
//!    written with names and read back from there. If that holds, the type uses names from now on: going
//!    back and forth would cost two writings each time. Names have proofs too, but only where `Deserialize`
//!    asked for what it wanted. What went through `deserialize_any` may have decided by values, and what
//!    it ignored may be lost later; those payloads are verified each time.
//! 4. Otherwise [`EncodeError`] says where.
//!
//! A `Deserialize` that refuses a value (`try_from`) fails 2 and 3 for that value and leaves the proof as
//! it was.
//!
//! # Why proven segments are enough
//! A segment's number is made of all calls from the value itself down to that place, so it differs for
//! two places in a type and for any two ways in which a `Serialize` can behave there: other kinds,
//! counts, variants. Only what lies beside the way is left out, as one token for each option, enum,
//! sequence or map that has ended. So the claim is: how a part is read does not depend on which choice
//! was made beside it, or on how often items are repeated. Derived code is of this kind, since each part
//! is read by a function that sees nothing else, and compact bytes cannot be read in another way than
//! by calls in the right order.
//!
//! # What this cannot see
//! - Two values that write the same, as two untagged variants with equal contents, are one value here.
//! - A hand-written pair that swaps meanings by the value alone, within one kind (`7` is read as `8`), is
//!   caught only in payloads that are verified; so is one that reads a part by the choice made beside it.
//! - What a type never writes (`skip`, `skip_serializing` with `default`) arrives as its `Deserialize`
//!   fills it.
//! - Items of a sequence are compared in any order, as those of a `HashSet` come back in another one.

mod bytes;
mod compact;
mod digest;
mod error;
mod fault;
mod json;
mod named;
mod proof;
mod scalar;
mod shape;
mod walk;

use std::fmt;

use ::bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use bytes::{Lead, decode_bytes, take_bytes};
pub use error::{DecodeError, EncodeError};
pub use json::{encode_json, json_arguments};
pub use proof::Proof;

use digest::{Calls, Digest};
use fault::Fault;
use shape::Shape;
use walk::Walk;

/// Levels of options, enums, sequences and maps inside each other; with names, tuples and structs too.
/// Deeper values are refused when written, and deeper bytes when read: each level takes stack, and a
/// tokio worker's is 2 MiB.
pub const DEPTH_MAX: u32 = 128;

/// How a payload's bytes are to be read; its number stands beside them on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Form {
    /// postcard's bytes: no names, no kinds, nothing but the values.
    Compact = 0,
    /// MessagePack with structs as maps by field name, for types that ask the bytes what they hold.
    Named = 1,
    /// JSON, from the operator's command line.
    Json = 2,
}

impl TryFrom<u8> for Form {
    type Error = DecodeError;

    fn try_from(number: u8) -> Result<Self, DecodeError> {
        match number {
            0 => Ok(Self::Compact),
            1 => Ok(Self::Named),
            2 => Ok(Self::Json),
            _ => Err(DecodeError::UnknownForm(number)),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compact => "compact",
            Self::Named => "named",
            Self::Json => "JSON",
        })
    }
}

/// Appends `value` to `out`, in the compact form if `O` reads it back from there, else in the named form.
///
/// `O` is what the peer will read: `S` itself, or its owned counterpart, as `(String, u32)` for
/// `(&str, u32)`. `proof` must belong to this pair of types.
///
/// # Errors
/// When no form brings the value through unchanged; `out` is then as it was.
#[inline]
pub fn encode<S, O>(value: &S, proof: &Proof, out: &mut BytesMut) -> Result<Form, EncodeError>
where
    S: Serialize + ?Sized,
    O: Serialize + DeserializeOwned,
{
    let start = out.len();
    if !proof.uses_names() {
        let mut walk = Walk::new(compact::Writer::new(out), Shape::new(proof.table(), Form::Compact));
        match walk.run(value) {
            Ok(()) if walk.shape.is_proven() => return Ok(Form::Compact),
            Ok(()) => {
                let unproven = walk.shape.into_unproven();
                if prove_compact::<S, O>(value, &out[start..], &unproven, proof) {
                    return Ok(Form::Compact);
                }
            }
            Err(fault) if fault.wants_names() => {}
            Err(fault) => {
                out.truncate(start);
                return Err(EncodeError::unwritable::<S>(&fault));
            }
        }
        out.truncate(start);
    }
    encode_named::<S, O>(value, proof, out).inspect_err(|_| out.truncate(start))
}

/// Reads all of `bytes` as one value. Bytes that nobody wrote, from a broken or hostile peer, are refused
/// without a panic, and without taking memory that they could not fill.
///
/// # Errors
/// When `bytes` are not one `O` in that form; the call they belong to has not run.
#[inline]
pub fn decode<O: DeserializeOwned>(form: Form, bytes: &[u8]) -> Result<O, DecodeError> {
    match form {
        Form::Compact => compact::Reader::new(bytes, compact::Unwatched).run(),
        Form::Named => named::Reader::new(bytes).run(),
        Form::Json => serde_json::from_slice(bytes).map_err(Fault::new),
    }
    .map_err(|fault| DecodeError::invalid::<O>(form, &fault))
}

/// Whether `bytes`, the compact form of `value`, read back as an equal `O`; if so, `proof` remembers it.
#[cold]
#[inline(never)]
fn prove_compact<S, O>(value: &S, bytes: &[u8], unproven: &[u64], proof: &Proof) -> bool
where
    S: Serialize + ?Sized,
    O: Serialize + DeserializeOwned,
{
    let Ok(written) = Digest::of(value, false) else { return false };
    let mut reader = compact::Reader::new(bytes, Calls::default());
    let Ok(read) = reader.run::<O>() else { return false };
    let proven = reader.watch.0 == written.calls && is_unchanged(value, written, &read, false);
    if proven {
        proof.add::<S, O>(unproven);
    }
    proven
}

#[cold]
#[inline(never)]
fn encode_named<S, O>(value: &S, proof: &Proof, out: &mut BytesMut) -> Result<Form, EncodeError>
where
    S: Serialize + ?Sized,
    O: Serialize + DeserializeOwned,
{
    let start = out.len();
    let mut walk = Walk::new(named::Writer::new(out), Shape::new(proof.table(), Form::Named));
    walk.run(value).map_err(|fault| EncodeError::unwritable::<S>(&fault))?;
    if walk.shape.is_proven() {
        return Ok(Form::Named);
    }
    let unproven = walk.shape.into_unproven();
    let mut reader = named::Reader::new(&out[start..]);
    let read: O = reader.run().map_err(|fault| EncodeError::unreadable::<O>(&fault))?;
    let written = Digest::of(value, true).map_err(|fault| EncodeError::unwritable::<S>(&fault))?;
    if !is_unchanged(value, written, &read, true) {
        let mut again = BytesMut::new();
        let path = match Walk::new(named::Writer::new(&mut again), Shape::muted()).run(&read) {
            Ok(()) => named::first_difference(&out[start..], &again),
            Err(fault) => fault.path(),
        };
        return Err(EncodeError::altered::<O>(path));
    }
    if !reader.was_loose() {
        proof.add::<S, O>(&unproven);
    }
    proof.use_names();
    Ok(Form::Named)
}

/// Whether `read` writes what `value` wrote. A `Serialize` that writes something new each time (the age
/// of an `Instant`) cannot be compared, and passes.
fn is_unchanged<S, O>(value: &S, written: Digest, read: &O, human_readable: bool) -> bool
where
    S: Serialize + ?Sized,
    O: Serialize,
{
    let content = |digest: Result<Digest, Fault>| digest.ok().map(|digest| digest.content);
    content(Digest::of(read, human_readable)) == Some(written.content)
        || content(Digest::of(value, human_readable)) != Some(written.content)
}
