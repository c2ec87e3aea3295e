//! An etcd that loses its members, one after the other or all at once.

use std::time::Duration;

use skybox_core::ModulePlan;

use crate::etcd::Etcd;
use crate::node::{Node, play};

/// How often etcd's leader is killed.
const ROUNDS: usize = 20;

/// Three nodes that call each other without end; and who owns what.
fn under_load() -> (Etcd, Vec<Node>, skybox_core::Shards) {
    let etcd = Etcd::start();
    let mut nodes = Node::start_all(&etcd, &["a", "b", "c"]);
    nodes[0].sees_settled(&["a", "b", "c"]);
    let before = owners(&nodes[0]);
    nodes.iter_mut().for_each(Node::load);
    (etcd, nodes, before)
}

#[test]
fn etcds_leader_is_killed_time_after_time_and_no_call_fails() {
    play(|| {
        let (mut etcd, mut nodes, before) = under_load();
        for _ in 0..ROUNDS {
            let leader = etcd.leader();
            etcd.kill(leader);
            etcd.leader();
            nodes.iter_mut().for_each(|node| node.goes_on(10));
            etcd.begin(leader);
        }
        etcd.leader();
        for node in &mut nodes {
            let tally = node.tally();
            assert!(tally.failed.is_empty(), "{}: {tally:#?}", node.name);
            assert!(!node.log().iter().any(|line| line.contains("SKY-308")), "{:#?}", node.log());
        }
        assert!(before == owners(&nodes[0]), "nothing has moved");
    });
}

#[test]
fn while_all_of_etcd_is_away_nothing_moves_and_keys_answer_at_once() {
    play(|| {
        let (mut etcd, mut nodes, before) = under_load();
        nodes.iter_mut().for_each(|node| node.goes_on(20));
        (0..3).for_each(|member| etcd.kill(member));
        for node in &nodes {
            node.logs(&["SKY-308", "keyed instances are killed"]);
        }
        let without_keys = ["page", "order", "double", "saved"];
        let said = nodes[0].ask("add ada");
        assert!(said.contains("SKY-101") && said.contains("has not reached the store in time"), "{said}");
        let (failed, began) = (nodes[0].tally().failed("cart"), std::time::Instant::now());
        nodes.iter_mut().for_each(|node| node.goes_on_with(&without_keys, 100));
        let more = nodes[0].tally().failed("cart") - failed;
        println!("{more} calls of keys were refused within {:?}", began.elapsed());
        assert!(more > 50, "each is answered at once: {more}");
        // Longer than any lease lasts.
        // Sleeps because it is the time of an outage.
        std::thread::sleep(outage());
        (0..3).for_each(|member| etcd.begin(member));
        etcd.leader();
        nodes.iter_mut().for_each(|node| node.goes_on(100));
        assert!(before == owners(&nodes[0]), "nothing has moved");
        for node in &mut nodes {
            let tally = node.tally();
            println!("{}: {:?} {:?}", node.name, tally.well, tally.failed);
            for what in without_keys {
                assert_eq!(tally.failed(what), 0, "{}: {tally:#?}", node.name);
            }
        }
    });
}

/// How long etcd is away: in the suite a few leases, and as long as one says.
fn outage() -> Duration {
    let said = std::env::var("SKYBOX_TEST_OUTAGE_S").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(said.unwrap_or(10))
}

fn owners(node: &Node) -> skybox_core::Shards {
    match &node.plan().modules["cart"] {
        ModulePlan::Keyed(shards) => shards.clone(),
        other => panic!("it is keyed: {other:?}"),
    }
}

/// So many of ten nodes are lost in one moment.
const LOST: usize = 4;

#[test]
fn many_nodes_lost_at_once_are_not_believed_until_somebody_says_so() {
    play(|| {
        let etcd = Etcd::start();
        let names: Vec<_> = (0..10).map(|n| format!("n{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut nodes = Node::start_all(&etcd, &names);
        nodes[0].sees_settled(&names);
        let before = owners(&nodes[0]);
        // Whoever leads may be among them.
        for node in nodes.drain(10 - LOST..) {
            node.signal(rustix::process::Signal::KILL);
        }
        let looking = &nodes[0];
        let shown = || looking.show()["shown"]["degraded"].as_array().map_or(0, Vec::len);
        looking.waits("the brake to hold", || shown() == LOST);
        // Longer than it would take to believe it.
        // Sleeps because nothing is to happen.
        std::thread::sleep(Duration::from_secs(5));
        let (after, names) = (owners(looking), |shards: &skybox_core::Shards, at: usize| {
            shards.nodes.get(usize::from(shards.owner[at])).cloned()
        });
        let lives = |name: &skybox_core::NodeName| nodes.iter().any(|node| node.name == name.as_str());
        for shard in 0..usize::from(skybox_core::SHARD_COUNT) {
            let owner = names(&before, shard).filter(lives);
            assert_eq!(names(&after, shard), owner, "shard {shard}: what the lost had, nobody has");
        }
        assert_eq!(looking.order(serde_json::json!("go-on")), serde_json::json!("ok"));
        let left: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        looking.sees_settled(&left);
        looking.waits("the brake to be released", || shown() == 0);
    });
}
