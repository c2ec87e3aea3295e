//! Links: instances that end together, unless one ends in order.

use std::collections::BTreeSet;

use skybox::{Exit, Handle, Monitor, Ran, Spawned};

use super::spawned::forgotten;
use crate::modules::{Booth, Climber, Kiosk, Market, Opening, Tour};
use crate::stage::{CALLEES, PATIENCE, Stage, fails};

/// A climber on the callees' side.
async fn there(stage: &Stage, name: &str) -> Spawned<Climber> {
    stage.spawn::<Climber>(Tour::of(name)).await.expect("a climber sets out")
}

/// A climber in the test's own process.
async fn here(stage: &Stage, name: &str) -> Spawned<Climber> {
    stage.app().spawn::<Climber>(Tour::of(name)).await.expect("a climber sets out")
}

async fn told(stage: &Stage, monitor: Monitor) -> Exit {
    stage.patiently("an end is told", monitor).await
}

/// The module whose end came first, and how it ended.
#[track_caller]
fn beginning(exit: &Exit) -> (&str, &Exit) {
    let Exit::Linked { module, cause, .. } = exit else { panic!("it ended by itself: {exit}") };
    (module, cause)
}

/// Checks that somebody went with one that fell.
#[track_caller]
fn fell_with(exit: &Exit, name: &str) {
    let (module, cause) = beginning(exit);
    let Exit::Crashed { message, place } = cause else { panic!("{name} fell: {exit}") };
    assert_eq!((module, message.as_str()), ("climber", format!("{name} falls").as_str()));
    assert!(place.contains("climbers.rs"), "{place}");
}

pub async fn the_crash_of_one_ends_the_other(stage: Stage) {
    let pairs = [
        (there(&stage, "ada").await, there(&stage, "bob").await),
        (there(&stage, "ada").await, here(&stage, "bob").await),
        (here(&stage, "ada").await, there(&stage, "bob").await),
        (here(&stage, "ada").await, here(&stage, "bob").await),
    ];
    for (ada, bob) in pairs {
        // It does not matter who was named first.
        for (falls, other, name) in [(&ada, &bob, "ada"), (&bob, &ada, "bob")] {
            let rope = [there(&stage, "left").await, here(&stage, "right").await];
            Handle::link(falls, &rope[0]).await.unwrap();
            Handle::link(&rope[1], falls).await.unwrap();
            let ends = rope.each_ref().map(|one| Handle::monitor(one));
            if name == "ada" {
                // Of two, the second goes later, and with nobody that he was linked to.
                Handle::link(falls, other).await.unwrap();
                Handle::unlink(other, falls).await.unwrap();
            }
            fails(falls.fall().await, "crashed", Ran::Yes);
            for end in ends {
                fell_with(&told(&stage, end).await, name);
            }
            fails(rope[0].name().await, "gone", Ran::No);
        }
    }
}

pub async fn an_end_in_order_ends_no_other(stage: Stage) {
    let (ada, far) = (there(&stage, "ada").await, here(&stage, "far").await);
    let kiosk = stage.spawn::<Kiosk>("corner".to_owned()).await.unwrap();
    let dropped = stage.booth("pears", 7).await;
    let stopped = stage.booth("plums", 7).await;
    let last = stage.booth("last", 1).await;
    for climber in [&ada, &far] {
        Handle::link(climber, &kiosk).await.unwrap();
        Handle::link(&dropped, climber).await.unwrap();
        Handle::link(&stopped, climber).await.unwrap();
        Handle::link(&last, climber).await.unwrap();
    }
    let ends = [Handle::monitor(&ada), Handle::monitor(&far)];
    kiosk.close().await.unwrap();
    assert_eq!(told(&stage, Handle::monitor(&kiosk)).await, Exit::Normal);
    let end = Handle::monitor(&dropped);
    drop(dropped);
    assert_eq!(told(&stage, end).await, Exit::Stopped);
    assert_eq!(Handle::stop(&stopped, PATIENCE).await.unwrap(), Exit::Stopped);
    // What comes last is what ends them.
    fails(last.burn().await, "crashed", Ran::Yes);
    for end in ends {
        let exit = told(&stage, end).await;
        let (module, cause) = beginning(&exit);
        assert!(matches!(cause, Exit::Crashed { message, .. } if message == "last burns"), "{exit}");
        assert_eq!(module, "booth");
    }
}

pub async fn a_last_word_that_fails_is_no_end_in_order(stage: Stage) {
    let (ada, far) = (there(&stage, "ada").await, here(&stage, "far").await);
    let kiosk = stage.spawn::<Kiosk>("jammed".to_owned()).await.unwrap();
    let ends = [&ada, &far].map(|climber| Handle::monitor(climber));
    for climber in [&ada, &far] {
        Handle::link(climber, &kiosk).await.unwrap();
    }
    let failed = Exit::FailedStop { cause: "its shutter is jammed".to_owned() };
    assert_eq!(Handle::stop(&kiosk, PATIENCE).await.unwrap(), failed);
    for end in ends {
        assert_eq!(beginning(&told(&stage, end).await), ("kiosk", &failed));
    }
}

pub async fn a_kill_ends_the_other_and_its_calls(stage: Stage) {
    let (ada, bob) = (there(&stage, "ada").await, there(&stage, "bob").await);
    Handle::link(&ada, &bob).await.unwrap();
    let end = Handle::monitor(&bob);
    let killing = async {
        stage.reached("gate began", 1).await;
        Handle::kill(&ada).await.unwrap()
    };
    let (looked, exit) = tokio::join!(bob.look_out("gate"), killing);
    fails(looked, "cancelled", Ran::Maybe);
    assert!(matches!(exit, Exit::Killed { .. }), "{exit}");
    let with_it = told(&stage, end).await;
    assert_eq!(*beginning(&with_it).1, exit);
    assert_eq!(with_it.code().map(|code| code.to_string()), Some("SKY-112".to_owned()));
}

pub async fn the_end_of_one_goes_through_a_chain(stage: Stage) {
    let rope = [
        there(&stage, "ada").await,
        here(&stage, "bob").await,
        there(&stage, "cy").await,
        there(&stage, "dan").await,
    ];
    for pair in rope.windows(2) {
        Handle::link(&pair[1], &pair[0]).await.unwrap();
    }
    let [_, bob, cy, dan] = rope.each_ref().map(|one| Handle::monitor(one));
    fails(rope[0].fall().await, "crashed", Ran::Yes);
    let bob = told(&stage, bob).await;
    fell_with(&bob, "ada");
    for end in [cy, dan] {
        assert_eq!(told(&stage, end).await, bob, "all of them hear of the first one");
    }
}

pub async fn in_a_circle_each_ends_once(stage: Stage) {
    let circle = [there(&stage, "ada").await, here(&stage, "bob").await, there(&stage, "cy").await];
    for n in 0..circle.len() {
        Handle::link(&circle[n], &circle[(n + 1) % 3]).await.unwrap();
    }
    let [_, bob, cy] = circle.each_ref().map(|one| Handle::monitor(one));
    let ada = Handle::monitor(&circle[0]);
    fails(circle[0].fall().await, "crashed", Ran::Yes);
    for end in [bob, cy] {
        fell_with(&told(&stage, end).await, "ada");
    }
    let exit = told(&stage, ada).await;
    assert!(matches!(exit, Exit::Crashed { .. }), "it fell itself: {exit}");
    assert_eq!(stage.count("climber cy gone").await, 1);
}

pub async fn a_ring_of_a_thousand_ends_once(stage: Stage) {
    const COUNT: usize = 1_000;
    let row = stage.get::<Market>().open_row(COUNT as u32).await.unwrap();
    for n in 0..COUNT {
        Handle::link(&row[n], &row[(n + 1) % COUNT]).await.unwrap();
    }
    let monitors: Vec<_> = row.iter().map(Handle::monitor).collect();
    // Asked for behind all the others: once it is told, the node has all of them.
    let last = stage.booth("plums", 3).await;
    let known = Handle::monitor(&last);
    drop(last);
    assert_eq!(told(&stage, known).await, Exit::Stopped);
    fails(row[7].burn().await, "crashed", Ran::Yes);
    let mut beginnings = BTreeSet::new();
    for (n, monitor) in monitors.into_iter().enumerate() {
        match told(&stage, monitor).await {
            Exit::Crashed { message, .. } => assert_eq!((n, message.as_str()), (7, "row burns")),
            exit => drop(beginnings.insert(exit.to_string())),
        }
    }
    assert_eq!(beginnings.len(), 1, "of one: {beginnings:?}");
    assert_eq!(stage.count("booth row closed").await, COUNT as u64);
}

pub async fn who_traps_a_link_hears_of_it_and_lives_on(stage: Stage) {
    for guide in [there(&stage, "guide").await, here(&stage, "guide").await] {
        let (ada, bob, cy) =
            (there(&stage, "ada").await, here(&stage, "bob").await, there(&stage, "cy").await);
        let [of_ada, of_bob] = [
            Handle::link_trapping(&guide, &ada).await.unwrap(),
            Handle::link_trapping(&guide, &bob).await.unwrap(),
        ];
        let of_cy = Handle::link_trapping(&guide, &cy).await.unwrap();
        fails(ada.fall().await, "crashed", Ran::Yes);
        let exit = told(&stage, of_ada).await;
        assert!(matches!(&exit, Exit::Crashed { message, .. } if message == "ada falls"), "{exit}");
        drop(bob);
        assert_eq!(told(&stage, of_bob).await, Exit::Stopped, "and of an end in order");
        assert_eq!(guide.name().await.unwrap(), "guide");
        // The other way it is a link as any.
        fails(guide.fall().await, "crashed", Ran::Yes);
        fell_with(&told(&stage, of_cy).await, "guide");
    }
}

pub async fn the_last_word_of_a_link_counts(stage: Stage) {
    let (ada, bob, last) =
        (there(&stage, "ada").await, here(&stage, "bob").await, there(&stage, "last").await);
    Handle::link(&last, &ada).await.unwrap();
    // Twice is once, trapped is less, and taken back is nothing.
    Handle::link(&ada, &bob).await.unwrap();
    Handle::link(&bob, &ada).await.unwrap();
    let of_bob = Handle::link_trapping(&ada, &bob).await.unwrap();
    fails(bob.fall().await, "crashed", Ran::Yes);
    assert!(matches!(told(&stage, of_bob).await, Exit::Crashed { .. }));
    let cy = here(&stage, "cy").await;
    Handle::link(&ada, &cy).await.unwrap();
    Handle::unlink(&cy, &ada).await.unwrap();
    Handle::unlink(&cy, &ada).await.unwrap();
    fails(cy.fall().await, "crashed", Ran::Yes);
    let end = Handle::monitor(&ada);
    fails(last.fall().await, "crashed", Ran::Yes);
    fell_with(&told(&stage, end).await, "last");
}

pub async fn a_link_to_one_that_has_ended_tells_at_once(stage: Stage) {
    let (crashed, stopped) = (there(&stage, "ada").await, there(&stage, "bob").await);
    fails(crashed.fall().await, "crashed", Ran::Yes);
    stage.reached("climber ada gone", 1).await;
    let handle = Spawned::handle(&stopped);
    drop(stopped);
    stage.reached("climber bob gone", 1).await;
    for other in [there(&stage, "cy").await, here(&stage, "dan").await] {
        let end = Handle::monitor(&other);
        Handle::link(&handle, &other).await.unwrap();
        Handle::link(&other, &crashed).await.unwrap();
        fell_with(&told(&stage, end).await, "ada");
    }
    let guide = here(&stage, "guide").await;
    let trapped = Handle::link_trapping(&guide, &crashed).await.unwrap();
    assert!(matches!(told(&stage, trapped).await, Exit::Crashed { .. }));
    assert_eq!(guide.name().await.unwrap(), "guide");
}

pub async fn a_link_to_one_that_nobody_remembers_ends_the_other(stage: Stage) {
    let pears = forgotten(&stage).await;
    let ada = here(&stage, "ada").await;
    let end = Handle::monitor(&ada);
    Handle::link(&ada, &pears).await.unwrap();
    assert_eq!(beginning(&told(&stage, end).await), ("booth", &Exit::NoSuchInstance));
}

pub async fn instances_link_themselves(stage: Stage) {
    let (ada, bob) = (there(&stage, "ada").await, here(&stage, "bob").await);
    ada.rope_up(Spawned::handle(&bob)).await.unwrap();
    // To oneself is no link.
    ada.rope_up(Spawned::handle(&ada)).await.unwrap();
    let cy = stage.spawn::<Climber>(Tour::of("cy").with(&bob)).await.unwrap();
    let ends = [Handle::monitor(&ada), Handle::monitor(&bob)];
    fails(cy.fall().await, "crashed", Ran::Yes);
    for end in ends {
        fell_with(&told(&stage, end).await, "cy");
    }
}

pub async fn a_start_that_fails_ends_those_it_has_linked_itself_to(stage: Stage) {
    let ada = here(&stage, "ada").await;
    let end = Handle::monitor(&ada);
    let error = stage.spawn::<Climber>(Tour::of("clumsy").with(&ada)).await.unwrap_err();
    assert_eq!(error.kind().name(), "not-started");
    let exit = told(&stage, end).await;
    let (module, cause) = beginning(&exit);
    assert_eq!(module, "climber");
    assert!(matches!(cause, Exit::FailedStart { cause } if cause.contains("at the hut")), "{exit}");
}

pub async fn one_that_starts_is_killed_when_it_has_started(stage: Stage) {
    let ada = here(&stage, "ada").await;
    let (end_of_ada, falling) = (Handle::monitor(&ada), async {
        stage.reached("hut began", 1).await;
        fails(ada.fall().await, "crashed", Ran::Yes);
    });
    let tour = Tour::of("bob").with(&ada).through("hut");
    let opening = async {
        falling.await;
        told(&stage, end_of_ada).await;
        stage.open("hut").await;
    };
    let (bob, ()) = tokio::join!(stage.spawn::<Climber>(tour), opening);
    match bob {
        Ok(bob) => fell_with(&told(&stage, Handle::monitor(&bob)).await, "ada"),
        Err(error) => panic!("his start was in order: {error}"),
    }
    assert_eq!(stage.count("climber bob gone").await, 1);
}

pub async fn a_lost_node_ends_those_that_are_linked_to_its_instances(stage: Stage) {
    let (ada, bob) = (here(&stage, "ada").await, here(&stage, "bob").await);
    let (there, trapped) = (there(&stage, "cy").await, there(&stage, "dan").await);
    Handle::link(&ada, &there).await.unwrap();
    Handle::link(&bob, &ada).await.unwrap();
    let guide = here(&stage, "guide").await;
    let trapped = Handle::link_trapping(&guide, &trapped).await.unwrap();
    let ends = [Handle::monitor(&ada), Handle::monitor(&bob)];
    stage.nodes().kill(CALLEES).await;
    let lost = Exit::NodeLost { node: CALLEES.to_owned() };
    for end in ends {
        assert_eq!(beginning(&told(&stage, end).await), ("climber", &lost));
    }
    assert_eq!(told(&stage, trapped).await, lost);
    assert_eq!(guide.name().await.unwrap(), "guide");
    // Nobody there could be told any more.
    let error = Handle::link(&guide, &there).await.unwrap_err();
    assert_eq!(error.kind().name(), "unreachable", "{error}");
    assert_eq!(guide.name().await.unwrap(), "guide");
}

pub async fn the_lost_node_of_one_is_noticed_where_the_other_is(stage: Stage) {
    use crate::stage::RELAYS;
    // Neither is where they are linked from.
    let booth = stage.booth("pears", 7).await;
    let opening = Opening::of("plums", 7);
    let other = stage.app().spawn::<Booth>(opening).on(RELAYS).await.unwrap();
    Handle::link(&booth, &other).await.unwrap();
    let end = Handle::monitor(&booth);
    stage.nodes().kill(RELAYS).await;
    let lost = Exit::NodeLost { node: RELAYS.to_owned() };
    assert_eq!(beginning(&told(&stage, end).await), ("booth", &lost));
}
