//! Cancellation: dropping a call stops what may be stopped, and nothing else.

use std::future::Future;

use skybox::{CallOptions, Phase, Ran};
use tokio::task::JoinHandle;

use crate::modules::*;
use crate::stage::{CALLEES, RELAYS, Stage, fails, failure};

/// Starts a call in a task, so that aborting the task drops it.
fn start<F: Future<Output: Send> + Send + 'static>(call: F) -> JoinHandle<F::Output> {
    skybox::spawn(call)
}

/// Drops a call that somebody makes in a task.
async fn abandon<T: std::fmt::Debug>(task: JoinHandle<T>) {
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

pub async fn dropping_a_call_stops_a_shared_method_at_its_next_await(stage: Stage) {
    let desk = stage.get::<Desk>();
    let call = start(async move { desk.look("gate").await });
    stage.reached("gate began", 1).await;
    abandon(call).await;
    stage.reached("gate dropped", 1).await;
    stage.open("gate").await;
    assert_eq!(stage.count("gate ended").await, 0);
}

pub async fn dropping_a_call_stops_the_calls_below_it(stage: Stage) {
    let relay = stage.get::<Relay>();
    let call = start(async move { relay.wait("gate").await });
    stage.reached("gate began", 1).await;
    abandon(call).await;
    stage.reached("gate dropped", 1).await;
}

pub async fn a_queued_exclusive_call_that_is_dropped_does_not_run(stage: Stage) {
    let desk = stage.get::<Desk>();
    let theirs = desk.clone();
    let writing = start(async move { theirs.write("gate").await });
    stage.reached("gate began", 1).await;
    let theirs = desk.clone();
    let adding = start(async move { theirs.add(7).await });
    stage.waiting::<Desk>(1).await;
    abandon(adding).await;
    stage.waiting::<Desk>(0).await;
    stage.open("gate").await;
    assert_eq!(writing.await.unwrap().unwrap(), [1, 2]);
    assert_eq!(desk.pages().await.unwrap(), [1, 2]);
}

pub async fn a_started_exclusive_call_that_is_dropped_runs_to_its_end(stage: Stage) {
    let desk = stage.get::<Desk>();
    let theirs = desk.clone();
    let writing = start(async move { theirs.write("gate").await });
    stage.reached("gate began", 1).await;
    abandon(writing).await;
    stage.open("gate").await;
    assert_eq!(desk.pages().await.unwrap(), [1, 2], "and holds its turn until then");
    assert_eq!((stage.count("gate ended").await, stage.count("gate dropped").await), (1, 0));
}

pub async fn a_started_exclusive_call_outlives_its_deadline(stage: Stage) {
    let desk = stage.get::<Desk>();
    let write = async |options| failure(desk.with(options).write("gate").await);
    let error = stage.once_begun("gate", write).await;
    stage.assert_phase(&error, Phase::Running);
    stage.open("gate").await;
    assert_eq!(desk.pages().await.unwrap(), [1, 2]);
    assert_eq!(stage.count("desk started").await, 1, "it ended in time");
}

pub async fn an_exclusive_call_that_overruns_crashes_its_instance(stage: Stage) {
    let overdue = stage.get::<Overdue>();
    let error = failure(overdue.write("never").await);
    stage.assert_phase(&error, Phase::Running);
    stage.reached("never dropped", 1).await;
    stage.reached("overdue started", 2).await;
    assert_eq!(overdue.pages().await.unwrap(), 0, "nothing half changed is left");
}

pub async fn calls_that_wait_behind_an_overrun_find_the_new_instance(stage: Stage) {
    let overdue = stage.get::<Overdue>().with(CallOptions::new());
    let waiting = async {
        stage.reached("never began", 1).await;
        // Its own deadline may come first; it never sees the old instance.
        overdue.pages().await.map_or(0, |pages| pages)
    };
    let (_, pages) = tokio::join!(overdue.write("never"), waiting);
    assert_eq!(pages, 0);
}

pub async fn cancel_on_drop_stops_an_exclusive_call(stage: Stage) {
    let desk = stage.get::<Desk>();
    let theirs = desk.clone();
    let drafting = start(async move { theirs.draft("gate").await });
    stage.reached("gate began", 1).await;
    abandon(drafting).await;
    stage.reached("gate dropped", 1).await;
    assert_eq!(desk.pages().await.unwrap(), [1], "its author has said that this is well");
}

pub async fn to_completion_lets_a_shared_call_run_to_its_end(stage: Stage) {
    let desk = stage.get::<Desk>();
    let filing = start(async move { desk.file("gate").await });
    stage.reached("gate began", 1).await;
    abandon(filing).await;
    stage.open("gate").await;
    stage.reached("gate ended", 1).await;
}

pub async fn a_started_sync_method_ends(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    let grinding = start(async move { pooled.grind("gate").await });
    stage.reached("gate began", 1).await;
    abandon(grinding).await;
    stage.open("gate").await;
    stage.reached("gate ended", 1).await;
}

pub async fn a_queued_sync_method_that_is_dropped_does_not_run(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    let theirs = pooled.clone();
    let first = start(async move { theirs.grind("gate").await });
    stage.reached("gate began", 1).await;
    let theirs = pooled.clone();
    let second = start(async move { theirs.grind("unseen").await });
    // A call that was made after it has been there: so has it.
    let error = failure(pooled.with(CallOptions::new().deadline(crate::stage::SOON)).grind("unseen").await);
    assert_eq!(error.kind().name(), "deadline");
    abandon(second).await;
    stage.settle().await;
    stage.open("gate").await;
    assert!(first.await.unwrap().is_ok() && pooled.grind("gate").await.is_ok());
    assert_eq!(stage.count("unseen began").await, 0);
}

pub async fn sync_methods_run_on_the_modules_own_threads(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    stage.open("gate").await;
    assert_eq!(pooled.grind("gate").await.unwrap(), "pooled-0");
    assert_eq!(pooled.stir().await.unwrap(), "pooled-0");
}

/// Kills the node that calls, once a call of its own has come to a gate.
async fn caller_dies_at(stage: &Stage, gate: &str) {
    stage.reached(&format!("{gate} began"), 1).await;
    stage.nodes().kill(RELAYS).await;
}

pub async fn the_death_of_its_caller_stops_a_shared_method(stage: Stage) {
    let relay = stage.get::<Relay>();
    let (waited, ()) = tokio::join!(relay.wait("gate"), caller_dies_at(&stage, "gate"));
    fails(waited, "lost", Ran::Maybe);
    stage.reached("gate dropped", 1).await;
}

pub async fn the_death_of_its_caller_lets_a_started_exclusive_method_end(stage: Stage) {
    let (relay, nest) = (stage.get::<Relay>(), stage.get::<Nest>());
    let steps = |gate: &str| vec![Step::Exclusive, Step::Gate(gate.to_owned())];
    let dying = async {
        stage.reached("gate began", 1).await;
        let queued = relay.shared(steps("unseen"));
        let killing = async {
            stage.waiting::<Nest>(1).await;
            caller_dies_at(&stage, "gate").await;
        };
        tokio::join!(queued, killing).0
    };
    let (started, queued) = tokio::join!(relay.shared(steps("gate")), dying);
    fails(started, "lost", Ran::Maybe);
    fails(queued, "lost", Ran::Maybe);
    stage.waiting::<Nest>(0).await;
    stage.open("gate").await;
    assert_eq!(nest.exclusive(vec![]).await.unwrap(), "done", "it has its turn when that one has ended");
    assert_eq!((stage.count("gate ended").await, stage.count("gate dropped").await), (1, 0));
    assert_eq!(stage.count("unseen began").await, 0, "what waited did not run");
}

/// A node that leaves lets calls end for a while, and then stops them.
pub async fn a_call_that_does_not_end_is_cancelled_when_its_node_leaves(stage: Stage) {
    let desk = stage.get::<Desk>();
    let leaving = async {
        stage.reached("never began", 1).await;
        stage.nodes().drain(CALLEES).await;
    };
    let (looked, ()) = tokio::join!(desk.look("never"), leaving);
    fails(looked, "cancelled", Ran::Maybe);
    assert!(desk.pages().await.is_ok(), "others have taken over");
}
