//! Instances that code makes: one owner, any number of handles, one end.

use futures_util::future::join_all;
use skybox::{Exit, Handle, Ran, Spawned};

use crate::modules::{Booth, Fair, Kiosk, Market, Odd, Oddity, Opening, Probe};
use crate::stage::{CALLEES, PATIENCE, RELAYS, SOON, Stage, fails};

pub async fn a_spawned_instance_is_called_by_its_owner(stage: Stage) {
    let (pears, plums) = (stage.booth("pears", 7).await, stage.booth("plums", 3).await);
    assert_eq!(pears.sell(2).await.unwrap(), 5);
    assert_eq!((pears.stock().await.unwrap(), plums.stock().await.unwrap()), (5, 3));
    assert_eq!(stage.count("booth pears opened").await, 1);
    if stage.mode.is_split() {
        assert_eq!(pears.node().await.unwrap(), CALLEES);
    }
}

pub async fn dropping_its_owner_stops_a_spawned_instance(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let handle = Spawned::handle(&pears);
    assert_eq!(handle.sell(2).await.unwrap(), 5);
    drop(pears);
    stage.reached("booth pears closed", 1).await;
    fails(handle.stock().await, "gone", Ran::No);
    fails(handle.sell(1).await, "gone", Ran::No);
}

pub async fn calls_in_progress_end_before_their_instance_does(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let handle = Spawned::handle(&pears);
    let dropping = async {
        stage.reached("gate began", 1).await;
        drop(pears);
        // It is over for new calls while the old one goes on.
        stage.until("calls are refused", async || handle.stock().await.is_err()).await;
        assert_eq!(stage.count("booth pears closed").await, 0);
        stage.open("gate").await;
    };
    let (looked, ()) = tokio::join!(handle.look("gate"), dropping);
    assert_eq!(looked.unwrap(), 7);
    stage.reached("booth pears closed", 1).await;
}

pub async fn a_spawned_instance_that_is_kept_lives_on(stage: Stage) {
    let handle = Spawned::keep(stage.booth("pears", 7).await).await.unwrap();
    stage.settle().await;
    assert_eq!(handle.sell(2).await.unwrap(), 5);
    assert_eq!(stage.count("booth pears closed").await, 0);
}

pub async fn a_handle_of_a_spawned_instance_travels(stage: Stage) {
    let fair = stage.get::<Fair>();
    let theirs = fair.open(Opening::of("pears", 7)).await.unwrap();
    assert_eq!(theirs.sell(2).await.unwrap(), 5, "one that was made elsewhere");
    let ours = stage.booth("plums", 3).await;
    assert_eq!(fair.sell_at(Spawned::handle(&ours), 1).await.unwrap(), 2, "one that was made here");
    drop(ours);
    stage.reached("booth plums closed", 1).await;
    assert_eq!(theirs.stock().await.unwrap(), 5);
}

pub async fn a_handle_that_travels_owns_nothing(stage: Stage) {
    let fair = stage.get::<Fair>();
    let handle = fair.open(Opening::of("pears", 7)).await.unwrap();
    drop((handle.clone(), handle));
    stage.settle().await;
    assert_eq!(stage.count("booth pears closed").await, 0);
}

pub async fn a_spawned_instance_that_crashes_is_over(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let error = fails(pears.burn().await, "crashed", Ran::Yes);
    assert!(error.to_string().contains("pears burns"), "{error}");
    stage.reached("booth pears closed", 1).await;
    fails(pears.stock().await, "gone", Ran::No);
    assert_eq!(stage.count("booth pears opened").await, 1, "nobody starts it again");
}

pub async fn calls_that_wait_for_one_that_crashes_are_gone(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let waiting = async {
        stage.reached("gate began", 1).await;
        let opening = async {
            stage.waiting::<Booth>(1).await;
            stage.open("gate").await;
        };
        tokio::join!(pears.sell(1), opening).0
    };
    let (burned, sold) = tokio::join!(pears.burn_after("gate"), waiting);
    fails(burned, "crashed", Ran::Yes);
    fails(sold, "gone", Ran::No);
}

pub async fn a_start_that_fails_is_told_to_who_spawns(stage: Stage) {
    let broke = stage.spawn::<Booth>(Opening::of("broke", 1)).await.unwrap_err();
    assert_eq!((broke.kind().name(), broke.ran()), ("not-started", Ran::No));
    assert!(broke.to_string().contains("there is no money for a booth"), "{broke}");
    let cursed = stage.spawn::<Booth>(Opening::of("cursed", 1)).await.unwrap_err();
    assert!(cursed.to_string().contains("the ground gives way"), "{cursed}");
    assert_eq!(stage.booth("pears", 7).await.stock().await.unwrap(), 7);
}

pub async fn what_cannot_cross_spawns_nothing(stage: Stage) {
    let error = stage.spawn::<Oddity>(Odd::zero()).await.unwrap_err();
    assert_eq!((error.kind().name(), error.ran()), ("mismatch", Ran::No), "{error}");
}

pub async fn a_spawn_that_is_dropped_leaves_nothing_behind(stage: Stage) {
    let spawning = async {
        stage.reached("slow began", 1).await;
    };
    tokio::select! {
        spawned = stage.spawn::<Booth>(Opening::of("slow", 1)) => panic!("its gate is shut: {spawned:?}"),
        () = spawning => {}
    }
    stage.reached("slow dropped", 1).await;
    assert_eq!(stage.count("booth slow opened").await, 0);
}

pub async fn a_monitor_tells_why_an_instance_crashed(stage: Stage) {
    let (pears, plums) = (stage.booth("pears", 7).await, stage.booth("plums", 3).await);
    let (monitor, other) = (Handle::monitor(&pears), Handle::monitor(&plums));
    fails(pears.burn().await, "crashed", Ran::Yes);
    let Exit::Crashed { message, place } = stage.patiently("its end is told", monitor).await else {
        panic!("it has crashed")
    };
    assert_eq!(message, "pears burns");
    assert!(place.contains("booths.rs"), "{place}");
    drop(plums);
    assert_eq!(stage.patiently("its end is told", other).await, Exit::Stopped);
}

pub async fn a_monitor_tells_that_an_instance_was_stopped(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let handle = Spawned::handle(&pears);
    drop(Handle::monitor(&handle));
    let monitor = Handle::monitor(&handle);
    drop(pears);
    assert_eq!(stage.patiently("its end is told", monitor).await, Exit::Stopped);
    assert_eq!(stage.count("booth pears closed").await, 1);
}

pub async fn a_monitor_waits_for_the_last_call(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let (handle, mut monitor) = (Spawned::handle(&pears), Handle::monitor(&pears));
    let dropping = async {
        stage.reached("gate began", 1).await;
        drop(pears);
        stage.until("calls are refused", async || handle.stock().await.is_err()).await;
        tokio::select! {
            biased;
            exit = &mut monitor => panic!("a call goes on: {exit}"),
            () = stage.settle() => {}
        }
        stage.open("gate").await;
    };
    let (looked, ()) = tokio::join!(handle.look("gate"), dropping);
    looked.unwrap();
    assert_eq!(stage.patiently("its end is told", monitor).await, Exit::Stopped);
}

pub async fn every_monitor_of_an_instance_tells_once(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let monitors: Vec<_> = (0..1_000).map(|_| Handle::monitor(&pears)).collect();
    drop(pears);
    for monitor in monitors {
        assert_eq!(stage.patiently("each is told", monitor).await, Exit::Stopped);
    }
}

pub async fn a_monitor_of_an_instance_that_has_ended_tells_at_once(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    fails(pears.burn().await, "crashed", Ran::Yes);
    stage.reached("booth pears closed", 1).await;
    let exit = stage.patiently("its end is told", Handle::monitor(&pears)).await;
    assert!(matches!(exit, Exit::Crashed { .. }), "{exit}");
}

pub async fn a_monitor_of_an_instance_that_has_stopped_tells_so(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let handle = Spawned::handle(&pears);
    drop(pears);
    stage.reached("booth pears closed", 1).await;
    let exit = stage.patiently("its end is told", Handle::monitor(&handle)).await;
    assert_eq!(exit, Exit::Stopped);
}

pub async fn a_monitor_of_an_instance_that_is_forgotten_tells_so(stage: Stage) {
    let pears = forgotten(&stage).await;
    let exit = stage.patiently("its end is told", Handle::monitor(&pears)).await;
    assert_eq!(exit, Exit::NoSuchInstance);
}

pub async fn monitors_of_a_crowd_that_has_crashed_tell_of_each(stage: Stage) {
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(stage.booth("plums", 3).await);
    }
    for plums in &crowd {
        fails(plums.burn().await, "crashed", Ran::Yes);
    }
    stage.reached("booth plums closed", 100).await;
    for plums in &crowd {
        let exit = stage.patiently("its end is told", Handle::monitor(plums)).await;
        assert!(matches!(exit, Exit::Crashed { .. }), "{exit}");
    }
}

/// A booth that has ended so long ago that nobody remembers how.
pub(super) async fn forgotten(stage: &Stage) -> Handle<Booth> {
    let stopped = async || {
        // The process of its owner would know that the owner is gone.
        let booth = Spawned::keep(stage.booth("plums", 3).await).await.expect("its node answers");
        let exit = Handle::stop(&booth, PATIENCE).await.expect("its node answers");
        assert_eq!(exit, Exit::Stopped);
        booth
    };
    let first = stopped().await;
    // A node remembers the last 1,024 ends in order of a module: 16 in each of 64 parts, of which one may get fewer.
    for _ in 0..40 {
        join_all((0..65).map(|_| stopped())).await;
    }
    first
}

pub async fn a_monitor_that_comes_while_an_instance_stops_tells_its_end(stage: Stage) {
    let kiosk = stage.spawn::<Kiosk>("shutter".to_owned()).await.unwrap();
    let handle = Spawned::handle(&kiosk);
    drop(kiosk);
    stage.reached("shutter began", 1).await;
    let mut late = Handle::monitor(&handle);
    tokio::select! {
        biased;
        exit = &mut late => panic!("its `stop` goes on: {exit}"),
        () = stage.settle() => {}
    }
    stage.open("shutter").await;
    assert_eq!(stage.patiently("its end is told", late).await, Exit::Stopped);
    assert_eq!(stage.count("kiosk stopped").await, 1);
}

pub async fn killing_an_instance_that_is_ending_ends_its_calls(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let handle = Spawned::handle(&pears);
    let killing = async {
        stage.reached("gate began", 1).await;
        drop(pears);
        stage.until("calls are refused", async || handle.stock().await.is_err()).await;
        Handle::kill(&handle).await
    };
    let (looked, exit) = tokio::join!(handle.look("gate"), killing);
    fails(looked, "cancelled", Ran::Maybe);
    let exit = exit.unwrap();
    assert!(matches!(exit, Exit::Killed { .. }), "{exit}");
    assert_eq!(stage.count("booth pears closed").await, 1);
}

pub async fn an_app_that_shuts_down_tells_of_its_instances_first(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let monitor = Handle::monitor(&pears);
    assert_eq!(pears.stock().await.unwrap(), 7);
    is_asked_for_what_was_asked_before(&stage).await;
    // The node may be gone before it has answered.
    drop(stage.get::<Probe>().shut_down().await);
    assert_eq!(stage.patiently("its end is told", monitor).await, Exit::Stopped);
}

/// Waits until the callees' node knows of the monitors that there are: they go over one stream, in order.
async fn is_asked_for_what_was_asked_before(stage: &Stage) {
    let last = stage.booth("last", 1).await;
    let known = Handle::monitor(&last);
    drop(last);
    assert_eq!(stage.patiently("its end is told", known).await, Exit::Stopped);
}

pub async fn the_owner_of_a_lost_instance_ends_no_other(stage: Stage) {
    let lost = stage.booth("pears", 7).await;
    let end = Handle::monitor(&lost);
    stage.nodes().kill(CALLEES).await;
    assert!(matches!(stage.patiently("its end is told", end).await, Exit::NodeLost { .. }));
    // A node counts its instances from the beginning in each of its lives: one of these has the number of the lost one.
    let mut row = Vec::new();
    while row.len() < 64 {
        match stage.spawn::<Booth>(Opening::of("plums", 3)).await {
            Ok(booth) => row.push(booth),
            Err(error) => assert_eq!(error.kind().name(), "unreachable", "until it is back: {error}"),
        }
    }
    drop(lost);
    stage.settle().await;
    for booth in &row {
        assert_eq!(booth.stock().await.unwrap(), 3);
    }
    assert_eq!(stage.count("booth plums closed").await, 0);
}

pub async fn a_killed_node_is_told_to_each_monitor_once(stage: Stage) {
    let (fair, watched) = (stage.get::<Fair>(), 500);
    let mut handles = Vec::new();
    for n in 0..watched {
        handles.push(fair.open(Opening::of("pears", n)).await.unwrap());
    }
    let monitors: Vec<_> = handles.iter().map(Handle::monitor).collect();
    let stopped = stage.booth("plums", 3).await;
    let known = Handle::monitor(&stopped);
    drop(stopped);
    // It is asked for behind all the others, over one stream.
    assert_eq!(stage.patiently("its end is told", known).await, Exit::Stopped);
    stage.nodes().kill(CALLEES).await;
    for monitor in monitors {
        let exit = stage.patiently("each is told", monitor).await;
        assert_eq!(exit, Exit::NodeLost { node: CALLEES.to_owned() });
    }
    let late = stage.patiently("also to who asks late", Handle::monitor(&handles[0])).await;
    assert_eq!(late, Exit::NodeLost { node: CALLEES.to_owned() });
}

pub async fn a_killed_node_is_told_to_a_hundred_thousand_monitors(stage: Stage) {
    const COUNT: u32 = 100_000;
    let (market, mut row) = (stage.get::<Market>(), Vec::new());
    while row.len() < COUNT as usize {
        row.extend(market.open_row(COUNT / 10).await.unwrap());
    }
    let monitors: Vec<_> = row.iter().map(Handle::monitor).collect();
    // Asked for behind all the others: once it is told, the node has all of them.
    let last = stage.booth("plums", 3).await;
    let known = Handle::monitor(&last);
    drop(last);
    assert_eq!(known.await, Exit::Stopped);
    let killed = std::time::Instant::now();
    stage.nodes().kill(CALLEES).await;
    for monitor in monitors {
        assert_eq!(monitor.await, Exit::NodeLost { node: CALLEES.to_owned() });
    }
    println!("{COUNT} monitors were told of a lost node within {:?}", killed.elapsed());
}

pub async fn a_node_that_leaves_tells_of_its_instances_first(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let monitor = Handle::monitor(&pears);
    is_asked_for_what_was_asked_before(&stage).await;
    let (exit, ()) = tokio::join!(stage.patiently("its end is told", monitor), stage.nodes().drain(CALLEES));
    assert_eq!(exit, Exit::Stopped);
}

pub async fn stopping_an_instance_waits_for_its_calls(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let handle = Spawned::handle(&pears);
    let stopping = async {
        stage.reached("gate began", 1).await;
        let opening = async {
            stage.until("calls are refused", async || pears.stock().await.is_err()).await;
            stage.open("gate").await;
        };
        tokio::join!(Handle::stop(&handle, PATIENCE), opening).0
    };
    let (looked, exit) = tokio::join!(pears.look("gate"), stopping);
    assert_eq!((looked.unwrap(), exit.unwrap()), (7, Exit::Stopped));
    assert_eq!(stage.count("booth pears closed").await, 1);
    let again = Handle::stop(&handle, PATIENCE).await.unwrap();
    assert!(matches!(again, Exit::Stopped | Exit::NoSuchInstance), "{again}");
}

pub async fn stopping_an_instance_kills_what_goes_on_too_long(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let stopping = async {
        stage.reached("gate began", 1).await;
        Handle::stop(&pears, SOON).await
    };
    let (looked, exit) = tokio::join!(pears.look("gate"), stopping);
    fails(looked, "cancelled", Ran::Maybe);
    let exit = exit.unwrap();
    assert!(matches!(exit, Exit::Killed { .. }), "{exit}");
    assert_eq!(stage.count("booth pears closed").await, 1);
}

pub async fn killing_an_instance_ends_its_calls(stage: Stage) {
    let (pears, plums) = (stage.booth("pears", 7).await, stage.booth("plums", 3).await);
    let monitor = Handle::monitor(&pears);
    let killing = async {
        stage.reached("gate began", 1).await;
        Handle::kill(&pears).await
    };
    let (looked, exit) = tokio::join!(pears.look("gate"), killing);
    fails(looked, "cancelled", Ran::Maybe);
    let exit = exit.unwrap();
    assert!(matches!(exit, Exit::Killed { .. }), "{exit}");
    assert_eq!(stage.patiently("its end is told", monitor).await, exit);
    fails(pears.stock().await, "gone", Ran::No);
    assert_eq!(plums.stock().await.unwrap(), 3);
    assert_eq!(Handle::kill(&pears).await.unwrap(), exit, "its end is remembered");
}

pub async fn the_death_of_its_owner_stops_a_spawned_instance(stage: Stage) {
    let fair = stage.get::<Fair>();
    let (pears, kept) = (fair.open(Opening::of("pears", 7)).await.unwrap(), stage.booth("plums", 3).await);
    assert_eq!(pears.stock().await.unwrap(), 7);
    stage.nodes().kill(RELAYS).await;
    stage.reached("booth pears closed", 1).await;
    fails(pears.stock().await, "gone", Ran::No);
    assert_eq!(kept.stock().await.unwrap(), 3, "the owner of this one lives");
}

pub async fn the_death_of_its_owner_leaves_what_was_kept(stage: Stage) {
    let fair = stage.get::<Fair>();
    let pears = fair.open(Opening::of("pears", 7)).await.unwrap();
    fair.let_go().await.unwrap();
    stage.nodes().kill(RELAYS).await;
    stage.settle().await;
    assert_eq!(pears.stock().await.unwrap(), 7);
}

pub async fn the_death_of_its_node_ends_a_spawned_instance(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    assert_eq!(pears.stock().await.unwrap(), 7);
    stage.nodes().kill(CALLEES).await;
    let gone = async || match pears.stock().await {
        Ok(stock) => panic!("its node is dead, and it has {stock}"),
        Err(error) => error.call_error().is_some_and(|error| error.kind().name() == "gone"),
    };
    stage.until("calls of it are known to be in vain", gone).await;
}

pub async fn killing_an_instance_that_has_crashed_ends_what_goes_on(stage: Stage) {
    let pears = stage.booth("pears", 7).await;
    let killing = async {
        stage.reached("gate began", 1).await;
        fails(pears.burn().await, "crashed", Ran::Yes);
        assert_eq!(stage.count("booth pears closed").await, 0, "a call goes on");
        stage.patiently("it is killed", Handle::kill(&pears)).await.unwrap()
    };
    let (looked, exit) = tokio::join!(pears.look("gate"), killing);
    fails(looked, "cancelled", Ran::Maybe);
    assert!(matches!(exit, Exit::Crashed { .. }), "it has ended once: {exit}");
    stage.reached("booth pears closed", 1).await;
}
