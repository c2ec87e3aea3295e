//! The primitives that every form writes in a way of its own.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::named;
use super::shape::Token;

/// A primitive of serde's data model, other than text and bytes.
pub(super) trait Scalar: Copy + Serialize {
    const TOKEN: Token;

    /// The value as bits; floats by their bit patterns.
    fn bits(self) -> u128;

    /// Appends the value as MessagePack.
    fn pack(self, out: &mut BytesMut);
}

macro_rules! scalars {
    ($($type:ty, $kind:literal, $bits:expr, $pack:expr;)*) => {$(
        impl Scalar for $type {
            const TOKEN: Token = Token::scalar($kind);
            #[inline]
            fn bits(self) -> u128 {
                ($bits)(self)
            }
            #[inline]
            fn pack(self, out: &mut BytesMut) {
                ($pack)(self, out);
            }
        }
    )*};
}

// A pattern keeps its zero extension: `bits` is compared only between values of one kind.
scalars! {
    bool, 0, |v| v as u128, |v, out: &mut BytesMut| infallible(rmp::encode::write_bool(&mut out.writer(), v));
    i8, 1, |v: i8| v as u8 as u128, |v: i8, out| named::pack_sint(i64::from(v), out);
    i16, 2, |v: i16| v as u16 as u128, |v: i16, out| named::pack_sint(i64::from(v), out);
    i32, 3, |v: i32| v as u32 as u128, |v: i32, out| named::pack_sint(i64::from(v), out);
    i64, 4, |v: i64| v as u64 as u128, |v: i64, out| named::pack_sint(v, out);
    i128, 5, |v| v as u128, |v: i128, out| named::pack_i128(v, out);
    u8, 6, |v| v as u128, |v: u8, out| named::pack_uint(u64::from(v), out);
    u16, 7, |v| v as u128, |v: u16, out| named::pack_uint(u64::from(v), out);
    u32, 8, |v| v as u128, |v: u32, out| named::pack_uint(u64::from(v), out);
    u64, 9, |v| v as u128, |v: u64, out| named::pack_uint(v, out);
    u128, 10, |v| v, |v: u128, out| named::pack_u128(v, out);
    f32, 11, |v: f32| u128::from(v.to_bits()), |v, out: &mut BytesMut| infallible(rmp::encode::write_f32(&mut out.writer(), v));
    f64, 12, |v: f64| u128::from(v.to_bits()), |v, out: &mut BytesMut| infallible(rmp::encode::write_f64(&mut out.writer(), v));
    char, 13, |v| v as u128, |v: char, out| named::pack_str(v.encode_utf8(&mut [0; 4]), out);
}

/// Writing into a growing buffer has no way to fail.
pub(super) fn infallible<T, E: std::fmt::Debug>(result: Result<T, E>) {
    result.expect("a BytesMut grows, or aborts for want of memory");
}
