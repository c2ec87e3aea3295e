//! Ranges of replicas follow what nodes tell the leader of how much there is to do.

use skybox_cloud::parent::{Done, Order};
use skybox_core::{ModuleKind, Replicas};

use crate::stage::{Stage, module, serving};
use crate::{leader, order};

fn thumbnails() -> Stage {
    let range = Replicas::Range { min: 1, max: 4 };
    Stage::new([module("thumbnails", ModuleKind::Task, range), module("rest", ModuleKind::Replicated, range)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_grows_with_what_there_is_to_do_and_shrinks_again() {
    let stage = thumbnails();
    let (a, b, c, d) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"), stage.node("d"));
    let nodes = [&a, &b, &c, &d];
    let count = async |module: &str, wanted: usize| {
        let what = format!("{module} on {wanted} nodes");
        a.sees(&what, |plan| serving(plan, module).len() == wanted).await;
    };
    count("thumbnails", 1).await;
    // As much as one and a half can do: three, so that each is busy for half of its time.
    stage.network.gives("thumbnails", 1_500);
    stage.network.gives("rest", 0);
    count("thumbnails", 3).await;
    count("rest", 1).await;
    let leads = leader(&stage).await.expect("somebody does");
    let follower = nodes.iter().find(|node| node.name != leads).expect("there are four");
    let asked = order(follower, Order::Explain { module: "thumbnails".to_owned() }).await;
    let Done::Explained(explained) = asked else { panic!("it was asked to explain: {asked:?}") };
    assert_eq!(explained.wanted, 3);
    stage.network.gives("thumbnails", 500);
    count("thumbnails", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_keeps_what_a_range_has_come_to() {
    let stage = thumbnails();
    let (a, b, c, d) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"), stage.node("d"));
    stage.network.gives("thumbnails", 2_000);
    a.sees("thumbnails on all nodes", |plan| serving(plan, "thumbnails").len() == 4).await;
    let leads = leader(&stage).await.expect("somebody does");
    let (gone, mut left): (Vec<_>, Vec<_>) = [a, b, c, d].into_iter().partition(|node| node.name == leads);
    drop(gone);
    // Three are all that there are, and the next leader is told of no more than those have to do.
    let three: Vec<_> = left.iter().map(|node| node.name.to_string()).collect();
    let three: Vec<_> = three.iter().map(String::as_str).collect();
    left[0].sees_serving("thumbnails", &three).await;
    let again = stage.node("e").await;
    left.push(again);
    left[3].sees("thumbnails on all nodes", |plan| serving(plan, "thumbnails").len() == 4).await;
}
