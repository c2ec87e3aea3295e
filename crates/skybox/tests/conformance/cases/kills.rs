//! An instance that somebody kills: its calls end where they wait, and another one takes its place.

use futures_util::StreamExt;
use skybox::{CallErrorKind, Ran};

use crate::modules::*;
use crate::stage::{Stage, fails, failure};

/// Kills the one instance of a module.
async fn kill(stage: &Stage, module: &str) {
    assert_eq!(stage.get::<Probe>().kill(module).await.unwrap(), 1, "one of {module} is live");
}

/// Waits until there is one to kill, and kills it.
async fn kill_next(stage: &Stage, module: &str) {
    let probe = stage.get::<Probe>();
    let killed = async || probe.kill(module).await.unwrap() == 1;
    stage.until(&format!("an instance of {module} is killed"), killed).await;
}

pub async fn a_killed_instance_is_replaced_and_its_calls_are_cancelled(stage: Stage) {
    let diary = stage.get::<Diary>();
    let killing = async {
        stage.reached("gate began", 2).await;
        kill(&stage, "diary").await;
        // Not before the one above is gone: its calls have been dropped where they waited.
        stage.reached("diary dropped", 1).await;
        assert_eq!(stage.count("gate dropped").await, 2);
        assert_eq!(diary.life().await.unwrap(), 2);
    };
    let (one, other, ()) = tokio::join!(diary.read("gate"), diary.read("gate"), killing);
    fails(one, "cancelled", Ran::Maybe);
    fails(other, "cancelled", Ran::Maybe);
    assert_eq!(stage.count("diary stopping").await, 0, "it has no last word");
    let endings = stage.get::<Probe>().endings("diary").await.unwrap();
    assert_eq!(endings, ["killed by the program"]);
    // When the program ends.
    stage.open("farewell").await;
}

pub async fn a_call_that_nothing_else_wakes_is_cancelled(stage: Stage) {
    let desk = stage.get::<Desk>();
    let staring = tokio::spawn(async move { desk.stare().await });
    stage.holding::<Desk>(1).await;
    kill(&stage, "desk").await;
    let stared = stage.patiently("the kill wakes it", staring).await;
    fails(stared.unwrap(), "cancelled", Ran::Maybe);
}

pub async fn a_kill_ends_a_call_that_nobody_waits_for(stage: Stage) {
    let desk = stage.get::<Desk>();
    // It is not left half done only because its caller goes.
    let call = async |options| failure(desk.with(options).write("write").await);
    let late = stage.once_begun("write", call).await;
    assert!(matches!(late.kind(), CallErrorKind::Deadline { .. }), "{late:?}");
    kill(&stage, "desk").await;
    stage.reached("write dropped", 1).await;
    assert_eq!((desk.pages().await.unwrap(), stage.count("write ended").await), (Vec::new(), 0));
    assert_eq!(stage.count("desk started").await, 2);
}

pub async fn those_that_wait_for_their_turn_go_to_the_successor(stage: Stage) {
    let desk = stage.get::<Desk>();
    let killing = async {
        stage.reached("write began", 1).await;
        stage.waiting::<Desk>(2).await;
        kill(&stage, "desk").await;
    };
    let waiting = async {
        stage.reached("write began", 1).await;
        tokio::join!(desk.add(7), desk.pages())
    };
    let (written, (added, pages), ()) = tokio::join!(desk.write("write"), waiting, killing);
    fails(written, "cancelled", Ran::Maybe);
    added.unwrap();
    // Whichever comes first there: it knows nothing of the page that was half written.
    assert!(matches!(pages.unwrap()[..], [] | [7]));
    assert_eq!(desk.pages().await.unwrap(), [7]);
    assert_eq!(stage.count("desk started").await, 2);
}

pub async fn a_killed_key_starts_again_with_its_next_call(stage: Stage) {
    let (ada, bob) = (stage.at::<Register>("ada"), stage.at::<Register>("bob"));
    ada.enter(1).await.unwrap();
    let killing = async {
        stage.reached("gate began", 1).await;
        kill(&stage, "register").await;
    };
    let (looked, ()) = tokio::join!(ada.look("gate"), killing);
    fails(looked, "cancelled", Ran::Maybe);
    assert_eq!(stage.count("register ada started").await, 1, "nobody has called it");
    bob.enter(2).await.unwrap();
    assert_eq!(ada.entries().await.unwrap(), Vec::<u32>::new());
    assert_eq!((stage.count("register ada started").await, bob.entries().await.unwrap()), (2, vec![2]));
}

pub async fn a_killed_spawned_instance_is_over(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let killing = async {
        stage.reached("gate began", 1).await;
        kill(&stage, "booth").await;
    };
    let (looked, ()) = tokio::join!(pears.look("gate"), killing);
    fails(looked, "cancelled", Ran::Maybe);
    fails(pears.stock().await, "gone", Ran::No);
    stage.reached("booth pears closed", 1).await;
}

pub async fn kills_never_give_a_module_up(stage: Stage) {
    // More often than any policy lets one fail, and before a call of it has ended.
    for _ in 0..12 {
        kill_next(&stage, "desk").await;
    }
    assert_eq!(stage.get::<Desk>().pages().await.unwrap(), Vec::<u32>::new());
    assert_eq!(stage.count("desk started").await, 13);
}

pub async fn streams_of_a_killed_instance_break_off(stage: Stage) {
    let mut items = stage.get::<Pipes>().later("gate").await.unwrap();
    let killing = async {
        stage.reached("gate began", 1).await;
        kill(&stage, "pipes").await;
    };
    let (item, ()) = tokio::join!(items.next(), killing);
    let error = item.expect("it does not end as if it were whole").unwrap_err();
    assert_eq!(*error.call_error().unwrap().kind(), CallErrorKind::Cancelled, "{error:?}");
    stage.reached("gate dropped", 1).await;
}

pub async fn what_holds_its_thread_runs_to_its_end(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    let killing = async {
        stage.reached("gate began", 1).await;
        kill(&stage, "pooled").await;
        stage.open("gate").await;
    };
    let (ground, ()) = tokio::join!(pooled.grind("gate"), killing);
    assert_eq!(ground.unwrap(), "pooled-0");
    assert_eq!(pooled.stir().await.unwrap(), "pooled-0", "its successor has the same threads");
}
