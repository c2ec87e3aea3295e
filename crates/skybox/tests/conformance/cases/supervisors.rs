//! Supervisors: children that are started, stopped and started again together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skybox::{CallErrorKind, Child, ChildSpec, Children, Exit, Handle, Ran, Restart, Supervisor};

use crate::modules::{Booth, Kiosk, Lane, Opening};
use crate::stage::{CALLEES, PATIENCE, Stage, fails, failure};

/// A booth on the callees' side.
fn booth(stage: &Stage, name: &'static str) -> ChildSpec<Booth> {
    let elsewhere = stage.mode.is_split();
    ChildSpec::new(name, move |app| async move {
        let spawning = app.spawn::<Booth>(Opening::of(name, 7));
        if elsewhere { spawning.on(CALLEES).await } else { spawning.await }
    })
}

async fn three(stage: &Stage, mut children: Children) -> (Supervisor, [Child<Booth>; 3]) {
    let booths = ["apples", "pears", "plums"].map(|name| children.add(booth(stage, name)));
    (children.start(stage.app()).await.unwrap(), booths)
}

/// How often each of the three was opened and closed.
async fn lives(stage: &Stage) -> [(u64, u64); 3] {
    let mut lives = [(0, 0); 3];
    for (name, life) in ["apples", "pears", "plums"].into_iter().zip(&mut lives) {
        let opened = stage.count(&format!("booth {name} opened")).await;
        *life = (opened, stage.count(&format!("booth {name} closed")).await);
    }
    lives
}

/// Has the present instance of a child crash, and waits until another one answers.
async fn burn(stage: &Stage, child: &Child<Booth>) {
    let before = child.get().await.unwrap();
    before.sell(1).await.unwrap();
    fails(before.burn().await, "crashed", Ran::Yes);
    let another = async || match child.get().await.unwrap().stock().await {
        Ok(stock) => stock == 7,
        // One that is not yet known to have ended.
        Err(_) => false,
    };
    stage.until("another one answers", another).await;
    fails(before.stock().await, "gone", Ran::No);
}

pub async fn a_child_that_crashes_is_started_again_alone(stage: Stage) {
    let (supervisor, [_, pears, _]) = three(&stage, Supervisor::one_for_one()).await;
    assert_eq!(lives(&stage).await, [(1, 0); 3]);
    burn(&stage, &pears).await;
    assert_eq!(lives(&stage).await, [(1, 0), (2, 1), (1, 0)]);
    supervisor.stop().await;
    assert_eq!(lives(&stage).await, [(1, 1), (2, 2), (1, 1)]);
}

pub async fn children_that_need_one_another_are_started_again_together(stage: Stage) {
    let (supervisor, [apples, pears, plums]) = three(&stage, Supervisor::one_for_all()).await;
    burn(&stage, &pears).await;
    for child in [&apples, &plums] {
        assert_eq!(child.get().await.unwrap().stock().await.unwrap(), 7);
    }
    assert_eq!(lives(&stage).await, [(2, 1); 3]);
    supervisor.stop().await;
}

pub async fn children_that_rest_on_another_are_started_again_after_it(stage: Stage) {
    let (supervisor, [_, pears, plums]) = three(&stage, Supervisor::rest_for_one()).await;
    burn(&stage, &pears).await;
    assert_eq!(plums.get().await.unwrap().stock().await.unwrap(), 7);
    assert_eq!(lives(&stage).await, [(1, 0), (2, 1), (2, 1)]);
    supervisor.stop().await;
}

pub async fn dropping_a_supervisor_stops_its_children(stage: Stage) {
    let (supervisor, [apples, ..]) = three(&stage, Supervisor::one_for_all()).await;
    drop(supervisor);
    for name in ["apples", "pears", "plums"] {
        stage.reached(&format!("booth {name} closed"), 1).await;
    }
    let is_told = async || match apples.get().await {
        Err(error) => {
            let CallErrorKind::NotStarted { cause } = error.kind() else { panic!("{error}") };
            assert_eq!(cause, "its supervisor has been stopped");
            true
        }
        // Still the one that has ended.
        Ok(_) => false,
    };
    stage.until("those who look for it are told", is_told).await;
    assert_eq!(lives(&stage).await, [(1, 1); 3]);
}

pub async fn children_are_stopped_from_last_to_first(stage: Stage) {
    let (supervisor, [_, _, plums]) = three(&stage, Supervisor::one_for_one()).await;
    let plums = plums.get().await.unwrap();
    let stopping = async {
        stage.reached("gate began", 1).await;
        let opening = async {
            stage.until("calls are refused", async || plums.stock().await.is_err()).await;
            assert_eq!(lives(&stage).await, [(1, 0); 3], "the others wait for the last one");
            stage.open("gate").await;
        };
        tokio::join!(supervisor.stop(), opening)
    };
    let (looked, ((), ())) = tokio::join!(plums.look("gate"), stopping);
    assert_eq!(looked.unwrap(), 7);
    assert_eq!(lives(&stage).await, [(1, 1); 3]);
}

pub async fn a_supervisor_gives_up_in_the_end(stage: Stage) {
    let children = Supervisor::one_for_one().max_restarts(2, PATIENCE);
    let (supervisor, [apples, pears, _]) = three(&stage, children).await;
    burn(&stage, &pears).await;
    burn(&stage, &pears).await;
    fails(pears.get().await.unwrap().burn().await, "crashed", Ran::Yes);
    let why = stage.patiently("it gives up", supervisor.gave_up()).await;
    let expected = "its supervisor gave up: its children end too often, `pears` the last time: crashed at ";
    assert!(why.starts_with(expected), "{why}");
    // Nothing is left of any of them.
    assert_eq!(lives(&stage).await, [(1, 1), (3, 3), (1, 1)]);
    let error = apples.get().await.unwrap_err();
    let CallErrorKind::NotStarted { cause } = error.kind() else { panic!("{error}") };
    assert_eq!((cause, error.ran()), (&why, Ran::No));
}

pub async fn children_before_one_that_does_not_start_are_stopped(stage: Stage) {
    let mut children = Supervisor::one_for_one();
    children.add(booth(&stage, "apples"));
    children.add(booth(&stage, "broke"));
    children.add(booth(&stage, "plums"));
    let error = failure(children.start(stage.app()).await);
    let CallErrorKind::NotStarted { cause } = error.kind() else { panic!("{error}") };
    assert!(cause.starts_with("its child `broke` does not start: "), "{cause}");
    assert!(cause.contains("there is no money for a booth"), "{cause}");
    assert_eq!(lives(&stage).await, [(1, 1), (0, 0), (0, 0)]);
}

pub async fn a_child_that_ends_in_order_may_stay_away(stage: Stage) {
    let mut children = Supervisor::one_for_one();
    let pears = children.add(booth(&stage, "pears").restart(Restart::OnCrash));
    let plums = children.add(booth(&stage, "plums"));
    let supervisor = children.start(stage.app()).await.unwrap();
    burn(&stage, &pears).await;
    for child in [&pears, &plums] {
        Handle::stop(&child.get().await.unwrap(), PATIENCE).await.unwrap();
    }
    stage.until("it is told", async || pears.get().await.is_err()).await;
    let error = pears.get().await.unwrap_err();
    let CallErrorKind::NotStarted { cause } = error.kind() else { panic!("{error}") };
    assert_eq!(cause, "`pears` is not started again: stopped");
    stage.reached("booth plums opened", 2).await;
    supervisor.stop().await;
    assert_eq!(lives(&stage).await, [(0, 0), (2, 2), (2, 2)]);
}

pub async fn a_child_whose_last_word_fails_is_started_again(stage: Stage) {
    let elsewhere = stage.mode.is_split();
    let mut children = Supervisor::one_for_one();
    let kiosk = |name: &'static str| {
        let make = move |app: skybox::App| async move {
            let spawning = app.spawn::<Kiosk>(name.to_owned());
            if elsewhere { spawning.on(CALLEES).await } else { spawning.await }
        };
        ChildSpec::new(name, make).restart(Restart::OnCrash)
    };
    let (jammed, smooth) = (children.add(kiosk("jammed")), children.add(kiosk("smooth")));
    let supervisor = children.start(stage.app()).await.unwrap();
    // It had said that it was to end, and did not end well.
    let before = jammed.get().await.unwrap();
    before.close().await.unwrap();
    let exit = stage.patiently("its end is told", Handle::monitor(&before)).await;
    assert!(matches!(&exit, Exit::FailedStop { cause } if cause == "its shutter is jammed"), "{exit}");
    let answers = async || jammed.get().await.unwrap().name().await.is_ok();
    stage.until("another one answers", answers).await;
    fails(before.name().await, "gone", Ran::No);
    smooth.get().await.unwrap().close().await.unwrap();
    stage.until("it is told", async || smooth.get().await.is_err()).await;
    supervisor.stop().await;
    assert_eq!(stage.count("kiosk stopped").await, 3);
}

pub async fn a_supervisor_that_gives_up_crashes_its_instance(stage: Stage) {
    let elsewhere = stage.mode.is_split();
    let mut lanes = Supervisor::one_for_one();
    let lane = lanes.add(ChildSpec::new("lane", move |app| async move {
        let spawning = app.spawn::<Lane>(7);
        if elsewhere { spawning.on(CALLEES).await } else { spawning.await }
    }));
    let supervisor = lanes.start(stage.app()).await.unwrap();
    let before = lane.get().await.unwrap();
    let monitor = Handle::monitor(&before);
    fails(before.pears().await.unwrap().burn().await, "crashed", Ran::Yes);
    let exit = stage.patiently("it crashes", monitor).await;
    let Exit::Crashed { message, place } = exit else { panic!("{exit}") };
    assert!(message.starts_with("its supervisor gave up: its children end too often, `pears`"), "{message}");
    assert!(place.contains("booths.rs"), "where it was started: {place}");
    // Its own supervisor has another one made, whose children are new.
    stage.reached("lane opened", 2).await;
    let sold = async || match lane.get().await.unwrap().pears().await {
        Ok(pears) => matches!(pears.stock().await, Ok(7)),
        Err(_) => false,
    };
    stage.until("the new ones answer", sold).await;
    assert_eq!((stage.count("lane closed").await, stage.count("lane left").await), (1, 0));
    supervisor.stop().await;
    assert_eq!((stage.count("lane closed").await, stage.count("lane left").await), (2, 1));
    assert_eq!((stage.count("booth pears opened").await, stage.count("booth pears closed").await), (2, 2));
}

pub async fn a_supervisor_goes_with_its_instance(stage: Stage) {
    let lane = stage.spawn::<Lane>(7).await.unwrap();
    let pears = lane.pears().await.unwrap();
    assert_eq!(pears.sell(2).await.unwrap(), 5);
    Handle::kill(&lane).await.unwrap();
    // Its `stop` has not run: whoever drops a supervisor stops its children.
    stage.reached("booth pears closed", 1).await;
    assert_eq!(stage.count("lane left").await, 0);
    fails(pears.stock().await, "gone", Ran::No);
}

pub async fn a_panic_of_what_makes_a_child_is_a_start_that_failed(stage: Stage) {
    let elsewhere = stage.mode.is_split();
    let makes = Arc::new(AtomicU32::new(0));
    let made = makes.clone();
    let pears = ChildSpec::new("pears", move |app| {
        let number = made.fetch_add(1, Ordering::Relaxed);
        assert!(number != 1, "the closure, once");
        async move {
            assert!(number != 2, "its future, once");
            let spawning = app.spawn::<Booth>(Opening::of("pears", 7));
            if elsewhere { spawning.on(CALLEES).await } else { spawning.await }
        }
    });
    let mut children = Supervisor::one_for_all().max_restarts(10, PATIENCE);
    let pears = children.add(pears);
    let plums = children.add(booth(&stage, "plums"));
    let supervisor = children.start(stage.app()).await.unwrap();
    burn(&stage, &pears).await;
    assert_eq!(makes.load(Ordering::Relaxed), 4);
    assert_eq!(plums.get().await.unwrap().stock().await.unwrap(), 7);
    supervisor.stop().await;
    // The first time it is an error of those who start it.
    let mut children = Supervisor::one_for_one();
    children.add(booth(&stage, "apples"));
    let cursed =
        children.add(ChildSpec::new("cursed", async |_| -> skybox::Result<_> { panic!("no ground") }));
    let error = failure(children.start(stage.app()).await);
    let CallErrorKind::NotStarted { cause } = error.kind() else { panic!("{error}") };
    assert!(cause.starts_with("its child `cursed` does not start: it panicked at "), "{cause}");
    assert!(cause.ends_with(": no ground"), "{cause}");
    let error = cursed.get().await.unwrap_err();
    assert!(error.to_string().contains(cause), "those who look for it hear the same: {error}");
    let _: Child<Booth> = cursed;
    assert_eq!(lives(&stage).await[0], (1, 1));
}

pub async fn a_supervisor_that_is_stopped_while_it_stops_one_waits_for_that(stage: Stage) {
    let (supervisor, [apples, _, plums]) = three(&stage, Supervisor::one_for_all()).await;
    let plums = plums.get().await.unwrap();
    let stopping = async {
        stage.reached("gate began", 1).await;
        // Its siblings are to be stopped before it is started again, and the last one has a call yet to end.
        fails(apples.get().await.unwrap().burn().await, "crashed", Ran::Yes);
        stage.until("calls are refused", async || plums.stock().await.is_err()).await;
        let opening = async {
            stage.settle().await;
            assert_eq!(lives(&stage).await, [(1, 1), (1, 0), (1, 0)], "it is waited for");
            stage.open("gate").await;
        };
        tokio::join!(supervisor.stop(), opening)
    };
    let (looked, ((), ())) = tokio::join!(plums.look("gate"), stopping);
    assert_eq!(looked.unwrap(), 7);
    assert_eq!(lives(&stage).await, [(1, 1); 3]);
}

pub async fn a_supervisor_that_is_stopped_while_it_starts_one_waits_for_that(stage: Stage) {
    let elsewhere = stage.mode.is_split();
    let lives_before = AtomicU32::new(0);
    let mut children = Supervisor::one_for_one();
    let plums = children.add(ChildSpec::new("plums", move |app| {
        let first = lives_before.fetch_add(1, Ordering::Relaxed) == 0;
        let spawning = app.spawn::<Booth>(Opening::of(if first { "plums" } else { "slow" }, 7));
        async move { if elsewhere { spawning.on(CALLEES).await } else { spawning.await } }
    }));
    let supervisor = children.start(stage.app()).await.unwrap();
    fails(plums.get().await.unwrap().burn().await, "crashed", Ran::Yes);
    stage.reached("slow began", 1).await;
    let opening = async {
        stage.settle().await;
        stage.open("slow").await;
    };
    tokio::join!(supervisor.stop(), opening);
    assert_eq!((stage.count("booth slow opened").await, stage.count("booth slow closed").await), (1, 1));
    let CallErrorKind::NotStarted { cause } = plums.get().await.unwrap_err().kind().clone() else {
        panic!("it is over")
    };
    assert_eq!(cause, "its supervisor has been stopped");
}

pub async fn a_child_that_waits_for_its_restart_holds_up_no_other(stage: Stage) {
    let children = Supervisor::one_for_one().max_restarts(1_000, Duration::from_secs(3_600));
    let (supervisor, [apples, pears, _]) = three(&stage, children).await;
    // The pause grows to seconds while it goes on.
    let flapping = async {
        loop {
            if let Ok(apples) = apples.get().await {
                drop(apples.burn().await);
            }
        }
    };
    let others = async {
        stage.reached("booth apples closed", 6).await;
        for lives in 2..5 {
            burn(&stage, &pears).await;
            assert_eq!(stage.count("booth pears opened").await, lives);
            assert!(
                stage.count("booth apples opened").await < 12,
                "it is not for its restarts that they wait"
            );
        }
    };
    tokio::select! {
        () = flapping => {}
        () = others => {}
    }
    supervisor.stop().await;
}

pub async fn children_of_a_lost_node_are_started_again(stage: Stage) {
    // It takes some attempts until the node is there again.
    let children = Supervisor::one_for_all().max_restarts(1_000, Duration::from_secs(3_600));
    let (supervisor, [apples, ..]) = three(&stage, children).await;
    let before = apples.get().await.unwrap();
    before.sell(1).await.unwrap();
    stage.nodes().kill(CALLEES).await;
    let another = async || match apples.get().await {
        Ok(apples) => matches!(apples.stock().await, Ok(7)),
        Err(_) => false,
    };
    stage.until("another one answers", another).await;
    supervisor.stop().await;
}
