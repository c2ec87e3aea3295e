//! The facts with an index for each name: nodes in the order of their names, so that equal choices fall to the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use skybox_core::{KeyHash, ModuleKind, NodeName, Replicas};

use super::facts::{Facts, Module, Node, NodeState};
use super::ledger::{Amount, Ledger};

/// Finds indices by name. It is only asked, never gone through: its order means nothing.
type Names<'f> = HashMap<&'f str, usize, BuildHasherDefault<Fnv>>;

pub(super) struct World<'f> {
    pub(super) facts: &'f Facts,
    pub(super) nodes: Vec<NodeRow<'f>>,
    pub(super) modules: Vec<ModuleRow<'f>>,
    /// The modules in the order in which they are given places.
    pub(super) order: Vec<usize>,
    pub(super) host_count: usize,
    /// For each resource that somebody is near to, the measured round trip from each host.
    resources: Vec<ToResource>,
    /// For each host those to which the round trip is measured.
    between: Vec<Vec<(usize, u64)>>,
    /// The longest measured way between two hosts.
    between_max_us: u64,
    /// For each label that somebody spreads over, the value of each node, numbered.
    spreads: Vec<SpreadLabel>,
    node_names: Names<'f>,
    module_names: Names<'f>,
    host_names: Names<'f>,
    wholes: Vec<Option<Amount>>,
    nodes_of: Vec<Vec<usize>>,
}

pub(super) struct NodeRow<'f> {
    pub(super) node: &'f Node,
    pub(super) host: usize,
    pub(super) hash: u64,
}

pub(super) struct ModuleRow<'f> {
    pub(super) module: &'f Module,
    pub(super) needs: Amount,
    pub(super) near: Option<Near>,
    pub(super) with: Option<usize>,
    /// A `with` that names no module: nowhere is right.
    pub(super) with_nobody: bool,
    /// Those that share each of their nodes with this one.
    pub(super) followers: Vec<usize>,
    pub(super) apart: Vec<usize>,
    pub(super) spread: Option<usize>,
    on: Option<(&'f str, &'f str)>,
    /// The living nodes that it is pinned to; `None` if it may be anywhere.
    pub(super) pinned: Option<Vec<usize>>,
    gave_up: BTreeSet<usize>,
    pub(super) edges: Vec<Edge>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Near {
    Resource(usize),
    Module(usize),
}

/// One end of some traffic.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub(super) other: usize,
    pub(super) outgoing: bool,
    pub(super) calls_per_s: u64,
}

struct ToResource {
    by_host: Vec<Option<u64>>,
    /// The hosts that have measured it, the closest first.
    closest: Vec<usize>,
    max_us: u64,
}

struct SpreadLabel {
    value: Vec<u32>,
    count: usize,
}

impl<'f> World<'f> {
    pub(super) fn new(facts: &'f Facts) -> World<'f> {
        let mut sorted: Vec<&Node> = facts.nodes.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.dedup_by(|a, b| a.name == b.name);
        let mut host_names = Names::default();
        let mut wholes = Vec::new();
        for host in &facts.hosts {
            let index = *host_names.entry(&host.name).or_insert(wholes.len());
            if index == wholes.len() {
                wholes.push(Some(Amount::of_host(host)));
            }
        }
        let mut nodes = Vec::with_capacity(sorted.len());
        let mut node_names = Names::default();
        for node in sorted {
            let host = *host_names.entry(&node.host).or_insert(wholes.len());
            if host == wholes.len() {
                wholes.push(None);
            }
            node_names.insert(node.name.as_str(), nodes.len());
            nodes.push(NodeRow { node, host, hash: KeyHash::of(node.name.as_str().as_bytes()).0 });
        }
        let mut nodes_of = vec![Vec::new(); wholes.len()];
        for (index, row) in nodes.iter().enumerate() {
            let row: &NodeRow<'_> = row;
            nodes_of[row.host].push(index);
        }
        let module_names =
            facts.modules.iter().enumerate().map(|(index, module)| (module.name.as_str(), index)).collect();
        let mut world = World {
            facts,
            nodes,
            modules: Vec::new(),
            order: Vec::new(),
            host_count: wholes.len(),
            resources: Vec::new(),
            between: vec![Vec::new(); wholes.len()],
            between_max_us: 0,
            spreads: Vec::new(),
            node_names,
            module_names,
            host_names,
            wholes,
            nodes_of,
        };
        world.add_modules();
        world.add_round_trips();
        world.order = order(&world);
        world
    }

    fn add_modules(&mut self) {
        let facts = self.facts;
        let mut resources = BTreeMap::new();
        let mut labels = BTreeMap::new();
        let mut rows = Vec::with_capacity(facts.modules.len());
        for module in &facts.modules {
            let near = module.near.as_deref().map(|name| match self.module(name) {
                Some(module) => Near::Module(module),
                None => {
                    let next = resources.len();
                    Near::Resource(*resources.entry(name).or_insert(next))
                }
            });
            let spread = module.spread.as_deref().map(|label| {
                let next = labels.len();
                *labels.entry(label).or_insert(next)
            });
            let pinned = facts.pins.get(&module.name).map(|nodes| {
                let living = |index: &usize| !self.nodes[*index].node.state.leaves();
                let mut found: Vec<_> =
                    nodes.iter().filter_map(|name| self.node(name)).filter(living).collect();
                found.sort_unstable();
                found.dedup();
                found
            });
            let with = module.with.as_deref();
            let own = rows.len();
            let near = near.filter(|near| *near != Near::Module(own));
            rows.push(ModuleRow {
                module,
                needs: Amount::of_module(module),
                near,
                with: with.and_then(|name| self.module(name)).filter(|other| *other != own),
                with_nobody: with.is_some_and(|name| self.module(name).is_none()),
                followers: Vec::new(),
                apart: module.apart.as_deref().and_then(|name| self.module(name)).into_iter().collect(),
                spread,
                // A label without a value is asked for with an empty one.
                on: module.on.as_deref().map(|on| on.split_once('=').unwrap_or((on, ""))),
                pinned: pinned.filter(|nodes| !nodes.is_empty()),
                gave_up: BTreeSet::new(),
                edges: Vec::new(),
            });
        }
        cut_circles(&mut rows);
        for index in 0..rows.len() {
            if let Some(anchor) = rows[index].with {
                rows[anchor].followers.push(index);
            }
            // Whichever of the two says so. One that says it of itself says nothing: its nodes differ anyway.
            rows[index].apart.retain(|other| *other != index);
            if let Some(other) = rows[index].apart.first().copied() {
                rows[other].apart.push(index);
            }
        }
        for (name, node) in &facts.gave_up {
            if let (Some(module), Some(node)) = (self.module(name), self.node(node)) {
                rows[module].gave_up.insert(node);
            }
        }
        for traffic in &facts.traffic {
            let (Some(from), Some(to)) = (self.module(&traffic.from), self.module(&traffic.to)) else {
                continue;
            };
            // A key's calls go to its owner, wherever the callers are.
            let is_placed =
                |module: usize| matches!(rows[module].module.kind, ModuleKind::Replicated | ModuleKind::Task);
            if from == to || traffic.calls_per_s == 0 || !is_placed(from) || !is_placed(to) {
                continue;
            }
            let calls_per_s = traffic.calls_per_s;
            rows[from].edges.push(Edge { other: to, outgoing: true, calls_per_s });
            rows[to].edges.push(Edge { other: from, outgoing: false, calls_per_s });
        }
        self.modules = rows;
        let mut by_index: Vec<_> = labels.into_iter().collect();
        by_index.sort_by_key(|(_, index)| *index);
        self.spreads = by_index.into_iter().map(|(label, _)| SpreadLabel::new(&self.nodes, label)).collect();
        self.resources = (0..resources.len())
            .map(|_| ToResource { by_host: vec![None; self.host_count], closest: Vec::new(), max_us: 0 })
            .collect();
        for ((host, name), us) in &facts.to_resources {
            let (Some(host), Some(resource)) =
                (self.host_names.get(host.as_str()), resources.get(name.as_str()))
            else {
                continue;
            };
            let to = &mut self.resources[*resource];
            to.by_host[*host] = Some(*us);
            to.max_us = to.max_us.max(*us);
        }
        for to in &mut self.resources {
            let mut closest: Vec<_> =
                to.by_host.iter().enumerate().filter_map(|(host, us)| us.map(|us| (us, host))).collect();
            closest.sort_unstable();
            to.closest = closest.into_iter().map(|(_, host)| host).collect();
        }
    }

    fn add_round_trips(&mut self) {
        for ((one, other), us) in &self.facts.between_hosts {
            let (Some(one), Some(other)) =
                (self.host_names.get(one.as_str()), self.host_names.get(other.as_str()))
            else {
                continue;
            };
            self.between[*one].push((*other, *us));
            self.between[*other].push((*one, *us));
            self.between_max_us = self.between_max_us.max(*us);
        }
        for known in &mut self.between {
            known.sort_unstable();
            // Measured from both ends: the shorter one has waited less for processors.
            known.dedup_by_key(|(other, _)| *other);
        }
    }

    pub(super) fn node(&self, name: &NodeName) -> Option<usize> {
        self.node_names.get(name.as_str()).copied()
    }

    pub(super) fn module(&self, name: &str) -> Option<usize> {
        self.module_names.get(name).copied()
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(self.wholes.iter().copied())
    }

    /// All that a host has; `None` without limits.
    pub(super) fn whole(&self, host: usize) -> Option<Amount> {
        self.wholes[host]
    }

    pub(super) fn nodes_of(&self, host: usize) -> &[usize] {
        &self.nodes_of[host]
    }

    pub(super) fn host_of(&self, node: usize) -> usize {
        self.nodes[node].host
    }

    /// Whether it is placed as whole instances: neither by keys nor by code.
    pub(super) fn is_replicated(&self, module: usize) -> bool {
        matches!(self.modules[module].module.kind, ModuleKind::Replicated | ModuleKind::Task)
    }

    pub(super) fn is_keyed(&self, module: usize) -> bool {
        self.modules[module].module.kind == ModuleKind::Keyed
    }

    pub(super) fn has_label(&self, module: usize, node: usize) -> bool {
        let Some((key, value)) = self.modules[module].on else { return true };
        self.nodes[node].node.labels.get(key).is_some_and(|has| has == value)
    }

    /// Whether the module was tried there too often. A pin asks for it all the same.
    pub(super) fn gave_up(&self, module: usize, node: usize) -> bool {
        let row = &self.modules[module];
        row.pinned.is_none() && !row.gave_up.is_empty() && row.gave_up.contains(&node)
    }

    /// Whether pins and the node's state let it keep the module.
    pub(super) fn may_keep(&self, module: usize, node: usize) -> bool {
        self.pin_allows(module, node)
            && match self.nodes[node].node.state {
                NodeState::Open | NodeState::Cordoned => true,
                NodeState::Guest => self.modules[module].pinned.is_some(),
                NodeState::Draining | NodeState::Unreached => false,
            }
    }

    /// Whether pins and the node's state let it be given the module.
    pub(super) fn may_take(&self, module: usize, node: usize) -> bool {
        self.nodes[node].node.state != NodeState::Cordoned && self.may_keep(module, node)
    }

    pub(super) fn pin_allows(&self, module: usize, node: usize) -> bool {
        self.modules[module].pinned.as_ref().is_none_or(|pinned| pinned.binary_search(&node).is_ok())
    }

    /// The value of a module's spread label on a node, numbered; nodes without the label are alike.
    pub(super) fn spread_value(&self, module: usize, node: usize) -> u32 {
        self.modules[module].spread.map_or(0, |label| self.spreads[label].value[node])
    }

    pub(super) fn spread_values(&self, module: usize) -> usize {
        self.modules[module].spread.map_or(1, |label| self.spreads[label].count)
    }

    /// The round trip to a resource; `None` where it is unknown.
    pub(super) fn to_resource(&self, resource: usize, host: usize) -> Option<u64> {
        self.resources[resource].by_host[host]
    }

    /// The same where a figure is needed: what is unknown counts as far as anything that is known.
    pub(super) fn to_resource_us(&self, resource: usize, host: usize) -> u64 {
        self.to_resource(resource, host).unwrap_or(self.resources[resource].max_us)
    }

    pub(super) fn closest_hosts(&self, resource: usize) -> &[usize] {
        &self.resources[resource].closest
    }

    pub(super) fn between(&self, one: usize, other: usize) -> Option<u64> {
        if one == other {
            return Some(0);
        }
        let known = &self.between[one];
        known.binary_search_by_key(&other, |(host, _)| *host).ok().map(|at| known[at].1)
    }

    pub(super) fn between_max_us(&self) -> u64 {
        self.between_max_us
    }

    pub(super) fn between_from(&self, host: usize) -> &[(usize, u64)] {
        &self.between[host]
    }

    /// The most instances that a module may have, whatever there is room for.
    pub(super) fn wanted_of_form(&self, module: usize, replicas: u32) -> usize {
        let row = &self.modules[module];
        match (&row.pinned, row.module.replicas) {
            (Some(pinned), _) => pinned.len(),
            (None, Replicas::PerNode) => {
                let fits = |node: &usize| self.may_take(module, *node) && self.has_label(module, *node);
                (0..self.nodes.len()).filter(fits).count()
            }
            (None, Replicas::Range { .. }) => replicas as usize,
        }
    }
}

impl SpreadLabel {
    fn new(nodes: &[NodeRow<'_>], label: &str) -> SpreadLabel {
        let mut numbers = BTreeMap::new();
        let value = nodes.iter().map(|row| {
            let next = numbers.len() as u32;
            *numbers.entry(row.node.labels.get(label)).or_insert(next)
        });
        let value = value.collect();
        SpreadLabel { value, count: numbers.len() }
    }
}

/// Those who share their nodes with each other in a circle: the first by name goes ahead, the others follow it.
fn cut_circles(rows: &mut [ModuleRow<'_>]) {
    let mut by_name: Vec<usize> = (0..rows.len()).filter(|index| rows[*index].with.is_some()).collect();
    by_name.sort_by_key(|index| rows[*index].module.name.as_str());
    for start in by_name {
        let mut at = rows[start].with;
        for _ in 0..rows.len() {
            match at {
                Some(index) if index == start => {
                    rows[start].with = None;
                    break;
                }
                Some(index) => at = rows[index].with,
                None => break,
            }
        }
    }
}

/// The order in which modules are given places: the most important first; whom others follow before those; what has few
/// places before what has many; the large before the small; then by name.
fn order(world: &World<'_>) -> Vec<usize> {
    let count = world.modules.len();
    let mut depth = vec![0_u32; count];
    let mut priority: Vec<i32> = world.modules.iter().map(|row| row.module.priority).collect();
    // A chain of n has n-1 steps; one that bites its tail stops here too.
    let mut changed = true;
    for _ in 0..count {
        if !std::mem::take(&mut changed) {
            break;
        }
        for index in 0..count {
            let row = &world.modules[index];
            let near = match row.near {
                Some(Near::Module(target)) if target != index => Some(target),
                _ => None,
            };
            for before in row.with.into_iter().chain(near) {
                if depth[index] <= depth[before] && (depth[before] as usize) < count {
                    depth[index] = depth[before] + 1;
                    changed = true;
                }
            }
            if let Some(anchor) = row.with.filter(|anchor| priority[*anchor] < priority[index]) {
                priority[anchor] = priority[index];
                changed = true;
            }
        }
    }
    let largest = world.wholes.iter().flatten().fold(Amount::default(), |largest, whole| Amount {
        cpu_milli: largest.cpu_milli.max(whole.cpu_milli),
        memory_bytes: largest.memory_bytes.max(whole.memory_bytes),
        gpu: largest.gpu.max(whole.gpu),
    });
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_cached_key(|index| {
        let row = &world.modules[*index];
        let is_choosy = row.pinned.is_some() || row.on.is_some() || row.needs.gpu > 0;
        let size = row.needs.share_of(largest);
        use std::cmp::Reverse;
        (Reverse(priority[*index]), depth[*index], !is_choosy, Reverse(size), row.module.name.as_str())
    });
    order
}

/// FNV-1a: short names, and nobody chooses them to collide.
#[derive(Default)]
struct Fnv(Option<u64>);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0.unwrap_or_default()
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut hash = self.0.unwrap_or(0xcbf2_9ce4_8422_2325);
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.0 = Some(hash);
    }
}
