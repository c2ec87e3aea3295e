//! Nodes that are stopped for longer than others wait for them, and go on; and nodes that leave.

use rustix::process::Signal;

use crate::etcd::Etcd;
use crate::node::{Node, play};
use crate::runs;

#[test]
fn a_node_that_was_stopped_runs_no_key_that_others_have_by_then() {
    play(|| {
        let etcd = Etcd::start();
        let mut nodes = Node::start_all(&etcd, &["a", "b", "c"]);
        nodes[0].sees_settled(&["a", "b", "c"]);
        nodes.iter_mut().for_each(Node::load);
        nodes.iter_mut().for_each(|node| node.goes_on(40));
        nodes[2].signal(Signal::STOP);
        let stopped = runs::now_us();
        nodes[0].sees_settled(&["a", "b"]);
        nodes[0].goes_on(200);
        let woken = runs::now_us();
        nodes[2].signal(Signal::CONT);
        nodes[2].logs(&["this node was taken for lost"]);
        nodes[0].sees("it as a member again", |plan| plan.nodes.len() == 3);
        nodes.iter_mut().for_each(|node| node.goes_on(40));
        // Of its calls, those that it made of its own keys at the moment when it woke were refused, or went to others.
        let tally = nodes[2].tally();
        println!("the one that was stopped: {:?} {:?}", tally.well, tally.failed);
        let moved = runs::each_key_has_one_instance_after_the_other();
        assert!(moved > 20, "what the stopped node had, others have: {moved} keys moved");
        for (user, runs) in runs::all() {
            let late = runs.iter().find(|(at, instance)| {
                runs::node_of(instance) == "c" && *at > stopped + 3_000_000 && *at < woken
            });
            assert_eq!(late, None, "{user} ran on a stopped node");
        }
    });
}

#[test]
fn a_node_that_is_told_to_end_hands_over_and_no_call_fails() {
    play(|| {
        let etcd = Etcd::start();
        let mut nodes = Node::start_all(&etcd, &["a", "b", "c"]);
        nodes[0].sees_settled(&["a", "b", "c"]);
        nodes[..2].iter_mut().for_each(Node::load);
        nodes[..2].iter_mut().for_each(|node| node.goes_on(40));
        nodes[2].signal(Signal::TERM);
        assert_eq!(nodes[2].answer(), "drained", "{:#?}", nodes[2].log());
        assert!(nodes[2].end().success());
        nodes[0].sees_settled(&["a", "b"]);
        nodes[..2].iter_mut().for_each(|node| node.goes_on(40));
        for node in &mut nodes[..2] {
            let tally = node.tally();
            assert!(tally.failed.is_empty(), "{}: {tally:#?}", node.name);
        }
        runs::each_key_has_one_instance_after_the_other();
    });
}

#[test]
fn all_nodes_are_replaced_one_after_the_other_and_no_call_fails() {
    play(|| {
        let etcd = Etcd::start();
        let mut caller = Node::start(&etcd, "caller");
        let mut nodes = Node::start_all(&etcd, &["a", "b"]);
        caller.sees_settled(&["a", "b", "caller"]);
        caller.load();
        for node in &mut nodes {
            node.signal(Signal::TERM);
            assert_eq!(node.answer(), "drained", "{:#?}", node.log());
            assert!(node.end().success());
            *node = Node::start(&etcd, &node.name.clone());
            caller.sees_settled(&["a", "b", "caller"]);
            caller.goes_on(40);
        }
        let tally = caller.tally();
        assert!(tally.failed.is_empty(), "{tally:#?}");
    });
}
