//! Random values: they arrive, one proof serves them all, and compact bytes are postcard's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{Form, Proof, decode, encode};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Node {
    Unit,
    Bool(bool),
    Small(i8, u8),
    Medium { a: i16, b: u16 },
    Number(i32, u32),
    Large(i64, u64),
    Wide(i128, u128),
    Float(u64),
    Text(String, char),
    Bytes(Bytes),
    Option(Option<Option<Box<Node>>>),
    Nothing(Option<Option<()>>),
    Many(Vec<Node>),
    Map(BTreeMap<u16, Node>),
    Set(BTreeSet<(u8, bool)>),
    Array([u16; 4]),
    Empty {},
    Both { left: Box<Node>, right: Option<Box<Node>> },
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(Node::Unit),
        Just(Node::Empty {}),
        any::<bool>().prop_map(Node::Bool),
        any::<(i8, u8)>().prop_map(|(a, b)| Node::Small(a, b)),
        any::<(i16, u16)>().prop_map(|(a, b)| Node::Medium { a, b }),
        any::<(i32, u32)>().prop_map(|(a, b)| Node::Number(a, b)),
        any::<(i64, u64)>().prop_map(|(a, b)| Node::Large(a, b)),
        any::<(i128, u128)>().prop_map(|(a, b)| Node::Wide(a, b)),
        any::<u64>().prop_map(Node::Float),
        (".{0,8}", any::<char>()).prop_map(|(a, b)| Node::Text(a, b)),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Node::Bytes(bytes.into())),
        any::<Option<Option<()>>>().prop_map(Node::Nothing),
        prop::collection::btree_set(any::<(u8, bool)>(), 0..5).prop_map(Node::Set),
        any::<[u16; 4]>().prop_map(Node::Array),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            prop::option::of(prop::option::of(boxed.clone())).prop_map(Node::Option),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Node::Many),
            prop::collection::btree_map(any::<u16>(), inner, 0..4).prop_map(Node::Map),
            (boxed.clone(), prop::option::of(boxed)).prop_map(|(left, right)| Node::Both { left, right }),
        ]
    })
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Nested(Option<Option<bool>>),
    Pair(i64, String),
    Tagged(Tagged),
    Many(Vec<Loose>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Tagged {
    Unit,
    #[serde(rename = "other name")]
    Fields {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        a: Option<u32>,
        #[serde(flatten)]
        rest: BTreeMap<String, Option<Option<char>>>,
    },
}

fn loose() -> impl Strategy<Value = Loose> {
    let fields = (
        any::<Option<u32>>(),
        prop::collection::btree_map("[b-j]{1,4}", any::<Option<Option<char>>>(), 0..4),
    )
        .prop_map(|(a, rest)| Tagged::Fields { a, rest });
    let leaf = prop_oneof![
        any::<Option<Option<bool>>>().prop_map(Loose::Nested),
        (any::<i64>(), ".{0,4}").prop_map(|(a, b)| Loose::Pair(a, b)),
        prop_oneof![Just(Tagged::Unit), fields].prop_map(Loose::Tagged),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Loose::Many))
}

/// Encodes all values with one proof, as calls of one method are, and reads them back.
fn arrive<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: &[T], names: bool) {
    let proof = Proof::new();
    if names {
        proof.use_names();
    }
    for value in values.iter().chain(values) {
        let mut out = BytesMut::new();
        let form =
            encode::<T, T>(value, &proof, &mut out).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        let read: T = decode(form, &out).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(&read, value);
    }
}

fn postcard_agrees<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let mut out = BytesMut::new();
    assert_eq!(encode::<T, T>(value, &Proof::new(), &mut out).expect("it crosses"), Form::Compact);
    assert_eq!(postcard::to_allocvec(value).expect("it is written"), out);
    assert_eq!(&postcard::from_bytes::<T>(&out).expect("it was written"), value);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ordinary_values_arrive(values in prop::collection::vec(node(), 1..6)) {
        arrive(&values, false);
        arrive(&values, true);
        values.iter().for_each(postcard_agrees);
    }

    #[test]
    fn self_describing_values_arrive(values in prop::collection::vec(loose(), 1..6)) {
        arrive(&values, false);
    }

    #[test]
    fn numbers_are_written_as_postcard_writes_them(
        value in any::<(i16, u16, i32, u32, i64, u64, i128, u128, u8)>(),
        shift in 0u32..64,
    ) {
        let (a, b, c, d, e, f, g, h, i) = value;
        postcard_agrees(&value);
        let near = |number: i64| number >> shift;
        postcard_agrees(&(near(e) as i16, near(e) as i32, near(e), f >> shift, near(e) as u16, near(e) as u32));
        postcard_agrees(&(a.wrapping_neg(), b / 2, c >> 9, d >> 18, g >> shift, h >> shift, i));
        postcard_agrees(&[f32::from_bits(d), f32::NAN].map(f32::to_bits));
    }

    #[test]
    fn floats_keep_their_bits(single in any::<u32>(), double in any::<u64>()) {
        for names in [false, true] {
            let proof = Proof::new();
            if names {
                proof.use_names();
            }
            let value = (f32::from_bits(single), f64::from_bits(double), Some(f32::from_bits(single | 0x7f80_0001)));
            let mut out = BytesMut::new();
            let form = encode::<_, (f32, f64, Option<f32>)>(&value, &proof, &mut out).expect("it crosses");
            let read: (f32, f64, Option<f32>) = decode(form, &out).expect("it was verified");
            assert_eq!((read.0.to_bits(), read.1.to_bits()), (single, double));
            assert_eq!(read.2.map(f32::to_bits), Some(single | 0x7f80_0001));
        }
    }
}
