//! Deadlines: none by default; once there is one it only shrinks, and the callee keeps it too.

use std::time::Duration;

use futures_util::future::join_all;
use skybox::{CallOptions, Phase, Ran};

use crate::modules::*;
use crate::stage::{SOON, Stage, fails, failure};

fn within(deadline: Duration) -> CallOptions {
    CallOptions::new().deadline(deadline)
}

pub async fn a_call_has_no_deadline_by_default(stage: Stage) {
    assert_eq!(stage.get::<Relay>().left_s(None).await.unwrap(), (None, None));
}

pub async fn a_handles_deadline_bounds_its_calls(stage: Stage) {
    let nest = stage.get::<Nest>();
    let left = nest.with(within(Duration::from_secs(60))).left_s().await.unwrap();
    assert!(left.is_some_and(|left| left <= 60), "{left:?}");
    assert_eq!(nest.left_s().await.unwrap(), None, "the handle it was made from has none");
}

pub async fn a_modules_deadline_bounds_its_calls(stage: Stage) {
    let overdue = stage.get::<Overdue>();
    assert!(overdue.has_deadline().await.unwrap());
    let error = failure(overdue.look("never").await);
    stage.assert_phase(&error, Phase::Running);
    stage.reached("never dropped", 1).await;
}

pub async fn a_deadline_shrinks_through_nested_calls(stage: Stage) {
    let relay = stage.get::<Relay>().with(within(Duration::from_secs(600)));
    let (own, inner) = relay.left_s(None).await.unwrap();
    assert!(own.is_some_and(|left| left <= 600) && inner <= own, "{own:?} {inner:?}");
    let (own, inner) = relay.left_s(Some(10)).await.unwrap();
    assert!(own > Some(10) && inner <= Some(10), "{own:?} {inner:?}");
}

pub async fn a_nested_call_cannot_extend_a_deadline(stage: Stage) {
    let relay = stage.get::<Relay>().with(within(Duration::from_secs(600)));
    let (_, inner) = relay.left_s(Some(6000)).await.unwrap();
    assert!(inner.is_some_and(|left| left <= 600), "{inner:?}");
}

pub async fn time_is_up_before_a_call_is_sent(stage: Stage) {
    let error = failure(stage.get::<Latecomer>().with(within(SOON)).hello().await);
    stage.assert_phase(&error, Phase::Unsent);
}

pub async fn time_is_up_while_a_call_waits_for_its_turn(stage: Stage) {
    let desk = stage.get::<Desk>();
    let waiting = async {
        stage.reached("turn began", 1).await;
        let error = failure(desk.with(within(SOON)).add(7).await);
        stage.assert_phase(&error, Phase::Queued);
        let error = failure(desk.with(within(SOON)).look("unseen").await);
        stage.assert_phase(&error, Phase::Queued);
        stage.waiting::<Desk>(0).await;
        stage.open("turn").await;
    };
    let (written, ()) = tokio::join!(desk.write("turn"), waiting);
    assert_eq!(written.unwrap(), [1, 2]);
    assert_eq!(desk.pages().await.unwrap(), [1, 2], "what waited did not run");
    assert_eq!(stage.count("unseen began").await, 0);
}

/// Caller and callee see the same deadline pass: the answer is the callee's, which knows that none of them began.
pub async fn calls_behind_a_long_one_are_known_not_to_have_run(stage: Stage) {
    /// Enough for each of two timers to be the first, now and then.
    const CALLS: usize = 64;
    let desk = stage.get::<Desk>();
    let waiting = async {
        stage.reached("turn began", 1).await;
        let brief = desk.with(within(SOON));
        let outcomes = join_all((0..CALLS).map(|_| brief.add(7))).await;
        stage.open("turn").await;
        for outcome in outcomes {
            fails(outcome, "deadline", Ran::No);
        }
    };
    let (written, ()) = tokio::join!(desk.write("turn"), waiting);
    assert_eq!(written.unwrap(), [1, 2]);
    assert_eq!(desk.pages().await.unwrap(), [1, 2], "what waited did not run");
}

pub async fn time_is_up_while_a_call_waits_for_a_thread(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    let waiting = async {
        stage.reached("thread began", 1).await;
        let error = failure(pooled.with(within(SOON)).grind("unseen").await);
        stage.assert_phase(&error, Phase::Queued);
        stage.settle().await;
        stage.open("thread").await;
    };
    let (first, ()) = tokio::join!(pooled.grind("thread"), waiting);
    assert!(first.is_ok() && pooled.grind("thread").await.is_ok());
    assert_eq!(stage.count("unseen began").await, 0);
}

pub async fn time_is_up_while_a_call_runs(stage: Stage) {
    let desk = stage.get::<Desk>();
    let look = async |options| failure(desk.with(options).look("never").await);
    let error = stage.once_begun("never", look).await;
    stage.assert_phase(&error, Phase::Running);
    stage.reached("never dropped", 1).await;
}

/// Two calls down, where nobody but the callee itself looks at the clock.
pub async fn the_callee_keeps_the_deadline_too(stage: Stage) {
    let relay = stage.get::<Relay>();
    let wait = async |options| relay.with(options).wait("never").await.unwrap_err();
    let error = stage.once_begun("never", wait).await;
    // Time is up for both calls at once: whoever is asked first, it is the deadline that ends them.
    assert!(error.to_string().contains("time was up"), "{error}");
    stage.reached("never dropped", 1).await;
}
