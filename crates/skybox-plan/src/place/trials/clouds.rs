//! Clouds out of a number: the same one for the same number, on every machine.

use std::collections::BTreeMap;

use skybox_core::{ModuleKind, NodeName, Replicas};

use crate::place::{Facts, Host, Module, Node, NodeState, Traffic, place};

/// Draws numbers that look random (SplitMix64).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// One that begins with a seed.
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Below a bound, which is above zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True so many times out of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len() as u64) as usize]
    }
}

fn node(index: usize, host: usize, labels: &[(&str, &str)]) -> Node {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Node {
        name: NodeName::new(format!("node-{index}")),
        host: format!("host-{host}"),
        labels,
        state: NodeState::Open,
    }
}

/// Two to five nodes and at most seven instances, with every relation. Every other one has a placement that has just lost
/// a node. Nothing may move for near and traffic: the objective is about what has to be placed.
pub fn small(seed: u64) -> Facts {
    let mut draw = Draw::new(seed);
    let node_count = 2 + draw.below(4) as usize;
    let host_count = 1 + draw.below(node_count as u64) as usize;
    let mut facts = Facts { now_ms: 1_000, ..Facts::default() };
    facts.rules.moves_max = 0;
    for index in 0..host_count {
        facts.hosts.push(Host {
            name: format!("host-{index}"),
            cpu_milli: 500 * (1 + draw.below(12)),
            memory_bytes: (1 + draw.below(8)) << 30,
            gpu: draw.below(4) / 3,
        });
        facts.to_resources.insert((format!("host-{index}"), "db".into()), 100 + draw.below(20_000));
        for other in 0..index {
            let between = (format!("host-{other}"), format!("host-{index}"));
            facts.between_hosts.insert(between, 100 + draw.below(5_000));
        }
    }
    for index in 0..node_count {
        let (zone, arch) = (draw.one_of(&["a", "b", "c"]), draw.one_of(&["arm64", "amd64"]));
        let host = if index < host_count { index } else { draw.below(host_count as u64) as usize };
        facts.nodes.push(node(index, host, &[("zone", zone), ("arch", arch)]));
    }
    let mut left = 1 + draw.below(7) as u32;
    while left > 0 {
        let replicas = 1 + draw.below(u64::from(left.min(3))) as u32;
        left -= replicas;
        let index = facts.modules.len();
        let mut module = Module::new(format!("m{index}"), ModuleKind::Replicated, Replicas::fixed(replicas));
        module.cpu_milli = 500 * draw.below(6);
        module.memory_bytes = draw.below(4) << 30;
        module.gpu = u64::from(draw.percent(8));
        module.priority = i32::from(draw.percent(20));
        module.on = draw.percent(15).then(|| "arch=arm64".into());
        module.spread = draw.percent(30).then(|| "zone".into());
        let other = |draw: &mut Draw| format!("m{}", draw.below(index.max(1) as u64));
        module.with = (index > 0 && draw.percent(15)).then(|| other(&mut draw));
        module.apart = (index > 0 && draw.percent(20)).then(|| other(&mut draw));
        module.near = draw.percent(40).then(|| "db".into());
        if index > 0 && draw.percent(15) {
            module.near = Some(other(&mut draw));
        }
        if index > 0 && draw.percent(40) {
            let (from, to) = (other(&mut draw), module.name.clone());
            facts.traffic.push(Traffic { from, to, calls_per_s: draw.below(5_000) });
        }
        facts.modules.push(module);
    }
    if draw.percent(50) {
        facts.before = place(&facts).placement;
        let lost = draw.below(facts.nodes.len() as u64) as usize;
        facts.nodes.remove(lost);
    }
    facts
}

/// So many nodes, two a host, with so many modules and about so many instances, with every relation.
pub fn large(node_count: usize, module_count: usize, instance_count: usize, seed: u64) -> Facts {
    let mut draw = Draw::new(seed);
    let mut facts = Facts { now_ms: 1_000_000, ..Facts::default() };
    let host_count = node_count.div_ceil(2);
    for index in 0..host_count {
        let cores = 8 << draw.below(4);
        let host = Host {
            name: format!("host-{index}"),
            cpu_milli: cores * 1_000,
            memory_bytes: cores << 32,
            gpu: u64::from(draw.percent(5)) * 4,
        };
        facts.hosts.push(host);
        for resource in 0..10 {
            let us = 200 + draw.below(30) * 1_000;
            facts.to_resources.insert((format!("host-{index}"), format!("db-{resource}")), us);
        }
    }
    for index in 0..node_count {
        let zone = draw.one_of(&["a", "b", "c"]);
        let arch = if draw.percent(20) { "arm64" } else { "amd64" };
        facts.nodes.push(node(index, index / 2, &[("zone", zone), ("arch", arch)]));
    }
    let mean = (instance_count / module_count.max(1)).max(1) as u64;
    for index in 0..module_count {
        let is_keyed = draw.percent(1);
        let kind = if is_keyed { ModuleKind::Keyed } else { ModuleKind::Replicated };
        let replicas = mean / 2 + 1 + draw.below(mean);
        let mut module = Module::new(format!("module-{index}"), kind, Replicas::fixed(replicas as u32));
        module.cpu_milli = 100 * (1 + draw.below(20));
        module.memory_bytes = (64 << 20) * (1 + draw.below(32));
        module.gpu = u64::from(!is_keyed && draw.percent(1));
        module.on = draw.percent(10).then(|| "arch=arm64".into());
        module.spread = draw.percent(30).then(|| "zone".into());
        module.near = draw.percent(20).then(|| format!("db-{}", draw.below(10)));
        let other = |draw: &mut Draw| format!("module-{}", draw.below(index.max(1) as u64));
        module.apart = (index > 0 && draw.percent(5)).then(|| other(&mut draw));
        for _ in 0..2 {
            if index > 0 {
                let (from, to) = (other(&mut draw), module.name.clone());
                facts.traffic.push(Traffic { from, to, calls_per_s: draw.below(1_000) });
            }
        }
        facts.modules.push(module);
    }
    // Some accompany another one on as many nodes.
    for index in (30..module_count).step_by(40) {
        let anchor = &facts.modules[index - 7];
        if anchor.kind == ModuleKind::Replicated && anchor.with.is_none() {
            let (name, replicas, on) = (anchor.name.clone(), anchor.replicas, anchor.on.clone());
            let module = &mut facts.modules[index];
            (module.kind, module.with, module.replicas) = (ModuleKind::Replicated, Some(name), replicas);
            (module.on, module.apart, module.spread, module.near, module.gpu) = (on, None, None, None, 0);
        }
    }
    facts
}
