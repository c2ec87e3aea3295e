//! Values that are nothing but bytes, [`Bytes`] and `Vec<u8>`, past serde: it would copy them, a `Vec<u8>` byte by byte.
//!
//! What crosses is the same: the compact form of both is their length and then the bytes.

use std::any::Any;

use bytes::Bytes;

use super::Form;
use crate::field::{Fields, Small, VARINT_BYTES_MAX};

/// What stands before the bytes in the compact form.
#[derive(Debug)]
pub struct Lead(Small<VARINT_BYTES_MAX>);

impl Lead {
    /// Of so many bytes.
    fn of(len: usize) -> Lead {
        let mut length = Small::new();
        length.varint(len as u64);
        Lead(length)
    }

    /// The bytes that come first.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Takes the bytes out of a value that is nothing else. Behind the lead, they are its compact form. `None`, and nothing
/// taken, if it is another type, or shorter than `len_min`.
pub fn take_bytes<T: Any>(value: &mut T, len_min: usize) -> Option<(Lead, Bytes)> {
    let value: &mut dyn Any = value;
    let bytes = if let Some(bytes) = value.downcast_mut::<Bytes>().filter(|bytes| bytes.len() >= len_min) {
        std::mem::take(bytes)
    } else {
        let bytes = value.downcast_mut::<Vec<u8>>().filter(|bytes| bytes.len() >= len_min)?;
        Bytes::from(std::mem::take(bytes))
    };
    Some((Lead::of(bytes.len()), bytes))
}

/// Reads a payload as a value that is nothing but bytes; [`Bytes`] share its memory. `None` if it is another type, or
/// the payload is not in the compact form of bytes: [`decode`](super::decode) knows why.
pub fn decode_bytes<T: Any>(form: Form, payload: &Bytes) -> Option<T> {
    let mut value = None::<T>;
    let slot: &mut dyn Any = &mut value;
    if let Some(slot) = slot.downcast_mut::<Option<Bytes>>() {
        *slot = Some(payload.slice(bytes_at(form, payload)?..));
    } else if let Some(slot) = slot.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(payload[bytes_at(form, payload)?..].to_vec());
    }
    value
}

/// Where the bytes begin.
fn bytes_at(form: Form, payload: &[u8]) -> Option<usize> {
    let mut fields = Fields::new(payload);
    let len = fields.varint("length").ok()?;
    (form == Form::Compact && len == fields.left() as u64).then(|| fields.at())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::codec::{Proof, decode, encode};

    fn check<T>(value: &T)
    where
        T: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug + 'static,
    {
        let mut encoded = BytesMut::new();
        let form = encode::<T, T>(value, &Proof::new(), &mut encoded).unwrap();
        let (lead, bytes) = take_bytes(&mut value.clone(), 0).unwrap();
        assert_eq!((form, &encoded[..]), (Form::Compact, &[lead.as_slice(), &bytes].concat()[..]));
        let mut encoded = encoded.freeze();
        assert_eq!(decode_bytes::<T>(form, &encoded).as_ref(), Some(value));
        assert_eq!(decode_bytes::<T>(Form::Named, &encoded), None);
        // One byte more, and one less: both ways say no.
        let more = Bytes::from([&encoded[..], b"x"].concat());
        assert!(decode_bytes::<T>(form, &more).is_none() && decode::<T>(form, &more).is_err());
        encoded.truncate(encoded.len() - 1);
        assert!(decode_bytes::<T>(form, &encoded).is_none() && decode::<T>(form, &encoded).is_err());
    }

    #[test]
    fn bytes_cross_as_serde_would_write_them() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            check(&Bytes::from(bytes.clone()));
            check(&bytes);
        }
    }

    #[test]
    fn other_types_and_short_values_are_left_to_serde() {
        assert!(take_bytes(&mut "text".to_owned(), 0).is_none());
        assert!(decode_bytes::<String>(Form::Compact, &Bytes::from_static(b"\x01x")).is_none());
        let mut short = vec![1, 2];
        assert!(take_bytes(&mut short, 3).is_none());
        assert_eq!(short, [1, 2]);
    }
}
