//! Values: what `Serialize` writes, `Deserialize` reads back unchanged, or the call fails before it runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::json;
use skybox::Ran;

use crate::modules::*;
use crate::stage::{Stage, fails};

/// Sends each value three times over one method, as what it proved once is trusted later.
async fn unchanged<T: Clone + Debug + PartialEq>(values: Vec<T>, call: impl AsyncFn(T) -> Seen<T>) {
    for value in values.iter().chain(&values).chain(&values) {
        let (seen, back) = call(value.clone()).await.unwrap_or_else(|error| panic!("{value:?}: {error:?}"));
        assert_eq!(seen, format!("{value:?}"), "as an argument");
        assert_eq!(back, *value, "as a result");
    }
}

fn skipping() -> Vec<Skipping> {
    let all = Skipping { a: Some(1), b: 2, c: vec![3, 4] };
    vec![
        all.clone(),
        Skipping { a: None, ..all.clone() },
        Skipping { c: Vec::new(), ..all.clone() },
        Skipping { a: None, c: Vec::new(), ..all },
    ]
}

pub async fn owned_and_borrowed_arguments_arrive(stage: Stage) {
    let flat = Flat { id: 1, inner: skipping().remove(0), rest: BTreeMap::new() };
    let seen = stage.get::<Rows>().borrowed("täxt", &[1, 2], &flat, "owned".to_owned()).await.unwrap();
    assert_eq!(seen, format!("{:?} {:?} {flat:?} {:?}", "täxt", [1, 2], "owned"));
    let names = ["ada".to_owned(), "grace".to_owned()];
    assert_eq!(lookup(&names, 1).await.unwrap(), "grace");
    assert_eq!(book("four").await.unwrap(), 4);
}

pub async fn skipped_fields_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    unchanged(skipping(), async |value| rows.skipping(value).await).await;
    unchanged(skipping().into_iter().rev().collect(), async |value| rows.skipping(value).await).await;
}

pub async fn untagged_enums_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let values = vec![
        Untagged::Number(7),
        Untagged::Text("7".to_owned()),
        Untagged::Fields { a: Some(true) },
        Untagged::Fields { a: None },
    ];
    unchanged(values, async |value| rows.untagged(value).await).await;
}

pub async fn internally_tagged_enums_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let values = vec![
        Internal::Unit,
        Internal::Fields { a: Some(1), b: Some(None) },
        Internal::Fields { a: None, b: Some(Some("b".to_owned())) },
        Internal::Newtype(skipping().remove(3)),
    ];
    unchanged(values, async |value| rows.internal(value).await).await;
}

pub async fn adjacently_tagged_enums_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let values = vec![
        Adjacent::Unit,
        Adjacent::Newtype(1),
        Adjacent::Tuple(1, "two".to_owned()),
        Adjacent::Fields { a: Some(None) },
        Adjacent::Fields { a: None },
    ];
    unchanged(values, async |value| rows.adjacent(value).await).await;
}

pub async fn flattened_fields_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let rest = BTreeMap::from([("x".to_owned(), Some(1.5)), ("y".to_owned(), None)]);
    let values = skipping().into_iter().map(|inner| Flat { id: 1, inner, rest: rest.clone() }).collect();
    unchanged(values, async |value| rows.flat(value).await).await;
}

pub async fn json_values_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let values =
        vec![json!({"a": [1, -1, 1.5, null, "s", true, {}], "b": u64::MAX}), json!(null), json!("text")];
    unchanged(values, async |value| rows.json(value).await).await;
}

pub async fn options_of_options_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let values = vec![None, Some(None), Some(Some(None)), Some(Some(Some(1)))];
    unchanged(values, async |value| rows.nested(value).await).await;
}

pub async fn types_of_other_crates_arrive_unchanged(stage: Stage) {
    let rows = stage.get::<Rows>();
    let value = Foreign {
        uuid: uuid::Uuid::from_u128(7),
        time: time::OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_000_005).unwrap(),
        chrono: chrono::DateTime::from_timestamp(1_700_000_000, 5).unwrap(),
        url: "https://example.org/a?b=c#d".parse().unwrap(),
        cow: Cow::Borrowed("cow"),
        wide: (u128::MAX, i128::MIN),
    };
    unchanged(vec![value], async |value| rows.foreign(value).await).await;
}

pub async fn an_argument_that_would_change_is_refused_by_type_and_field(stage: Stage) {
    let rows = stage.get::<Rows>();
    for _ in 0..3 {
        let error = fails(rows.withheld(Withheld { a: 1, secret: 2 }).await, "mismatch", Ran::No);
        let text = error.to_string();
        assert!(text.contains("Withheld") && text.contains("`secret`"), "{text}");
    }
    assert_eq!(stage.count("withheld ran").await, 0);
}

pub async fn a_result_that_would_change_is_refused_by_type_and_field(stage: Stage) {
    let rows = stage.get::<Rows>();
    for n in 1..=3 {
        let error = fails(rows.give_withheld().await, "bad-reply", Ran::Yes);
        let text = error.to_string();
        assert!(text.contains("Withheld") && text.contains("`secret`"), "{text}");
        assert_eq!(stage.count("give_withheld ran").await, n);
    }
}

/// What a type never writes is its own matter: it arrives as its `Deserialize` fills it.
pub async fn what_a_type_never_writes_arrives_as_it_fills_it(stage: Stage) {
    let rows = stage.get::<Rows>();
    // The first call is encoded and decoded inline too, in a debug build; the second is not.
    for cache in [0, 7] {
        let arrived = if stage.crosses() { 0 } else { cache };
        let (seen, _) = rows.filled(Filled { a: 1, cache }).await.unwrap();
        assert_eq!(seen, format!("{:?}", Filled { a: 1, cache: arrived }));
        assert_eq!(rows.give_filled(cache).await.unwrap(), Filled { a: 1, cache: arrived });
    }
}

pub async fn a_result_that_is_skipped_only_later_arrives(stage: Stage) {
    let rows = stage.get::<Rows>();
    for a in [Some(1), None, Some(2), None] {
        assert_eq!(rows.give_skipping(a).await.unwrap(), Skipping { a, b: 1, c: Vec::new() });
    }
}

pub async fn a_panic_in_the_code_of_a_value_does_not_pass_the_call(stage: Stage) {
    let rows = stage.get::<Rows>();
    let error = fails(rows.give_explosive().await, "bad-reply", Ran::Yes);
    assert!(error.to_string().contains("it must not be touched"), "{error}");
    assert_eq!(stage.count("give_explosive ran").await, 1);
    let error = fails(rows.take_explosive(Explosive).await, "mismatch", Ran::No);
    assert!(error.to_string().contains("it must not be touched"), "{error}");
    let error = fails(rows.take_unreadable(Unreadable).await, "mismatch", Ran::No);
    assert!(error.to_string().contains("it must not be read"), "{error}");
    assert_eq!(stage.count("take_explosive ran").await + stage.count("take_unreadable ran").await, 0);
    assert!(rows.nested(None).await.is_ok(), "the way to the callee is as it was");
}

pub async fn a_panic_in_the_text_of_an_error_is_a_bad_reply(stage: Stage) {
    let rows = stage.get::<Rows>();
    let error = fails(rows.give_speechless().await, "bad-reply", Ran::Yes);
    assert!(error.to_string().contains("there are no words for it"), "{error}");
    assert!(rows.nested(None).await.is_ok(), "the way to the callee is as it was");
}

pub async fn large_payloads_go_both_ways(stage: Stage) {
    const BYTES: usize = 3 << 20;
    let desk = stage.get::<Desk>();
    let load: Vec<u8> = (0..BYTES).map(|n| n as u8).collect();
    assert_eq!(desk.weigh(&load).await.unwrap(), BYTES);
    assert!(desk.fill(BYTES).await.unwrap() == load);
    let (weight, filled, small) = tokio::join!(desk.weigh(&load), desk.fill(BYTES), desk.pages());
    assert_eq!((weight.unwrap(), filled.unwrap().len(), small.unwrap()), (BYTES, BYTES, vec![]));
}
