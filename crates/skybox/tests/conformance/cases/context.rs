//! Context: deadline and trace are those of the code that makes the call, whatever polls it.

use std::time::Duration;

use skybox::{CallOptions, TraceContext, with_trace};

use crate::modules::{Nest, Relay, traced};
use crate::stage::Stage;

fn trace(n: u64) -> TraceContext {
    TraceContext { trace_id: u128::from(n) << 64 | 1, span_id: n, flags: 1 }
}

fn trace_id(seen: Option<&str>) -> Option<u128> {
    seen.map(|text| text.parse::<TraceContext>().expect("a traceparent").trace_id)
}

pub async fn a_callee_sees_the_trace_of_its_caller(stage: Stage) {
    let seen = with_trace(trace(1), async { traced().await }).await.unwrap();
    assert_eq!(trace_id(seen.as_deref()), Some(trace(1).trace_id));
    assert_eq!(traced().await.unwrap(), None);
    let nest = stage.get::<Nest>();
    stage.open("gate").await;
    let (before, after) = with_trace(trace(2), async { nest.trace_at("gate").await }).await.unwrap();
    assert_eq!((trace_id(before.as_deref()), before), (Some(trace(2).trace_id), after));
}

pub async fn context_is_right_over_join(stage: Stage) {
    let nest = stage.get::<Nest>();
    let one = with_trace(trace(1), async { nest.trace_at("gate").await });
    let other = with_trace(trace(2), async { nest.trace_at("gate").await });
    let opening = async {
        stage.reached("gate began", 3).await;
        stage.open("gate").await;
    };
    let (one, other, none, ()) = tokio::join!(one, other, nest.trace_at("gate"), opening);
    for (outcome, expect) in [(one, Some(trace(1))), (other, Some(trace(2))), (none, None)] {
        let (before, after) = outcome.unwrap();
        assert_eq!(trace_id(before.as_deref()), expect.map(|trace| trace.trace_id));
        assert_eq!(before, after, "the same after an await");
    }
}

pub async fn context_is_right_over_join_inside_a_callee(stage: Stage) {
    let relay = stage.get::<Relay>();
    let [bounded, unbounded, own] = relay.left_joined(10).await.unwrap();
    assert!(bounded.is_some_and(|left| left <= 10) && unbounded.is_none() && own.is_none());
    let hour = CallOptions::new().deadline(Duration::from_secs(3600));
    let [bounded, unbounded, own] = relay.with(hour).left_joined(10).await.unwrap();
    assert!(
        bounded <= Some(10) && unbounded > Some(10) && own > Some(10),
        "{bounded:?} {unbounded:?} {own:?}"
    );
}

pub async fn context_is_right_over_select(stage: Stage) {
    let nest = stage.get::<Nest>();
    let losing = with_trace(trace(1), async { nest.trace_at("never").await });
    let winning = with_trace(trace(2), async {
        stage.reached("never began", 1).await;
        nest.left_s().await.unwrap();
        traced().await
    });
    tokio::select! {
        outcome = losing => panic!("nobody opens that gate: {outcome:?}"),
        seen = winning => assert_eq!(trace_id(seen.unwrap().as_deref()), Some(trace(2).trace_id)),
    }
    assert_eq!(traced().await.unwrap(), None);
    stage.reached("never dropped", 1).await;
}

pub async fn a_task_call_keeps_its_context_when_it_is_spawned(_stage: Stage) {
    let seen = with_trace(trace(1), async { tokio::spawn(traced()).await }).await.unwrap();
    assert_eq!(trace_id(seen.unwrap().as_deref()), Some(trace(1).trace_id));
}

pub async fn skybox_spawn_keeps_context_and_tokio_spawn_starts_anew(stage: Stage) {
    stage.open("gate").await;
    let (kept, anew) = (stage.get::<Nest>(), stage.get::<Nest>());
    let (kept, anew) = with_trace(trace(1), async {
        let kept = skybox::spawn(async move { kept.trace_at("gate").await });
        let anew = tokio::spawn(async move { anew.trace_at("gate").await });
        (kept.await.unwrap(), anew.await.unwrap())
    })
    .await;
    assert_eq!(trace_id(kept.unwrap().0.as_deref()), Some(trace(1).trace_id));
    assert_eq!(anew.unwrap().0, None);
}
