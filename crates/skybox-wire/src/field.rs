//! Single fields of the wire: fixed numbers, varints, bytes and text. Frames and handshake are made of these.

use bytes::{BufMut, BytesMut};

/// Bytes of the longest varint: 64 bits, seven at a time.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// A field that is not what the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// The bytes end inside the field.
    #[error("`{field}` is cut off")]
    Truncated {
        /// The field's name in `docs/wire.md`.
        field: &'static str,
    },
    /// A varint of more than ten bytes, of more than 64 bits, or longer than its value needs.
    #[error("`{field}` is no varint: too many bytes, or more of them than its value needs")]
    BadVarint {
        /// The field's name.
        field: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("`{field}` is not UTF-8")]
    NotUtf8 {
        /// The field's name.
        field: &'static str,
    },
    /// A number that means nothing there.
    #[error("`{field}` cannot be {value}")]
    BadValue {
        /// The field's name.
        field: &'static str,
        /// What arrived.
        value: u64,
    },
    /// A length or count above its bound.
    #[error("`{field}` has {len}, above the bound of {max}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// The length that arrived.
        len: u64,
        /// The bound.
        max: u64,
    },
}

/// Reads fields off the front of some bytes.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// All that is left, without reading it.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, FieldError> {
        let byte = *self.bytes.get(self.at).ok_or(FieldError::Truncated { field })?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FieldError> {
        let bytes = *self.rest().first_chunk::<N>().ok_or(FieldError::Truncated { field })?;
        self.at += N;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, FieldError> {
        Ok(u16::from_le_bytes(self.fixed(field)?))
    }

    #[inline]
    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, FieldError> {
        Ok(u64::from_le_bytes(self.fixed(field)?))
    }

    #[inline]
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, FieldError> {
        let first = self.u8(field)?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.varint_behind(u64::from(first & 0x7f), field)
    }

    fn varint_behind(&mut self, mut value: u64, field: &'static str) -> Result<u64, FieldError> {
        for index in 1..VARINT_BYTES_MAX {
            let byte = self.u8(field)?;
            // The tenth byte holds bit 63 alone, and a last byte of zero would add nothing: each value has
            // exactly one form, so that golden vectors and signatures over frames can compare bytes.
            if byte == 0 || (index == VARINT_BYTES_MAX - 1 && byte > 1) {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FieldError::BadVarint { field })
    }

    #[inline]
    pub(crate) fn varint_u16(&mut self, field: &'static str) -> Result<u16, FieldError> {
        let value = self.varint(field)?;
        u16::try_from(value).map_err(|_| FieldError::BadValue { field, value })
    }

    /// A varint length of at most `max`, then as many bytes.
    pub(crate) fn bytes(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], FieldError> {
        let len = self.varint(field)?;
        let max = max as u64;
        if len > max {
            return Err(FieldError::TooLong { field, len, max });
        }
        // At most `max`, which was a usize.
        let len = len as usize;
        let bytes = self.rest().get(..len).ok_or(FieldError::Truncated { field })?;
        self.at += len;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, FieldError> {
        std::str::from_utf8(self.bytes(field, max)?).map_err(|_| FieldError::NotUtf8 { field })
    }
}

/// Up to `N` bytes of fields on the stack, so that a frame's head reaches the buffer in one copy.
#[derive(Debug)]
pub(crate) struct Small<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Small<N> {
    #[inline]
    pub(crate) fn new() -> Small<N> {
        Small { bytes: [0; N], len: 0 }
    }

    #[inline]
    pub(crate) fn u8(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn fixed<const M: usize>(&mut self, bytes: [u8; M]) {
        self.bytes[self.len..self.len + M].copy_from_slice(&bytes);
        self.len += M;
    }

    #[inline]
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(crate) fn put_varint(out: &mut BytesMut, value: u64) {
    let mut small = Small::<VARINT_BYTES_MAX>::new();
    small.varint(value);
    out.put_slice(small.as_slice());
}

pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_exactly_one_form() {
        let good: [(u64, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (1 << 63, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (value, bytes) in good {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(Fields::new(bytes).varint("n"), Ok(value));
            for cut in 0..bytes.len() {
                let cut_off = Fields::new(&bytes[..cut]).varint("n");
                assert_eq!(cut_off, Err(FieldError::Truncated { field: "n" }), "{value} cut at {cut}");
            }
        }
        let bad: [&[u8]; 4] = [
            &[0x80, 0],
            &[0xff, 0x80, 0],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0],
        ];
        for bytes in bad {
            assert_eq!(
                Fields::new(bytes).varint("n"),
                Err(FieldError::BadVarint { field: "n" }),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn a_length_is_checked_against_its_bound_and_against_what_is_there() {
        let mut out = BytesMut::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!(
            Fields::new(&out).bytes("key", 4),
            Err(FieldError::TooLong { field: "key", len: u64::MAX, max: 4 })
        );
        assert_eq!(Fields::new(&[3, 1, 2]).bytes("key", 4), Err(FieldError::Truncated { field: "key" }));
        assert_eq!(Fields::new(&[1, 0xff]).text("name", 4), Err(FieldError::NotUtf8 { field: "name" }));
    }
}
