//! A peer that says nothing: a stopped process, whose connections stay open.

use futures_util::StreamExt;
use futures_util::future::{join_all, select_all};
use futures_util::stream::FuturesUnordered;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use skybox::{CallErrorKind, CallOptions, Phase, Ran};

use crate::modules::*;
use crate::stage::{CALLEES, LATER, RELAYS, SOON, Stage, fails, failure};

/// The callees' process, stopped until this is dropped.
struct Stopped(Pid);

impl Stopped {
    async fn callees() -> Stopped {
        let process = work(true).await.expect("it works until it is stopped");
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process has a number");
        kill_process(pid, Signal::STOP).expect("a child may be stopped");
        let stopped = tokio::task::spawn_blocking(move || waitpid(Some(pid), WaitOptions::UNTRACED));
        stopped.await.expect("waiting does not panic").expect("it is a child of this process");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Its calls are not lost: it may be busy, and they end when it goes on.
pub async fn a_silent_node_leaves_rotation_and_its_calls_wait(stage: Stage) {
    /// Enough for both nodes to have some, and for a choice at random to show.
    const CALLS: usize = 16;
    stage.nodes().move_to("desk", &[CALLEES, RELAYS]).await;
    let desk = stage.get::<Desk>();
    let callees = work(true).await.unwrap();
    let silencing = async {
        stage.reached("gate began", 1).await;
        let stopped = Stopped::callees().await;
        let elsewhere = async || {
            let brief = desk.with(CallOptions::new().deadline(SOON));
            let answers = join_all((0..CALLS).map(|_| brief.process())).await;
            answers.iter().all(|answer| matches!(answer, Ok(process) if *process != callees))
        };
        stage.until("calls go to the node that answers", elsewhere).await;
        drop(stopped);
        stage.open("gate").await;
    };
    let calls = join_all((0..CALLS).map(|_| desk.look_elsewhere("gate", callees)));
    let (outcomes, ()) = tokio::join!(calls, silencing);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(outcomes.iter().any(|process| *process.as_ref().unwrap() == callees), "none was sent again");
}

/// Nobody knows what has become of it: its calls may have run.
pub async fn a_node_that_stays_silent_is_given_up(stage: Stage) {
    let desk = stage.get::<Desk>();
    let silencing = async {
        stage.reached("gate began", 1).await;
        Stopped::callees().await
    };
    let (looked, stopped) = tokio::join!(desk.look("gate"), silencing);
    let error = fails(looked, "lost", Ran::Maybe);
    assert!(error.to_string().contains("said nothing for 30s"), "it names the bound: {error}");
    drop(stopped);
    assert!(desk.pages().await.is_ok(), "it is asked again when it speaks again");
    stage.reached("gate dropped", 1).await;
}

/// Of what is still here when its connection breaks, it is certain that it did not run.
pub async fn what_a_dead_node_had_not_taken_is_asked_of_its_successor(stage: Stage) {
    /// More than the buffers of a TCP connection grow to on both sides, so that its last byte stays here.
    const LOAD_BYTES: usize = 24 << 20;
    let desk = stage.get::<Desk>();
    // Once before: a type is proven at its first call.
    let load = bytes::Bytes::from(vec![7; LOAD_BYTES]);
    desk.swallow(load.clone()).await.unwrap();
    let _stopped = Stopped::callees().await;
    let (swallowed, ()) = tokio::join!(biased; desk.swallow(load.clone()), stage.nodes().kill(CALLEES));
    assert_eq!(swallowed.unwrap(), load.len());
    assert_eq!(stage.count("desk started").await, 1, "by the next life of that node");
}

/// Time spent in buffers counts.
pub async fn a_call_that_arrives_too_late_does_not_run(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.pages().await.unwrap();
    let stopped = Stopped::callees().await;
    let error = failure(desk.with(CallOptions::new().deadline(SOON)).once().await);
    assert_eq!(*error.kind(), CallErrorKind::Deadline { phase: Phase::Sent });
    assert_eq!(error.ran(), Ran::Maybe, "the caller cannot know");
    drop(stopped);
    desk.pages().await.unwrap();
    assert_eq!(stage.count("once").await, 0, "the callee knows");
}

pub async fn bytes_that_wait_to_be_sent_are_bounded(stage: Stage) {
    /// Together more than the 64 MiB that may wait, and what the kernel takes.
    const LOADS: usize = 24;
    let desk = stage.get::<Desk>();
    let load = bytes::Bytes::from(vec![7; 3 << 20]);
    // Once before: a type is proven at its first call, which takes longer than all the others.
    desk.swallow(load.clone()).await.unwrap();
    let brief = desk.with(CallOptions::new().deadline(LATER));
    loop {
        let stopped = Stopped::callees().await;
        let mut sending: Vec<_> = (0..LOADS).map(|_| Box::pin(brief.swallow(load.clone()))).collect();
        let error = failure(select_all(&mut sending).await.0);
        drop((stopped, sending));
        if error.kind().name() == "overloaded" {
            assert!(error.ran() == Ran::No && error.to_string().contains("bytes wait"), "{error}");
            break;
        }
        // A busy machine takes longer to make the loads than their time allows.
        assert_eq!(error.kind().name(), "deadline");
    }
    stage.until("the way is free again", async || desk.swallow(load.clone()).await.is_ok()).await;
}

pub async fn calls_in_progress_over_a_connection_are_bounded(stage: Stage) {
    /// As many as a connection carries one way, and one more.
    const CALLS: usize = 65_536;
    let desk = stage.get::<Desk>();
    desk.pages().await.unwrap();
    let mut calls: FuturesUnordered<_> = (0..CALLS).map(|_| desk.stare()).collect();
    let error = fails(calls.next().await.expect("there are calls"), "overloaded", Ran::No);
    assert!(error.to_string().contains("65535 calls to node-1 are in progress"), "{error}");
    drop(calls);
    desk.pages().await.expect("those that were dropped have left");
}
