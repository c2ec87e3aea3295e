//! Names: one instance for each, and none for an instance that has ended.

use futures_util::future::join_all;
use skybox::{App, Child, ChildSpec, Exit, Handle, NameError, Ran, Spawned, Supervisor};

use crate::modules::{Booth, Fair, Kiosk, Opening, Signs, Stall};
use crate::stage::{CALLEES, PATIENCE, Stage, fails};

/// Where the callees' instances live.
fn place(stage: &Stage) -> &'static str {
    if stage.mode.is_split() { CALLEES } else { "alone" }
}

async fn found(app: &App, name: &str) -> Option<Handle<Booth>> {
    app.whereis(name).await.unwrap()
}

/// The module that has a name which is refused for it.
#[track_caller]
fn taken(refused: Result<(), NameError>, at: &str) -> String {
    let error = refused.expect_err("the name is taken");
    assert_eq!(error.code().name(), "name-taken", "{error}");
    let text = error.to_string();
    let NameError::Taken { name, instance, module, node } = error else { panic!("it is taken: {text}") };
    assert_eq!(node, at, "{text}");
    assert!([&name, &instance, &module, &node].iter().all(|part| text.contains(*part)), "{text}");
    module
}

pub async fn an_instance_is_found_by_its_name_from_everywhere(stage: Stage) {
    let (app, signs) = (stage.app(), stage.get::<Signs>());
    let (theirs, ours) = (stage.booth("pears", 7).await, app.spawn::<Booth>(Opening::of("plums", 3)));
    let ours = ours.await.unwrap();
    app.register("north", &theirs).await.unwrap();
    signs.put_up("south", Spawned::handle(&ours)).await.unwrap();
    for (name, stock) in [("north", 7), ("south", 3)] {
        let here = found(app, name).await.expect("it has been registered");
        let there = signs.read(name).await.unwrap().expect("it has been registered");
        assert_eq!((here.stock().await.unwrap(), there.stock().await.unwrap()), (stock, stock), "{name}");
        assert_eq!(stage.get::<Fair>().sell_at(there, 1).await.unwrap(), stock - 1, "{name}");
    }
    assert!(found(app, "west").await.is_none());
    assert!(signs.read("west").await.unwrap().is_none());
}

pub async fn a_name_that_is_taken_is_refused_and_says_who_has_it(stage: Stage) {
    let app = stage.app();
    let (pears, plums) = (stage.booth("pears", 7).await, stage.booth("plums", 3).await);
    app.register("corner", &pears).await.unwrap();
    assert_eq!(taken(app.register("corner", &plums).await, place(&stage)), "booth");
    let kiosk = app.spawn::<Kiosk>("kiosk".to_owned()).await.unwrap();
    assert_eq!(taken(app.register("corner", &kiosk).await, place(&stage)), "booth");
    let refused = stage.get::<Signs>().put_up("corner", Spawned::handle(&plums)).await.unwrap_err();
    assert!(refused.to_string().contains("SKY-511"), "{refused}");
    // Who has it may ask again.
    app.register("corner", &pears).await.unwrap();
    assert_eq!(found(app, "corner").await.unwrap().stock().await.unwrap(), 7);
}

pub async fn a_name_is_free_when_the_end_of_its_instance_is_told(stage: Stage) {
    let app = stage.app();
    for end in ["stopped", "killed", "crashed", "abandoned"] {
        let pears = stage.booth("pears", 7).await;
        app.register("corner", &pears).await.unwrap();
        app.register("gate", &pears).await.unwrap();
        let monitor = Handle::monitor(&pears);
        match end {
            "stopped" => drop(Handle::stop(&pears, PATIENCE).await.unwrap()),
            "killed" => drop(Handle::kill(&pears).await.unwrap()),
            "crashed" => drop(fails(pears.burn().await, "crashed", Ran::Yes)),
            _ => drop(pears),
        }
        stage.patiently("its end is told", monitor).await;
        assert!(found(app, "corner").await.is_none(), "{end}");
        let plums = stage.booth("plums", 3).await;
        app.register("corner", &plums).await.unwrap_or_else(|error| panic!("{end}: {error}"));
        assert_eq!(found(app, "corner").await.unwrap().stock().await.unwrap(), 3, "{end}");
        assert!(app.whereis::<Booth>("gate").await.unwrap().is_none(), "{end}");
        Handle::stop(&plums, PATIENCE).await.unwrap();
    }
}

pub async fn a_name_is_not_free_while_its_instance_stops(stage: Stage) {
    let app = stage.app();
    let kiosk = stage.spawn::<Kiosk>("shutter".to_owned()).await.unwrap();
    app.register("corner", &kiosk).await.unwrap();
    let (monitor, pears) = (Handle::monitor(&kiosk), stage.booth("pears", 7).await);
    drop(kiosk);
    stage.reached("shutter began", 1).await;
    assert_eq!(taken(app.register("corner", &pears).await, place(&stage)), "kiosk");
    let found = app.whereis::<Kiosk>("corner").await.unwrap().expect("it has the name still");
    fails(found.name().await, "gone", Ran::No);
    stage.open("shutter").await;
    assert_eq!(stage.patiently("its end is told", monitor).await, Exit::Stopped);
    app.register("corner", &pears).await.unwrap();
}

pub async fn a_name_is_not_free_while_its_instance_starts(stage: Stage) {
    let (app, pears) = (stage.app(), stage.booth("pears", 7).await);
    let spawning = async { stage.spawn::<Stall>("slow stall".to_owned()).await };
    let ending = async {
        stage.reached("slow stall began", 1).await;
        let found = app.whereis::<Stall>("slow stall").await.unwrap().expect("it has named itself");
        let (stopping, end) = (Handle::stop(&found, PATIENCE), Handle::monitor(&found));
        let meanwhile = async {
            // It has to stop, and its `start` goes on.
            fails(found.name().await, "gone", Ran::No);
            for _ in 0..10 {
                assert_eq!(taken(app.register("slow stall", &pears).await, place(&stage)), "stall");
            }
            stage.open("slow stall").await;
        };
        let (stopped, end, ()) = tokio::join!(stopping, end, meanwhile);
        assert_eq!(stopped.unwrap(), end);
        app.register("slow stall", &pears).await.unwrap();
    };
    let both = async { tokio::join!(spawning, ending) };
    let (spawned, ()) = stage.patiently("its start ends", both).await;
    assert_eq!(spawned.unwrap_err().kind().name(), "gone");
}

pub async fn a_name_of_another_module_is_told_apart(stage: Stage) {
    let app = stage.app();
    let pears = stage.booth("pears", 7).await;
    app.register("corner", &pears).await.unwrap();
    let error = app.whereis::<Kiosk>("corner").await.unwrap_err();
    assert_eq!(error.code().name(), "name-of-another");
    let text = error.to_string();
    assert!(text.contains("booth") && text.contains("kiosk") && text.contains(place(&stage)), "{text}");
}

pub async fn an_unregistered_name_is_free_and_its_instance_lives(stage: Stage) {
    let app = stage.app();
    let (pears, plums) = (stage.booth("pears", 7).await, stage.booth("plums", 3).await);
    app.register("corner", &pears).await.unwrap();
    assert!(stage.get::<Signs>().take_down("corner").await.unwrap());
    assert!(!app.unregister("corner").await.unwrap(), "nobody has it");
    assert!(found(app, "corner").await.is_none());
    app.register("corner", &plums).await.unwrap();
    assert_eq!(pears.stock().await.unwrap(), 7);
    // Its end takes nothing from the one that has the name now.
    Handle::stop(&pears, PATIENCE).await.unwrap();
    assert_eq!(found(app, "corner").await.unwrap().stock().await.unwrap(), 3);
}

pub async fn of_a_hundred_who_want_a_name_one_has_it(stage: Stage) {
    let app = stage.app();
    let booths = join_all((0..100).map(|n| stage.spawn::<Booth>(Opening::of("row", n)).into_future())).await;
    let booths: Vec<_> = booths.into_iter().map(Result::unwrap).collect();
    let outcomes = join_all(booths.iter().map(|booth| app.register("corner", booth))).await;
    let winners: Vec<_> = outcomes.iter().zip(0..).filter(|(won, _)| won.is_ok()).map(|(_, n)| n).collect();
    let [winner] = winners[..] else { panic!("{} have the name", winners.len()) };
    assert_eq!(found(app, "corner").await.unwrap().stock().await.unwrap(), winner);
    for refused in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(taken(refused, place(&stage)), "booth");
    }
}

pub async fn an_instance_that_names_itself_is_called_once_it_has_started(stage: Stage) {
    let app = stage.app();
    let calling = async {
        stage.reached("slow stall began", 1).await;
        let stall = app.whereis::<Stall>("slow stall").await.unwrap().expect("it has named itself");
        // The call is polled first, and waits.
        tokio::join!(biased; stall.name(), stage.open("slow stall")).0.unwrap()
    };
    let (stall, name) = tokio::join!(stage.spawn::<Stall>("slow stall".to_owned()).into_future(), calling);
    assert_eq!(
        (stall.unwrap().name().await.unwrap(), name.as_str()),
        ("slow stall".to_owned(), "slow stall")
    );
}

pub async fn a_start_that_fails_leaves_no_name_behind(stage: Stage) {
    let app = stage.app();
    for _ in 0..3 {
        let error = stage.spawn::<Stall>("bare".to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("there is nothing to sell"), "{error}");
    }
    let pears = stage.booth("pears", 7).await;
    app.register("bare", &pears).await.unwrap();
    let error = stage.spawn::<Stall>("bare".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("SKY-511"), "{error}");
}

pub async fn a_spawn_that_is_dropped_leaves_no_name_behind(stage: Stage) {
    let app = stage.app();
    tokio::select! {
        spawned = stage.spawn::<Stall>("slow stall".to_owned()) => panic!("its gate is shut: {spawned:?}"),
        () = stage.reached("slow stall began", 1) => {}
    }
    stage
        .until("its name is free", async || app.whereis::<Stall>("slow stall").await.unwrap().is_none())
        .await;
}

pub async fn an_instance_names_itself_in_a_method(stage: Stage) {
    let app = stage.app();
    let stall = stage.spawn::<Stall>("first".to_owned()).await.unwrap();
    stall.be_called("second").await.unwrap();
    for name in ["first", "second"] {
        let found = app.whereis::<Stall>(name).await.unwrap().expect("it has both names");
        assert_eq!(found.name().await.unwrap(), "first");
    }
    Handle::stop(&stall, PATIENCE).await.unwrap();
    for name in ["first", "second"] {
        assert!(app.whereis::<Stall>(name).await.unwrap().is_none(), "{name}");
    }
}

pub async fn an_instance_that_has_ended_is_given_no_name(stage: Stage) {
    let app = stage.app();
    let pears = stage.booth("pears", 7).await;
    Handle::stop(&pears, PATIENCE).await.unwrap();
    let error = app.register("corner", &pears).await.unwrap_err();
    assert_eq!(error.code().name(), "gone", "{error}");
    let restless = stage.spawn::<Stall>("restless".to_owned()).await.unwrap();
    assert_eq!(Handle::stop(&restless, PATIENCE).await.unwrap(), Exit::Stopped);
    assert_eq!(stage.count("late is refused with gone").await, 1);
    for name in ["corner", "restless", "late"] {
        assert!(!app.unregister(name).await.unwrap(), "{name}");
    }
}

pub async fn an_end_in_the_middle_of_a_registration_leaves_no_name(stage: Stage) {
    let app = stage.app();
    for _ in 0..100 {
        let pears = stage.booth("pears", 7).await;
        let handle = Spawned::handle(&pears);
        let monitor = Handle::monitor(&handle);
        let ending = async {
            tokio::task::yield_now().await;
            drop(pears);
        };
        let (registered, (), again) =
            tokio::join!(app.register("corner", &handle), ending, app.register("corner", &handle));
        for outcome in [registered, again] {
            assert!(outcome.as_ref().is_ok_and(|()| true) || outcome.unwrap_err().code().name() == "gone");
        }
        stage.patiently("its end is told", monitor).await;
        assert!(found(app, "corner").await.is_none());
    }
}

pub async fn what_is_no_name_is_refused(stage: Stage) {
    let app = stage.app();
    let pears = stage.booth("pears", 7).await;
    let longest = "ß".repeat(127) + "s";
    app.register(&longest, &pears).await.unwrap();
    assert!(found(app, &longest).await.is_some());
    for name in ["", &"ß".repeat(128)] {
        for error in [
            app.register(name, &pears).await.unwrap_err(),
            app.whereis::<Booth>(name).await.unwrap_err(),
            app.unregister(name).await.unwrap_err(),
        ] {
            assert_eq!(error.code().name(), "not-a-name", "{error}");
            assert!(error.to_string().contains(&name.len().to_string()), "{error}");
        }
    }
}

/// A child that names itself, on the callees' side.
fn stall(stage: &Stage) -> ChildSpec<Stall> {
    let elsewhere = stage.mode.is_split();
    ChildSpec::new("stall", move |app: App| async move {
        let spawning = app.spawn::<Stall>("corner".to_owned());
        if elsewhere { spawning.on(CALLEES).await } else { spawning.await }
    })
}

pub async fn a_child_that_is_started_again_has_its_name_again(stage: Stage) {
    let app = stage.app();
    // The first restart that finds the name taken is the end.
    let mut children = Supervisor::one_for_one().max_restarts(5, PATIENCE);
    let child: Child<Stall> = children.add(stall(&stage));
    let supervisor = children.start(app).await.unwrap();
    for _ in 0..5 {
        let before = app.whereis::<Stall>("corner").await.unwrap().expect("it has named itself");
        let monitor = Handle::monitor(&before);
        fails(before.burn().await, "crashed", Ran::Yes);
        stage.patiently("its end is told", monitor).await;
        let another = async || match app.whereis::<Stall>("corner").await.unwrap() {
            Some(found) => found.name().await.is_ok_and(|name| name == "corner"),
            None => false,
        };
        stage.until("another one has the name", another).await;
    }
    // Who is told by the name that there is another one may know it before the supervisor does.
    let known = async || child.get().await.unwrap().name().await.is_ok();
    stage.until("its supervisor has the last one", known).await;
    supervisor.stop().await;
    assert!(app.whereis::<Stall>("corner").await.unwrap().is_none());
}

pub async fn the_names_of_a_lost_node_are_free(stage: Stage) {
    let app = stage.app();
    let (lost, plums) = (stage.booth("pears", 7).await, app.spawn::<Booth>(Opening::of("plums", 3)));
    let plums = plums.await.unwrap();
    app.register("corner", &lost).await.unwrap();
    app.register("own", &plums).await.unwrap();
    let monitor = Handle::monitor(&lost);
    stage.nodes().kill(CALLEES).await;
    assert!(matches!(stage.patiently("it is told", monitor).await, Exit::NodeLost { .. }));
    stage.until("its name is free", async || found(app, "corner").await.is_none()).await;
    app.register("corner", &plums).await.unwrap();
    // Not even where the lost one has lived, in its next life.
    let signs = stage.get::<Signs>();
    assert_eq!(signs.read("corner").await.unwrap().unwrap().stock().await.unwrap(), 3);
    assert_eq!(signs.read("own").await.unwrap().unwrap().stock().await.unwrap(), 3);
    let error = app.register("west", &lost).await.unwrap_err();
    assert!(matches!(error.code().name(), "gone" | "unreachable"), "{error}");
}
