//! Nodes that are killed, with and without the lead; and etcd's own members.

use std::time::Instant;

use crate::etcd::Etcd;
use crate::node::{Node, play};

#[test]
fn nodes_find_each_other_through_etcd_and_calls_reach_all_of_them() {
    play(|| {
        let etcd = Etcd::start();
        let mut nodes = Node::start_all(&etcd, &["a", "b", "c"]);
        for node in &nodes {
            node.sees_settled(&["a", "b", "c"]);
        }
        for node in &mut nodes {
            node.load();
            node.goes_on(20);
        }
        // One instance for each name, whoever asks.
        let said: Vec<_> = nodes.iter_mut().map(|node| node.ask("add ada")).collect();
        let homes: std::collections::BTreeSet<_> =
            said.iter().map(|said| said.split_once(' ').unwrap().1).collect();
        assert_eq!(homes.len(), 1, "{said:?}");
        assert!(said.iter().zip(1..).all(|(said, n)| said.starts_with(&format!("{n} "))), "{said:?}");
        for node in &mut nodes {
            let tally = node.tally();
            assert!(tally.failed.is_empty(), "{}: {tally:#?}", node.name);
        }
    });
}

#[test]
fn a_node_that_is_killed_is_replaced_and_calls_that_may_be_repeated_do_not_fail() {
    play(|| {
        let etcd = Etcd::start();
        let mut nodes = Node::start_all(&etcd, &["a", "b", "c", "d"]);
        nodes[0].sees_settled(&["a", "b", "c", "d"]);
        nodes.iter_mut().for_each(Node::load);
        nodes.iter_mut().for_each(|node| node.goes_on(20));
        let mut names = vec!["a", "b", "c", "d"];
        for at in [3, 0] {
            // The first to come leads, whichever that was: one of the two does, or neither; both is seen in the loop.
            let killed = Instant::now();
            nodes[at].kill();
            nodes.remove(at);
            names.remove(at);
            nodes[0].sees_settled(&names);
            println!("{} nodes have everything {:?} after one was killed", names.len(), killed.elapsed());
            nodes.iter_mut().for_each(|node| node.goes_on(20));
        }
        for node in &mut nodes {
            let tally = node.tally();
            println!("{}: {:?} {:?}", node.name, tally.well, tally.failed);
            assert_eq!(tally.failed("page"), 0, "{}: {tally:#?}", node.name);
            for how in tally.failed.keys() {
                assert!(
                    how.contains("SKY-111") || how.contains("SKY-106"),
                    "lost or unreachable: {how} {tally:#?}"
                );
            }
        }
    });
}
