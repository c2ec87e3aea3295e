//! One walk over a value for every form: counts, depth and shape are kept here, bytes by a [`Sink`].

use std::fmt::Display;

use serde::ser::{self, Serialize, Serializer};

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
        Ok(Fields { walk: self, len, count: 0, variant: None })
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
        let mut fields = self.fields(len)?;
        fields.variant = Some((before, name));
        Ok(fields)
    }

    #[inline]
    fn items(&mut self, token: Token, len: Option<usize>, mark: usize) -> Result<Items<'_, 'p, K>, Fault> {
        self.enter()?;
        let before = self.shape.position();
        self.shape.note(token);
        let inside = self.shape.position();
        Ok(Items { walk: self, len, mark, before, inside, last: inside, count: 0 })
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
        let fields = self.variant_fields(index, name, len)?;
        fields.walk.sink.tuple(len)?;
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
        let fields = self.variant_fields(index, name, len)?;
        fields.walk.sink.structure(len)?;
        Ok(fields)
    }
}

/// A tuple, a struct, or the payload of a variant: parts whose number the type fixes.
pub(super) struct Fields<'w, 'p, K> {
    walk: &'w mut Walk<'p, K>,
    len: usize,
    count: usize,
    /// The position before the enum, and the variant's name.
    variant: Option<(u64, &'static str)>,
}

impl<K: Sink> Fields<'_, '_, K> {
    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(&mut *self.walk)
    }

    #[inline(always)]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value).map_err(|fault| self.locate(fault.in_field(&(self.count - 1).to_string())))
    }

    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        if K::NAMED {
            self.walk.shape.note(Token::name(name));
        }
        self.walk.sink.field(name)?;
        self.part(value).map_err(|fault| self.locate(fault.in_field(name)))
    }

    #[cold]
    fn locate(&self, fault: Fault) -> Fault {
        match self.variant {
            Some((_, name)) => fault.in_variant(name),
            None => fault,
        }
    }

    #[inline(always)]
    fn skip(&mut self) -> Result<(), Fault> {
        self.walk.shape.note(Token::SKIPPED);
        self.walk.sink.skip_field()
    }

    #[inline(always)]
    fn finish(self) -> Result<(), Fault> {
        if self.count != self.len {
            return Err(miscounted(self.len, self.count));
        }
        if K::NAMED {
            self.walk.leave();
        }
        if let Some((before, _)) = self.variant {
            self.walk.leave();
            self.walk.end_choice(before);
        }
        Ok(())
    }
}

#[cold]
fn miscounted(announced: usize, written: usize) -> Fault {
    Fault::new(format_args!("its Serialize announces {announced} parts and writes {written}"))
}

/// A sequence or map: any number of items, all alike but for the choices inside them.
pub(super) struct Items<'w, 'p, K> {
    walk: &'w mut Walk<'p, K>,
    len: Option<usize>,
    mark: usize,
    before: u64,
    /// Where each item's segment begins.
    inside: u64,
    /// Where the item before ended, which need not be looked up again; at first where no item can end,
    /// since each makes a call.
    last: u64,
    count: usize,
}

impl<K: Sink> Items<'_, '_, K> {
    #[inline(always)]
    fn begin(&mut self) {
        self.walk.shape.resume(self.inside);
    }

    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut *self.walk).map_err(|fault| fault.in_item(self.count))
    }

    #[inline(always)]
    fn end_item(&mut self) {
        let end = self.walk.shape.position();
        if self.last != end {
            self.walk.shape.settle();
            self.last = end;
        }
        self.walk.sink.end_item();
        self.count += 1;
    }

    #[inline(always)]
    fn finish(self, token: Token) -> Result<(), Fault> {
        if let Some(len) = self.len
            && len != self.count
        {
            return Err(miscounted(len, self.count));
        }
        self.walk.sink.end_items(self.mark, self.len.is_some(), self.count)?;
        self.walk.leave();
        self.walk.shape.resume(self.before);
        self.walk.shape.note(token);
        Ok(())
    }
}

impl<K: Sink> ser::SerializeSeq for Items<'_, '_, K> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.begin();
        self.part(value)?;
        self.end_item();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.finish(Token::SEQ_AS_WHOLE)
    }
}

impl<K: Sink> ser::SerializeMap for Items<'_, '_, K> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.begin();
        self.part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)?;
        self.end_item();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.finish(Token::MAP_AS_WHOLE)
    }
}

macro_rules! tuples {
    ($($trait:ident $method:ident;)*) => {$(
        impl<K: Sink> ser::$trait for Fields<'_, '_, K> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.item(value)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        }
    )*};
}

tuples! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl<K: Sink> ser::$trait for Fields<'_, '_, K> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
                self.field(name, value)
            }

            #[inline]
            fn skip_field(&mut self, _name: &'static str) -> Result<(), Fault> {
                self.skip()
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }
