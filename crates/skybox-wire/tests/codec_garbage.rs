//! Bytes that nobody wrote: refused without a panic and without memory that they could not fill.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{DEPTH_MAX, Form, Proof, decode, encode};

#[path = "../../../fuzz/check/memory.rs"]
mod memory;
#[path = "../../../fuzz/check/tree.rs"]
mod tree;

use tree::Tree;

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
    Many(Vec<Loose>),
    Map(BTreeMap<String, Loose>),
    Nothing(Option<()>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    id: Option<u8>,
    #[serde(flatten)]
    rest: HashMap<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wide {
    words: [[u64; 32]; 4],
    next: Option<Vec<Wide>>,
}

const INPUT_BYTES_MAX: usize = 4096;
/// Far above what 4 KiB can fill in any of the types here, far below what a believed length would take.
const PEAK_BYTES_MAX: usize = 8 << 20;

fn read_as<T: DeserializeOwned>(bytes: &[u8]) {
    for form in [Form::Compact, Form::Named, Form::Json] {
        let ((), taken) = memory::peak(|| drop(decode::<T>(form, bytes)));
        assert!(taken < PEAK_BYTES_MAX, "{form} {} took {taken} bytes", std::any::type_name::<T>());
    }
}

fn read_as_all(bytes: &[u8]) {
    read_as::<Tree>(bytes);
    read_as::<Loose>(bytes);
    read_as::<Flat>(bytes);
    read_as::<Vec<Wide>>(bytes);
    read_as::<Vec<()>>(bytes);
    read_as::<HashMap<(), ()>>(bytes);
    read_as::<Vec<Vec<Vec<String>>>>(bytes);
    read_as::<(Bytes, serde_bytes::ByteBuf, char, u128)>(bytes);
    read_as::<Option<Option<Option<()>>>>(bytes);
    read_as::<serde_json::Value>(bytes);
    read_as::<HashMap<u32, BTreeMap<String, Vec<u8>>>>(bytes);
}

/// Bytes that begin like something: lengths, markers, small numbers.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        0u8..8,
        prop_oneof![
            Just(0xc0),
            Just(0xd4),
            Just(0xd8),
            Just(0x81),
            Just(0x91),
            Just(0xdd),
            Just(0xdf),
            Just(0xff)
        ],
    ];
    prop::collection::vec(byte, 0..256)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in plausible()) {
        read_as_all(&bytes);
    }

    #[test]
    fn a_damaged_payload_is_refused_or_read(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let value = Tree::Many(vec![
            Tree::Text("text".into()),
            Tree::Next { next: Some(Box::new(Tree::Number(-70_000))) },
            Tree::Branch(Box::new(Tree::Leaf), Box::new(Tree::Many(vec![Tree::Leaf]))),
        ]);
        for names in [false, true] {
            let proof = Proof::new();
            if names {
                proof.use_names();
            }
            let mut out = BytesMut::new();
            encode::<Tree, Tree>(&value, &proof, &mut out).expect("it crosses");
            let mut bytes = out.to_vec();
            let index = at.index(bytes.len());
            bytes[index] = byte;
            read_as_all(&bytes);
            read_as_all(&out[..cut.index(out.len())]);
        }
    }
}

#[test]
fn every_byte_repeated() {
    for byte in 0..=u8::MAX {
        read_as_all(&vec![byte; INPUT_BYTES_MAX]);
        for marker in [0xdd, 0xdc, 0xdf, 0xde, 0xc6, 0xdb, 0xc9] {
            let mut bytes = vec![marker, 0x00, 0x00, 0x0f, 0xff];
            bytes.resize(INPUT_BYTES_MAX, byte);
            read_as_all(&bytes);
        }
    }
}

#[test]
fn a_length_is_not_believed() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(decode::<Vec<()>>(Form::Compact, &huge).is_err());
    assert!(decode::<Vec<u64>>(Form::Compact, &huge).is_err());
    assert!(decode::<String>(Form::Compact, &huge).is_err());
    assert!(decode::<Vec<()>>(Form::Named, &[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(decode::<Bytes>(Form::Named, &[0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn bytes_after_the_value_are_refused() {
    assert!(decode::<u8>(Form::Compact, &[1]).is_ok());
    assert!(decode::<u8>(Form::Compact, &[1, 1]).is_err());
    assert!(decode::<u8>(Form::Named, &[1, 1]).is_err());
    assert!(decode::<u8>(Form::Json, b"1 1").is_err());
    assert!(decode::<(u8,)>(Form::Named, &[0x92, 1, 1]).is_err());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

fn chain(length: u32) -> Chain {
    (0..length).fold(Chain(None), |next, _| Chain(Some(Box::new(next))))
}

#[test]
fn what_is_too_deep_is_refused_on_both_sides() {
    for names in [false, true] {
        let proof = Proof::new();
        if names {
            proof.use_names();
        }
        let mut out = BytesMut::new();
        let deepest = chain(DEPTH_MAX);
        let form = encode::<Chain, Chain>(&deepest, &proof, &mut out).expect("it is just allowed");
        assert_eq!(decode::<Chain>(form, &out).expect("it was verified"), deepest);
        let error =
            encode::<Chain, Chain>(&chain(DEPTH_MAX + 1), &proof, &mut out).expect_err("one too many");
        assert!(error.to_string().contains("deeper than 128"), "{error}");
    }
    let mut deep = vec![1; DEPTH_MAX as usize + 1];
    deep.push(0);
    assert!(decode::<Chain>(Form::Compact, &deep).is_err());
    assert!(decode::<Loose>(Form::Named, &[0x91; 100_000]).is_err());
    let nested: Vec<u8> = [vec![0x91; 100], vec![1]].concat();
    assert!(decode::<Loose>(Form::Named, &nested).is_ok());
}
