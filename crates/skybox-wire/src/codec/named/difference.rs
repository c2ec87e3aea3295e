//! Where two values differ, for the error that says so.

use super::Reader;
use super::read::{Head, key_name};
use crate::codec::fault::Fault;

/// The path to the first place where two values in the named form differ; empty if it is the whole.
///
/// A hint for people: items of a `HashMap` may stand in another order and end the search early.
pub(in crate::codec) fn first_difference(left: &[u8], right: &[u8]) -> String {
    let (mut left, mut right) = (Reader::new(left), Reader::new(right));
    match compare(&mut left, &mut right) {
        Ok(()) => String::new(),
        Err(fault) => fault.path(),
    }
}

/// A fault at the first difference.
fn compare(left: &mut Reader<'_>, right: &mut Reader<'_>) -> Result<(), Fault> {
    match (left.head()?, right.head()?) {
        (Head::Array(len), Head::Array(other)) => {
            for index in 0..len.min(other) {
                compare(left, right).map_err(|fault| fault.in_item(index))?;
            }
            same(len == other)
        }
        (Head::Map(len), Head::Map(other)) => {
            for _ in 0..len.min(other) {
                let key = left.remaining();
                compare(left, right)?;
                compare(left, right).map_err(|fault| fault.in_field(&key_name(key)))?;
            }
            same(len == other)
        }
        (one, another) => same(one == another),
    }
}

fn same(equal: bool) -> Result<(), Fault> {
    if equal { Ok(()) } else { Err(Fault::new("differs")) }
}
