//! A module that is near a real Postgres, whose distance changes.

use std::time::{Duration, Instant};

use skybox_core::ModulePlan;
use skybox_hosts::Postgres;

use crate::hosts::Cloud;
use crate::node::{Node, play};
use crate::runs;

/// Half of the way to and fro, to all hosts but one.
const FAR: Duration = Duration::from_millis(10);

fn is_on(plan: &skybox_core::Plan, node: &str) -> bool {
    let Some(ModulePlan::Replicated { assigned, serving, .. }) = plan.modules.get("ledger") else {
        return false;
    };
    assigned == serving && serving.len() == 1 && serving[0].as_str() == node
}

/// Names a file to which the run is written, if it is to be seen: `cargo xtask chart` draws it.
const SERIES: &str = "SKYBOX_TEST_SERIES";
/// Payments of each node that are waited for before and after: enough for a median, and for some seconds of a chart.
const FEW: u64 = 100;
const MANY: u64 = 500;

/// Every payment: when it had ended, and what it had taken, in microseconds.
#[derive(Default)]
struct Payments(Vec<(u64, u64)>);

impl Payments {
    /// What payments take from now on; their median in microseconds.
    fn median(&mut self, nodes: &mut [Node], count: u64) -> u64 {
        let mut took = Vec::new();
        for node in nodes.iter_mut() {
            self.0.extend(node.paid());
            node.goes_on_with(&["pay"], count);
            let paid = node.paid();
            took.extend(paid.iter().map(|(_, took)| *took));
            self.0.extend(paid);
        }
        took.sort_unstable();
        took[took.len() / 2]
    }

    /// Writes all of them, and what happened meanwhile, as lines of a time in microseconds and what there was then.
    fn write(&mut self, nodes: &mut [Node], happened: [(&str, u64); 3]) {
        let Some(file) = std::env::var_os(SERIES) else { return };
        for node in nodes {
            self.0.extend(node.paid());
        }
        self.0.sort_unstable();
        let mut lines: Vec<_> = happened.iter().map(|(what, at)| format!("{at} {what}")).collect();
        lines.extend(self.0.iter().map(|(at, took)| format!("{at} took {took}")));
        std::fs::write(file, lines.join("\n") + "\n").expect("its directory is there");
    }
}

#[test]
fn what_is_near_a_database_goes_where_that_is_closest_and_no_call_fails() {
    play(|| {
        let names = ["a", "b", "c"];
        let mut database = None;
        let started = Cloud::start_with(&names, |hosts| {
            // It has a host of its own, after those of the nodes.
            let db = Cloud::host_of(names.len());
            database = Some(Postgres::start(hosts, db).expect("Postgres runs"));
            for (node, far) in [(0, FAR), (1, Duration::ZERO), (2, FAR)] {
                hosts.delay_between(db, Cloud::host_of(node), far).expect("it is far away");
            }
            let address = database.as_ref().expect("just started").address().to_string();
            vec![
                ("SKYBOX_RESOURCES__DB__ADDRESS".to_owned(), address),
                ("SKYBOX_PLAN__MIN_STAY".to_owned(), "5s".to_owned()),
                ("SKYBOX_PLAN__SETTLE".to_owned(), "3s".to_owned()),
            ]
        });
        let Some(mut cloud) = started else { return };
        let began = Instant::now();
        cloud.nodes[0].sees("the ledger where its database is", |plan| is_on(plan, "b"));
        println!("placed {:?} after the nodes were there", began.elapsed());
        for node in &mut cloud.nodes {
            assert_eq!(node.ask("pay"), "paying");
        }
        let mut payments = Payments::default();
        let count = if std::env::var_os(SERIES).is_some() { MANY } else { FEW };
        let started = runs::now_us();
        let before = payments.median(&mut cloud.nodes, count);
        let db = Cloud::host_of(names.len());
        cloud.hosts.delay_between(db, Cloud::host_of(0), Duration::ZERO).expect("it is close now");
        cloud.hosts.delay_between(db, Cloud::host_of(1), FAR).expect("it is far away now");
        let swapped = runs::now_us();
        let between = payments.median(&mut cloud.nodes, FEW);
        cloud.nodes[2].sees("the ledger where its database is now", |plan| is_on(plan, "a"));
        let moved = runs::now_us();
        let after = payments.median(&mut cloud.nodes, count);
        payments.write(&mut cloud.nodes, [("begins", started), ("swapped", swapped), ("moved", moved)]);
        println!(
            "moved {:?} after the distances were swapped; four round trips take {before} us before, {between} us until \
             it moves, {after} us after",
            Duration::from_micros(moved - swapped)
        );
        println!("{:#}", cloud.nodes[2].order(serde_json::json!({"explain": {"module": "ledger"}})));
        for node in &mut cloud.nodes {
            let tally = node.tally();
            println!("{}: {} payments", node.name, tally.well("pay"));
            assert_eq!(tally.failed("pay"), 0, "{}: {tally:#?}", node.name);
        }
        drop(database);
    });
}
