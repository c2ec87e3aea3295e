//! What would be best, by trying everything. It shares no code with the plan: a fault in how the plan counts would be one
//! here too. Nodes are bits, for there are few.

use skybox_core::{NodeName, Replicas};

use crate::place::{Facts, NodeState, Placement, place};

/// What is minimised, as the documentation of [`crate::place`] says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measure {
    /// For each priority, the highest first: instances that could have stayed and have no place, and missing ones.
    pub missing: Vec<(u32, u32)>,
    /// Pairs alike in their spread label.
    pub clashes: u32,
    /// Instances that could have stayed where they are.
    pub displaced: u32,
    /// Nanoseconds of waiting in a second.
    pub cost: u64,
}

/// A small cloud in numbers.
struct Small<'f> {
    facts: &'f Facts,
    wanted: Vec<u32>,
    /// The nodes where each module could stay.
    stays: Vec<u8>,
    with: Vec<Option<usize>>,
    apart: Vec<Option<usize>>,
    host: Vec<usize>,
    zone: Vec<Vec<u8>>,
    /// The nodes that may be given each module.
    may: Vec<u8>,
    priorities: Vec<i32>,
}

impl Small<'_> {
    fn new(facts: &Facts) -> Small<'_> {
        let module = |name: &str| facts.modules.iter().position(|module| module.name == name);
        let bits = |test: &dyn Fn(usize) -> bool| {
            (0..facts.nodes.len()).filter(|node| test(*node)).fold(0_u8, |bits, node| bits | 1 << node)
        };
        let host =
            |name: &str| facts.hosts.iter().position(|host| host.name == name).expect("hosts are listed");
        let may = facts.modules.iter().map(|module| {
            bits(&|node| {
                let node = &facts.nodes[node];
                let on = module.on.as_deref().and_then(|on| on.split_once('='));
                node.state == NodeState::Open
                    && on.is_none_or(|(key, value)| node.labels.get(key).is_some_and(|has| has == value))
            })
        });
        let zone = facts.modules.iter().map(|module| {
            let Some(label) = &module.spread else { return Vec::new() };
            let mut zones: Vec<_> = facts.nodes.iter().map(|node| node.labels.get(label)).collect();
            zones.sort();
            zones.dedup();
            zones.into_iter().map(|zone| bits(&|node| facts.nodes[node].labels.get(label) == zone)).collect()
        });
        let mut priorities: Vec<i32> = facts.modules.iter().map(|module| module.priority).collect();
        priorities.sort_unstable_by(|a, b| b.cmp(a));
        priorities.dedup();
        let wanted = facts.modules.iter().map(|module| match module.replicas {
            Replicas::Range { min, .. } => min,
            Replicas::PerNode => facts.nodes.len() as u32,
        });
        let mut small = Small {
            facts,
            wanted: wanted.collect(),
            stays: placed(facts, &facts.before),
            with: facts.modules.iter().map(|own| own.with.as_deref().and_then(module)).collect(),
            apart: facts.modules.iter().map(|own| own.apart.as_deref().and_then(module)).collect(),
            host: facts.nodes.iter().map(|node| host(&node.host)).collect(),
            zone: zone.collect(),
            may: may.collect(),
            priorities,
        };
        // Who has lost its company cannot stay.
        for _ in 0..small.with.len() {
            for (module, with) in small.with.iter().enumerate() {
                if let Some(with) = with {
                    small.stays[module] &= small.stays[*with];
                }
            }
        }
        small
    }

    fn has_room(&self, places: &[u8]) -> bool {
        (0..self.facts.hosts.len()).all(|host| {
            let whole = &self.facts.hosts[host];
            let (mut cpu, mut memory, mut gpu) = (0, 0, 0);
            for (module, nodes) in self.facts.modules.iter().zip(places) {
                let here =
                    (0..self.host.len()).filter(|node| self.host[*node] == host && nodes >> node & 1 == 1);
                let count = here.count() as u64;
                cpu += module.cpu_milli * count;
                memory += module.memory_bytes * count;
                gpu += module.gpu * count;
            }
            cpu <= whole.cpu_milli && memory <= whole.memory_bytes && gpu <= whole.gpu
        })
    }

    fn is_in_company(&self, places: &[u8]) -> bool {
        let with = self.with.iter().enumerate();
        let apart = self.apart.iter().enumerate();
        with.filter_map(|(own, with)| Some((own, (*with)?)))
            .all(|(own, with)| places[own] & !places[with] == 0)
            && apart
                .filter_map(|(own, apart)| Some((own, (*apart)?)))
                .all(|(own, apart)| own == apart || places[own] & places[apart] == 0)
    }

    fn measure(&self, places: &[u8]) -> Measure {
        let mut missing = vec![(0, 0); self.priorities.len()];
        let (mut clashes, mut displaced) = (0, 0);
        for (index, module) in self.facts.modules.iter().enumerate() {
            let count = places[index].count_ones();
            let class =
                self.priorities.iter().position(|priority| *priority == module.priority).expect("listed");
            missing[class].0 += self.stays[index].count_ones().saturating_sub(count);
            missing[class].1 += self.wanted[index].saturating_sub(count);
            for zone in &self.zone[index] {
                let alike = (places[index] & zone).count_ones();
                clashes += alike * alike.saturating_sub(1) / 2;
            }
            displaced += (self.stays[index] & !places[index]).count_ones();
        }
        Measure { missing, clashes, displaced, cost: self.cost(places) }
    }

    fn cost(&self, places: &[u8]) -> u64 {
        let facts = self.facts;
        let nodes = |bits: u8| (0..self.host.len()).filter(move |node| bits >> node & 1 == 1);
        let module = |name: &str| facts.modules.iter().position(|module| module.name == name);
        let mut cost = 0;
        for (index, own) in facts.modules.iter().enumerate() {
            let Some(near) = &own.near else { continue };
            for node in nodes(places[index]) {
                let here = &facts.nodes[node].host;
                let us = match module(near) {
                    Some(target) if target == index => 0,
                    Some(target) => {
                        nodes(places[target]).map(|other| self.between(here, other)).min().unwrap_or(0)
                    }
                    None => facts.to_resources[&(here.clone(), near.clone())],
                };
                cost += us * 1_000 * facts.rules.near_trips_per_s;
            }
        }
        for traffic in &facts.traffic {
            let (Some(from), Some(to)) = (module(&traffic.from), module(&traffic.to)) else { continue };
            if from != to {
                let milli = traffic.calls_per_s * 1_000 / u64::from(self.wanted[from].max(1));
                let leaving = u64::from((places[from] & !places[to]).count_ones());
                cost += leaving * milli * facts.rules.network_call_us;
            }
        }
        cost
    }

    fn between(&self, host: &str, other: usize) -> u64 {
        let other = &self.facts.nodes[other].host;
        if host == other {
            return 0;
        }
        let known = |a: &str, b: &str| self.facts.between_hosts.get(&(a.to_owned(), b.to_owned())).copied();
        known(host, other).or_else(|| known(other, host)).expect("all are measured")
    }

    fn try_all(&self, places: &mut Vec<u8>, best: &mut Option<Measure>) {
        let module = places.len();
        if module == self.facts.modules.len() {
            if self.is_in_company(places) {
                let measure = self.measure(places);
                if best.as_ref().is_none_or(|best| measure < *best) {
                    *best = Some(measure);
                }
            }
            return;
        }
        let may = self.may[module];
        for nodes in 0..1_u16 << self.host.len() {
            let nodes = nodes as u8;
            if nodes & !may != 0 || nodes.count_ones() > self.wanted[module] {
                continue;
            }
            places.push(nodes);
            if self.has_room(places) {
                self.try_all(places, best);
            }
            places.pop();
        }
    }
}

/// Where each module is, of the nodes that there are.
fn placed(facts: &Facts, placement: &Placement) -> Vec<u8> {
    let index = |name: &NodeName| facts.nodes.iter().position(|node| node.name == *name);
    let bits = |module: &crate::place::Module| {
        let placed = placement.modules.get(&module.name);
        let nodes = placed.into_iter().flat_map(|placed| placed.nodes());
        nodes.filter_map(index).fold(0_u8, |bits, node| bits | 1 << node)
    };
    facts.modules.iter().map(bits).collect()
}

/// The best that there is. For at most eight nodes, all open, of listed hosts; modules are replicated in fixed numbers
/// and not pinned.
pub fn optimum(facts: &Facts) -> Measure {
    let small = Small::new(facts);
    let mut best = None;
    small.try_all(&mut Vec::new(), &mut best);
    best.expect("nothing placed is possible")
}

/// What a placement comes to; `None` if it breaks a hard need.
pub fn measure(facts: &Facts, placement: &Placement) -> Option<Measure> {
    let small = Small::new(facts);
    let places = placed(facts, placement);
    let may = places.iter().zip(&small.may).all(|(nodes, may)| nodes & !may == 0);
    let ok = may && small.has_room(&places) && small.is_in_company(&places);
    ok.then(|| small.measure(&places))
}

/// How much more the plan costs than the best, in percent; infinite if anything that goes before the cost is worse.
pub fn gap_percent(facts: &Facts) -> f64 {
    let best = optimum(facts);
    let Some(found) = measure(facts, &place(facts).placement) else { return f64::INFINITY };
    let before_cost = |measure: &Measure| (measure.missing.clone(), measure.clashes, measure.displaced);
    if before_cost(&found) != before_cost(&best) {
        return f64::INFINITY;
    }
    match (found.cost, best.cost) {
        (found, best) if found == best => 0.0,
        (_, 0) => f64::INFINITY,
        (found, best) => (found as f64 - best as f64) / best as f64 * 100.0,
    }
}
