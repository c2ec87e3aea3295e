//! Each kind of failure, and whether the call ran.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use skybox::{CallError, CallErrorKind, CallOptions, Ran};

use crate::modules::*;
use crate::stage::{CALLEES, SOON, Stage, fails, failure};

/// Calls that may wait at once, for an instance, a turn or a thread: the default of `queue`.
const QUEUE: usize = 1024;

pub async fn a_module_that_does_not_start_says_why(stage: Stage) {
    let stillborn = stage.get::<Stillborn>();
    let first = stage.patiently("the module is given up", stillborn.hello()).await;
    let error = fails(first, "not-started", Ran::No);
    assert_eq!(
        *error.kind(),
        CallErrorKind::NotStarted { cause: "the shelf is closed: the key is lost".to_owned() }
    );
}

pub async fn a_module_that_was_given_up_is_not_started_again(stage: Stage) {
    let stillborn = stage.get::<Stillborn>();
    fails(stillborn.hello().await, "not-started", Ran::No);
    let starts = stage.count("stillborn start").await;
    assert_eq!(starts, 2, "once, and once again as `max_restarts` says");
    // At once: a call that waited for an instance would run into its deadline.
    fails(
        stillborn.with(CallOptions::new().deadline(crate::stage::LATER)).hello().await,
        "not-started",
        Ran::No,
    );
    assert_eq!(stage.count("stillborn start").await, starts);
}

pub async fn a_panic_in_start_is_the_reason_that_callers_get(stage: Stage) {
    let error = fails(stage.at::<StillbornKey>(&7).hello().await, "not-started", Ran::No);
    assert!(error.to_string().contains("there is no 7"), "{error}");
}

pub async fn a_start_that_fails_is_tried_again_while_calls_wait(stage: Stage) {
    stage.patiently("the third start succeeds", stage.get::<Unsteady>().hello()).await.unwrap();
    assert_eq!(stage.count("unsteady start").await, 3);
}

pub async fn calls_wait_while_nothing_is_live(stage: Stage) {
    let late = stage.get::<Latecomer>();
    let waiting = (0..10).map(|_| late.hello());
    let (outcomes, ()) = tokio::join!(join_all(waiting), stage.open("latecomer"));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

pub async fn a_call_that_waited_long_enough_is_unreachable(stage: Stage) {
    let error = fails(stage.get::<Latecomer>().hello().await, "unreachable", Ran::No);
    assert!(error.to_string().contains("10s"), "it names the bound: {error}");
}

pub async fn waiting_for_a_start_is_bounded(stage: Stage) {
    let late = stage.get::<Latecomer>();
    let mut waiting: Vec<_> = (0..QUEUE + 1).map(|_| Box::pin(late.hello())).collect();
    let refused =
        stage.patiently("one call is refused", futures_util::future::select_all(&mut waiting)).await.0;
    let error = fails(refused, "overloaded", Ran::No);
    assert!(error.to_string().contains("`queue`"), "it names the bound: {error}");
}

pub async fn waiting_for_a_turn_is_bounded(stage: Stage) {
    let desk = stage.get::<Desk>();
    let calls = async {
        let adding = join_all((0..QUEUE).map(|_| desk.add(7)));
        let refusing = async {
            stage.waiting::<Desk>(QUEUE as u64).await;
            let error = fails(desk.add(8).await, "overloaded", Ran::No);
            assert!(error.to_string().contains("`queue`"), "it names the bound: {error}");
            stage.open("turn").await;
        };
        tokio::join!(adding, refusing).0
    };
    let writing = async {
        stage.reached("turn began", 1).await;
        calls.await
    };
    let (written, added) = tokio::join!(desk.write("turn"), writing);
    assert!(written.is_ok() && added.iter().all(Result::is_ok));
    assert_eq!(desk.pages().await.unwrap().len(), QUEUE + 2);
}

pub async fn waiting_for_a_thread_is_bounded(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    let refusing = async {
        stage.reached("thread began", 1).await;
        let mut waiting: Vec<_> = (0..QUEUE + 1).map(|_| Box::pin(pooled.grind("thread"))).collect();
        let (refused, _, rest) =
            stage.patiently("one call is refused", futures_util::future::select_all(&mut waiting)).await;
        let error = fails(refused, "overloaded", Ran::No);
        assert!(error.to_string().contains("`queue`"), "it names the bound: {error}");
        stage.open("thread").await;
        join_all(rest).await
    };
    let (first, rest) = tokio::join!(pooled.grind("thread"), refusing);
    assert!(first.is_ok() && rest.iter().all(Result::is_ok));
    assert_eq!(stage.count("thread ended").await, QUEUE as u64 + 1);
}

/// What a call of those that keep a queue busy takes at least, and how many there are: together three times `SOON`.
const TOIL_MS: u64 = 20;
const TOILING: usize = 9;

fn is_overloaded(error: &CallError) -> bool {
    matches!(error.kind(), CallErrorKind::Overloaded { .. })
}

/// Keeps a queue busy until a call with a deadline of `SOON` has been refused, which says why. One with enough time has
/// its turn, and those without a deadline all have theirs.
async fn refuses_in_time<F>(stage: &Stage, toil: impl Fn(CallOptions) -> F + Sync, wait: &str)
where
    F: Future<Output = skybox::Result<()>>,
{
    let (refused, within) = (AtomicBool::new(false), |deadline| CallOptions::new().deadline(deadline));
    let busy = join_all((0..TOILING).map(async |_| {
        while !refused.load(Ordering::Relaxed) {
            toil(CallOptions::new()).await.expect("a call without a deadline waits for as long as it takes");
        }
    }));
    let refusing = async {
        // Until the queue is long and its pace known, such a call waits, most often in vain.
        let error = loop {
            match toil(within(SOON)).await {
                Err(error) if error.call_error().is_some_and(is_overloaded) => {
                    break failure::<()>(Err(error));
                }
                _ => tokio::task::yield_now().await,
            }
        };
        assert_eq!(error.ran(), Ran::No);
        let text = error.to_string();
        assert!(text.contains(wait) && text.contains("its deadline is in"), "it says why: {text}");
        toil(within(Duration::from_secs(600))).await.expect("there is time enough");
        refused.store(true, Ordering::Relaxed);
    };
    stage
        .patiently("a call is refused that cannot make its deadline", async { tokio::join!(busy, refusing) })
        .await;
}

pub async fn a_call_is_refused_whose_turn_would_come_too_late(stage: Stage) {
    let desk = stage.get::<Desk>();
    let toil = |options| {
        let desk = desk.with(options);
        async move { desk.toil(TOIL_MS).await }
    };
    refuses_in_time(&stage, toil, "wait for their turn").await;
}

pub async fn a_call_is_refused_whose_thread_would_be_free_too_late(stage: Stage) {
    let pooled = stage.get::<Pooled>();
    let toil = |options| {
        let pooled = pooled.with(options);
        async move { pooled.toil(TOIL_MS).await }
    };
    refuses_in_time(&stage, toil, "wait for one of its threads").await;
}

pub async fn concurrency_is_exact(stage: Stage) {
    let narrow = stage.get::<Narrow>();
    let watching = async {
        stage.waiting::<Narrow>(3).await;
        assert_eq!(stage.count("narrow began").await, 2);
        stage.open("narrow").await;
    };
    let (outcomes, ()) = tokio::join!(join_all((0..5).map(|_| narrow.look("narrow"))), watching);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(stage.count("narrow ended").await, 5);
}

pub async fn a_panic_is_crashed_with_its_message_and_place(stage: Stage) {
    let desk = stage.get::<Desk>();
    for outcome in [desk.fail("boom").await, desk.fail_now("boom").await] {
        let error = fails(outcome, "crashed", Ran::Yes);
        let CallErrorKind::Crashed { message, place } = error.kind() else { panic!("{error:?}") };
        assert_eq!(message, "boom");
        assert!(place.contains("conformance/modules/desk.rs:"), "{place}");
    }
    let error = fails(desk.fail_wordless().await, "crashed", Ran::Yes);
    assert!(
        matches!(error.kind(), CallErrorKind::Crashed { place, .. } if place.contains("desk.rs")),
        "{error:?}"
    );
}

/// The App ends while somebody still holds a handle.
pub async fn an_instance_of_an_app_that_ended_is_gone(stage: Stage) {
    let app =
        skybox::App::builder().aside().strict(stage.crosses()).provide(crate::ledger::Ledger::default());
    let app = app.start().await.unwrap();
    let desk = app.get::<Desk>();
    assert!(desk.pages().await.is_ok());
    app.shutdown().await;
    drop(app);
    let desk = desk.with(CallOptions::new().deadline(SOON * 100));
    let gone = async || fails_as_gone(desk.pages().await);
    stage.until("the App has ended", gone).await;
}

fn fails_as_gone<T: std::fmt::Debug>(outcome: skybox::Result<T>) -> bool {
    let error = crate::stage::failure(outcome);
    assert_eq!(error.ran(), Ran::No, "{error:?}");
    *error.kind() == CallErrorKind::Gone
}

/// Operators come over TLS with what they may do in their certificate; programs themselves may call everything.
pub async fn an_operator_with_too_little_right_is_denied(stage: Stage) {
    use skybox_node::{Answer, AskError, Outcome, Right};
    let reader = stage.nodes().operator(CALLEES, Right::Read).await;
    assert_eq!(reader.status().await.expect("who may read may look").node.as_str(), CALLEES);
    let arguments = serde_json::json!({});
    let denied = reader.call("desk", "once", None, arguments.clone(), None).await;
    let Err(AskError::Call(error)) = denied else { panic!("{denied:?}") };
    assert_eq!((error.kind().name(), error.ran()), ("denied", Ran::No));
    assert!(error.to_string().contains("operator ada has the right to read, and this needs call"), "{error}");
    assert_eq!(stage.count("once").await, 0);
    let caller = stage.nodes().operator(CALLEES, Right::Call).await;
    let called = caller.call("desk", "once", None, arguments, None).await;
    assert!(matches!(called, Ok(Answer::Once(Outcome::Returned(_)))), "{called:?}");
    assert_eq!(stage.count("once").await, 1);
    let denied = caller.drain().await;
    assert!(matches!(&denied, Err(AskError::Call(error)) if error.kind().name() == "denied"), "{denied:?}");
}
