//! The bytes of the compact and the named form, which other versions and other languages read.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{Form, Proof, decode, encode};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: Option<u16>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(u32),
    Line(Point, Point),
    Text { at: Point, text: String },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: T,
    compact: &str,
    named: &str,
) {
    for (form, expect) in [(Form::Compact, compact), (Form::Named, named)] {
        let proof = Proof::new();
        if form == Form::Named {
            proof.use_names();
        }
        let mut out = BytesMut::new();
        assert_eq!(encode::<T, T>(&value, &proof, &mut out).expect("it crosses"), form);
        assert_eq!(hex(&out), expect, "{form}");
        assert_eq!(decode::<T>(form, &out).expect("it was written"), value);
    }
}

#[test]
fn forms_have_these_numbers() {
    assert_eq!([Form::Compact as u8, Form::Named as u8, Form::Json as u8], [0, 1, 2]);
    for number in 0..=2 {
        assert_eq!(Form::try_from(number).expect("a form") as u8, number);
    }
    assert!(Form::try_from(3).is_err());
}

#[test]
fn scalars() {
    check(300u32, "ac02", "cd012c");
    check(127u64, "7f", "7f");
    check(16_384u64, "808001", "cd4000");
    check(u64::MAX, "ffffffffffffffffff01", "cfffffffffffffffff");
    check(-1i16, "01", "ff");
    check(-300i64, "d704", "d1fed4");
    check(-2i8, "fe", "fe");
    check(200u8, "c8", "ccc8");
    check(true, "01", "c3");
    check('ß', "02c39f", "a2c39f");
    check(1.5f32, "0000c03f", "ca3fc00000");
    check(1.5f64, "000000000000f83f", "cb3ff8000000000000");
    check(5u128, "05", "05");
    check(1u128 << 64, "80808080808080808002", "d80200000000000000010000000000000000");
    check(-1i128 << 64, "ffffffffffffffffff03", "d803ffffffffffffffff0000000000000000");
    check((), "", "c0");
    check("text".to_owned(), "0474657874", "a474657874");
    check(Bytes::from_static(&[1, 2]), "020102", "c4020102");
}

#[test]
fn options() {
    check(None::<u8>, "00", "c0");
    check(Some(5u8), "0105", "05");
    check(None::<Option<u8>>, "00", "c0");
    check(Some(None::<u8>), "0100", "d40101");
    check(Some(Some(None::<u8>)), "010100", "d40102");
    check(Some(Some(Some(7u8))), "01010107", "07");
    check(Some(()), "01", "d40101");
}

#[test]
fn compounds() {
    check(Point { x: -5, y: Some(300) }, "0901ac02", "82a178fba179cd012c");
    check((1u8, "a".to_owned()), "010161", "9201a161");
    check(vec![1u16, 2], "020102", "920102");
    check(BTreeMap::from([(1u8, 'a')]), "01010161", "8101a161");
    check(Shape::Empty, "00", "a5456d707479");
    check(Shape::Circle(9), "0109", "81a6436972636c6509");
    check(
        Shape::Line(Point { x: 0, y: None }, Point { x: 1, y: None }),
        "0200000200",
        "81a44c696e659282a17800a179c082a17801a179c0",
    );
    check(
        Shape::Text { at: Point { x: 0, y: None }, text: "t".into() },
        "0300000174",
        "81a45465787482a2617482a17800a179c0a474657874a174",
    );
}
