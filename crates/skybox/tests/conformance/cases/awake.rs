//! How many keyed instances are awake in a node is bounded.

use futures_util::future::join_all;
use skybox::{CallOptions, Ran};

use crate::modules::*;
use crate::stage::{SOON, Stage, fails};

pub async fn the_key_that_was_not_called_for_longest_falls_asleep(stage: Stage) {
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| stage.at::<Berth>(name));
    for berth in [&ada, &bob, &ada, &eve] {
        assert_eq!(berth.life().await.unwrap(), 1);
    }
    assert_eq!(stage.count("bob stopped").await, 1, "its last word comes before the next one starts");
    assert_eq!((ada.life().await.unwrap(), eve.life().await.unwrap()), (1, 1), "both are awake still");
    assert_eq!(bob.life().await.unwrap(), 2, "its next call starts it anew");
    assert_eq!((stage.count("ada stopped").await, stage.count("eve stopped").await), (1, 0));
}

pub async fn never_are_more_keys_awake_than_may_be(stage: Stage) {
    let names: Vec<_> = (0..8).map(|n| format!("guest {n}")).collect();
    for _ in 0..2 {
        let calls = names.iter().map(|name| {
            let berth = stage.at::<Berth>(name);
            async move { berth.life().await }
        });
        join_all(calls).await.into_iter().for_each(|life| assert!(life.unwrap() > 0));
    }
    assert_eq!(stage.count("too many").await, 0);
    assert!(stage.count("berth gone").await >= 8 - BERTHS);
}

pub async fn a_busy_key_is_not_put_to_sleep(stage: Stage) {
    let berth = |name: &str| stage.at::<Berth>(name);
    let (ada, bob, eve) = (berth("ada"), berth("bob"), berth("eve"));
    let calls = async {
        let (one, other) = tokio::join!(ada.rest("ada"), bob.rest("bob"));
        assert_eq!((one.unwrap(), other.unwrap()), (1, 1), "no call of theirs was cut off");
    };
    let waiting = async {
        stage.reached("ada began", 1).await;
        stage.reached("bob began", 1).await;
        let soon = eve.with(CallOptions::new().deadline(SOON));
        fails(soon.life().await, "deadline", Ran::No);
        // It waits, and is there as soon as one of them has no calls.
        let (life, ()) = tokio::join!(eve.life(), stage.open("bob"));
        assert_eq!(life.unwrap(), 1);
        assert_eq!((stage.count("ada stopped").await, stage.count("bob stopped").await), (0, 1));
        stage.open("ada").await;
    };
    tokio::join!(calls, waiting);
}

pub async fn a_place_is_given_back_however_an_instance_ends(stage: Stage) {
    let berth = |name: &str| stage.at::<Berth>(name);
    // One that has crashed has its place until the next one takes it, as any that nobody calls.
    assert_eq!(berth("ada").life().await.unwrap(), 1);
    fails(berth("ada").fail().await, "crashed", Ran::Yes);
    assert_eq!(berth("bob").life().await.unwrap(), 1);
    // One that does not start has none, or is the next to lose it.
    for name in ["broken", "broken"] {
        fails(berth(name).life().await, "not-started", Ran::No);
    }
    for name in ["bob", "eve", "bob"] {
        assert_eq!(berth(name).life().await.unwrap(), 1);
    }
    assert_eq!((stage.count("bob stopped").await, stage.count("too many").await), (0, 0));
}

pub async fn where_all_keys_are_busy_a_call_is_refused_in_the_end(stage: Stage) {
    let berth = |name: &str| stage.at::<Berth>(name);
    let (ada, bob) = (berth("ada"), berth("bob"));
    let mut busy = Box::pin(async { tokio::join!(ada.rest("ada"), bob.rest("bob")) });
    let refused = async {
        stage.reached("ada began", 1).await;
        stage.reached("bob began", 1).await;
        berth("eve").life().await
    };
    let refused = tokio::select! {
        _ = &mut busy => panic!("the gates are closed"),
        refused = refused => refused,
    };
    let error = fails(refused, "overloaded", Ran::No);
    assert!(error.to_string().contains("2 may be awake") && error.to_string().contains("`awake`"), "{error}");
    let (open, other) = ("ada", "bob");
    let (lives, _, _) = tokio::join!(busy, stage.open(open), stage.open(other));
    assert_eq!((lives.0.unwrap(), lives.1.unwrap()), (1, 1));
    assert_eq!(berth("eve").life().await.unwrap(), 1);
}
