//! One walk over a value for every form: counts, depth and shape are kept here, bytes by a [`Sink`].

mod compound;

use std::fmt::Display;

use serde::ser::{Serialize, Serializer};

use compound::{Fields, Items};

use super::DEPTH_MAX;
use super::fault::Fault;
use super::scalar::Scalar;
use super::shape::{Shape, Token};

/// Where a walk's calls go: bytes of one form, or a digest.
pub(super) trait Sink {
    /// Whether field names are in the bytes, and tuples and structs so are containers that count as a level.
    const NAMED: bool;

    fn is_human_readable(&self) -> bool;
    fn scalar<T: Scalar>(&mut self, value: T) -> Result<(), Fault>;
    fn text(&mut self, value: &str) -> Result<(), Fault>;
    fn display<T: Display + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.text(&value.to_string())
    }
    fn bytes(&mut self, value: &[u8]) -> Result<(), Fault>;
    fn unit(&mut self) -> Result<(), Fault>;
    fn none(&mut self) -> Result<(), Fault>;
    /// Returns a mark for [`Sink::end_some`].
    fn some(&mut self) -> Result<usize, Fault>;
    fn end_some(&mut self, mark: usize) -> Result<(), Fault>;
    fn unit_variant(&mut self, index: u32, name: &str) -> Result<(), Fault>;
    /// The variant's payload follows.
    fn variant(&mut self, index: u32, name: &str) -> Result<(), Fault>;
    fn tuple(&mut self, len: usize) -> Result<(), Fault>;
    fn structure(&mut self, len: usize) -> Result<(), Fault>;
    fn field(&mut self, name: &str) -> Result<(), Fault>;
    fn skip_field(&mut self) -> Result<(), Fault>;
    /// Begins a sequence; returns a mark for [`Sink::end_items`].
    fn seq(&mut self, len: Option<usize>) -> Result<usize, Fault>;
    /// Begins a map; returns a mark for [`Sink::end_items`].
    fn map(&mut self, len: Option<usize>) -> Result<usize, Fault>;
    fn end_item(&mut self);
    fn end_items(&mut self, mark: usize, announced: bool, count: usize) -> Result<(), Fault>;
}

pub(super) struct Walk<'p, K> {
    pub(super) sink: K,
    pub(super) shape: Shape<'p>,
    depth: u32,
}

impl<'p, K: Sink> Walk<'p, K> {
    #[inline]
    pub(super) fn new(sink: K, shape: Shape<'p>) -> Self {
        Self { sink, shape, depth: 0 }
    }

    /// Walks the whole value.
    #[inline]
    pub(super) fn run<S: Serialize + ?Sized>(&mut self, value: &S) -> Result<(), Fault> {
        value.serialize(&mut *self)?;
        self.shape.settle();
        Ok(())
    }

    #[inline(always)]
    fn scalar<T: Scalar>(&mut self, value: T) -> Result<(), Fault> {
        self.shape.note(T::TOKEN);
        self.sink.scalar(value)
    }

    #[inline(always)]
    fn enter(&mut self) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::too_deep());
        }
        self.depth += 1;
        Ok(())
    }

    #[inline(always)]
    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Ends a choice that was met at `before`.
    #[inline(always)]
    fn end_choice(&mut self, before: u64) {
        self.shape.settle();
        self.shape.resume(before);
        self.shape.note(Token::CHOICE);
    }

    #[inline]
    fn fields(&mut self, len: usize) -> Result<Fields<'_, 'p, K>, Fault> {
        if K::NAMED {
            self.enter()?;
        }
        self.shape.note(Token::tuple(len));
        Ok(Fields::new(self, len))
    }

    #[inline]
    fn variant_fields(
        &mut self,
        index: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Fields<'_, 'p, K>, Fault> {
        let before = self.shape.position();
        self.enter()?;
        self.shape.note(Token::variant(index));
        self.sink.variant(index, name)?;
        Ok(self.fields(len)?.of_variant(before, name))
    }

    #[inline]
    fn items(&mut self, token: Token, len: Option<usize>, mark: usize) -> Result<Items<'_, 'p, K>, Fault> {
        self.enter()?;
        Ok(Items::new(self, token, len, mark))
    }
}

macro_rules! scalar_methods {
    ($($method:ident $type:ty;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<(), Fault> {
            self.scalar(value)
        }
    )*};
}

impl<'w, 'p, K: Sink> Serializer for &'w mut Walk<'p, K> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Items<'w, 'p, K>;
    type SerializeTuple = Fields<'w, 'p, K>;
    type SerializeTupleStruct = Fields<'w, 'p, K>;
    type SerializeTupleVariant = Fields<'w, 'p, K>;
    type SerializeMap = Items<'w, 'p, K>;
    type SerializeStruct = Fields<'w, 'p, K>;
    type SerializeStructVariant = Fields<'w, 'p, K>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.sink.is_human_readable()
    }

    scalar_methods! {
        serialize_bool bool;
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64; serialize_i128 i128;
        serialize_u8 u8; serialize_u16 u16; serialize_u32 u32; serialize_u64 u64; serialize_u128 u128;
        serialize_f32 f32; serialize_f64 f64; serialize_char char;
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        self.shape.note(Token::STR);
        self.sink.text(value)
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.shape.note(Token::STR);
        self.sink.display(value)
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.shape.note(Token::BYTES);
        self.sink.bytes(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        let before = self.shape.position();
        self.shape.note(Token::NONE);
        self.sink.none()?;
        self.end_choice(before);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        let before = self.shape.position();
        self.enter()?;
        self.shape.note(Token::SOME);
        let mark = self.sink.some()?;
        value.serialize(&mut *self)?;
        self.sink.end_some(mark)?;
        self.leave();
        self.end_choice(before);
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        self.shape.note(Token::UNIT);
        self.sink.unit()
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _enum: &'static str,
        index: u32,
        name: &'static str,
    ) -> Result<(), Fault> {
        let before = self.shape.position();
        self.shape.note(Token::variant(index));
        self.sink.unit_variant(index, name)?;
        self.end_choice(before);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _enum: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        let before = self.shape.position();
        self.enter()?;
        self.shape.note(Token::variant(index));
        self.sink.variant(index, name)?;
        value.serialize(&mut *self).map_err(|fault| fault.in_variant(name))?;
        self.leave();
        self.end_choice(before);
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'w, 'p, K>, Fault> {
        let mark = self.sink.seq(len)?;
        self.items(Token::SEQ, len, mark)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Items<'w, 'p, K>, Fault> {
        let mark = self.sink.map(len)?;
        self.items(Token::MAP, len, mark)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Fields<'w, 'p, K>, Fault> {
        self.sink.tuple(len)?;
        self.fields(len)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Fields<'w, 'p, K>, Fault> {
        self.serialize_tuple(len)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Fields<'w, 'p, K>, Fault> {
        self.sink.structure(len)?;
        self.fields(len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _enum: &'static str,
        index: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'p, K>, Fault> {
        let mut fields = self.variant_fields(index, name, len)?;
        fields.sink().tuple(len)?;
        Ok(fields)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _enum: &'static str,
        index: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'p, K>, Fault> {
        let mut fields = self.variant_fields(index, name, len)?;
        fields.sink().structure(len)?;
        Ok(fields)
    }
}
