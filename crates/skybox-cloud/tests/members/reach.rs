//! Nodes that reach the store, and that the others do not reach.

use std::time::Duration;

use skybox_cloud::parent::{Done, Order};
use skybox_cloud::records::LEADER;
use skybox_cloud::store::{Revision, Store};
use skybox_core::NodeName;

use crate::stage::{Node, PATIENCE, Stage};
use crate::{leader, order, shop};

/// The nodes that are said not to be reached.
async fn unreached(node: &Node) -> Vec<NodeName> {
    match order(node, Order::Show).await {
        Done::Shown { unreached, .. } => unreached,
        other => panic!("it was asked to show: {other:?}"),
    }
}

async fn tells(node: &Node, wanted: &[NodeName]) {
    let so = async {
        while unreached(node).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, so).await;
    assert!(waited.is_ok(), "{} says that {:?} are not reached", node.name, unreached(node).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reaches_hands_over_what_it_has_until_it_is_reached_again() {
    let stage = shop();
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    a.sees_owners("carts", &["a", "b", "c"]).await;
    let mut nodes = vec![a, b, c];
    // First one that leads: that is not to be the judge.
    for leads in [true, false] {
        let leader = leader(&stage).await.expect("somebody does");
        let at = nodes.iter().position(|node| (node.name == leader) == leads).expect("there are three");
        let cut = nodes.remove(at);
        stage.network.cuts(&cut.name);
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        nodes[0].sees_owners("carts", &names).await;
        nodes[0].sees_serving("resize", &names).await;
        nodes[0].sees_serving("search", &names).await;
        tells(&nodes[0], std::slice::from_ref(&cut.name)).await;
        // It is a node as before, and says itself what it is told.
        assert!(nodes[0].member_plan().nodes.contains_key(&cut.name));
        tells(&cut, std::slice::from_ref(&cut.name)).await;
        let asked = order(&nodes[0], Order::Explain { module: "search".to_owned() }).await;
        let Done::Explained(explained) = asked else { panic!("it was asked to explain: {asked:?}") };
        let of_it = explained.others.iter().find(|other| other.node == cut.name).expect("it is a node");
        assert!(of_it.why.contains("most others do not reach it"), "{}", of_it.why);
        stage.network.heals(&cut.name);
        tells(&nodes[0], &[]).await;
        nodes[0].sees_serving("resize", &["a", "b", "c"]).await;
        // It gets shards again when there is a reason.
        let all = ["a", "b", "c"].map(NodeName::new).to_vec();
        let moved = order(&nodes[0], Order::Move { module: "carts".to_owned(), nodes: all }).await;
        assert!(matches!(moved, Done::Ok), "{moved:?}");
        nodes.push(cut);
    }
}

/// Since when somebody leads without a break.
async fn term(stage: &Stage) -> Option<Revision> {
    let listed = stage.store.list(LEADER).await.expect("it is there");
    listed.entries.first().map(|entry| entry.created)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_reaches_anybody_nothing_is_taken_from_anybody() {
    let stage = shop();
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    a.sees_owners("carts", &["a", "b", "c"]).await;
    let nodes = [a, b, c];
    let before = term(&stage).await;
    nodes.iter().for_each(|node| stage.network.cuts(&node.name));
    let another = async {
        // The one that leads gives way to others, which may do better. None of them does.
        while matches!(term(&stage).await, term if term.is_none() || term == before) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, another).await.expect("a node that is cut off leads no more");
    // Sleeps because nothing is to happen: a second longer than it takes to judge.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(unreached(&nodes[0]).await.is_empty());
    let (owners, epoch) = stage.owners("carts").await;
    assert_eq!((owners.len(), epoch), (3, 1), "{owners:?}");
    let there = vec![nodes[0].name.clone()];
    let moved = order(&nodes[1], Order::Move { module: "catalog".to_owned(), nodes: there }).await;
    assert!(matches!(moved, Done::Ok), "somebody plans: {moved:?}");
}
