//! Errors: the method's own arrive as themselves or as text; a `CallError` speaks of one's own call alone.

use skybox::{CallErrorKind, Callee, Ran, TextChain};

use crate::modules::{Plain, PlainError, ShopError, Shops};
use crate::stage::{Stage, fails};

/// The texts of an error and of its causes.
fn texts(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

pub async fn an_error_that_is_data_arrives_as_itself(stage: Stage) {
    let error = stage.get::<Plain>().no_such(7).await.unwrap_err();
    assert_eq!(error, PlainError::NoSuch { id: 7, near: vec!["one".to_owned(), "two".to_owned()] });
}

pub async fn a_variant_that_is_data_arrives_as_itself(stage: Stage) {
    let shops = stage.get::<Shops>();
    let error = shops.sold_out("tea").await.unwrap_err();
    assert!(matches!(&error, ShopError::SoldOut { item, left: 2 } if item == "tea"), "{error:?}");
    let error = shops.closed().await.unwrap_err();
    assert!(matches!(error, ShopError::Closed), "{error:?}");
}

pub async fn a_variant_that_is_no_data_arrives_as_text_in_rest(stage: Stage) {
    let error = stage.get::<Shops>().burned().await.unwrap_err();
    let ShopError::Rest(rest) = error else { panic!("{error:?}") };
    assert_eq!(texts(rest.as_ref()), ["the shop burned down", "a candle"]);
}

/// In one process too, where it could be looked into.
pub async fn any_error_arrives_as_its_text_alone(stage: Stage) {
    let error = stage.get::<Plain>().text().await.unwrap_err();
    assert_eq!(texts(error.as_ref()), ["the stock is unknown", "the cellar is dark"]);
    assert!(error.downcast_ref::<TextChain>().is_some(), "{error:?}");
    assert!(error.source().is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_none()));
}

#[cfg(feature = "anyhow")]
pub async fn an_anyhow_error_arrives_as_its_text_alone(stage: Stage) {
    let error = stage.get::<crate::modules::Anyhow>().text().await.unwrap_err();
    assert_eq!(texts(error.as_ref()), ["while counting", "the stock is unknown", "the cellar is dark"]);
    assert!(
        error.downcast_ref::<TextChain>().is_some()
            && error.root_cause().downcast_ref::<std::io::Error>().is_none()
    );
}

pub async fn a_call_error_names_the_call(stage: Stage) {
    let error = fails(stage.get::<Plain>().fail().await, "crashed", Ran::Yes);
    assert_eq!(error.callee(), Callee::new("plain", "fail"));
    let error = stage.get::<Shops>().fail().await.unwrap_err();
    let ShopError::Call(error) = error else { panic!("{error:?}") };
    assert_eq!((error.callee(), error.ran()), (Callee::new("shops", "fail"), Ran::Yes));
    assert!(matches!(error.kind(), CallErrorKind::Crashed { .. }));
}

pub async fn an_inner_call_error_becomes_text(stage: Stage) {
    let error = stage.get::<Plain>().pass_on().await.unwrap_err();
    assert!(error.call_error().is_none(), "{error:?}");
    assert!(error.to_string().contains("plain.fail") && error.to_string().contains("inside"), "{error}");
    let error = stage.get::<Shops>().pass_on().await.unwrap_err();
    let ShopError::Rest(rest) = error else { panic!("{error:?}") };
    assert!(texts(rest.as_ref()).join(": ").contains("inside the shop"), "{rest:?}");
}

#[cfg(feature = "anyhow")]
pub async fn an_inner_call_error_becomes_text_in_anyhow(stage: Stage) {
    let anyhow = stage.get::<crate::modules::Anyhow>();
    let error = anyhow.fail().await.unwrap_err();
    assert!(error.downcast_ref::<skybox::CallError>().is_some(), "one's own call: {error:?}");
    let error = anyhow.pass_on().await.unwrap_err();
    assert!(
        error.downcast_ref::<skybox::CallError>().is_none() && error.to_string().contains("inside"),
        "{error:?}"
    );
}
