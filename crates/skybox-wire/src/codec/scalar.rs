//! The primitives that every form writes in a way of its own.

use bytes::{BufMut, BytesMut};
use rmp::encode as pack;
use serde::Serialize;

use super::named;
use super::shape::Token;

/// A primitive of serde's data model, other than text and bytes.
pub(super) trait Scalar: Copy + Serialize {
    const TOKEN: Token;

    /// The value as bits; floats by their bit patterns. They are compared between values of one kind.
    fn bits(self) -> u128;

    /// Appends the value as MessagePack.
    fn pack(self, out: &mut BytesMut);

    /// The number that postcard writes seven bits to a byte, for the integers it treats so.
    fn to_varint(self) -> Option<u64>;

    /// The value whose [`Scalar::to_varint`] is `byte`, which is below 128.
    fn from_varint_byte(byte: u8) -> Option<Self>;
}

macro_rules! scalar {
    ($type:ty, $kind:literal, $bits:expr, $pack:expr, $to_varint:expr, $from_varint_byte:expr) => {
        impl Scalar for $type {
            const TOKEN: Token = Token::scalar($kind);

            #[inline(always)]
            fn bits(self) -> u128 {
                ($bits)(self)
            }

            #[inline(always)]
            fn pack(self, out: &mut BytesMut) {
                ($pack)(self, out);
            }

            #[inline(always)]
            fn to_varint(self) -> Option<u64> {
                ($to_varint)(self)
            }

            #[inline(always)]
            fn from_varint_byte(byte: u8) -> Option<Self> {
                ($from_varint_byte)(byte)
            }
        }
    };
}

macro_rules! plain {
    ($($type:ty, $kind:literal, $bits:expr, $pack:expr;)*) => {$(
        scalar!($type, $kind, $bits, $pack, |_| None, |_| None);
    )*};
}

macro_rules! unsigned {
    ($($type:ty, $kind:literal;)*) => {$(
        scalar!($type, $kind, u128::from, |value, out| named::pack_uint(u64::from(value), out),
            |value| Some(u64::from(value)),
            |byte| Some(Self::from(byte)));
    )*};
}

// Zigzag: the sign is the lowest bit, so that small negative numbers are short too.
macro_rules! signed {
    ($($type:ty, $unsigned:ty, $kind:literal;)*) => {$(
        scalar!($type, $kind,
            |value: $type| u128::from(value as $unsigned),
            |value, out| named::pack_sint(i64::from(value), out),
            |value: $type| Some(u64::from(((value << 1) ^ (value >> (<$type>::BITS - 1))) as $unsigned)),
            |byte: u8| Some(Self::from(byte >> 1) ^ -Self::from(byte & 1)));
    )*};
}

unsigned! { u16, 1; u32, 2; u64, 3; }
signed! { i16, u16, 4; i32, u32, 5; i64, u64, 6; }
plain! {
    bool, 7, u128::from, |value, out: &mut BytesMut| infallible(pack::write_bool(&mut out.writer(), value));
    u8, 8, u128::from, |value, out| named::pack_uint(u64::from(value), out);
    i8, 9, |value| u128::from(value as u8), |value, out| named::pack_sint(i64::from(value), out);
    u128, 10, |value| value, named::pack_u128;
    i128, 11, |value| value as u128, named::pack_i128;
    f32, 12, |value: f32| u128::from(value.to_bits()),
        |value, out: &mut BytesMut| infallible(pack::write_f32(&mut out.writer(), value));
    f64, 13, |value: f64| u128::from(value.to_bits()),
        |value, out: &mut BytesMut| infallible(pack::write_f64(&mut out.writer(), value));
    char, 14, |value| u128::from(u32::from(value)),
        |value: char, out| named::pack_str(value.encode_utf8(&mut [0; 4]), out);
}

/// Writing into a growing buffer has no way to fail.
pub(super) fn infallible<T, E: std::fmt::Debug>(result: Result<T, E>) {
    result.expect("a BytesMut grows, or aborts for want of memory");
}
