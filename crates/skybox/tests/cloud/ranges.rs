//! A module whose number of instances follows what there is to do.

use std::time::{Duration, Instant};

use skybox_core::ModulePlan;

use crate::etcd::Etcd;
use crate::node::{Node, play};

/// How long one picture takes.
const TAKES: Duration = Duration::from_millis(20);

/// Renders pictures, four at once.
#[derive(Debug, Default)]
pub struct Renderer {}

#[skybox::module(replicas = 1..=3, concurrency = 4)]
impl Renderer {
    pub async fn render(&self, n: u64) -> skybox::Result<u64> {
        // Sleeps because that is how long it takes.
        tokio::time::sleep(TAKES).await;
        Ok(n)
    }
}

/// How many serve it, if those are all that are to.
fn count(plan: &skybox_core::Plan) -> Option<usize> {
    match plan.modules.get("renderer") {
        Some(ModulePlan::Replicated { serving, assigned, .. }) => {
            (serving.len() == assigned.len()).then_some(serving.len())
        }
        _ => None,
    }
}

#[test]
fn a_range_grows_under_load_and_shrinks_when_that_is_gone_and_no_call_fails() {
    play(|| {
        let etcd = Etcd::start();
        let further = [
            ("SKYBOX_PLAN__MIN_STAY", "1s"),
            ("SKYBOX_PLAN__SETTLE", "2s"),
            ("SKYBOX_PLAN__SHRINK_AFTER", "3s"),
        ];
        let further = further.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let names = ["a", "b", "c"];
        let mut nodes: Vec<_> = names.iter().map(|name| Node::begin_with(&etcd, name, &further)).collect();
        nodes.iter_mut().for_each(Node::is_there);
        nodes[0].sees_settled(&names);
        nodes[0].sees("one renderer", |plan| count(plan) == Some(1));
        let began = Instant::now();
        for node in &mut nodes {
            assert_eq!(node.ask("render"), "rendering");
        }
        nodes[0].sees("three renderers", |plan| count(plan) == Some(3));
        println!("three renderers {:?} after there was work for six", began.elapsed());
        nodes.iter_mut().for_each(|node| node.goes_on_with(&["render"], 200));
        let explained = nodes[1].order(serde_json::json!({"explain": {"module": "renderer"}}));
        println!("{explained:#}");
        for node in &mut nodes {
            assert_eq!(node.ask("rest"), "resting");
        }
        let rested = Instant::now();
        nodes[0].sees("one renderer again", |plan| count(plan) == Some(1));
        println!("one renderer {:?} after there was nothing more to do", rested.elapsed());
        for node in &mut nodes {
            let tally = node.tally();
            println!("{}: {} pictures", node.name, tally.well("render"));
            assert!(tally.failed.is_empty(), "{}: {tally:#?}", node.name);
        }
    });
}
