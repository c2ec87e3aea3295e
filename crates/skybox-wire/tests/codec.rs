//! Ordinary serde types through the codec: each arrives equal, or is refused by name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{EncodeError, Form, Proof, decode, encode};

/// Encodes the values one after the other with one proof, as calls of one method would, three times.
#[track_caller]
fn check<T>(values: impl IntoIterator<Item = T>, expect: Form)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let proof = Proof::new();
    let mut last = None;
    let values: Vec<T> = values.into_iter().collect();
    for value in values.iter().chain(&values).chain(&values) {
        let mut out = BytesMut::from(&b"before"[..]);
        let form =
            encode::<T, T>(value, &proof, &mut out).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        let read: T = decode(form, &out[6..]).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(&read, value);
        last = Some(form);
    }
    assert_eq!(last, Some(expect), "{}", std::any::type_name::<T>());
}

/// Encodes what must be refused, and returns the error.
#[track_caller]
fn refused<T: Serialize + DeserializeOwned>(value: T) -> EncodeError {
    let mut out = BytesMut::from(&b"before"[..]);
    let error = encode::<T, T>(&value, &Proof::new(), &mut out).expect_err("it must not cross");
    assert_eq!(out, "before", "what was there stays, and nothing else");
    let text = error.to_string();
    assert!(text.contains(std::any::type_name::<T>()), "{text}");
    error
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    name: String,
    note: Option<String>,
    tags: Vec<u16>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    New,
    Paid(u32),
    Sent(String, i64),
    Back { why: Option<String>, parts: Vec<State> },
}

fn orders() -> Vec<Order> {
    let order = Order { id: 1, name: "a".into(), note: None, tags: vec![], state: State::New };
    let back =
        State::Back { why: None, parts: vec![State::New, State::Sent("x".into(), -1), State::Paid(3)] };
    vec![
        order.clone(),
        Order { note: Some("n".into()), tags: vec![1, 2, 60_000], ..order.clone() },
        Order { state: State::Paid(7), ..order.clone() },
        Order { state: back, id: u64::MAX, ..order },
    ]
}

#[test]
fn derived_types_are_compact() {
    check(orders(), Form::Compact);
    check([orders()], Form::Compact);
    check([(orders(), 5u8, "text".to_owned())], Form::Compact);
    check([()], Form::Compact);
    check([((),)], Form::Compact);
    check([(1u8, 2i8, -3i16, 4u16, -5i32, 6u32, -7i64, 8u64)], Form::Compact);
    check([(u128::MAX, i128::MIN, 'ß', f32::INFINITY, f64::MIN_POSITIVE, true)], Form::Compact);
    check([Ok::<u32, String>(1), Err("no".into())], Form::Compact);
    check([None, Some(None), Some(Some(1u8))], Form::Compact);
    check([None, Some(())], Form::Compact);
}

#[test]
fn library_types_are_compact() {
    check([uuid::Uuid::from_u128(7)], Form::Compact);
    check([chrono::DateTime::from_timestamp(1_700_000_000, 5).unwrap()], Form::Compact);
    check([chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap()], Form::Compact);
    check([time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap()], Form::Compact);
    check([time::Duration::new(-5, -7)], Form::Compact);
    check([url::Url::parse("https://example.org/a?b=c").unwrap()], Form::Compact);
    check(["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()], Form::Compact);
    check([Duration::new(5, 7)], Form::Compact);
    check([SystemTime::UNIX_EPOCH + Duration::new(5, 7)], Form::Compact);
    check([NonZeroU32::MIN], Form::Compact);
    check([RangeInclusive::new(1u8, 9)], Form::Compact);
    check([PhantomData::<u8>], Form::Compact);
    check([Cow::<'static, str>::Borrowed("cow")], Form::Compact);
    check([Bytes::from_static(b"bytes")], Form::Compact);
    check([serde_bytes::ByteBuf::from(vec![1, 2])], Form::Compact);
    check([std::path::PathBuf::from("/a")], Form::Compact);
    check([std::sync::atomic::Ordering::Relaxed as u8], Form::Compact);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    A,
    B(u8),
}

#[test]
fn collections_are_compact() {
    check([HashMap::from([(Key::A, 1), (Key::B(2), 2)]), HashMap::new()], Form::Compact);
    check([BTreeMap::from([((1, 'a'), vec![Key::A]), ((2, 'b'), vec![])])], Form::Compact);
    check([(0..100).collect::<HashSet<u32>>()], Form::Compact);
    check([BTreeSet::from([Key::A, Key::B(1)])], Form::Compact);
    check([[1u32; 8]], Form::Compact);
    check([vec![vec![Some(vec![1u8]), None]], vec![]], Form::Compact);
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    a: Option<u32>,
    b: u8,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    c: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
    Pair(u8, Option<Option<u8>>),
    Fields { a: Option<()> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Internal {
    Unit,
    Fields { a: Option<u32>, b: Option<Option<String>> },
    Newtype(Skips),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(u32),
    Tuple(u8, String),
    Fields { a: Option<Option<u8>> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    inner: Skips,
    #[serde(flatten)]
    rest: BTreeMap<String, Option<Option<f32>>>,
}

#[test]
fn self_describing_types_are_named() {
    let skips = Skips { a: None, b: 1, c: vec![] };
    check(
        [skips.clone(), Skips { a: Some(1), ..skips.clone() }, Skips { c: vec![1], ..skips.clone() }],
        Form::Named,
    );
    check(
        [
            Untagged::Number(5),
            Untagged::Text("t".into()),
            Untagged::Pair(1, None),
            Untagged::Pair(1, Some(None)),
            Untagged::Pair(1, Some(Some(2))),
            Untagged::Fields { a: None },
            Untagged::Fields { a: Some(()) },
        ],
        Form::Named,
    );
    check(
        [
            Internal::Unit,
            Internal::Fields { a: None, b: None },
            Internal::Fields { a: Some(1), b: Some(None) },
            Internal::Fields { a: Some(1), b: Some(Some("s".into())) },
            Internal::Newtype(skips.clone()),
        ],
        Form::Named,
    );
    let rest = BTreeMap::from([
        ("x".to_owned(), None),
        ("y".to_owned(), Some(None)),
        ("z".to_owned(), Some(Some(f32::MIN))),
    ]);
    check([Flat { id: 1, inner: skips, rest }], Form::Named);
    check(
        [serde_json::json!({"a": [1, -1, 1.5, null, "s", true, {}], "b": u64::MAX}), serde_json::Value::Null],
        Form::Named,
    );
    check([None, Some(serde_json::Value::Null), Some(serde_json::json!([null]))], Form::Named);
    check([vec![(); 5], vec![]], Form::Named);
}

#[test]
fn adjacent_tags_arrive() {
    check(
        [
            Adjacent::Newtype(1),
            Adjacent::Unit,
            Adjacent::Tuple(1, "s".into()),
            Adjacent::Fields { a: Some(None) },
            Adjacent::Fields { a: None },
        ],
        Form::Named,
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Withheld {
    a: u8,
    #[serde(skip_serializing)]
    b: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct WithheldByDefault {
    a: u8,
    #[serde(skip_serializing, default)]
    b: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unread {
    #[serde(skip_deserializing)]
    a: u8,
    b: u8,
}

#[test]
fn withheld_fields() {
    let error = refused(Withheld { a: 1, b: 2 });
    assert!(matches!(error, EncodeError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("`b`"), "{error}");
    check([WithheldByDefault { a: 1, b: 0 }], Form::Named);
    check([Unread { a: 0, b: 2 }], Form::Named);
    let proof = Proof::new();
    let mut out = BytesMut::new();
    encode::<Unread, Unread>(&Unread { a: 0, b: 2 }, &proof, &mut out).expect("what is lost is the default");
    let error =
        encode::<Unread, Unread>(&Unread { a: 1, b: 2 }, &proof, &mut out).expect_err("1 would be lost");
    assert!(matches!(error, EncodeError::Altered { .. }), "{error}");
}

#[test]
fn borrowed_arguments_arrive_as_owned() {
    let proof = Proof::new();
    for _ in 0..2 {
        let mut out = BytesMut::new();
        let order = &orders()[3];
        let form =
            encode::<_, (String, u32, Vec<u8>, Order)>(&("s", 1u32, &[1u8, 2][..], order), &proof, &mut out)
                .expect("str is String on the wire");
        assert_eq!(form, Form::Compact);
        let read: (String, u32, Vec<u8>, Order) = decode(form, &out).expect("it was proven");
        assert_eq!(read, ("s".to_owned(), 1, vec![1, 2], order.clone()));
    }
}
