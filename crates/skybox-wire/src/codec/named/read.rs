//! Reading the named form.

use rmp::Marker;
use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::{EXT_I128, EXT_SOMES, EXT_U128};
use crate::codec::DEPTH_MAX;
use crate::codec::fault::Fault;

/// Reads MessagePack as [`Writer`](super::Writer) writes it.
pub(in crate::codec) struct Reader<'de> {
    rest: &'de [u8],
    depth: u32,
    /// A `nil` that was read and not yet visited, inside this many `Some`s.
    pending: Option<u8>,
    /// Whether something was read without saying what it is, or read and dropped: then what this
    /// payload shows is not true of the next one of its shape.
    loose: bool,
}

/// One value's first bytes; for scalars, all of it.
#[derive(PartialEq)]
pub(super) enum Head<'de> {
    Nil { somes: u8 },
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Unsigned128(u128),
    Signed128(i128),
    Float32(f32),
    Float64(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
    Array(usize),
    Map(usize),
}

impl<'de> Reader<'de> {
    pub(in crate::codec) fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes, depth: 0, pending: None, loose: false }
    }

    /// Reads one value that is all there is.
    pub(in crate::codec) fn run<O: Deserialize<'de>>(&mut self) -> Result<O, Fault> {
        let value = O::deserialize(&mut *self)?;
        match self.rest.len() {
            0 => Ok(value),
            count => Err(Fault::new(format_args!("{count} bytes follow the value"))),
        }
    }

    pub(in crate::codec) fn was_loose(&self) -> bool {
        self.loose
    }

    pub(super) fn remaining(&self) -> &'de [u8] {
        self.rest
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(Fault::truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(Fault::truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn len8(&mut self) -> Result<usize, Fault> {
        Ok(usize::from(u8::from_be_bytes(self.array()?)))
    }

    fn len16(&mut self) -> Result<usize, Fault> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    fn len32(&mut self) -> Result<usize, Fault> {
        usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| Fault::truncated())
    }

    fn text(&mut self, len: usize) -> Result<Head<'de>, Fault> {
        let text = std::str::from_utf8(self.take(len)?).map_err(Fault::new)?;
        Ok(Head::Text(text))
    }

    fn blob(&mut self, len: usize) -> Result<Head<'de>, Fault> {
        self.take(len).map(Head::Bytes)
    }

    /// Items that each take `item_bytes` or more; so no length is believed that the rest cannot hold.
    fn items(&self, len: usize, item_bytes: usize, head: fn(usize) -> Head<'de>) -> Result<Head<'de>, Fault> {
        if len > self.rest.len() / item_bytes { Err(Fault::truncated()) } else { Ok(head(len)) }
    }

    fn list(&self, len: usize) -> Result<Head<'de>, Fault> {
        self.items(len, 1, Head::Array)
    }

    fn object(&self, len: usize) -> Result<Head<'de>, Fault> {
        self.items(len, 2, Head::Map)
    }

    pub(super) fn head(&mut self) -> Result<Head<'de>, Fault> {
        if let Some(somes) = self.pending.take() {
            return Ok(Head::Nil { somes });
        }
        let [marker] = self.array()?;
        match Marker::from_u8(marker) {
            Marker::Null => Ok(Head::Nil { somes: 0 }),
            Marker::True => Ok(Head::Bool(true)),
            Marker::False => Ok(Head::Bool(false)),
            Marker::FixPos(value) => Ok(Head::Unsigned(value.into())),
            Marker::U8 => Ok(Head::Unsigned(u8::from_be_bytes(self.array()?).into())),
            Marker::U16 => Ok(Head::Unsigned(u16::from_be_bytes(self.array()?).into())),
            Marker::U32 => Ok(Head::Unsigned(u32::from_be_bytes(self.array()?).into())),
            Marker::U64 => Ok(Head::Unsigned(u64::from_be_bytes(self.array()?))),
            Marker::FixNeg(value) => Ok(Head::Signed(value.into())),
            Marker::I8 => Ok(Head::Signed(i8::from_be_bytes(self.array()?).into())),
            Marker::I16 => Ok(Head::Signed(i16::from_be_bytes(self.array()?).into())),
            Marker::I32 => Ok(Head::Signed(i32::from_be_bytes(self.array()?).into())),
            Marker::I64 => Ok(Head::Signed(i64::from_be_bytes(self.array()?))),
            Marker::F32 => Ok(Head::Float32(f32::from_be_bytes(self.array()?))),
            Marker::F64 => Ok(Head::Float64(f64::from_be_bytes(self.array()?))),
            Marker::FixStr(len) => self.text(len.into()),
            Marker::Str8 => self.len8().and_then(|len| self.text(len)),
            Marker::Str16 => self.len16().and_then(|len| self.text(len)),
            Marker::Str32 => self.len32().and_then(|len| self.text(len)),
            Marker::Bin8 => self.len8().and_then(|len| self.blob(len)),
            Marker::Bin16 => self.len16().and_then(|len| self.blob(len)),
            Marker::Bin32 => self.len32().and_then(|len| self.blob(len)),
            Marker::FixArray(len) => self.list(len.into()),
            Marker::Array16 => self.len16().and_then(|len| self.list(len)),
            Marker::Array32 => self.len32().and_then(|len| self.list(len)),
            Marker::FixMap(len) => self.object(len.into()),
            Marker::Map16 => self.len16().and_then(|len| self.object(len)),
            Marker::Map32 => self.len32().and_then(|len| self.object(len)),
            Marker::FixExt1 => match self.array()? {
                [kind, somes] if kind == EXT_SOMES as u8 && somes > 0 => Ok(Head::Nil { somes }),
                [kind, _] => Err(unknown(kind)),
            },
            Marker::FixExt16 => match self.array()? {
                [kind] if kind == EXT_U128 as u8 => Ok(Head::Unsigned128(u128::from_be_bytes(self.array()?))),
                [kind] if kind == EXT_I128 as u8 => Ok(Head::Signed128(i128::from_be_bytes(self.array()?))),
                [kind] => Err(unknown(kind)),
            },
            _ => Err(Fault::new(format_args!("0x{marker:02x} begins no value"))),
        }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::too_deep());
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// The inside of a `Some` that holds a `nil` inside `somes` further ones.
    fn some_of_nil<V: Visitor<'de>>(&mut self, somes: u8, visitor: V) -> Result<V::Value, Fault> {
        self.nested(|reader| {
            reader.pending = Some(somes);
            let value = visitor.visit_some(&mut *reader)?;
            if reader.pending.is_some() {
                return Err(Fault::new("its Deserialize leaves the inside of an option unread"));
            }
            Ok(value)
        })
    }

    fn seq<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.nested(|reader| {
            let mut parts = Parts { key: reader.rest, reader, left: len, index: 0 };
            let value = visitor.visit_seq(&mut parts)?;
            parts.finish()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.nested(|reader| {
            let mut parts = Parts { key: reader.rest, reader, left: len, index: 0 };
            let value = visitor.visit_map(&mut parts)?;
            parts.finish()?;
            Ok(value)
        })
    }

    /// Whatever comes next.
    fn value<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.head()? {
            Head::Nil { somes: 0 } => visitor.visit_unit(),
            Head::Nil { somes } => self.some_of_nil(somes - 1, visitor),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(value) => visitor.visit_u64(value),
            Head::Signed(value) => visitor.visit_i64(value),
            Head::Unsigned128(value) => visitor.visit_u128(value),
            Head::Signed128(value) => visitor.visit_i128(value),
            Head::Float32(value) => visitor.visit_f32(value),
            Head::Float64(value) => visitor.visit_f64(value),
            Head::Text(value) => visitor.visit_borrowed_str(value),
            Head::Bytes(value) => visitor.visit_borrowed_bytes(value),
            Head::Array(len) => self.seq(len, visitor),
            Head::Map(len) => self.map(len, visitor),
        }
    }
}

#[cold]
fn unknown(kind: u8) -> Fault {
    Fault::new(format_args!("extension {} is not one of this form", kind as i8))
}

/// The text that begins at `bytes`, or what kind of key stands there.
pub(super) fn key_name(bytes: &[u8]) -> String {
    match Reader::new(bytes).head() {
        Ok(Head::Text(text)) => text.to_owned(),
        Ok(Head::Unsigned(value)) => value.to_string(),
        Ok(Head::Signed(value)) => value.to_string(),
        _ => "<key>".to_owned(),
    }
}

macro_rules! says_itself {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, Fault> {
            $(let _: $type = $arg;)*
            self.value(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    fn is_human_readable(&self) -> bool {
        true
    }

    says_itself! {
        deserialize_bool();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64(); deserialize_i128();
        deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64(); deserialize_u128();
        deserialize_f32(); deserialize_f64(); deserialize_char();
        deserialize_str(); deserialize_string(); deserialize_bytes(); deserialize_byte_buf();
        deserialize_unit(); deserialize_unit_struct(_name: &'static str);
        deserialize_tuple(_len: usize); deserialize_tuple_struct(_name: &'static str, _len: usize);
        deserialize_map(); deserialize_struct(_name: &'static str, _fields: &'static [&'static str]);
        deserialize_identifier();
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.loose = true;
        self.value(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.loose = true;
        self.value(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // Of the extensions with one byte, only nils have a meaning.
        let next = self.rest.first().map(|&byte| Marker::from_u8(byte));
        if self.pending.is_none() && !matches!(next, Some(Marker::Null | Marker::FixExt1)) {
            return self.nested(|reader| visitor.visit_some(reader));
        }
        match self.head()? {
            Head::Nil { somes: 0 } => visitor.visit_none(),
            Head::Nil { somes } => self.some_of_nil(somes - 1, visitor),
            _ => Err(Fault::new("a nil is expected")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Bytes are a sequence too: `serde_bytes::Bytes` is written so, and may be read as a `Vec<u8>`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let before = self.rest;
        match self.head()? {
            Head::Array(len) => self.seq(len, visitor),
            Head::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            Head::Nil { somes } => {
                self.pending = Some(somes);
                self.value(visitor)
            }
            _ => {
                self.rest = before;
                self.value(visitor)
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.head()? {
            Head::Text(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            Head::Map(1) => {
                let key = self.rest;
                self.nested(|reader| visitor.visit_enum(reader))
                    .map_err(|fault| fault.in_variant(&key_name(key)))
            }
            _ => Err(Fault::new("an enum is neither a variant's name nor a map of one")),
        }
    }
}

/// The parts of an array or map that are left to read.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
    index: usize,
    /// Where the present key begins, for errors.
    key: &'de [u8],
}

impl<'de> Parts<'_, 'de> {
    fn finish(self) -> Result<(), Fault> {
        match self.left {
            0 => Ok(()),
            count => Err(Fault::new(format_args!("its Deserialize leaves {count} parts unread"))),
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Parts<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let value = seed.deserialize(&mut *self.reader).map_err(|fault| fault.in_item(self.index))?;
        self.index += 1;
        Ok(Some(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Parts<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.key = self.reader.rest;
        seed.deserialize(&mut *self.reader).map(Some).map_err(|fault| fault.in_field(&key_name(self.key)))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(&mut *self.reader).map_err(|fault| fault.in_field(&key_name(self.key)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        Ok((seed.deserialize(&mut *self)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.value(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.value(visitor)
    }
}
