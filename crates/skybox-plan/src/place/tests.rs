//! Small clouds, told in a few words, and where the plan puts things.

mod events;
mod hour;
mod keyed;
mod moves;
mod near;
mod relations;
mod scale;
mod sentences;
mod small;

use std::collections::BTreeMap;

use skybox_core::{ModuleKind, NodeName, Replicas};

use super::{Decision, Facts, Host, Module, Node, NodeState, Reason, place};

const MINUTE_MS: u64 = 60_000;

fn name(n: u32) -> NodeName {
    NodeName::new(format!("node-{n}"))
}

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').expect("key=value"));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// One node a host: its cores, its memory in GiB, its labels.
fn cloud(hosts: &[(u64, u64, &str)]) -> Facts {
    let mut facts = Facts { now_ms: 60 * MINUTE_MS, ..Facts::default() };
    for (index, (cores, gib, text)) in hosts.iter().enumerate() {
        add_node(&mut facts, index as u32 + 1, text);
        facts.hosts.push(Host {
            name: format!("host-{}", index + 1),
            cpu_milli: cores * 1_000,
            memory_bytes: gib << 30,
            gpu: 0,
        });
    }
    facts
}

/// Nodes that are all alike.
fn nodes(count: u32) -> Facts {
    cloud(&vec![(8, 16, ""); count as usize])
}

fn add_node(facts: &mut Facts, n: u32, text: &str) {
    let node =
        Node { name: name(n), host: format!("host-{n}"), labels: labels(text), state: NodeState::Open };
    facts.nodes.push(node);
}

fn set_state(facts: &mut Facts, n: u32, state: NodeState) {
    facts.nodes.iter_mut().find(|node| node.name == name(n)).expect("there is one").state = state;
}

fn replicated(name: &str, count: u32) -> Module {
    Module::new(name, ModuleKind::Replicated, Replicas::fixed(count))
}

fn cores(name: &str, count: u32, cores: u64) -> Module {
    Module { cpu_milli: cores * 1_000, ..replicated(name, count) }
}

fn at(decision: &Decision, module: &str) -> String {
    let nodes = decision.placement.modules[module].nodes();
    nodes.map(|node| node.as_str().trim_start_matches("node-")).collect::<Vec<_>>().join(" ")
}

fn moves(decision: &Decision) -> Vec<String> {
    let number = |node: &Option<NodeName>| {
        node.as_ref().map_or("-".to_owned(), |node| node.as_str().trim_start_matches("node-").to_owned())
    };
    let told = decision
        .moves
        .iter()
        .map(|step| format!("{} {}>{} {}", step.module, number(&step.from), number(&step.to), step.reason));
    told.collect()
}

fn why(decision: &Decision) -> Vec<String> {
    decision
        .unplaced
        .iter()
        .map(|unplaced| format!("{} {}: {}", unplaced.module, unplaced.missing, unplaced.why))
        .collect()
}

fn missing(decision: &Decision) -> u32 {
    decision.unplaced.iter().map(|unplaced| unplaced.missing).sum()
}

/// Decides, and makes that the placement. Nothing moves when the same is decided again.
fn settle(facts: &mut Facts) -> Decision {
    let decision = place(facts);
    facts.before = decision.placement.clone();
    let again = place(facts);
    let optional = [Reason::Scale, Reason::Near, Reason::Traffic];
    let needless = again.moves.iter().find(|step| !optional.contains(&step.reason));
    assert_eq!(needless, None, "decided again");
    decision
}
