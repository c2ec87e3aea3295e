//! Panics never pass a call: the caller gets `Crashed`, and the instance is replaced.

use skybox::Ran;

use crate::modules::*;
use crate::stage::{CALLEES, RELAYS, Stage, fails};

/// More in a row than `max_restarts` allows a module that was never of use; the pauses between grow.
const BAD_CALLS: u32 = 7;

pub async fn a_panic_is_crashed_and_the_instance_is_replaced(stage: Stage) {
    let desk = stage.get::<Desk>();
    for lives in 1..=3 {
        desk.add(7).await.unwrap();
        fails(desk.fail("boom").await, "crashed", Ran::Yes);
        assert_eq!(desk.pages().await.unwrap(), [0; 0], "no call after it sees the old instance");
        assert_eq!(stage.count("desk started").await, lives + 1);
    }
}

pub async fn a_panic_in_an_exclusive_call_leaves_nothing_half_changed(stage: Stage) {
    let desk = stage.get::<Desk>();
    stage.open("gate").await;
    fails(desk.fail_writing("gate").await, "crashed", Ran::Yes);
    assert_eq!(desk.pages().await.unwrap(), [0; 0]);
}

pub async fn calls_that_wait_for_a_crashed_instance_get_the_new_one(stage: Stage) {
    let desk = stage.get::<Desk>();
    let waiting = async {
        stage.reached("gate began", 1).await;
        let opening = async {
            stage.waiting::<Desk>(2).await;
            stage.open("gate").await;
        };
        tokio::join!(desk.add(7), desk.pages(), opening)
    };
    let (failed, (added, read, ())) = tokio::join!(desk.fail_writing("gate"), waiting);
    fails(failed, "crashed", Ran::Yes);
    added.unwrap();
    assert!(!read.unwrap().contains(&1), "what was half done is gone");
    assert_eq!(desk.pages().await.unwrap(), [7]);
}

pub async fn other_shared_calls_finish_on_the_old_instance(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.add(7).await.unwrap();
    let crashing = async {
        stage.reached("gate began", 1).await;
        fails(desk.fail("boom").await, "crashed", Ran::Yes);
        assert_eq!(desk.pages().await.unwrap(), [0; 0], "new calls have the new instance already");
        stage.open("gate").await;
    };
    let (looked, ()) = tokio::join!(desk.look("gate"), crashing);
    assert_eq!(looked.unwrap(), [7]);
}

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

/// Ten bad pictures must not end thumbnails for everyone.
pub async fn a_task_is_not_given_up_for_bad_work(stage: Stage) {
    assert!(work(true).await.is_ok());
    for _ in 0..BAD_CALLS {
        let outcome = stage.patiently("the task is there again", work(false)).await;
        fails(outcome, "crashed", Ran::Yes);
    }
    assert!(stage.patiently("the task is there again", work(true)).await.is_ok());
}

pub async fn a_key_is_not_given_up_for_bad_calls(stage: Stage) {
    let register = stage.at::<Register>("ada");
    register.enter(7).await.unwrap();
    for _ in 0..BAD_CALLS {
        let outcome = stage.patiently("the key is there again", register.fail()).await;
        fails(outcome, "crashed", Ran::Yes);
    }
    assert_eq!(stage.patiently("the key is there again", register.entries()).await.unwrap(), [0; 0]);
}

/// Times that a key is called which was given up.
const CALLS_IN_VAIN: u32 = 10;

/// Not by its calls, and not since time goes by: its window is over at once.
pub async fn a_key_that_was_given_up_is_not_started_again(stage: Stage) {
    let (settler, neighbour) = (stage.at::<Settler>(&7), stage.at::<Settler>(&8));
    for _ in 0..CALLS_IN_VAIN {
        let error = fails(settler.hello().await, "not-started", Ran::No);
        assert!(error.to_string().contains("7 wants to be elsewhere"), "it says why: {error}");
        neighbour.hello().await.unwrap();
    }
    assert_eq!(stage.count("settler 7 start").await, 1);
    assert_eq!(stage.count("settler 8 start").await, 1);
}

pub async fn a_key_that_is_not_to_be_started_again_is_not(stage: Stage) {
    let (vase, bystander) = (stage.at::<Vase>("ada"), stage.at::<Vase>("bob"));
    assert_eq!((vase.add().await.unwrap(), bystander.add().await.unwrap()), (1, 1));
    let crashing = async {
        stage.reached("gate began", 1).await;
        fails(vase.drop().await, "crashed", Ran::Yes);
        for _ in 0..CALLS_IN_VAIN {
            // At once, though a call of the old one goes on.
            let error = fails(vase.add().await, "not-started", Ran::No);
            let text = error.to_string();
            assert!(text.contains("crashed at") && text.contains("in pieces"), "it says why: {text}");
        }
        stage.open("gate").await;
    };
    let (looked, ()) = tokio::join!(vase.look("gate"), crashing);
    assert_eq!(looked.unwrap(), 1, "a call in progress ends");
    fails(vase.add().await, "not-started", Ran::No);
    assert_eq!(stage.count("vase ada started").await, 1);
    assert_eq!(bystander.add().await.unwrap(), 2, "other keys notice nothing");
}

pub async fn a_key_that_was_given_up_is_tried_again_where_it_moves(stage: Stage) {
    let settler = stage.at::<Settler>(&7);
    fails(settler.hello().await, "not-started", Ran::No);
    stage.nodes().move_to("settler", &[RELAYS]).await;
    settler.hello().await.unwrap();
    // Its first node has not kept in mind what is over.
    stage.nodes().move_to("settler", &[CALLEES]).await;
    let starts = stage.count("settler 7 start").await;
    fails(settler.hello().await, "not-started", Ran::No);
    fails(settler.hello().await, "not-started", Ran::No);
    assert_eq!(stage.count("settler 7 start").await, starts + 1);
}
