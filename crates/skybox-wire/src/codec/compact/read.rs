//! Reading the compact form.

use serde::Deserialize;
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::codec::DEPTH_MAX;
use crate::codec::fault::Fault;
use crate::codec::scalar::Scalar;
use crate::codec::shape::Token;

/// Who hears which calls a `Deserialize` makes.
pub(in crate::codec) trait Trust {
    fn note(&mut self, token: Token);
    fn bytes(&mut self, len: usize);
}

/// Nobody: the bytes were verified where they were written.
pub(in crate::codec) struct Unwatched;

impl Trust for Unwatched {
    #[inline(always)]
    fn note(&mut self, _token: Token) {}
    #[inline(always)]
    fn bytes(&mut self, _len: usize) {}
}

/// Reads postcard's bytes.
pub(in crate::codec) struct Reader<'de, W> {
    rest: &'de [u8],
    depth: u32,
    pub(in crate::codec) watch: W,
}

impl<'de, W: Trust> Reader<'de, W> {
    #[inline]
    pub(in crate::codec) fn new(bytes: &'de [u8], watch: W) -> Self {
        Self { rest: bytes, depth: 0, watch }
    }

    /// Reads one value that is all there is.
    #[inline]
    pub(in crate::codec) fn run<O: Deserialize<'de>>(&mut self) -> Result<O, Fault> {
        let value = O::deserialize(&mut *self)?;
        if self.rest.is_empty() { Ok(value) } else { Err(left_over(self.rest.len())) }
    }

    #[inline(always)]
    fn take<T: Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        let (value, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    /// The number, if it is one byte.
    #[inline(always)]
    fn small<T: Scalar>(&mut self) -> Option<T> {
        let (&byte, rest) = self.rest.split_first()?;
        if byte >= 0x80 {
            return None;
        }
        let value = T::from_varint_byte(byte)?;
        self.rest = rest;
        Some(value)
    }

    #[inline(always)]
    fn number<T: Scalar + Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        match self.small() {
            Some(value) => Ok(value),
            None => self.take(),
        }
    }

    #[inline(always)]
    fn scalar<T: Scalar + Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        self.watch.note(T::TOKEN);
        self.number()
    }

    /// The length of a sequence or map, whose items take a byte each or more.
    #[inline(always)]
    fn len(&mut self) -> Result<usize, Fault> {
        match usize::try_from(self.number::<u64>()?) {
            Ok(len) if len <= self.rest.len() => Ok(len),
            _ => Err(Fault::truncated()),
        }
    }

    #[inline(always)]
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::too_deep());
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    #[inline(always)]
    fn fields<V: Visitor<'de>>(
        &mut self,
        len: usize,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.watch.note(Token::tuple(len));
        let mut parts = Parts { reader: self, left: len, len, names, items: false };
        let value = visitor.visit_seq(&mut parts)?;
        parts.finish()?;
        Ok(value)
    }
}

#[cold]
fn left_over(count: usize) -> Fault {
    Fault::new(format_args!("{count} bytes follow the value"))
}

#[cold]
fn self_describing() -> Fault {
    Fault::needs_names("its Deserialize asks what comes next, which compact bytes do not say")
}

macro_rules! scalar_methods {
    ($($method:ident $visit:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.scalar()?)
        }
    )*};
}

macro_rules! asks_what_comes {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Fault> {
            Err(self_describing())
        }
    )*};
}

impl<'de, W: Trust> Deserializer<'de> for &mut Reader<'de, W> {
    type Error = Fault;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    scalar_methods! {
        deserialize_bool visit_bool;
        deserialize_i8 visit_i8; deserialize_i16 visit_i16; deserialize_i32 visit_i32;
        deserialize_i64 visit_i64; deserialize_i128 visit_i128;
        deserialize_u8 visit_u8; deserialize_u16 visit_u16; deserialize_u32 visit_u32;
        deserialize_u64 visit_u64; deserialize_u128 visit_u128;
        deserialize_f32 visit_f32; deserialize_f64 visit_f64; deserialize_char visit_char;
    }

    asks_what_comes! { deserialize_any deserialize_identifier deserialize_ignored_any }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.watch.note(Token::STR);
        visitor.visit_borrowed_str(self.take()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let bytes: &[u8] = self.take()?;
        self.watch.bytes(bytes.len());
        visitor.visit_borrowed_bytes(bytes)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.take::<u8>()? {
            0 => {
                self.watch.note(Token::NONE);
                visitor.visit_none()
            }
            1 => {
                self.watch.note(Token::SOME);
                self.nested(|reader| visitor.visit_some(reader))
            }
            _ => Err(Fault::new("an option begins with neither 0 nor 1")),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.watch.note(Token::UNIT);
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let len = self.len()?;
        self.watch.note(Token::SEQ);
        self.watch.note(Token::len(len));
        self.nested(|reader| {
            let mut parts = Parts { reader, left: len, len, names: &[], items: true };
            let value = visitor.visit_seq(&mut parts)?;
            parts.finish()?;
            Ok(value)
        })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let len = self.len()?;
        self.watch.note(Token::MAP);
        self.watch.note(Token::len(len));
        self.nested(|reader| {
            let mut parts = Parts { reader, left: len, len, names: &[], items: true };
            let value = visitor.visit_map(&mut parts)?;
            parts.finish()?;
            Ok(value)
        })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.fields(len, &[], visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(len, &[], visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(fields.len(), fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let index = self.number::<u32>()?;
        self.watch.note(Token::variant(index));
        visitor.visit_enum(Variant { reader: self, index }).map_err(|fault| {
            match variants.get(index as usize) {
                Some(name) => fault.in_variant(name),
                None => fault,
            }
        })
    }
}

/// The parts of a tuple, struct, sequence or map that are left to read.
struct Parts<'r, 'de, W> {
    reader: &'r mut Reader<'de, W>,
    left: usize,
    len: usize,
    /// The names of a struct's fields, for errors.
    names: &'static [&'static str],
    /// Whether it is a sequence or map, for errors.
    items: bool,
}

impl<'de, W: Trust> Parts<'_, 'de, W> {
    #[inline(always)]
    fn read<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(&mut *self.reader).map_err(|fault| self.locate(fault))
    }

    #[cold]
    fn locate(&self, fault: Fault) -> Fault {
        let index = self.len - self.left - 1;
        match self.names.get(index) {
            Some(name) => fault.in_field(name),
            None if self.items => fault.in_item(index),
            None => fault.in_field(&index.to_string()),
        }
    }

    #[inline(always)]
    fn finish(self) -> Result<(), Fault> {
        if self.left == 0 { Ok(()) } else { Err(unread(self.left)) }
    }
}

#[cold]
fn unread(count: usize) -> Fault {
    Fault::new(format_args!("its Deserialize leaves {count} parts unread"))
}

impl<'de, W: Trust> SeqAccess<'de> for &mut Parts<'_, 'de, W> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.read(seed).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de, W: Trust> MapAccess<'de> for &mut Parts<'_, 'de, W> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.read(seed).map(Some)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        self.read(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// An enum whose index is read and whose payload is not.
struct Variant<'r, 'de, W> {
    reader: &'r mut Reader<'de, W>,
    index: u32,
}

impl<'de, W: Trust> EnumAccess<'de> for Variant<'_, 'de, W> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        let index: U32Deserializer<Fault> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de, W: Trust> VariantAccess<'de> for Variant<'_, 'de, W> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        self.reader.watch.note(Token::UNIT);
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.reader.nested(|reader| seed.deserialize(reader))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.reader.nested(|reader| reader.fields(len, &[], visitor))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.reader.nested(|reader| reader.fields(fields.len(), fields, visitor))
    }
}
