//! What a spawned instance says of itself: its name, and its end.

use skybox::{Exit, Handle, Ran, Spawned};

use crate::modules::{Booth, Kiosk};
use crate::stage::{Stage, fails};

async fn kiosk(stage: &Stage) -> Spawned<Kiosk> {
    stage.spawn::<Kiosk>("corner".to_owned()).await.expect("a kiosk opens")
}

pub async fn an_instance_that_ends_itself_answers_first(stage: Stage) {
    let corner = kiosk(&stage).await;
    let monitor = Handle::monitor(&corner);
    assert_eq!(corner.close().await.unwrap(), "corner");
    assert_eq!(stage.patiently("its end is told", monitor).await, Exit::Normal);
    assert_eq!(stage.count("kiosk stopped").await, 1, "it has had its last word");
    fails(corner.name().await, "gone", Ran::No);
    // There is nothing left to end.
    drop(corner);
    stage.settle().await;
    assert_eq!(stage.count("kiosk stopped").await, 1);
}

pub async fn calls_in_progress_end_before_an_instance_that_ends_itself(stage: Stage) {
    let corner = kiosk(&stage).await;
    let mut monitor = Handle::monitor(&corner);
    let closing = async {
        stage.reached("gate began", 1).await;
        corner.close().await.unwrap();
        tokio::select! {
            biased;
            exit = &mut monitor => panic!("a call goes on: {exit}"),
            () = stage.settle() => {}
        }
        fails(corner.name().await, "gone", Ran::No);
        assert_eq!(stage.count("kiosk stopped").await, 0);
        stage.open("gate").await;
    };
    let (looked, ()) = tokio::join!(corner.look("gate"), closing);
    assert_eq!(looked.unwrap(), "corner");
    assert_eq!(stage.patiently("its end is told", monitor).await, Exit::Normal);
    assert_eq!(stage.count("kiosk stopped").await, 1);
}

pub async fn calls_that_wait_for_one_that_ends_itself_are_gone(stage: Stage) {
    let corner = kiosk(&stage).await;
    let waiting = async {
        stage.reached("gate began", 1).await;
        let opening = async {
            stage.waiting::<Kiosk>(1).await;
            stage.open("gate").await;
        };
        tokio::join!(corner.name(), opening).0
    };
    let (sold, named) = tokio::join!(corner.sell_out("gate"), waiting);
    assert_eq!(sold.unwrap(), "corner");
    fails(named, "gone", Ran::No);
}

pub async fn a_crash_after_an_instance_has_ended_itself_is_a_crash(stage: Stage) {
    let corner = kiosk(&stage).await;
    let monitor = Handle::monitor(&corner);
    fails(corner.collapse().await, "crashed", Ran::Yes);
    let exit = stage.patiently("its end is told", monitor).await;
    assert!(matches!(&exit, Exit::Crashed { message, .. } if message == "corner collapses"), "{exit}");
    assert_eq!(stage.count("kiosk stopped").await, 0);
}

pub async fn an_instance_knows_its_own_handle(stage: Stage) {
    let (corner, other) = (kiosk(&stage).await, kiosk(&stage).await);
    let (at_first, later) = (corner.itself_at_first().await.unwrap(), corner.itself().await.unwrap());
    assert_eq!(
        (at_first.name().await.unwrap(), later.name().await.unwrap()),
        ("corner".into(), "corner".into())
    );
    let ends = [Handle::monitor(&at_first), Handle::monitor(&later)];
    corner.close().await.unwrap();
    for end in ends {
        assert_eq!(stage.patiently("both are told", end).await, Exit::Normal);
    }
    assert_eq!(other.name().await.unwrap(), "corner", "another one has another handle");
}

pub async fn code_that_is_none_of_an_instance_is_told_so(stage: Stage) {
    let ended = stage.app().end_this().unwrap_err();
    assert!(ended.to_string().starts_with("SKY-510: "), "{ended}");
    let this = stage.app().this::<Booth>().unwrap_err();
    assert!(this.to_string().contains("an instance of booth"), "{this}");
}
