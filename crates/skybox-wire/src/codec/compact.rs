//! The compact form: postcard's bytes, with depth and lengths bounded and every reading accounted for.

mod read;

use std::fmt::Display;

use bytes::BytesMut;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, Serializer};

pub(super) use read::{Reader, Trust, Unwatched};

use super::fault::Fault;
use super::scalar::Scalar;
use super::walk::Sink;

/// Appends postcard's bytes.
pub(super) struct Writer<'o> {
    out: &'o mut BytesMut,
}

impl<'o> Writer<'o> {
    #[inline]
    pub(super) fn new(out: &'o mut BytesMut) -> Self {
        Self { out }
    }

    #[inline(always)]
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut self.postcard())?;
        Ok(())
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
        self.put(&value)
    }

    #[inline(always)]
    fn text(&mut self, value: &str) -> Result<(), Fault> {
        self.put(value)
    }

    fn display<T: Display + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        Ok((&mut self.postcard()).collect_str(value)?)
    }

    #[inline]
    fn bytes(&mut self, value: &[u8]) -> Result<(), Fault> {
        Ok((&mut self.postcard()).serialize_bytes(value)?)
    }

    #[inline(always)]
    fn unit(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline(always)]
    fn none(&mut self) -> Result<(), Fault> {
        self.put(&0u8)
    }

    #[inline(always)]
    fn some(&mut self) -> Result<usize, Fault> {
        self.put(&1u8)?;
        Ok(0)
    }

    #[inline(always)]
    fn end_some(&mut self, _mark: usize) -> Result<(), Fault> {
        Ok(())
    }

    #[inline(always)]
    fn unit_variant(&mut self, index: u32, _name: &str) -> Result<(), Fault> {
        self.put(&index)
    }

    #[inline(always)]
    fn variant(&mut self, index: u32, _name: &str) -> Result<(), Fault> {
        self.put(&index)
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
        self.put(&len.ok_or_else(Self::unknown_length)?)?;
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
