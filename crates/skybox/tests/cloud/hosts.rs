//! The same on hosts of their own, over mutual TLS: networks that are cut.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use skybox_cloud::certs::Authority;
use skybox_hosts::{EtcdCluster, Hosts};
use skybox_node::tls::Identity;

use crate::node::{Node, PROGRAM, play};
use crate::runs;

/// Hosts that have a member of etcd; those after them have nodes.
const STORES: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Hosts, an etcd on three of them, and a node on each of the others but the last, which a test may use.
pub struct Cloud {
    pub nodes: Vec<Node>,
    // Dropped after the nodes, and the hosts last.
    _etcd: EtcdCluster,
    pub hosts: Hosts,
    directory: PathBuf,
}

impl Cloud {
    /// Starts nodes of these names; nothing if this user may not make hosts.
    fn start(names: &[&str]) -> Option<Cloud> {
        Cloud::start_with(names, |_| Vec::new())
    }

    /// The same, with something on the hosts before that says further variables of the nodes' environment.
    pub fn start_with(names: &[&str], first: impl FnOnce(&Hosts) -> Vec<(String, String)>) -> Option<Cloud> {
        let hosts = Hosts::for_test(STORES + names.len() + 1)?;
        let environment = first(&hosts);
        let etcd = EtcdCluster::start(&hosts, 0..STORES).expect("etcd runs");
        etcd.wait_for_leader().expect("it has a leader");
        let directory = std::env::temp_dir().join(format!("skybox-cloud-hosts-{}", std::process::id()));
        let authority = Authority::make(PROGRAM, DAY).expect("an authority is made");
        authority.save(&directory).expect("the directory is new");
        let nodes = names.iter().zip(STORES..).map(|(name, at)| {
            let issued = authority.issue(&Identity::Node((*name).to_owned()), DAY).expect("it is issued");
            let files = issued.write(&directory).expect("the directory is there");
            let text = |path: &Path| path.to_string_lossy().into_owned();
            let further = [
                ("SKYBOX_TLS__AUTHORITY", text(&files.authority)),
                ("SKYBOX_TLS__CERTIFICATE", text(&files.certificate)),
                ("SKYBOX_TLS__KEY", text(&files.key)),
            ];
            let further = further.map(|(name, value)| (name.to_owned(), value));
            let further: Vec<_> = further.into_iter().chain(environment.clone()).collect();
            Node::begin_on(hosts.host(at), &etcd.endpoints(), name, &further)
        });
        let mut nodes: Vec<_> = nodes.collect();
        nodes.iter_mut().for_each(Node::is_there);
        nodes[0].sees_settled(names);
        Some(Cloud { nodes, _etcd: etcd, hosts, directory })
    }

    /// The host of a node.
    pub fn host_of(node: usize) -> usize {
        STORES + node
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// So often is a host cut off: a few times in the suite, and as often as one says.
fn rounds() -> usize {
    std::env::var("SKYBOX_TEST_PARTITIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

#[test]
fn five_hosts_call_each_other_over_tls() {
    play(|| {
        let names = ["a", "b", "c", "d", "e"];
        let Some(mut cloud) = Cloud::start(&names) else { return };
        for node in &mut cloud.nodes {
            node.sees_settled(&names);
            node.load();
            node.goes_on(40);
        }
        for node in &mut cloud.nodes {
            let tally = node.tally();
            assert!(tally.failed.is_empty(), "{}: {tally:#?}", node.name);
        }
    });
}

#[test]
fn keys_of_a_host_that_is_cut_off_stop_before_others_start_them() {
    play(|| {
        let names = ["a", "b", "c"];
        let Some(mut cloud) = Cloud::start(&names) else { return };
        cloud.nodes.iter_mut().for_each(Node::load);
        cloud.nodes.iter_mut().for_each(|node| node.goes_on(40));
        for round in 0..rounds() {
            let at = round % names.len();
            let others: Vec<_> = names.iter().copied().filter(|name| *name != names[at]).collect();
            let (cut, before) = (runs::now_us(), runs::each_key_has_one_instance_after_the_other());
            cloud.hosts.cut(Cloud::host_of(at)).expect("it is cut off");
            cloud.nodes[at].logs_again("keyed instances are killed");
            let other = (at + 1) % names.len();
            cloud.nodes[other].sees_settled(&others);
            for node in (0..names.len()).filter(|node| *node != at) {
                cloud.nodes[node].goes_on(200);
            }
            let last = runs::all().into_values().flatten().filter(|(_, run)| runs::node_of(run) == names[at]);
            let last = last.map(|(when, _)| when).max().unwrap_or(cut);
            let moved = runs::each_key_has_one_instance_after_the_other() - before;
            println!(
                "round {round}: {} ran keys for {:?} after it was cut off, {moved} were started elsewhere",
                names[at],
                Duration::from_micros(last.saturating_sub(cut))
            );
            assert!(moved > 20, "what it had, others have: {moved}");
            cloud.hosts.heal(Cloud::host_of(at)).expect("it is there again");
            cloud.nodes[other].sees("it as a member again", |plan| plan.nodes.len() == names.len());
            cloud.nodes[at].goes_on(20);
            // Each of them has keys again that can be taken from it.
            let done = cloud.nodes[other].order(json!({"move": {"module": "cart", "nodes": names}}));
            assert_eq!(done, json!("ok"), "{done}");
            cloud.nodes[other].sees_settled(&names);
            cloud.nodes.iter_mut().for_each(|node| node.goes_on(60));
        }
        runs::each_key_has_one_instance_after_the_other();
    });
}

#[test]
fn a_node_that_reaches_others_but_not_the_store_serves_what_has_no_keys() {
    play(|| {
        let names = ["a", "b", "c"];
        let Some(mut cloud) = Cloud::start(&names) else { return };
        cloud.nodes.iter_mut().for_each(Node::load);
        cloud.nodes.iter_mut().for_each(|node| node.goes_on(20));
        for store in 0..STORES {
            cloud.hosts.cut_between(Cloud::host_of(2), store).expect("it is cut");
        }
        cloud.nodes[2].logs(&["keyed instances are killed"]);
        cloud.nodes[0].sees_settled(&["a", "b"]);
        // It still calls the others, and knows of nobody who would have its keys.
        cloud.nodes[2].goes_on_with(&["page", "order", "double"], 100);
        let said = cloud.nodes[2].tally();
        assert_eq!(["page", "double"].map(|what| said.failed(what)), [0; 2], "{said:#?}");
        // What was under way when the others took it for lost may have run.
        assert!(
            !said.failed.keys().any(|how| how.starts_with("order") && !how.contains("SKY-111")),
            "{said:#?}"
        );
        for store in 0..STORES {
            cloud.hosts.heal_between(Cloud::host_of(2), store).expect("it is healed");
        }
        cloud.nodes[0].sees("it as a member again", |plan| plan.nodes.len() == names.len());
        cloud.nodes.iter_mut().for_each(|node| node.goes_on(60));
        runs::each_key_has_one_instance_after_the_other();
    });
}

/// The nodes that most others do not reach, as a node says.
fn unreached(node: &Node) -> Vec<String> {
    serde_json::from_value(node.show()["shown"]["unreached"].clone()).expect("names")
}

#[test]
fn a_host_that_reaches_the_store_and_no_other_node_hands_over_until_it_is_reached_again() {
    play(|| {
        let names = ["a", "b", "c"];
        let Some(mut cloud) = Cloud::start(&names) else { return };
        cloud.nodes.iter_mut().for_each(Node::load);
        // Once all 256 keys are there, and then all of them again.
        cloud.nodes.iter_mut().for_each(|node| node.goes_on_with(&["cart"], 300));
        let before = runs::each_key_has_one_instance_after_the_other();
        for other in [0, 1] {
            cloud.hosts.cut_between(Cloud::host_of(2), Cloud::host_of(other)).expect("it is cut");
        }
        let cut = std::time::Instant::now();
        cloud.nodes[0].waits("that c is not reached", || unreached(&cloud.nodes[0]) == ["c"]);
        println!("c counted as not reached {:?} after it was cut off", cut.elapsed());
        let owners = |plan: &skybox_core::Plan| match plan.modules.get("cart") {
            Some(skybox_core::ModulePlan::Keyed(shards)) => {
                let owned = shards.owner.iter().all(|owner| usize::from(*owner) < shards.nodes.len());
                owned.then(|| shards.nodes.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            _ => None,
        };
        cloud.nodes[0]
            .sees("all keys on a and b", |plan| owners(plan).is_some_and(|nodes| nodes == ["a", "b"]));
        println!("others had its keys {:?} after it was cut off", cut.elapsed());
        assert_eq!(unreached(&cloud.nodes[2]), ["c"], "it is told so itself");
        assert_eq!(cloud.nodes[2].plan().nodes.len(), 3, "it is a member as before");
        for node in [0, 1] {
            cloud.nodes[node].goes_on_with(&["cart"], 300);
        }
        assert!(runs::each_key_has_one_instance_after_the_other() > before, "what it had, others have");
        for other in [0, 1] {
            cloud.hosts.heal_between(Cloud::host_of(2), Cloud::host_of(other)).expect("it is healed");
        }
        cloud.nodes[0].waits("that c is reached again", || unreached(&cloud.nodes[0]).is_empty());
        let done = cloud.nodes[0].order(json!({"move": {"module": "cart", "nodes": names}}));
        assert_eq!(done, json!("ok"), "{done}");
        cloud.nodes[0].sees_settled(&names);
        cloud.nodes.iter_mut().for_each(|node| node.goes_on(60));
        runs::each_key_has_one_instance_after_the_other();
    });
}
