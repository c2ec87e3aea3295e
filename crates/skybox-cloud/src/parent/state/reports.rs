//! What nodes report, and what is remembered of the modules that they gave up.
//!
//! A node gives a module up after as many failed starts as the module allows. It is then placed on a node that has not
//! given it up, as long as there is one: it is tried on each as often as it allows, once, and does not go round. A record
//! ends with the life of its node, and when people have the module tried again: by `skybox restart` everywhere, by
//! `skybox move` on the nodes they name.

use std::time::Instant;

use skybox_core::{Incarnation, NodeName};
use skybox_node::control::Report;
use skybox_plan::spread::Assignment;

use super::super::GaveUp;
use super::{Node, State};

/// That a node gave a module up.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) cause: String,
    /// Zero where its `restart` forbids another start, on any node.
    pub(super) failed_starts: u32,
    /// Counts all records: which one came later.
    count: u64,
    at: Instant,
}

impl State {
    pub(super) fn report(&mut self, name: &NodeName, incarnation: Incarnation, report: Report) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(life) = node.life.as_mut().filter(|life| life.incarnation == incarnation) else { return };
        match report {
            Report::Started { module } => {
                life.gave_up.remove(&module);
                life.started.insert(module);
            }
            Report::Stopped { module } => drop(life.started.remove(&module)),
            Report::GaveUp { module, cause, failed_starts } => {
                life.started.remove(&module);
                self.gave_up_count += 1;
                let record = Record { cause, failed_starts, count: self.gave_up_count, at: Instant::now() };
                life.gave_up.insert(module, record);
            }
            Report::TriesAgain { module } => {
                life.gave_up.remove(&module);
                self.try_elsewhere_again(&module);
            }
            Report::Released { module, version } => {
                let before = life.released.entry(module).or_default();
                *before = version.max(*before);
            }
            Report::Ready => {
                node.was_ready = true;
                self.was_ready = true;
            }
            Report::Drained => {}
        }
    }

    /// Somebody has a module started anew: it may be tried again on nodes that gave it up. Of those where it belongs at the
    /// moment, each says itself when it tries again.
    pub(super) fn try_elsewhere_again(&mut self, module: &str) {
        let belongs = match self.spread.get(module) {
            Some(Assignment::Nodes(nodes)) => nodes.clone(),
            _ => Vec::new(),
        };
        self.try_again(module, |node| !belongs.contains(node));
    }

    /// Has a module tried again on those of these nodes that gave it up.
    pub(super) fn try_again(&mut self, module: &str, which: impl Fn(&NodeName) -> bool) {
        let lives = self.nodes.iter_mut().filter(|(name, _)| which(name));
        for life in lives.filter_map(|(_, node)| node.life.as_mut()) {
            if life.gave_up.remove(module).is_some() {
                // The node hears of it with the plan.
                *life.chances.entry(module.to_owned()).or_default() += 1;
            }
        }
    }

    /// This node takes nothing more. Where all others gave up a module that it has, they are asked once more: it may have
    /// been long ago, and there is nobody else.
    pub(super) fn fall_back_from(&mut self, name: &NodeName) {
        let may_come =
            |(other, node): &(&NodeName, &Node)| *other != name && !node.guest && !node.over && !node.leaving;
        let has_it =
            |assignment: &Assignment| matches!(assignment, Assignment::Nodes(at) if at.contains(name));
        let modules = self.spread.iter().filter(|(_, assignment)| has_it(assignment));
        let has_nobody = |module: &str| {
            let mut others = self.nodes.iter().filter(may_come);
            others.all(|(other, _)| self.record(other, module).is_some())
        };
        let forsaken: Vec<_> =
            modules.map(|(module, _)| module.clone()).filter(|module| has_nobody(module)).collect();
        for module in forsaken {
            self.try_again(&module, |_| true);
        }
    }

    /// What a living node remembers of a module that it gave up.
    pub(super) fn record(&self, node: &NodeName, module: &str) -> Option<&Record> {
        self.nodes.get(node)?.life.as_ref()?.gave_up.get(module)
    }

    /// Why a module was given up the last time, among these nodes.
    pub(super) fn last_cause<'n>(
        &self,
        module: &str,
        nodes: impl Iterator<Item = &'n NodeName>,
    ) -> Option<String> {
        let records = nodes.filter_map(|node| self.record(node, module));
        records.max_by_key(|record| record.count).map(|record| record.cause.clone())
    }

    /// The nodes that gave a module up, in the order in which they did, for whoever looks.
    pub(super) fn gave_up(&self, module: &str) -> Vec<GaveUp> {
        let mut records: Vec<_> =
            self.nodes.keys().filter_map(|node| Some((node, self.record(node, module)?))).collect();
        records.sort_by_key(|(_, record)| record.count);
        let shown = |(node, record): (&NodeName, &Record)| GaveUp {
            node: node.clone(),
            cause: record.cause.clone(),
            failed_starts: record.failed_starts,
            ago_ms: record.at.elapsed().as_millis() as u64,
        };
        records.into_iter().map(shown).collect()
    }
}
