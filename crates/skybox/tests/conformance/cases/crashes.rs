//! Panics never pass a call: the caller gets `Crashed`, and the instance is replaced.

use skybox::Ran;

use crate::modules::*;
use crate::stage::{Stage, fails};

pub async fn a_keyed_replacement_waits_for_the_last_call_of_the_old_one(stage: Stage) {
    let (register, bystander) = (stage.at::<Register>("ada"), stage.at::<Register>("bob"));
    register.enter(7).await.unwrap();
    bystander.enter(8).await.unwrap();
    let crashing = async {
        stage.reached("gate began", 1).await;
        fails(register.fail().await, "crashed", Ran::Yes);
        let replaced = async {
            // Asked many times over while the call above waits: it must not have an instance.
            for _ in 0..50 {
                assert_eq!(stage.count("register ada started").await, 1);
            }
            stage.open("gate").await;
        };
        tokio::join!(register.entries(), replaced).0
    };
    let (looked, entries) = tokio::join!(register.look("gate"), crashing);
    assert_eq!((looked.unwrap(), entries.unwrap()), (vec![7], vec![]));
    assert_eq!(stage.count("register ada started").await, 2);
    assert_eq!(bystander.entries().await.unwrap(), [8], "other keys notice nothing");
}

pub async fn panics_of_sync_methods_and_own_threads_do_not_pass_either(stage: Stage) {
    let (desk, pooled) = (stage.get::<Desk>(), stage.get::<Pooled>());
    fails(desk.fail_now("boom").await, "crashed", Ran::Yes);
    stage.open("gate").await;
    let error = fails(pooled.fail().await, "crashed", Ran::Yes);
    assert!(error.to_string().contains("on a thread of its own"), "{error}");
    assert!(pooled.grind("gate").await.is_ok() && desk.pages().await.is_ok());
}
