//! An instance that is retired has a last word, and only then is it gone.

use std::cell::Cell;

use skybox::{App, Ran};

use crate::ledger::Ledger;
use crate::modules::*;
use crate::stage::{CALLEES, RELAYS, Stage, fails};

pub async fn an_instance_that_falls_asleep_stops_once(stage: Stage) {
    let guest = stage.at::<Guest>("ada");
    assert_eq!(guest.life().await.unwrap(), 1);
    stage.reached("ada 1 stopped", 1).await;
    assert_eq!(guest.life().await.unwrap(), 2, "the next call starts it anew");
    stage.reached("ada 2 dropped", 1).await;
    for note in ["ada 1 stopped", "ada 1 dropped", "ada 2 stopped"] {
        assert_eq!(stage.count(note).await, 1, "{note}");
    }
}

pub async fn a_key_starts_again_only_when_its_stop_has_ended(stage: Stage) {
    let guest = stage.at::<Guest>("gate");
    assert_eq!(guest.life().await.unwrap(), 1);
    stage.reached("gate began", 1).await;
    let opening = async {
        // Asked many times over while the call above waits: it must not have an instance.
        for _ in 0..50 {
            assert_eq!(stage.count("gate started").await, 1);
        }
        assert_eq!(stage.at::<Guest>("ada").life().await.unwrap(), 1, "other keys do not wait");
        stage.open("gate").await;
    };
    let (life, ()) = tokio::join!(guest.life(), opening);
    assert_eq!((life.unwrap(), stage.count("gate 1 dropped").await), (2, 1));
}

pub async fn a_crashed_instance_does_not_stop(stage: Stage) {
    let (diary, guest) = (stage.get::<Diary>(), stage.at::<Guest>("ada"));
    assert_eq!(diary.life().await.unwrap(), 1);
    fails(diary.fail().await, "crashed", Ran::Yes);
    assert_eq!(diary.life().await.unwrap(), 2);
    fails(guest.fail().await, "crashed", Ran::Yes);
    // A `stop` comes before its value is dropped, and so would have been noted.
    stage.reached("diary dropped", 1).await;
    stage.reached("ada 1 dropped", 1).await;
    assert_eq!((stage.count("diary stopping").await, stage.count("ada stopping").await), (0, 0));
}

pub async fn a_stop_that_takes_too_long_is_cut_off(stage: Stage) {
    let lingerer = stage.at::<Lingerer>("ada");
    assert_eq!(lingerer.life().await.unwrap(), 1);
    stage.reached("never dropped", 1).await;
    assert_eq!(lingerer.life().await.unwrap(), 2);
    assert!(stage.count("lingerer dropped").await >= 1, "what it held is gone before the next one starts");
    let endings = stage.get::<Probe>().endings("lingerer").await.unwrap();
    assert_eq!(endings[0], "its `stop` failed: it was cut off after 20ms (`stop-wait`)");
}

pub async fn a_panic_in_stop_takes_nothing_down(stage: Stage) {
    let guest = stage.at::<Guest>("panicking");
    assert_eq!(guest.life().await.unwrap(), 1);
    stage.reached("panicking 1 dropped", 1).await;
    assert_eq!(guest.life().await.unwrap(), 2);
    assert_eq!(stage.count("panicking 1 stopped").await, 0);
    let endings = stage.get::<Probe>().endings("guest").await.unwrap();
    let (start, end) = ("its `stop` failed: it panicked at ", ": no goodbye");
    assert!(endings[0].starts_with(start) && endings[0].ends_with(end), "{endings:?}");
    assert!(endings[0].contains("conformance/modules/stops.rs:"), "{endings:?}");
}

pub async fn an_error_of_stop_is_kept(stage: Stage) {
    let guest = stage.at::<Guest>("failing");
    assert_eq!(guest.life().await.unwrap(), 1);
    stage.reached("failing 1 dropped", 1).await;
    assert_eq!(guest.life().await.unwrap(), 2);
    let endings = stage.get::<Probe>().endings("guest").await.unwrap();
    assert_eq!(endings[0], "its `stop` failed: the ink is dry");
}

pub async fn an_implementation_of_an_interface_stops_as_well(stage: Stage) {
    let lodger = stage.at::<dyn Lodger>("ada");
    assert_eq!(lodger.life().await.unwrap(), 1);
    stage.reached("ada 1 dropped", 1).await;
    assert_eq!(lodger.life().await.unwrap(), 2);
    assert_eq!(stage.count("ada 1 stopped").await, 1);
    let endings = stage.get::<Probe>().endings("lodger").await.unwrap();
    assert_eq!(endings[0], "its `stop` failed: the key is lost");
}

pub async fn an_app_that_shuts_down_waits_for_each_stop(stage: Stage) {
    let ledger = Ledger::default();
    let builder = App::builder().aside().strict(stage.crosses()).provide(ledger.clone());
    let app = builder.start().await.unwrap();
    let (diary, guest) = (app.get::<Diary>(), app.at::<Guest>("gate"));
    assert_eq!(guest.life().await.unwrap(), 1);
    let calls = async { tokio::join!(diary.read("read"), diary.read("more")) };
    let ending = async {
        ledger.noted("read began").await;
        ledger.noted("more began").await;
        let ended = Cell::new(false);
        let shutting_down = async {
            app.shutdown().await;
            ended.set(true);
        };
        let opening = async {
            ledger.noted("gate began").await;
            ledger.note("read open");
            ledger.noted("read ended").await;
            stage.settle().await;
            assert_eq!(ledger.count("diary stopping"), 0, "a call goes on");
            ledger.note("more open");
            ledger.noted("diary dropped").await;
            stage.settle().await;
            assert!(!ended.get(), "a `stop` goes on");
            ledger.note("gate open");
        };
        tokio::join!(shutting_down, opening);
    };
    let ((read, more), ()) = tokio::join!(calls, ending);
    assert_eq!((read.unwrap(), more.unwrap()), (1, 1));
    for note in ["diary 1 stopped", "diary dropped", "gate 1 stopped", "gate 1 dropped"] {
        assert_eq!(ledger.count(note), 1, "{note}");
    }
}

pub async fn a_module_that_moves_stops_where_it_was(stage: Stage) {
    let diary = stage.get::<Diary>();
    let moving = async {
        stage.reached("gate began", 1).await;
        let opening = async {
            let there = async || diary.node().await.unwrap() == RELAYS;
            stage.until("new calls go to the new instance", there).await;
            stage.settle().await;
            assert_eq!(stage.count("diary stopping").await, 0, "a call goes on");
            stage.open("gate").await;
        };
        tokio::join!(stage.nodes().move_to("diary", &[RELAYS]), opening)
    };
    let (read, ((), ())) = tokio::join!(diary.read("gate"), moving);
    assert_eq!(read.unwrap(), 1);
    assert_eq!((stage.count("diary 1 stopped").await, stage.count("diary dropped").await), (1, 1));
    // When the program ends.
    stage.open("farewell").await;
}

pub async fn a_key_that_moves_starts_only_when_its_stop_has_ended(stage: Stage) {
    let guest = stage.at::<Guest>("gate");
    assert_eq!(guest.life().await.unwrap(), 1);
    let before = stage.nodes().plan().modules["guest"].clone();
    // It has no owner then.
    let leaves = async || stage.nodes().wait_plan(|plan| plan.modules["guest"] != before).await;
    let called = Cell::new(false);
    let calling = async {
        stage.reached("gate began", 1).await;
        leaves().await;
        let life = guest.life().await;
        called.set(true);
        life
    };
    let opening = async {
        stage.reached("gate began", 1).await;
        leaves().await;
        // The call above is made many times over in that time, and must not have an instance.
        for _ in 0..50 {
            assert_eq!((stage.count("gate 1 stopped").await, called.get()), (0, false));
        }
        stage.open("gate").await;
    };
    let ((), life, ()) = tokio::join!(stage.nodes().move_to("guest", &[RELAYS]), calling, opening);
    assert_eq!((life.unwrap(), stage.count("gate 1 stopped").await), (1, 1), "it is the first one there");
}

pub async fn a_node_that_leaves_waits_for_each_stop(stage: Stage) {
    stage.nodes().move_to("diary", &[RELAYS]).await;
    let left = Cell::new(false);
    let leaving = async {
        // The plan has retired its instance already: a drain has to wait for that as well.
        stage.reached("farewell began", 1).await;
        stage.nodes().drain(RELAYS).await;
        left.set(true);
    };
    let opening = async {
        let nodes = stage.nodes();
        nodes
            .wait_plan(|plan| plan.nodes.iter().any(|(name, node)| name.as_str() == RELAYS && node.draining))
            .await;
        // Often enough for its process to end, if nothing kept it.
        for _ in 0..1_000 {
            assert_eq!((stage.count("farewell ended").await, left.get()), (0, false));
        }
        stage.open("farewell").await;
    };
    tokio::join!(stage.nodes().move_to("diary", &[CALLEES]), leaving, opening);
    assert_eq!(stage.count("farewell ended").await, 1, "it had no other end");
}
