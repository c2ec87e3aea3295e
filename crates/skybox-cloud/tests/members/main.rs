//! Nodes that form a cloud through a store: who leads, what is placed where, and what becomes of it when nodes come, leave
//! and die. The nodes here do what their plan says, without a program; real ones are in the tests of `skybox`.

mod history;
mod loads;
mod needs;
mod network;
mod reach;
mod stage;

use std::collections::BTreeSet;

use serde_json::json;
use skybox_cloud::parent::{Done, Order};
use skybox_cloud::records::{LEADER, Leader, NODE, of_life};
use skybox_cloud::store::{Op, Store, Txn};
use skybox_core::{ModuleKind, ModulePlan, NodeName, Replicas};
use skybox_node::control::{Control, Leave, OnceTurn, Report};
use skybox_plan::names::{Holder, NameAnswer, NameAsk};
use stage::{Node, Stage, module, serving};

fn shop() -> Stage {
    Stage::new([
        module("catalog", ModuleKind::Replicated, Replicas::fixed(1)),
        module("search", ModuleKind::Replicated, Replicas::fixed(2)),
        module("resize", ModuleKind::Task, Replicas::PerNode),
        module("carts", ModuleKind::Keyed, Replicas::fixed(1)),
    ])
}

async fn leader(stage: &Stage) -> Option<NodeName> {
    let listed = stage.store.list(LEADER).await.expect("it is there");
    let entry = listed.entries.first()?;
    Some(serde_json::from_str::<Leader>(&entry.value).expect("a leader").name)
}

async fn order(node: &Node, order: Order) -> Done {
    node.order_raw(serde_json::to_value(order).expect("plain data")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_and_share_what_there_is() {
    let stage = shop();
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    for node in [&a, &b, &c] {
        node.sees_serving("resize", &["a", "b", "c"]).await;
        node.sees("one of catalog, two of search", |plan| {
            serving(plan, "catalog").len() == 1 && serving(plan, "search").len() == 2
        })
        .await;
        node.sees_owners("carts", &["a", "b", "c"]).await;
    }
    let (owners, epoch) = stage.owners("carts").await;
    assert!(owners.values().all(|shards| *shards > 200) && epoch == 1, "{owners:?}, epoch {epoch}");
    let plan = a.member.plans().borrow().clone();
    assert_eq!(plan.nodes[&b.name].address, "b:7600");
    assert_eq!(plan.nodes[&b.name].incarnation, Some(b.life));
    let leads = leader(&stage).await.expect("somebody does");
    assert!([&a, &b, &c].iter().any(|node| node.name == leads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_had_is_given_to_others_when_it_dies_also_if_it_led() {
    let stage = shop();
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    a.sees_owners("carts", &["a", "b", "c"]).await;
    a.sees_serving("resize", &["a", "b", "c"]).await;
    let mut nodes = vec![a, b, c];
    for living in (1..=2).rev() {
        let leads = leader(&stage).await.expect("somebody does");
        let at = nodes.iter().position(|node| node.name == leads).expect("it is one of those that live");
        drop(nodes.remove(at));
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        for node in &nodes {
            node.sees_owners("carts", &names).await;
            node.sees_serving("resize", &names).await;
            node.sees("what has to be there", |plan| {
                serving(plan, "catalog").len() == 1 && serving(plan, "search").len() == living
            })
            .await;
            assert!(!node.member.plans().borrow().nodes.contains_key(&leads));
        }
        let (_, epoch) = stage.owners("carts").await;
        assert_eq!(epoch, 1 + 2 - (living as u64 - 1), "each new owner has a higher one");
    }
    let d = stage.node("d").await;
    d.sees_serving("search", &[nodes[0].name.as_str(), "d"]).await;
    d.sees_owners("carts", &[nodes[0].name.as_str()]).await;
    let keys = stage.store.list("").await.expect("it is there").entries;
    let assigned = keys.iter().filter(|entry| entry.key.starts_with("assign/")).count();
    assert_eq!(assigned, 2, "nothing is left of nodes that are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_hands_over_first() {
    let stage = shop();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    a.sees_serving("search", &["a", "b"]).await;
    assert_eq!(a.member.leaves_by_itself(), Leave::HandOver);
    b.sees_owners("carts", &["b"]).await;
    b.sees_serving("search", &["b"]).await;
    b.sees_serving("catalog", &["b"]).await;
    let plan = a.sees("that it has nothing", |plan| !serving(plan, "resize").contains("a")).await;
    assert!(plan.nodes[&a.name].draining);
    let (owners, epoch) = stage.owners("carts").await;
    assert_eq!((owners.len(), epoch), (1, 2), "{owners:?}");
    a.member.report(Report::Drained);
    b.sees("a gone", |plan| plan.nodes.len() == 1).await;
    assert_eq!(leader(&stage).await, Some(b.name.clone()));
    assert_eq!(b.member.leaves_by_itself(), Leave::End, "the last one has nobody to hand over to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_life_of_a_node_takes_over_what_it_had() {
    let stage = shop();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    let before = b.life;
    drop(b);
    // Its old life counts as alive for a second still.
    let b = stage.node("b").await;
    a.sees("the new life", |plan| plan.nodes[&b.name].incarnation == Some(b.life)).await;
    assert_ne!(b.life, before);
    a.sees_owners("carts", &["a", "b"]).await;
    a.sees_serving("search", &["a", "b"]).await;
    b.sees_owners("carts", &["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_start_on_one_node_is_tried_on_others_and_then_said() {
    let stage = Stage::new([module("printer", ModuleKind::Replicated, Replicas::fixed(1))]);
    let no_paper = |node: &'static str| move |_: &str| Some(format!("{node} has no paper"));
    let (a, b) = tokio::join!(stage.node_that("a", no_paper("a")), stage.node_that("b", no_paper("b")));
    let failed = |plan: &skybox_core::Plan| match plan.modules.get("printer") {
        Some(ModulePlan::Replicated { failed, .. }) => failed.clone(),
        _ => None,
    };
    let plan = a.sees("that nobody starts it", |plan| failed(plan).is_some()).await;
    let cause = failed(&plan).expect("just seen");
    assert!(cause.ends_with("has no paper"), "{cause}");
    let Done::Shown { gave_up, .. } = order(&b, Order::Show).await else { panic!("it was asked to show") };
    let by: BTreeSet<_> = gave_up["printer"].iter().map(|gave_up| gave_up.node.as_str()).collect();
    assert_eq!(by, BTreeSet::from(["a", "b"]), "each was tried");
    // A node that has paper comes.
    let c = stage.node("c").await;
    a.sees_serving("printer", &["c"]).await;
    assert_eq!(failed(&a.member.plans().borrow()), None);
    let refused = order(&a, Order::Move { module: "printer".into(), nodes: vec![a.name.clone()] }).await;
    assert!(
        matches!(&refused, Done::Refused(why) if why.contains("does not start on a: a has no paper")),
        "{refused:?}"
    );
    c.sees_serving("printer", &["c"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_move_what_they_want_where_they_want_it() {
    let stage = shop();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    for (node, to) in [(&a, &b), (&b, &a), (&b, &b)] {
        for module in ["catalog", "carts"] {
            let nodes = vec![to.name.clone()];
            let done = order(node, Order::Move { module: module.to_owned(), nodes }).await;
            assert!(matches!(done, Done::Ok), "{module} to {}: {done:?}", to.name);
        }
        a.sees_serving("catalog", &[to.name.as_str()]).await;
        a.sees_owners("carts", &[to.name.as_str()]).await;
    }
    let wrong = order(&a, Order::Move { module: "carts".into(), nodes: vec![NodeName::new("z")] }).await;
    assert!(matches!(&wrong, Done::Refused(why) if why.contains("no node `z`; there are a, b")), "{wrong:?}");
    let wrong = order(&a, Order::Move { module: "cart".into(), nodes: vec![] }).await;
    assert!(matches!(&wrong, Done::Refused(why) if why.contains("no module `cart`")), "{wrong:?}");
    let wrong = a.member.order(json!({"fly": {}}), "user ada").await.expect_err("there is no such order");
    assert!(format!("{wrong:?}").contains("fly"), "{wrong:?}");
}

/// Who leads and what is held back, as a node says.
async fn told(node: &Node) -> (Option<NodeName>, Vec<NodeName>) {
    match order(node, Order::Show).await {
        Done::Shown { leader, degraded, .. } => (leader, degraded),
        other => panic!("it was asked to show: {other:?}"),
    }
}

/// Waits until a node says so.
async fn tells(node: &Node, leader: Option<&NodeName>, degraded: &[NodeName]) {
    let so = async {
        while told(node).await != (leader.cloned(), degraded.to_vec()) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(stage::PATIENCE, so).await;
    assert!(waited.is_ok(), "{} says {:?}, not {leader:?} and {degraded:?}", node.name, told(node).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_lost_at_once_are_held_back_until_people_say_go_on() {
    let stage = shop();
    let (a, b, c, d, e) =
        tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"), stage.node("d"), stage.node("e"));
    a.sees_owners("carts", &["a", "b", "c", "d", "e"]).await;
    let leads = leader(&stage).await;
    tells(&c, leads.as_ref(), &[]).await;
    let (mut left, mut others): (Vec<_>, Vec<_>) =
        [a, b, c, d, e].into_iter().partition(|node| Some(&node.name) == leads.as_ref());
    left.push(others.remove(3));
    let lost: Vec<_> = others.iter().map(|node| node.name.clone()).collect();
    let keys: Vec<_> = others.iter().map(|node| Op::Delete(of_life(NODE, node.life))).collect();
    drop(others);
    // As if their leases had ended in one moment.
    stage.store.commit(Txn::of(keys)).await.expect("it is there");
    left[1].sees("the lost ones gone", |plan| plan.nodes.len() == 2).await;
    tells(&left[1], leads.as_ref(), &lost).await;
    let (owners, epoch) = stage.owners("carts").await;
    assert_eq!((owners.len(), epoch), (5, 1), "nobody else has what they had: {owners:?}");
    assert!(matches!(order(&left[1], Order::GoOn).await, Done::Ok));
    let names: Vec<_> = left.iter().map(|node| node.name.as_str()).collect();
    for node in &left {
        node.sees_owners("carts", &names).await;
        tells(node, leads.as_ref(), &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_once_is_done_by_one_and_the_others_wait() {
    let stage = shop();
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    let Ok(OnceTurn::Run(ended)) = a.member.once("migrate").await else { panic!("nobody has it") };
    let (b, c) = (std::sync::Arc::new(b), std::sync::Arc::new(c));
    let ask = |node: &std::sync::Arc<Node>| {
        let node = node.clone();
        tokio::spawn(async move { node.member.once("migrate").await.expect("the store is there") })
    };
    let (of_b, of_c) = (ask(&b), ask(&c));
    ended(Err("no such table".to_owned())).await;
    for waiting in [of_b, of_c] {
        // Who was late to ask has the turn, and gives it back.
        match waiting.await.expect("it does not panic") {
            OnceTurn::Failed(cause) => assert_eq!(cause, "no such table"),
            OnceTurn::Run(ended) => ended(Err("no such table".to_owned())).await,
            OnceTurn::Done => panic!("it was not"),
        }
    }
    let OnceTurn::Run(ended) = ask(&b).await.expect("it does not panic") else { panic!("it is tried again") };
    let of_c = ask(&c);
    // The one that is at it dies.
    drop(ended);
    drop(b);
    let OnceTurn::Run(ended) = of_c.await.expect("it does not panic") else { panic!("the next one tries") };
    ended(Ok(())).await;
    assert!(matches!(a.member.once("migrate").await, Ok(OnceTurn::Done)));
    assert!(
        matches!(a.member.once("migrate2").await, Ok(OnceTurn::Run(_))),
        "another name is something else"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_one_instance_and_is_free_with_it() {
    let stage = shop();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    let register = async |node: &Node, count| {
        let holder =
            Holder { instance: node.instance(count), module: "room".into(), node: node.name.clone() };
        node.member
            .names(NameAsk::Register { name: "lobby".into(), holder })
            .await
            .expect("the store is there")
    };
    let whereis = async |node: &Node| match node
        .member
        .names(NameAsk::Whereis { name: "lobby".into() })
        .await
        .expect("the store is there")
    {
        NameAnswer::Holder(holder) => holder.map(|holder| holder.instance),
        other => panic!("{other:?}"),
    };
    assert_eq!(register(&a, 1).await, NameAnswer::Done);
    assert_eq!(register(&a, 1).await, NameAnswer::Done, "it has it already");
    let NameAnswer::Taken(holder) = register(&b, 1).await else { panic!("it is another one's") };
    assert_eq!(holder.instance, a.instance(1));
    assert_eq!(whereis(&b).await, Some(a.instance(1)));
    let of = a.member.names(NameAsk::Of { instances: vec![a.instance(1), a.instance(2)] }).await;
    assert_eq!(of.expect("known here"), NameAnswer::Of(vec![(a.instance(1), vec!["lobby".into()])]));
    a.member.ended(a.instance(1)).await.expect("it is free");
    assert_eq!(whereis(&b).await, None);
    assert_eq!(register(&b, 2).await, NameAnswer::Done);
    let unregistered = a.member.names(NameAsk::Unregister { name: "lobby".into() }).await;
    assert!(matches!(unregistered, Ok(NameAnswer::Holder(Some(holder))) if holder.instance == b.instance(2)));
    assert_eq!(register(&b, 3).await, NameAnswer::Done);
    // With the node go its names.
    let gone = b.name.clone();
    drop(b);
    a.sees("b gone", |plan| !plan.nodes.contains_key(&gone)).await;
    assert_eq!(whereis(&a).await, None);
    assert_eq!(register(&a, 4).await, NameAnswer::Done);
}
