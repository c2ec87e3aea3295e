//! The named form: MessagePack that says what it holds, structs as maps by field name.
//!
//! It claims to be human-readable although it is not: `flatten`, untagged and internally tagged enums read
//! from a buffer of serde's own (`Content`), which always claims it, and a type that asks (`Uuid`, `IpAddr`)
//! must get the same answer when it is written and when it is read from that buffer.
//!
//! Plain MessagePack has one `nil` for `None`, `()`, `Some(None)` and `Some(())`. Here `Some(x)` is written
//! as `x`, except where `x` would be `nil`: that is [`EXT_SOMES`] with the number of `Some`s around it.
//! Integers beyond 64 bits are [`EXT_U128`] and [`EXT_I128`], big-endian; smaller ones are plain integers.

mod difference;
mod read;

use bytes::{BufMut, BytesMut};
use rmp::Marker;
use rmp::encode as pack;

pub(super) use difference::first_difference;
pub(super) use read::Reader;

use super::fault::Fault;
use super::scalar::{Scalar, infallible};
use super::walk::Sink;

/// `nil` inside as many `Some`s as its one byte says.
const EXT_SOMES: i8 = 1;
const EXT_U128: i8 = 2;
const EXT_I128: i8 = 3;

/// Appends MessagePack.
pub(super) struct Writer<'o> {
    out: &'o mut BytesMut,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut BytesMut) -> Self {
        Self { out }
    }

    /// A header whose count is filled in by `end_items`.
    fn open_header(&mut self, marker: Marker) -> usize {
        let mark = self.out.len();
        self.out.put_u8(marker.to_u8());
        self.out.put_u32(0);
        mark
    }

    fn array(&mut self, len: usize) -> Result<usize, Fault> {
        infallible(pack::write_array_len(&mut self.out.writer(), length(len)?));
        Ok(0)
    }

    fn object(&mut self, len: usize) -> Result<usize, Fault> {
        infallible(pack::write_map_len(&mut self.out.writer(), length(len)?));
        Ok(0)
    }

    fn string(&mut self, value: &str) -> Result<(), Fault> {
        length(value.len())?;
        pack_str(value, self.out);
        Ok(())
    }
}

fn length(len: usize) -> Result<u32, Fault> {
    u32::try_from(len).map_err(|_| Fault::new(format_args!("a length of {len} is above 32 bits")))
}

impl Sink for Writer<'_> {
    const NAMED: bool = true;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn scalar<T: Scalar>(&mut self, value: T) -> Result<(), Fault> {
        value.pack(self.out);
        Ok(())
    }

    fn text(&mut self, value: &str) -> Result<(), Fault> {
        self.string(value)
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Fault> {
        infallible(pack::write_bin_len(&mut self.out.writer(), length(value.len())?));
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn unit(&mut self) -> Result<(), Fault> {
        self.out.put_u8(Marker::Null.to_u8());
        Ok(())
    }

    fn none(&mut self) -> Result<(), Fault> {
        self.unit()
    }

    fn some(&mut self) -> Result<usize, Fault> {
        Ok(self.out.len())
    }

    fn end_some(&mut self, mark: usize) -> Result<(), Fault> {
        const NULL: u8 = Marker::Null.to_u8();
        const EXT: u8 = Marker::FixExt1.to_u8();
        let somes = match self.out[mark..] {
            [NULL] => 1,
            // Depth is bounded well below what the byte holds.
            [EXT, kind, somes] if kind == EXT_SOMES as u8 => somes + 1,
            _ => return Ok(()),
        };
        self.out.truncate(mark);
        self.out.extend_from_slice(&[EXT, EXT_SOMES as u8, somes]);
        Ok(())
    }

    fn unit_variant(&mut self, _index: u32, name: &str) -> Result<(), Fault> {
        self.string(name)
    }

    fn variant(&mut self, _index: u32, name: &str) -> Result<(), Fault> {
        self.object(1)?;
        self.string(name)
    }

    fn tuple(&mut self, len: usize) -> Result<(), Fault> {
        self.array(len).map(drop)
    }

    fn structure(&mut self, len: usize) -> Result<(), Fault> {
        self.object(len).map(drop)
    }

    fn field(&mut self, name: &str) -> Result<(), Fault> {
        self.string(name)
    }

    fn skip_field(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn seq(&mut self, len: Option<usize>) -> Result<usize, Fault> {
        match len {
            Some(len) => self.array(len),
            None => Ok(self.open_header(Marker::Array32)),
        }
    }

    fn map(&mut self, len: Option<usize>) -> Result<usize, Fault> {
        match len {
            Some(len) => self.object(len),
            None => Ok(self.open_header(Marker::Map32)),
        }
    }

    fn end_item(&mut self) {}

    fn end_items(&mut self, mark: usize, announced: bool, count: usize) -> Result<(), Fault> {
        if !announced {
            let count = length(count)?.to_be_bytes();
            self.out[mark + 1..mark + 5].copy_from_slice(&count);
        }
        Ok(())
    }
}

pub(super) fn pack_uint(value: u64, out: &mut BytesMut) {
    infallible(pack::write_uint(&mut out.writer(), value));
}

pub(super) fn pack_sint(value: i64, out: &mut BytesMut) {
    infallible(pack::write_sint(&mut out.writer(), value));
}

pub(super) fn pack_str(value: &str, out: &mut BytesMut) {
    infallible(pack::write_str(&mut out.writer(), value));
}

pub(super) fn pack_u128(value: u128, out: &mut BytesMut) {
    match u64::try_from(value) {
        Ok(value) => pack_uint(value, out),
        Err(_) => pack_wide(EXT_U128, value.to_be_bytes(), out),
    }
}

pub(super) fn pack_i128(value: i128, out: &mut BytesMut) {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => pack_sint(value, out),
        (_, Ok(value)) => pack_uint(value, out),
        _ => pack_wide(EXT_I128, value.to_be_bytes(), out),
    }
}

fn pack_wide(kind: i8, value: [u8; 16], out: &mut BytesMut) {
    infallible(pack::write_ext_meta(&mut out.writer(), 16, kind));
    out.extend_from_slice(&value);
}
