//! What modules need, met over unequal machines; and what cannot be met.

use std::collections::BTreeMap;

use serde_json::json;
use skybox_cloud::parent::{Done, Order};
use skybox_cloud::records::{Far, RoundTrip, text};
use skybox_cloud::store::{Op, Store, Txn};
use skybox_core::{ModulePlan, Plan, Replicas};
use skybox_node::control::DeclaredNeeds;

use crate::order;
use crate::stage::{Machine, Node, Stage, needs, serving};

fn two() -> Replicas {
    Replicas::fixed(2)
}

fn one() -> Replicas {
    Replicas::fixed(1)
}

fn machine(cores: u32, gibibytes: u64, labels: &[(&'static str, &'static str)]) -> Machine {
    Machine { cpu_milli: cores * 1000, memory_bytes: gibibytes << 30, labels: labels.to_vec() }
}

fn failed(plan: &Plan, module: &str) -> Option<String> {
    match plan.modules.get(module) {
        Some(ModulePlan::Replicated { failed, .. }) => failed.clone(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_need_is_met_where_it_can_be() {
    let of = |needs: DeclaredNeeds| needs;
    let stage = Stage::new([
        needs("encoder", one(), 6_000, DeclaredNeeds::default()),
        needs("index", one(), 0, of(DeclaredNeeds { memory_bytes: 20 << 30, ..Default::default() })),
        needs("signer", one(), 0, of(DeclaredNeeds { on: Some("arch=arm64".into()), ..Default::default() })),
        needs("front", two(), 0, of(DeclaredNeeds { spread: Some("zone".into()), ..Default::default() })),
        needs("cache", two(), 0, of(DeclaredNeeds { with: Some("front".into()), ..Default::default() })),
        needs("batch", one(), 0, of(DeclaredNeeds { apart: Some("front".into()), ..Default::default() })),
        needs("dreamer", one(), 64_000, DeclaredNeeds::default()),
        needs("riscy", one(), 0, of(DeclaredNeeds { on: Some("arch=riscv".into()), ..Default::default() })),
    ]);
    let (small, wide, deep, arm) = tokio::join!(
        stage.node_on("small", machine(2, 4, &[("zone", "a"), ("arch", "x86_64")])),
        stage.node_on("wide", machine(8, 4, &[("zone", "a"), ("arch", "x86_64")])),
        stage.node_on("deep", machine(2, 32, &[("zone", "b"), ("arch", "x86_64")])),
        stage.node_on("arm", machine(2, 4, &[("zone", "b"), ("arch", "arm64")])),
    );
    small.sees_serving("encoder", &["wide"]).await;
    small.sees_serving("index", &["deep"]).await;
    wide.sees_serving("signer", &["arm"]).await;
    let zone = |node: &str| if ["small", "wide"].contains(&node) { "a" } else { "b" };
    let plan = deep
        .sees("two fronts in two zones, a cache beside each, and batch apart", |plan| {
            let front = serving(plan, "front");
            let zones: std::collections::BTreeSet<_> = front.iter().map(|node| zone(node)).collect();
            let batch = serving(plan, "batch");
            zones.len() == 2
                && serving(plan, "cache") == front
                && batch.len() == 1
                && batch.is_disjoint(&front)
        })
        .await;
    println!("{:?}", plan.modules.keys().map(|module| (module, serving(&plan, module))).collect::<Vec<_>>());
    let plan = arm.sees("what cannot be met", |plan| failed(plan, "dreamer").is_some()).await;
    let why = failed(&plan, "dreamer").expect("just seen");
    assert!(why.contains("needs 64 cores; the freest of 4 nodes has"), "it says what is missing: {why}");
    let why = failed(&plan, "riscy").expect("nobody has it");
    assert!(why.contains("arch=riscv"), "{why}");
    println!("{why}");
}

async fn far(stage: &Stage, node: &Node, us: u64) {
    let figure = RoundTrip { round_trip_us: us, method: "tcp".to_owned() };
    let far = Far {
        host: format!("host-of-{}", node.name),
        round_trips: BTreeMap::from([("db".to_owned(), figure)]),
    };
    let key = format!("far/{:016x}", node.life.0);
    stage.store.commit(Txn::of([Op::put(key, text(&far))])).await.expect("it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_near_something_is_where_that_is_closest_and_goes_with_it() {
    let near = DeclaredNeeds { near: Some("db".into()), ..Default::default() };
    let stage = Stage::new([needs("ledger", one(), 0, near)]);
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    far(&stage, &a, 20_000).await;
    far(&stage, &b, 200).await;
    a.sees_serving("ledger", &["b"]).await;
    far(&stage, &a, 200).await;
    far(&stage, &b, 20_000).await;
    a.sees_serving("ledger", &["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_say_how_many_there_are_and_which_nodes_get_nothing_more() {
    let stage = Stage::new([needs("search", one(), 0, DeclaredNeeds::default())]);
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    let cordon = |node: &Node, on| Order::Cordon { node: node.name.clone(), on };
    assert!(matches!(order(&a, cordon(&c, true)).await, Done::Ok));
    let scale = |replicas: &str| Order::Scale { module: "search".to_owned(), replicas: replicas.to_owned() };
    assert!(matches!(order(&a, scale("2")).await, Done::Ok));
    b.sees("two of them", |plan| serving(plan, "search").len() == 2).await;
    assert!(!serving(&b.member_plan(), "search").contains("c"), "it gets nothing more");
    assert!(matches!(order(&b, cordon(&c, false)).await, Done::Ok));
    assert!(matches!(order(&b, scale("per-node")).await, Done::Ok));
    a.sees_serving("search", &["a", "b", "c"]).await;
    assert!(matches!(order(&c, scale("")).await, Done::Ok), "as the program says");
    a.sees("one of them", |plan| serving(plan, "search").len() == 1).await;
    for (said, why_not) in [("many", "many"), ("2..=8", "nobody measures how much it has to do")] {
        let refused = order(&a, scale(said)).await;
        assert!(matches!(&refused, Done::Refused(why) if why.contains(why_not)), "{refused:?}");
    }
    let wrong = a.order_raw(json!({"cordon": {"node": "z", "on": true}})).await;
    assert!(matches!(&wrong, Done::Refused(why) if why.contains("no node `z`")), "{wrong:?}");
}
