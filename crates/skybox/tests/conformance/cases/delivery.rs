//! Delivery: at most once; again only what did not run, or may run again.

use std::cell::Cell;

use futures_util::future::join_all;
use skybox::{Epoch, Ran};

use crate::modules::*;
use crate::stage::{CALLEES, Mode, RELAYS, Stage, fails};

/// Enough for an event of one in four to happen for certain.
const CALLS: u64 = 100;

pub async fn a_call_runs_once(stage: Stage) {
    let desk = stage.get::<Desk>();
    let outcomes = join_all((0..CALLS).map(|_| desk.once())).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(stage.count("once").await, CALLS);
}

/// In strict mode sometimes twice, so that what is marked idempotent is.
pub async fn an_idempotent_call_may_run_again(stage: Stage) {
    let desk = stage.get::<Desk>();
    let outcomes = join_all((0..CALLS).map(|_| desk.again())).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let ran = stage.count("again").await;
    match stage.mode {
        Mode::Strict => assert!(ran > CALLS && ran < 2 * CALLS, "{ran} runs of {CALLS} calls"),
        _ => assert_eq!(ran, CALLS),
    }
}

pub async fn a_lost_call_is_not_sent_again(stage: Stage) {
    let desk = stage.get::<Desk>();
    let killing = async {
        stage.reached("gate began", 1).await;
        stage.nodes().kill(CALLEES).await;
    };
    let (looked, ()) = tokio::join!(desk.look("gate"), killing);
    fails(looked, "lost", Ran::Maybe);
    assert!(desk.pages().await.is_ok(), "the node is replaced");
    assert_eq!(stage.count("gate began").await, 0, "and its successor was asked nothing");
}

pub async fn a_lost_idempotent_call_is_sent_again(stage: Stage) {
    let desk = stage.get::<Desk>();
    let victim = desk.process().await.unwrap();
    let killing = async {
        stage.reached("gate began", 1).await;
        stage.nodes().kill(CALLEES).await;
    };
    let (looked, ()) = tokio::join!(desk.look_elsewhere("gate", victim), killing);
    let successor = looked.unwrap();
    assert!(
        successor != victim && successor != std::process::id(),
        "on another node, or the same one's next life"
    );
}

/// What one replica refuses did not run there, so another one is asked.
pub async fn a_full_replica_is_passed_over(stage: Stage) {
    /// More than the full replica's node has, so that it is the one to be asked first.
    const BUSY: usize = 4;
    let (cramped, relay) = (stage.get::<Cramped>(), stage.get::<Relay>());
    let callees = work(true).await.unwrap();
    let passing = async {
        // One holds it, and its `queue` has room for one more.
        stage.waiting::<Cramped>(1).await;
        stage.reached("busy began", BUSY as u64).await;
        stage.nodes().move_to("cramped", &[CALLEES, RELAYS]).await;
        let elsewhere = async || matches!(cramped.hold("gate", callees).await, Ok(p) if p != callees);
        stage.until("this node's plan has the other one too", elsewhere).await;
        for _ in 0..BUSY {
            assert_ne!(cramped.hold("gate", callees).await.unwrap(), callees);
        }
        stage.open("gate").await;
        stage.open("busy").await;
    };
    let holding = join_all((0..2).map(|_| cramped.hold("gate", callees)));
    let busy = join_all((0..BUSY).map(|_| relay.wait("busy")));
    let (held, busy, ()) = tokio::join!(holding, busy, passing);
    assert!(held.iter().all(|process| matches!(process, Ok(process) if *process == callees)), "{held:?}");
    assert!(busy.iter().all(Result::is_ok), "{busy:?}");
}

/// Those that its connections say it did not take are asked of another node, the others answered.
pub async fn a_node_that_leaves_fails_no_call(stage: Stage) {
    let desk = stage.get::<Desk>();
    stage.nodes().move_to("desk", &[CALLEES, RELAYS]).await;
    let left = Cell::new(false);
    let leaving = async {
        stage.nodes().drain(RELAYS).await;
        left.set(true);
    };
    let calling = async {
        while !left.get() {
            let outcomes = join_all((0..10).map(|_| desk.once())).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        }
    };
    tokio::join!(leaving, calling);
}

pub async fn calls_wait_while_a_node_is_replaced(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.add(7).await.unwrap();
    stage.nodes().kill(CALLEES).await;
    assert_eq!(desk.pages().await.unwrap(), [0; 0], "its state went with it");
}

pub async fn calls_follow_a_module_that_moves(stage: Stage) {
    let desk = stage.get::<Desk>();
    let moved = Cell::new(false);
    let moving = async {
        for nodes in [&[RELAYS][..], &[CALLEES], &[RELAYS, CALLEES], &[RELAYS]] {
            stage.nodes().move_to("desk", nodes).await;
        }
        moved.set(true);
    };
    let calling = async {
        while !moved.get() {
            let outcomes = join_all((0..10).map(|_| desk.weigh(b"load"))).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        }
    };
    tokio::join!(moving, calling);
}

/// All that an instance sees of it is one, which no other key's or owner's can be lower than.
pub async fn an_instance_knows_its_epoch(stage: Stage) {
    let (first, other) = (epoch(&stage, "ada").await, epoch(&stage, "bob").await);
    assert_eq!(first.generation, other.generation);
    assert_eq!(epoch(&stage, "ada").await, first, "it lives on");
    assert!(stage.app().epoch().is_err(), "this is no instance");
}

async fn epoch(stage: &Stage, name: &str) -> Epoch {
    let (begun, now) = stage.at::<Register>(name).epochs().await.unwrap();
    assert_eq!(begun, now);
    now.expect("it has a key")
}

pub async fn each_owner_has_a_higher_epoch(stage: Stage) {
    let mut last = epoch(&stage, "ada").await;
    for node in [RELAYS, CALLEES, RELAYS] {
        stage.nodes().move_to("register", &[node]).await;
        let next = epoch(&stage, "ada").await;
        assert!(next > last, "{last} {next}");
        last = next;
    }
    stage.nodes().kill(RELAYS).await;
    assert!(epoch(&stage, "ada").await > last, "also of one that nobody has taken it from");
}

pub async fn keyed_calls_follow_their_shard(stage: Stage) {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let calling = async || {
        for name in names {
            assert_eq!(stage.at::<Register>(name).name().await.unwrap(), name);
        }
    };
    calling().await;
    for nodes in [&[RELAYS][..], &[CALLEES], &[CALLEES, RELAYS]] {
        tokio::join!(stage.nodes().move_to("register", nodes), calling());
        calling().await;
    }
}

pub async fn a_key_that_moves_while_it_starts_is_not_left_behind(stage: Stage) {
    let sleeper = stage.at::<Sleeper>("ada");
    let moving = async {
        stage.reached("ada began", 1).await;
        let before = stage.nodes().plan().version;
        let opening = async {
            stage.nodes().wait_plan(|plan| plan.version > before).await;
            stage.open("ada").await;
        };
        tokio::join!(stage.nodes().move_to("sleeper", &[RELAYS]), opening)
    };
    let (node, ((), ())) = tokio::join!(sleeper.node(), moving);
    // Whichever came first at the node, its gate or the plan: the call has run, and nothing is left there.
    assert!([CALLEES, RELAYS].contains(&node.unwrap().as_str()));
    stage.reached("sleeper dropped", 1).await;
    assert_eq!(sleeper.node().await.unwrap(), RELAYS);
}

pub async fn a_call_to_the_same_node_sends_no_frame(stage: Stage) {
    let frames = || stage.app().status().frames;
    let desk = stage.get::<Desk>();
    desk.pages().await.unwrap();
    let before = frames();
    desk.pages().await.unwrap();
    if stage.mode.is_split() {
        assert_eq!(frames(), before + 2, "a call and its reply");
        stage.nodes().move_to("desk", &["test"]).await;
        desk.pages().await.unwrap();
    }
    let before = frames();
    for page in 0..100 {
        desk.add(page).await.unwrap();
    }
    assert_eq!(frames(), before);
}
