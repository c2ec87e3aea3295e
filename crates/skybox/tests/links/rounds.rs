//! Links of one pair that are made, taken back and ended all at once.

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, Exit, Handle, Spawned};

use crate::{Troupe, Walker, fell_with, lives, told, within};

const ROUNDS: usize = 144;

/// Where the two of a round are.
async fn two(nodes: &RunningNodes, round: usize) -> [Spawned<Walker>; 2] {
    let spawn = async |name: &str, there: bool| {
        let spawning = nodes.app().spawn::<Walker>(format!("{name} {round}"));
        if there { spawning.on("node-1").await } else { spawning.await }.expect("a walker comes")
    };
    let (ada, bob) = match round % 3 {
        0 => (false, true),
        1 => (true, false),
        _ => (true, true),
    };
    [spawn("ada", ada).await, spawn("bob", bob).await]
}

/// Says much of one link at once, from two tasks for each end.
async fn quarrel(app: &App, [ada, bob]: [Handle<Walker>; 2]) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4 {
        let (app, ada, bob) = (app.clone(), ada.clone(), bob.clone());
        tasks.spawn(async move {
            let (one, other) = if n % 2 == 0 { (&ada, &bob) } else { (&bob, &ada) };
            app.enter(async {
                for step in 0..3 {
                    let said = match (n + step) % 3 {
                        0 => Handle::link(one, other).await,
                        1 => Handle::unlink(one, other).await,
                        // Its monitor is dropped: somebody else tells of the end.
                        _ => Handle::link_trapping(one, other).await.map(drop),
                    };
                    said.expect("both nodes are there");
                }
            })
            .await;
        });
    }
    within("all have said it", tasks.join_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_said_at_once_the_last_word_counts_and_nothing_is_left() {
    let nodes = Nodes::of_this_test(1).start(|builder| builder).await;
    let troupe = nodes.app().spawn::<Troupe>(()).on("node-1").await.unwrap();
    let mut left = Vec::new();
    for round in 0..ROUNDS {
        let [ada, bob] = two(&nodes, round).await;
        let kind = round / 3 % 4;
        let ends = [Handle::monitor(&ada), Handle::monitor(&bob)];
        let handles = || [Spawned::handle(&ada), Spawned::handle(&bob)];
        match kind {
            // The last word is a link: both end.
            0 => {
                quarrel(nodes.app(), handles()).await;
                within("a link", Handle::link(&ada, &bob)).await.unwrap();
                within("a call", ada.fall()).await.unwrap_err();
            }
            // It takes the link back: the other one lives.
            1 => {
                quarrel(nodes.app(), handles()).await;
                within("it is taken back", Handle::unlink(&bob, &ada)).await.unwrap();
                within("a call", ada.fall()).await.unwrap_err();
                lives(nodes.app(), &bob, &format!("round {round}")).await;
            }
            // It is a link, and one leaves in order: the other one lives on, and falls with nobody.
            2 => {
                quarrel(nodes.app(), handles()).await;
                within("a link", Handle::link(&ada, &bob)).await.unwrap();
                drop(bob);
                let [_, of_bob] = ends;
                assert_eq!(told(of_bob).await, Exit::Stopped, "round {round}");
                left.push(ada);
                continue;
            }
            // One ends in between: the other one has gone with it, or goes when they are linked for the last time.
            _ => {
                let falls = async { within("a call", ada.fall()).await.unwrap_err() };
                tokio::join!(quarrel(nodes.app(), handles()), falls);
                within("a link", Handle::link(&bob, &ada)).await.unwrap();
            }
        }
        let [of_ada, of_bob] = ends;
        let exit = told(of_ada).await;
        assert!(matches!(exit, Exit::Crashed { .. }), "round {round}: it fell itself: {exit}");
        let exit = told(of_bob).await;
        let falls = format!("ada {round}");
        fell_with(&exit, if kind == 1 { "the last" } else { &falls });
    }
    let none_is_left = async {
        while nodes.app().status().linked + troupe.linked().await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("no tie is left on either node", none_is_left).await;
    for (n, walker) in left.iter().enumerate() {
        lives(nodes.app(), walker, &format!("of those that were left, the {n}th")).await;
    }
    nodes.stop().await;
}
