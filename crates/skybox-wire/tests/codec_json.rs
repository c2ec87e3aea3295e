//! An operator's arguments and results.

use bytes::BytesMut;
use skybox_wire::codec::{Form, decode, encode_json, json_arguments};

#[track_caller]
fn check(json: &str, names: &[&str], expect: Result<&str, &str>) {
    let found = json_arguments(json.as_bytes(), names);
    match (&found, expect) {
        (Ok(found), Ok(expect)) => assert_eq!(found, expect),
        (Err(error), Err(expect)) => assert_eq!(error.to_string(), format!("arguments: {expect}")),
        _ => panic!("{found:?}, not {expect:?}"),
    }
}

#[test]
fn arguments() {
    check(r#"{"b": [1, {"x": null}], "a": "t"}"#, &["a", "b"], Ok(r#"["t",[1, {"x": null}]]"#));
    check(
        r#"{"a": 340282366920938463463374607431768211455}"#,
        &["a"],
        Ok("[340282366920938463463374607431768211455]"),
    );
    check(r#"["t", 2]"#, &["a", "b"], Ok(r#"["t",2]"#));
    check("{}", &[], Ok("null"));
    check("[]", &[], Ok("null"));
    check(r#"{"a": 1}"#, &["a", "b", "c"], Err("missing `b`, `c`; parameters are `a`, `b`, `c`"));
    check(r#"{"a": 1, "d": 2}"#, &["a"], Err("no parameter is named `d`; parameters are `a`"));
    check(r#"{"d": 2}"#, &["a"], Err("missing `a`; no parameter is named `d`; parameters are `a`"));
    check(r#"{"d": 2}"#, &[], Err("no parameter is named `d`; parameters are none"));
    check(r#"{"a": 1, "a": 2}"#, &["a"], Err("`a` is given twice"));
    check("[1]", &["a", "b"], Err("1 given, 2 expected: `a`, `b`"));
    for broken in ["", "5", "{", r#"{"a": }"#, "{} x"] {
        assert!(json_arguments(broken.as_bytes(), &["a"]).is_err(), "{broken}");
    }
}

#[test]
fn arguments_are_what_the_method_reads() {
    let json = json_arguments(br#"{"count": 3, "user": "ada"}"#, &["user", "count"]).expect("both are there");
    assert_eq!(decode::<(String, u32)>(Form::Json, &json), Ok(("ada".to_owned(), 3)));
    decode::<()>(Form::Json, &json_arguments(b"{}", &[]).expect("none are needed")).expect("null is ()");
    let error = decode::<(String, bool)>(Form::Json, &json).expect_err("3 is no bool").to_string();
    assert!(
        error.contains("(alloc::string::String, bool)") && error.contains("invalid type: integer `3`"),
        "{error}"
    );
}

#[test]
fn results_are_json() {
    let mut out = BytesMut::from(&b"before"[..]);
    encode_json(&Ok::<_, String>(vec![Some(1), None]), &mut out).expect("JSON has words for it");
    assert_eq!(out, r#"before{"Ok":[1,null]}"#);
    let keys = std::collections::BTreeMap::from([(vec![1], 1)]);
    assert!(encode_json(&keys, &mut out).is_err());
    assert_eq!(out, r#"before{"Ok":[1,null]}"#);
}
