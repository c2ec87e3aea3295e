//! Types whose `Serialize` and `Deserialize` disagree, openly or now and then: never silently different.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use serde::de::{DeserializeOwned, Deserializer};
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{EncodeError, Form, Proof, decode, encode};

/// The form of each value in turn, with one proof, or the error; what arrives is equal.
fn forms<T>(values: &[T]) -> Vec<Result<Form, EncodeError>>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let proof = Proof::new();
    let encoded = values.iter().map(|value| {
        let mut out = BytesMut::new();
        let form = encode::<T, T>(value, &proof, &mut out)?;
        let read: T = decode(form, &out).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(&read, value, "silently different");
        Ok(form)
    });
    encoded.collect()
}

#[track_caller]
fn check<T>(values: &[T], expect: &[Form])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let found: Vec<Form> =
        forms(values).into_iter().map(|form| form.unwrap_or_else(|error| panic!("{error}"))).collect();
    assert_eq!(found, expect);
}

const C: Form = Form::Compact;
const N: Form = Form::Named;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u8),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Later {
    Fine(u8),
    AlsoFine { a: Option<u8> },
    Bad(Either),
    BadField { a: Vec<Option<Either>> },
}

#[test]
fn a_later_choice_is_noticed_wherever_it_first_appears() {
    let bad = Later::Bad(Either::Text("t".into()));
    check(&[vec![], vec![Later::Fine(1)], vec![Later::Fine(2), bad.clone(), Later::Fine(1)]], &[C, C, N]);
    check(&[Some(Later::Fine(1)), None, Some(bad.clone()), None], &[C, C, N, N]);
    let field = |a| Later::BadField { a };
    check(
        &[field(vec![]), field(vec![None]), field(vec![None, Some(Either::Number(1))]), field(vec![])],
        &[C, C, N, N],
    );
    check(
        &[
            BTreeMap::from([(1, Later::AlsoFine { a: None })]),
            BTreeMap::from([(1, Later::AlsoFine { a: None }), (2, bad)]),
        ],
        &[C, N],
    );
}

/// Written as the number it is, read as one more.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Drifts(u32);

impl Serialize for Drifts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Drifts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(u32::deserialize(deserializer)?.wrapping_add(1)))
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct HoldsDrift {
    first: Vec<Drifts>,
    last: u32,
}

#[test]
fn a_value_that_changes_on_the_way_is_refused_where_it_first_appears() {
    // The segment after the empty sequence must not pass for the one inside a full one.
    let found =
        forms(&[HoldsDrift { first: vec![], last: 1 }, HoldsDrift { first: vec![Drifts(1)], last: 1 }]);
    assert_eq!(found[0], Ok(C));
    let error = found[1].as_ref().expect_err("it would arrive as 2");
    assert!(matches!(error, EncodeError::Altered { path, .. } if path == ".first[0]"), "{error:?}");
}

/// Writes one kind for small numbers and another for large ones; reads only the first.
#[derive(Debug, PartialEq)]
struct TwoKinds(u64);

impl Serialize for TwoKinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match u8::try_from(self.0) {
            Ok(small) => serializer.serialize_u8(small),
            Err(_) => serializer.serialize_str(&self.0.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for TwoKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|small| Self(small.into()))
    }
}

#[test]
fn another_kind_is_another_shape() {
    let found = forms(&[TwoKinds(1), TwoKinds(1000), TwoKinds(2)]);
    assert_eq!((&found[0], &found[2]), (&Ok(C), &Ok(C)));
    assert!(matches!(found[1], Err(EncodeError::Unreadable { .. })), "{:?}", found[1]);
}

/// Signed where it is written, unsigned where it is read: the same compact byte, another number.
#[derive(Debug, PartialEq)]
struct Sign(i8);

impl Serialize for Sign {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i8(self.0)
    }
}

impl<'de> Deserialize<'de> for Sign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|number| Self(number as i8))
    }
}

/// A refusal of some values, which says nothing of the form.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Even(u32);

impl Clone for Even {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl TryFrom<u32> for Even {
    type Error = String;
    fn try_from(number: u32) -> Result<Self, String> {
        if number.is_multiple_of(2) { Ok(Self(number)) } else { Err(format!("{number} is odd")) }
    }
}

impl From<Even> for u32 {
    fn from(even: Even) -> Self {
        even.0
    }
}

#[test]
fn kinds_and_refusals() {
    check(&[Sign(1)], &[N]);
    assert!(matches!(forms(&[Sign(-1)])[..], [Err(EncodeError::Unreadable { .. })]));
    let found = forms(&[Even(3), Even(2)]);
    let error = found[0].as_ref().expect_err("3 is odd").to_string();
    assert!(error.contains("3 is odd"), "{error}");
    assert_eq!(found[1], Ok(C), "a refused value does not cost the type its form");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TwoMaps {
    #[serde(flatten)]
    a: BTreeMap<String, u8>,
    #[serde(flatten)]
    b: BTreeMap<String, u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Ambiguous {
    Small(u8),
    Large(u64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Zero {
    #[serde(skip_serializing_if = "is_zero", default = "five")]
    a: u8,
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

fn five() -> u8 {
    5
}

#[test]
fn what_serde_itself_confuses_is_refused() {
    let map = |key: &str| BTreeMap::from([(key.to_owned(), 1)]);
    let empty = TwoMaps { a: BTreeMap::new(), b: BTreeMap::new() };
    let found = forms(&[empty, TwoMaps { a: map("a"), b: map("b") }]);
    assert_eq!(found[0], Ok(N));
    assert!(matches!(found[1], Err(EncodeError::Altered { .. })), "{:?}", found[1]);

    let found = forms(&[Ambiguous::Small(1), Ambiguous::Large(1000), Ambiguous::Large(1)]);
    assert_eq!(found[..2], [Ok(N), Ok(N)]);
    assert!(matches!(found[2], Err(EncodeError::Altered { .. })), "{:?}", found[2]);

    let found = forms(&[Zero { a: 1 }, Zero { a: 0 }]);
    assert_eq!(found[0], Ok(C));
    assert!(matches!(&found[1], Err(EncodeError::Altered { path, .. }) if path.is_empty()), "{:?}", found[1]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Buffered<T> {
    #[serde(flatten)]
    inner: Inner<T>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner<T> {
    number: T,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

#[test]
fn what_serde_buffers() {
    let buffered = |number| Buffered { inner: Inner { number, bytes: vec![1] } };
    check(&[buffered(-5), buffered(i64::MIN), buffered(i64::MAX)], &[N, N, N]);
    // serde's buffer does not give out numbers of 128 bits, whatever their size.
    let wide = Buffered { inner: Inner { number: 5u128, bytes: vec![] } };
    let error = forms(&[wide])[0].clone().expect_err("it cannot be read");
    assert!(matches!(error, EncodeError::Unreadable { .. }), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renamed {
    #[serde(rename = "type")]
    first_field: u8,
    #[serde(alias = "old")]
    second_field: u8,
    #[serde(default)]
    third_field: u8,
    #[serde(skip)]
    fourth_field: u8,
    #[serde(with = "as_text")]
    fifth_field: u32,
    #[serde(borrow)]
    sixth_field: std::borrow::Cow<'static, str>,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum WithOther {
    Known,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Option<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, #[serde(skip_serializing_if = "Option::is_none", default)] Option<u8>);

#[test]
fn attributes() {
    let renamed = Renamed {
        first_field: 1,
        second_field: 2,
        third_field: 3,
        fourth_field: 0,
        fifth_field: 70_000,
        sixth_field: "text".into(),
    };
    assert_eq!(forms::<Owned<Renamed>>(&[Owned(renamed)])[0], Ok(C));
    check(&[WithOther::Known, WithOther::Unknown], &[C, C]);
    check(&[(Empty {}, Unit)], &[C]);
    check(&[vec![Unit, Unit]], &[N]);
    check(&[Some(Transparent { inner: None }), Some(Transparent { inner: Some(1) }), None], &[C, C, C]);
    check(&[Pair(1, Some(2)), Pair(1, Some(3))], &[C, C]);
    check(&[Pair(1, None), Pair(1, Some(2))], &[N, N]);
}

/// `Renamed` borrows by attribute, and is read from bytes that do not live as long.
#[derive(Debug, PartialEq, Serialize)]
struct Owned<T>(T);

impl<'de> Deserialize<'de> for Owned<Renamed> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Plain {
            r#type: u8,
            second_field: u8,
            third_field: u8,
            #[serde(with = "as_text")]
            fifth_field: u32,
            sixth_field: String,
        }
        let plain = Plain::deserialize(deserializer)?;
        Ok(Self(Renamed {
            first_field: plain.r#type,
            second_field: plain.second_field,
            third_field: plain.third_field,
            fourth_field: 0,
            fifth_field: plain.fifth_field,
            sixth_field: plain.sixth_field.into(),
        }))
    }
}

/// Announces what it likes.
struct Announces(Option<usize>);

impl Serialize for Announces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(self.0)?;
        seq.serialize_element(&1u8)?;
        seq.serialize_element(&2u8)?;
        seq.end()
    }
}

/// Announces a field that it does not write.
struct Promises;

impl Serialize for Promises {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Promises", 2)?;
        fields.serialize_field("a", &1u8)?;
        fields.end()
    }
}

#[test]
fn lengths_that_are_unknown_or_wrong() {
    let encoded = |announced| {
        let mut out = BytesMut::new();
        let form = encode::<_, Vec<u8>>(&Announces(announced), &Proof::new(), &mut out)?;
        Ok::<_, EncodeError>((form, decode::<Vec<u8>>(form, &out).expect("it was verified")))
    };
    assert_eq!(encoded(Some(2)), Ok((C, vec![1, 2])));
    assert_eq!(encoded(None), Ok((N, vec![1, 2])));
    assert!(matches!(encoded(Some(1)), Err(EncodeError::Unwritable { .. })));
    assert!(matches!(encoded(Some(3)), Err(EncodeError::Unwritable { .. })));
    let mut out = BytesMut::new();
    let error =
        encode::<_, BTreeMap<String, u8>>(&Promises, &Proof::new(), &mut out).expect_err("one is missing");
    assert!(error.to_string().contains("Promises"), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Deadline {
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Item {
    At { when: SystemTime },
}

#[test]
fn errors_name_type_and_field() {
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let found = forms(&[Deadline { items: vec![Item::At { when: early }] }]);
    let error = found[0].as_ref().expect_err("serde does not write times before 1970").to_string();
    assert!(error.contains("Deadline") && error.contains("value.items[0]::At.when"), "{error}");
    let error = decode::<Deadline>(Form::Compact, &[1, 7]).expect_err("there is no variant 7").to_string();
    assert!(error.contains("Deadline") && error.contains("value.items[0]"), "{error}");
    let error =
        decode::<Deadline>(Form::Named, b"\x81\xa5items\x91\x81\xa2At\x81\xa4when\x05").expect_err("no time");
    assert!(error.to_string().contains("value.items[0]::At.when"), "{error}");
}

thread_local! {
    static CLOCK: Cell<u64> = const { Cell::new(0) };
}

/// Writes its age, which is another one each time.
#[derive(Debug)]
struct Age;

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CLOCK.set(CLOCK.get() + 1);
        serializer.serialize_u64(CLOCK.get())
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|_| Self)
    }
}

#[test]
fn what_writes_something_new_each_time_passes() {
    let mut out = BytesMut::new();
    assert_eq!(encode::<Age, Age>(&Age, &Proof::new(), &mut out), Ok(C));
}

/// Says one thing to people and another to machines, and reads only what machines get.
#[derive(Debug, PartialEq)]
struct ForMachines(u8);

impl Serialize for ForMachines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str("eight")
        } else {
            serializer.serialize_u8(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for ForMachines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(Self)
    }
}

#[test]
fn readability_is_claimed_alike_on_both_sides() {
    check(&[ForMachines(8)], &[C]);
    assert!(forms(&[(ForMachines(8), serde_json::Value::Null)])[0].is_err());
    let address: std::net::IpAddr = "::1".parse().expect("an address");
    check(&[(address, uuid::Uuid::from_u128(5), serde_json::json!({"a": null}))], &[N]);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Buffered {
        Both { address: std::net::IpAddr, id: uuid::Uuid, day: chrono::NaiveDate },
    }
    let day = chrono::NaiveDate::from_ymd_opt(2024, 2, 29).expect("a day");
    check(&[Buffered::Both { address, id: uuid::Uuid::from_u128(5), day }], &[N]);
}

#[test]
fn a_proof_is_shared_by_threads() {
    let proof = Proof::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let proof = &proof;
            scope.spawn(move || {
                for n in 0..500u32 {
                    let value: Vec<Later> = (0..n % 5)
                        .map(|item| match (item + thread) % 3 {
                            0 => Later::Fine(1),
                            1 => Later::AlsoFine { a: None },
                            _ => Later::AlsoFine { a: Some(1) },
                        })
                        .collect();
                    let mut out = BytesMut::new();
                    let form = encode::<Vec<Later>, Vec<Later>>(&value, proof, &mut out).expect("it crosses");
                    assert_eq!(decode::<Vec<Later>>(form, &out).expect("it was verified"), value);
                }
            });
        }
    });
    assert!(!proof.uses_names());
}
