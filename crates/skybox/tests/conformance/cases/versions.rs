//! Versions: caller and callee are built from different sources, and find it out before anything runs, or say so.

use skybox::Ran;

use crate::modules::*;
use crate::stage::{Stage, fails};

pub async fn a_module_with_other_methods_is_a_mismatch(stage: Stage) {
    let edition = stage.get::<Edition>();
    let error = fails(edition.read().await, "mismatch", Ran::No);
    assert!(error.to_string().contains("another version of this module's methods"), "{error}");
    assert!(stage.get::<Desk>().pages().await.is_ok(), "modules that both have alike are called");
    stage.nodes().move_to("edition", &["test"]).await;
    edition.read().await.unwrap();
}

pub async fn an_argument_that_the_callee_does_not_know_is_a_mismatch(stage: Stage) {
    let rows = stage.get::<Rows>();
    let error = fails(rows.take_ours(Ours(7)).await, "mismatch", Ran::No);
    assert!(error.to_string().contains("no such variant"), "{error}");
    assert_eq!(stage.count("take_ours ran").await, 0);
}

pub async fn a_result_that_the_caller_does_not_know_is_a_bad_reply(stage: Stage) {
    let rows = stage.get::<Rows>();
    let error = fails(rows.give_theirs().await, "bad-reply", Ran::Yes);
    assert!(error.to_string().contains("no such variant"), "{error}");
    assert_eq!(stage.count("give_theirs ran").await, 1);
}
