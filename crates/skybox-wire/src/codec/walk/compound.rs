//! The parts of tuples, structs, sequences and maps.

use serde::ser::{self, Serialize};

use super::{Sink, Walk};
use crate::codec::fault::Fault;
use crate::codec::shape::Token;

/// A tuple, a struct, or the payload of a variant: parts whose number the type fixes.
pub(in crate::codec) struct Fields<'w, 'p, K> {
    walk: &'w mut Walk<'p, K>,
    len: usize,
    count: usize,
    /// The position before the enum, and the variant's name.
    variant: Option<(u64, &'static str)>,
}

impl<'w, 'p, K: Sink> Fields<'w, 'p, K> {
    #[inline(always)]
    pub(super) fn new(walk: &'w mut Walk<'p, K>, len: usize) -> Self {
        Self { walk, len, count: 0, variant: None }
    }

    /// The same as the payload of an enum that was met at `before`.
    #[inline(always)]
    pub(super) fn of_variant(self, before: u64, name: &'static str) -> Self {
        Self { variant: Some((before, name)), ..self }
    }

    #[inline(always)]
    pub(super) fn sink(&mut self) -> &mut K {
        &mut self.walk.sink
    }

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
pub(in crate::codec) struct Items<'w, 'p, K> {
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

impl<'w, 'p, K: Sink> Items<'w, 'p, K> {
    /// Begins the items of a sequence or map that `token` stands for.
    #[inline(always)]
    pub(super) fn new(walk: &'w mut Walk<'p, K>, token: Token, len: Option<usize>, mark: usize) -> Self {
        let before = walk.shape.position();
        walk.shape.note(token);
        let inside = walk.shape.position();
        Self { walk, len, mark, before, inside, last: inside, count: 0 }
    }

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
