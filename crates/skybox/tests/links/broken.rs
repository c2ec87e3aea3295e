//! Two nodes whose connection breaks while both live.

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{Exit, Handle, Spawned};

use crate::line::Line;
use crate::{Troupe, Walker, break_up, fell_with, gone, lives, there_is, told, within};

/// Ends in order that a node has forgotten all others after, and a few more.
const CROWD: usize = 2_000;
/// The same, of crashes.
const FALLING: usize = 20;

async fn here(nodes: &RunningNodes, name: &str) -> Spawned<Walker> {
    nodes.app().spawn::<Walker>(name.to_owned()).await.expect("a walker comes")
}

/// Of a node, those who end while nobody hears of it, and many more, of whose ends it knows nothing then.
struct There {
    troupe: Spawned<Troupe>,
    leaves: Handle<Walker>,
    falls: Handle<Walker>,
}

impl There {
    async fn gather(nodes: &RunningNodes) -> There {
        let troupe = nodes.app().spawn::<Troupe>(()).on("node-1").await.expect("a troupe comes");
        let count = CROWD + FALLING;
        let mut handles = troupe.gather(count, CROWD + 1).await.expect("walkers come");
        let falls = handles.pop().expect("it was asked for");
        There { troupe, leaves: handles.swap_remove(0), falls }
    }
}

/// Has each node believe that what it has sent was heard, or not, while instances end on both.
async fn ends_while_the_line_is_broken(is_held_first: bool) {
    let nodes = Nodes::of_this_test(1).start(|builder| builder).await;
    let line = Line::between(&nodes, &["test", "node-1"]);
    let there = There::gather(&nodes).await;
    let walkers_there = {
        let troupe = nodes.app().spawn::<Troupe>(()).on("node-1").await.expect("a troupe comes");
        let walkers = troupe.gather(2, 2).await.expect("walkers come");
        (troupe, walkers)
    };
    let (_kept, [stays_there, goes_there]) = (walkers_there.0, [&walkers_there.1[0], &walkers_there.1[1]]);
    let (stays, goes) = (here(&nodes, "stays").await, here(&nodes, "goes").await);
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        crowd.push(here(&nodes, &format!("here {n}")).await);
    }
    let mut falling = Vec::new();
    for n in 0..FALLING {
        falling.push(here(&nodes, &format!("falling {n}")).await);
    }
    let ends = [&there.leaves, &there.falls].map(Handle::monitor);
    // Asked for behind the others: once it is told, the node has them.
    let known = here_and_gone(&nodes).await;
    assert_eq!(told(known).await, Exit::Stopped);
    let ends_of_others = [Handle::monitor(&goes), Handle::monitor(goes_there)];
    let sign = std::env::temp_dir().join(format!("skybox-links-{is_held_first}-{}", std::process::id()));
    let sign = sign.to_str().expect("it is text");
    there.troupe.break_up_at(sign, FALLING).await.unwrap();
    for (one, other) in [
        (&stays as &Handle<Walker>, &there.leaves),
        (&goes, &there.falls),
        (stays_there, &crowd[0]),
        (goes_there, &falling[0]),
    ] {
        within("a link", Handle::link(one, other)).await.unwrap();
    }
    assert!(line.carried() > 0, "their calls go over this line");
    if is_held_first {
        line.hold()
    } else {
        line.cut()
    }
    std::fs::write(sign, "").unwrap();
    within("they break up there", there_is(&gone(sign))).await;
    within("they break up here", break_up(falling, crowd)).await;
    drop((std::fs::remove_file(sign), std::fs::remove_file(gone(sign))));
    let before = line.carried();
    line.cut();
    line.mend();
    let [left, fell] = ends;
    assert_eq!(told(left).await, Exit::Stopped);
    assert!(matches!(told(fell).await, Exit::Crashed { .. }));
    let [with_one_there, with_one_here] = ends_of_others;
    fell_with(&told(with_one_there).await, &format!("walker {CROWD}"));
    fell_with(&told(with_one_here).await, "falling 0");
    assert!(line.carried() > before, "they have found each other again");
    lives(nodes.app(), &stays, "whose other one has left there").await;
    lives(nodes.app(), stays_there, "whose other one has left here").await;
    nodes.stop().await;
}

/// A monitor of one on the other node that leaves at once.
async fn here_and_gone(nodes: &RunningNodes) -> skybox::Monitor {
    let walker = nodes.app().spawn::<Walker>("short".to_owned()).on("node-1").await.expect("a walker comes");
    Handle::monitor(&walker)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_a_connection_is_broken_is_told_over_the_next_one() {
    ends_while_the_line_is_broken(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_and_not_heard_is_told_again() {
    ends_while_the_line_is_broken(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_the_moment_its_link_is_made_is_known() {
    let nodes = Nodes::of_this_test(1).start(|builder| builder).await;
    let stays = here(&nodes, "stays").await;
    let there = There::gather(&nodes).await;
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        crowd.push(here(&nodes, &format!("here {n}")).await);
    }
    within("a link", Handle::link(&stays, &there.leaves)).await.unwrap();
    // Behind the answer, and before the first of what one node tells the other of those that it watches.
    within("they leave", there.troupe.dismiss()).await.unwrap();
    lives(nodes.app(), &stays, "whose other one has left").await;
    nodes.stop().await;
}
