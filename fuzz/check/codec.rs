//! Bytes as values. The first one says in which form, and as which type; the others are the payload.
//!
//! 1. Bytes make a reader take no more memory than they could fill.
//! 2. A value that was read can be written, and is then read as the same.
//! 3. It is written in the same bytes once its type is proven as before.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{Form, Proof, decode, encode};

use crate::memory;
use crate::tree::Tree;

/// Needs names, and is read by trying.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Loose {
    Flag(bool),
    Number(i64),
    Text(String),
    Many(Vec<Loose>),
    Map(BTreeMap<String, Loose>),
}

/// Needs names, as it has a field for those that it does not know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flat {
    pub(crate) id: Option<u8>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, serde_json::Value>,
}

/// Every kind of scalar.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scalars {
    pub(crate) unsigned: (u8, u16, u32, u64, u128),
    pub(crate) signed: (i8, i16, i32, i64, i128),
    pub(crate) others: (bool, char, f32, f64),
}

pub(crate) type Containers = BTreeMap<u32, Vec<(String, Bytes, Option<Option<()>>)>>;

/// Memory for each byte: a node of a `Tree` is one byte, and serde keeps what an untagged enum is tried on.
const MEMORY_PER_BYTE_MAX: usize = 1024;

/// Memory for the shortest payload: what is reserved before the first item of a sequence is there.
const MEMORY_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn check(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let Ok(form) = Form::try_from(choice & 0b11) else { return };
    match choice >> 2 {
        0 => check_as::<Tree>(form, bytes),
        1 => check_as::<Loose>(form, bytes),
        2 => check_as::<Flat>(form, bytes),
        3 => check_as::<Scalars>(form, bytes),
        4 => check_as::<Containers>(form, bytes),
        5 => check_as::<Vec<()>>(form, bytes),
        _ => {}
    }
}

fn check_as<T: Serialize + DeserializeOwned + Debug>(form: Form, bytes: &[u8]) {
    let (read, taken) = memory::peak(|| decode::<T>(form, bytes));
    let bound = MEMORY_BYTES_MAX + bytes.len() * MEMORY_PER_BYTE_MAX;
    assert!(taken <= bound, "{} bytes took {taken}, and {bound} is the bound", bytes.len());
    let Ok(value) = read else { return };
    for names in [false, true] {
        let proof = Proof::new();
        if names {
            proof.use_names();
        }
        check_written_again(&value, &proof);
    }
}

/// Values are compared as texts: `NaN` is itself there.
fn check_written_again<T: Serialize + DeserializeOwned + Debug>(value: &T, proof: &Proof) {
    let [mut first, mut second] = [BytesMut::new(), BytesMut::new()];
    let form = match encode::<T, T>(value, proof, &mut first) {
        Ok(form) => form,
        Err(error) => panic!("{value:?} was read and cannot be written: {error}"),
    };
    let again = decode::<T>(form, &first).expect("the codec has verified that it can be read");
    assert_eq!(format!("{again:?}"), format!("{value:?}"), "silently different in the {form} form");
    let form_again = encode::<T, T>(value, proof, &mut second).ok();
    assert_eq!((form_again, second), (Some(form), first), "proven, {value:?} is written in another way");
}
