//! Re-entrancy: a call that would wait for itself is refused; everything else gets its turn.

use std::iter::repeat_n;

use skybox::CallOptions;

use crate::modules::Step::*;
use crate::modules::{Nest, Relay, Step};
use crate::stage::{LATER, SOON, Stage, failure};

const REFUSED: &str = "reentrant: it did not run";

/// Calls that a chain may have above it.
const CHAIN: usize = 64;

#[track_caller]
fn done(outcome: skybox::Result<String>) {
    assert_eq!(outcome.unwrap(), "done");
}

#[track_caller]
fn refused(outcome: skybox::Result<String>) {
    assert_eq!(outcome.unwrap(), REFUSED);
}

pub async fn an_exclusive_call_under_an_exclusive_one_is_refused(stage: Stage) {
    let nest = stage.get::<Nest>();
    refused(nest.exclusive(vec![Exclusive]).await);
    done(nest.exclusive(vec![]).await);
}

pub async fn a_shared_call_under_an_exclusive_one_is_refused(stage: Stage) {
    let nest = stage.get::<Nest>();
    refused(nest.exclusive(vec![Shared]).await);
    done(nest.exclusive(vec![]).await);
}

pub async fn an_exclusive_call_under_a_shared_one_is_refused(stage: Stage) {
    let nest = stage.get::<Nest>();
    refused(nest.shared(vec![Exclusive]).await);
    done(nest.exclusive(vec![]).await);
}

pub async fn a_shared_call_under_a_shared_one_runs(stage: Stage) {
    done(stage.get::<Nest>().shared(vec![Shared, Shared, Shared]).await);
}

pub async fn the_way_back_through_another_module_is_seen(stage: Stage) {
    let nest = stage.get::<Nest>();
    refused(nest.exclusive(vec![Relayed, Exclusive]).await);
    refused(nest.exclusive(vec![Relayed, Relayed, Shared]).await);
    refused(nest.shared(vec![Relayed, Exclusive]).await);
    refused(stage.get::<Relay>().exclusive(vec![Shared, RelayedExclusive]).await);
    done(nest.shared(vec![Relayed, Shared, Relayed, Shared]).await);
    done(nest.exclusive(vec![Relayed, RelayedExclusive].split_off(1)).await);
}

/// A fair lock would deadlock here.
pub async fn a_nested_shared_call_passes_waiting_writers(stage: Stage) {
    let nest = stage.get::<Nest>();
    for (gate, way) in [("near", vec![Shared]), ("far", vec![Relayed, Shared])] {
        let steps = [vec![Gate(gate.to_owned())], way].concat();
        let writing = async {
            stage.reached(&format!("{gate} began"), 1).await;
            let queued = async {
                stage.waiting::<Nest>(1).await;
                stage.open(gate).await;
            };
            tokio::join!(nest.exclusive(vec![]), queued).0
        };
        let (nested, written) = tokio::join!(nest.shared(steps), writing);
        done(nested);
        done(written);
    }
}

pub async fn a_chain_has_64_calls_at_most(stage: Stage) {
    let nest = stage.get::<Nest>();
    done(nest.shared(repeat_n(Shared, CHAIN).collect()).await);
    refused(nest.shared(repeat_n(Shared, CHAIN + 1).collect()).await);
    let there_and_back: Vec<Step> = [Relayed, Shared].into_iter().cycle().take(CHAIN + 1).collect();
    refused(nest.shared(there_and_back).await);
}

pub async fn skybox_spawn_keeps_the_chain(stage: Stage) {
    let nest = stage.get::<Nest>();
    refused(nest.exclusive(vec![Spawned, Exclusive]).await);
    refused(nest.exclusive(vec![Spawned, Relayed, Spawned, Shared]).await);
}

pub async fn a_spawned_task_call_keeps_the_chain(stage: Stage) {
    refused(stage.get::<Nest>().exclusive(vec![Step::Task, Exclusive]).await);
}

pub async fn a_detached_task_starts_a_new_chain(stage: Stage) {
    let nest = stage.get::<Nest>();
    let waited = nest.exclusive(vec![Detached, Within(SOON), Exclusive]).await.unwrap();
    assert!(waited.starts_with("deadline: "), "it waited for its turn: {waited}");
    done(nest.shared(vec![Detached, Shared]).await);
}

pub async fn two_chains_that_wait_for_each_other_end_by_deadline(stage: Stage) {
    let options = CallOptions::new().deadline(LATER);
    let (nest, relay) = (stage.get::<Nest>(), stage.get::<Relay>());
    let (bounded_nest, bounded_relay) = (nest.with(options), relay.with(options));
    let other = async {
        stage.reached("gate began", 1).await;
        let meeting = async {
            stage.waiting::<Nest>(1).await;
            stage.open("gate").await;
        };
        tokio::join!(bounded_relay.exclusive(vec![Exclusive]), meeting).0
    };
    let steps = vec![Gate("gate".to_owned()), RelayedExclusive];
    let (one, other) = tokio::join!(bounded_nest.exclusive(steps), other);
    // The first to end lets the other pass.
    let timed_out = [one, other].into_iter().filter(|outcome| !matches!(outcome, Ok(text) if text == "done"));
    let timed_out: Vec<_> = timed_out.collect();
    assert!(!timed_out.is_empty(), "they met");
    for outcome in timed_out {
        match outcome {
            Ok(text) => assert!(text.starts_with("deadline: "), "{text}"),
            outcome => assert_eq!(failure(outcome).kind().name(), "deadline"),
        }
    }
    done(nest.exclusive(vec![]).await);
    done(relay.exclusive(vec![]).await);
}

pub async fn the_chain_of_a_call_that_ended_counts_no_more(stage: Stage) {
    let nest = stage.get::<Nest>();
    for (gate, way) in [("near", vec![Exclusive]), ("far", vec![Relayed, Exclusive])] {
        nest.leave_behind(gate, way).await.unwrap();
        stage.reached(&format!("{gate} began"), 1).await;
        stage.open(gate).await;
        stage.reached(&format!("{gate}: done"), 1).await;
    }
}
