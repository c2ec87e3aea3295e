//! From what the parent knows to a plan that is safe at every moment.

use std::collections::BTreeSet;

use skybox_core::{Code, ModuleKind, ModulePlan, NodeEntry, NodeName, Plan, SHARD_COUNT, Shards};
use skybox_node::control::ModuleDecl;
use skybox_plan::spread::{Assignment, Facts, ModuleFacts, Spread, spread};

use super::{Keyed, Node, State};

impl State {
    pub(super) fn next_plan(&mut self) -> Plan {
        let living = self.nodes.iter().filter(|(_, node)| node.life.is_some() && !node.leaving);
        let (guests, own): (BTreeSet<_>, BTreeSet<_>) =
            living.map(|(name, _)| name.clone()).partition(|name| self.config.guests.contains(name));
        let facts = Facts {
            modules: self.modules.iter().map(module_facts).collect(),
            nodes: own,
            guests,
            pins: self.pins.clone(),
            gave_up: self.gave_up_after_starts(),
            before: Spread::new(),
        };
        // Most of what nodes report changes nothing here, and the same facts give the same answer.
        if self.spread_for.as_ref() != Some(&facts) {
            let before = std::mem::take(&mut self.spread);
            self.spread = spread(&Facts { before: before.clone(), ..facts.clone() });
            log_moves(&facts, &before, &self.spread);
            self.spread_for = Some(facts);
        }
        let mut plan = Plan { version: self.plan.version, ..Plan::default() };
        for (name, node) in &self.nodes {
            if let Some(life) = &node.life {
                let entry = NodeEntry {
                    incarnation: Some(life.incarnation),
                    address: life.address.clone(),
                    draining: node.leaving,
                };
                plan.nodes.insert(name.clone(), entry);
            }
        }
        let names: Vec<(String, ModuleKind)> =
            self.modules.iter().map(|module| (module.name.clone(), module.kind)).collect();
        for (name, kind) in names {
            let module = match kind {
                ModuleKind::Keyed => ModulePlan::Keyed(self.plan_keyed(&name)),
                _ => self.plan_replicated(&name),
            };
            plan.modules.insert(name, module);
        }
        plan
    }

    fn plan_replicated(&self, module: &str) -> ModulePlan {
        let assigned = match self.spread.get(module) {
            Some(Assignment::Nodes(nodes)) => nodes.clone(),
            _ => Vec::new(),
        };
        let life = |name: &NodeName| self.nodes.get(name).and_then(|node| node.life.as_ref());
        let started = |name: &NodeName| life(name).is_some_and(|life| life.started.contains(module));
        let gave_up = |name: &NodeName| self.record(name, module).is_some();
        let mut serving: Vec<_> = assigned.iter().filter(|name| started(name)).cloned().collect();
        let given_up = self.given_up(module, &assigned);
        // Start there, switch, drain here: the old ones go on until every new one is ready or has given up. If all have,
        // they go on as long as they can; a node that leaves does not wait for what does not come.
        let all_settled = assigned.iter().all(|name| started(name) || gave_up(name));
        if !all_settled || serving.is_empty() {
            let goes_on = |node: &Node| given_up.is_none() || !node.leaving;
            let old = self.nodes.iter().filter(|(name, node)| !assigned.contains(name) && goes_on(node));
            serving.extend(old.map(|(name, _)| name).filter(|name| started(name)).cloned());
        }
        // Guests run what is pinned to them alone.
        let nobody_comes = || self.nodes.values().all(|node| node.guest || node.over || node.leaving);
        let why = if !serving.is_empty() {
            None
        } else if assigned.is_empty() && nobody_comes() {
            Some("unplaced: no node is alive".to_owned())
        } else {
            given_up
        };
        let chances = self.nodes.iter().filter_map(|(name, node)| {
            let chances = *node.life.as_ref()?.chances.get(module)?;
            Some((name.clone(), chances))
        });
        ModulePlan::Replicated { assigned, serving, failed: why, chances: chances.collect() }
    }

    /// Why a module was given up by all nodes that may run it; nothing while there may be one that has not.
    pub(super) fn given_up(&self, module: &str, assigned: &[NodeName]) -> Option<String> {
        if assigned.is_empty() {
            // One that is being started again may run it.
            let comes = |node: &Node| !node.guest && !node.over && !node.leaving && node.life.is_none();
            let nobody_comes = !self.nodes.values().any(comes);
            return self.last_cause(module, self.nodes.keys()).filter(|_| nobody_comes);
        }
        let all_gave_up = assigned.iter().all(|node| self.record(node, module).is_some());
        self.last_cause(module, assigned.iter()).filter(|_| all_gave_up)
    }

    /// The modules that nodes gave up because their starts failed. Where `restart` forbids another start, another node
    /// does not start it either.
    fn gave_up_after_starts(&self) -> BTreeSet<(String, NodeName)> {
        let lives = self.nodes.iter().filter_map(|(name, node)| Some((name, node.life.as_ref()?)));
        let records = lives.flat_map(|(name, life)| life.gave_up.iter().map(move |record| (name, record)));
        let failed = records.filter(|(_, (_, record))| record.failed_starts > 0);
        failed.map(|(name, (module, _))| (module.clone(), name.clone())).collect()
    }

    fn plan_keyed(&mut self, module: &str) -> Shards {
        let keyed = self.keyed.entry(module.to_owned()).or_insert_with(Keyed::new);
        let Some(Assignment::Owners(target)) = self.spread.get(module) else {
            return Shards { nodes: Vec::new(), owner: vec![Shards::NOBODY; usize::from(SHARD_COUNT)] };
        };
        if let Some(shards) = &keyed.shards
            && keyed.leaving.is_empty()
            && keyed.owners == *target
        {
            return shards.clone();
        }
        let nodes = &self.nodes;
        let released =
            |name: &NodeName, version: u64| match nodes.get(name).and_then(|node| node.life.as_ref()) {
                // Its process is gone, and its instances with it.
                None => true,
                Some(life) => version > 0 && life.released.get(module).is_some_and(|seen| *seen >= version),
            };
        keyed.leaving.retain(|_, (from, version)| !released(from, *version));
        for (shard, target) in (0..SHARD_COUNT).zip(target) {
            let owner = &mut keyed.owners[usize::from(shard)];
            if owner != target {
                if let Some(from) = owner.take().filter(|from| !released(from, 0)) {
                    keyed.leaving.insert(shard, (from, 0));
                }
                if !keyed.leaving.contains_key(&shard) {
                    owner.clone_from(target);
                }
            }
        }
        let names: BTreeSet<_> = keyed.owners.iter().flatten().cloned().collect();
        let names: Vec<_> = names.into_iter().collect();
        let index = |owner: &Option<NodeName>| {
            let at = owner.as_ref().and_then(|owner| names.iter().position(|name| name == owner));
            at.map_or(Shards::NOBODY, |at| at as u16)
        };
        let owner = keyed.owners.iter().map(index).collect();
        let shards = Shards { nodes: names, owner };
        keyed.shards = Some(shards.clone());
        shards
    }
}

/// Says which modules are tried on other nodes than those that gave them up.
fn log_moves(facts: &Facts, before: &Spread, after: &Spread) {
    for (module, node) in &facts.gave_up {
        let (Some(Assignment::Nodes(before)), Some(Assignment::Nodes(after))) =
            (before.get(module), after.get(module))
        else {
            continue;
        };
        let new: Vec<_> = after.iter().filter(|node| !before.contains(node)).map(NodeName::as_str).collect();
        if before.contains(node) && !after.contains(node) && !new.is_empty() {
            tracing::warn!(code = %Code::NOT_STARTED, "{node} gave {module} up: it is tried on {}", new.join(", "));
        }
    }
}

fn module_facts(module: &ModuleDecl) -> ModuleFacts {
    ModuleFacts {
        name: module.name.clone(),
        kind: module.kind,
        replicas: module.replicas,
        cpu_milli: module.cpu_milli,
    }
}
