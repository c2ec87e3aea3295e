//! The compact form: postcard's bytes, with depth and lengths bounded and every reading accounted for.

mod read;

use std::fmt::Display;

use bytes::BytesMut;
use postcard::ser_flavors::Flavor;
use serde::Serializer;

pub(super) use read::{Reader, Trust, Unwatched};

use super::fault::Fault;
use super::scalar::Scalar;
use super::walk::Sink;

/// 64 bits, seven to a byte.
const VARINT_BYTES_MAX: usize = 10;

/// Appends postcard's bytes.
pub(super) struct Writer<'o> {
    out: &'o mut BytesMut,
}

impl<'o> Writer<'o> {
    #[inline]
    pub(super) fn new(out: &'o mut BytesMut) -> Self {
        Self { out }
    }

    /// Appends seven bits to a byte, the lowest first. postcard's own way copies as many bytes as the
    /// number has, which is a call of `memcpy` for each integer and as dear as all else together.
    #[inline(always)]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.out.extend_from_slice(&[value as u8]);
        } else if value < 0x4000 {
            self.out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
        } else {
            self.long_varint(value);
        }
    }

    #[inline(never)]
    fn long_varint(&mut self, mut value: u64) {
        let mut bytes = [0; VARINT_BYTES_MAX];
        let mut len = 0;
        while value >= 0x80 {
            bytes[len] = value as u8 | 0x80;
            value >>= 7;
            len += 1;
        }
        bytes[len] = value as u8;
        let end = self.out.len() + len + 1;
        self.out.extend_from_slice(&bytes);
        self.out.truncate(end);
    }

    #[inline(always)]
    fn postcard(&mut self) -> postcard::Serializer<Tail<'_>> {
        postcard::Serializer { output: Tail(self.out) }
    }

    #[cold]
    fn unknown_length() -> Fault {
        Fault::needs_names("its length is not known before it is written")
    }
}

impl Sink for Writer<'_> {
    const NAMED: bool = false;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline(always)]
    fn scalar<T: Scalar>(&mut self, value: T) -> Result<(), Fault> {
        match value.to_varint() {
            Some(number) => self.varint(number),
            None => value.serialize(&mut self.postcard())?,
        }
        Ok(())
    }

    #[inline(always)]
    fn text(&mut self, value: &str) -> Result<(), Fault> {
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn display<T: Display + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        Ok((&mut self.postcard()).collect_str(value)?)
    }

    #[inline]
    fn bytes(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value);
        Ok(())
    }

    #[inline(always)]
    fn unit(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline(always)]
    fn none(&mut self) -> Result<(), Fault> {
        self.out.extend_from_slice(&[0]);
        Ok(())
    }

    #[inline(always)]
    fn some(&mut self) -> Result<usize, Fault> {
        self.out.extend_from_slice(&[1]);
        Ok(0)
    }

    #[inline(always)]
    fn end_some(&mut self, _mark: usize) -> Result<(), Fault> {
        Ok(())
    }

    #[inline(always)]
    fn unit_variant(&mut self, index: u32, _name: &str) -> Result<(), Fault> {
        self.varint(u64::from(index));
        Ok(())
    }

    #[inline(always)]
    fn variant(&mut self, index: u32, _name: &str) -> Result<(), Fault> {
        self.varint(u64::from(index));
        Ok(())
    }

    #[inline(always)]
    fn tuple(&mut self, _len: usize) -> Result<(), Fault> {
        Ok(())
    }

    #[inline(always)]
    fn structure(&mut self, _len: usize) -> Result<(), Fault> {
        Ok(())
    }

    #[inline(always)]
    fn field(&mut self, _name: &str) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn skip_field(&mut self) -> Result<(), Fault> {
        Err(Fault::needs_names("a field is left out"))
    }

    #[inline(always)]
    fn seq(&mut self, len: Option<usize>) -> Result<usize, Fault> {
        self.varint(len.ok_or_else(Self::unknown_length)? as u64);
        Ok(self.out.len())
    }

    #[inline(always)]
    fn map(&mut self, len: Option<usize>) -> Result<usize, Fault> {
        self.seq(len)
    }

    #[inline(always)]
    fn end_item(&mut self) {}

    /// A reader refuses a length above the number of bytes that are left, so items must not be smaller
    /// than a byte on average: `Vec<()>` is written with names, where each item has a byte.
    #[inline(always)]
    fn end_items(&mut self, mark: usize, _announced: bool, count: usize) -> Result<(), Fault> {
        if self.out.len() - mark < count {
            return Err(Fault::needs_names("its items take no bytes"));
        }
        Ok(())
    }
}

/// The end of the buffer, as postcard wants to see it.
struct Tail<'o>(&'o mut BytesMut);

impl Flavor for Tail<'_> {
    type Output = ();

    #[inline(always)]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
