//! What nodes have told this one while it leads, over the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use skybox_core::{Incarnation, NodeName};
use skybox_node::control::LOAD_MAX_MILLI;
use skybox_plan::place::Traffic;
use tokio::time::Instant;

use crate::reports::Report;

/// What is believed of figures that jump is their mean over so long. A leader that has led for less only repairs.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// A node that has told nothing for so long is one of which nothing is known.
const FRESH: Duration = Duration::from_secs(4);
/// Reports of one node that are kept: it tells about once a second.
const KEPT_MAX: usize = 16;
/// Calls a second, in thousandths, that one node is believed to make from one module to another.
const RATE_MAX_MILLI: u64 = 10_000_000_000;
/// Nodes of which reports are kept.
const NODES_MAX: usize = 20_000;

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Since when this node leads.
    since: Option<Instant>,
    nodes: BTreeMap<Incarnation, Told>,
}

/// By one node: the newest last.
#[derive(Debug)]
struct Told {
    name: NodeName,
    reports: VecDeque<(Instant, Report)>,
}

/// What a decision takes from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// For each module of which it is known, how many instances' worth of work there is, in thousandths.
    pub(crate) loads: BTreeMap<String, u64>,
    /// Who calls whom how often.
    pub(crate) traffic: Vec<Traffic>,
}

impl Reports {
    /// This node begins to lead: nothing is known yet.
    pub(crate) fn begin(&self) {
        *self.heard() = Heard { since: Some(Instant::now()), nodes: BTreeMap::new() };
    }

    /// This node leads no more.
    pub(crate) fn end(&self) {
        *self.heard() = Heard::default();
    }

    /// Whether this node leads.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard().since.is_some()
    }

    /// Takes a report; says whether this node leads, so that it is of use.
    pub(crate) fn take(&self, from: &NodeName, life: Incarnation, mut report: Report) -> bool {
        // Whoever says more than there can be tips no scale, and breaks no sum.
        for load in &mut report.loads {
            load.load_milli = load.load_milli.min(LOAD_MAX_MILLI);
        }
        for rate in &mut report.traffic {
            rate.local_milli = rate.local_milli.min(RATE_MAX_MILLI);
            rate.remote_milli = rate.remote_milli.min(RATE_MAX_MILLI);
        }
        let now = Instant::now();
        let mut heard = self.heard();
        if heard.since.is_none() || (heard.nodes.len() >= NODES_MAX && !heard.nodes.contains_key(&life)) {
            return false;
        }
        let new = || Told { name: from.clone(), reports: VecDeque::new() };
        let reports = &mut heard.nodes.entry(life).or_insert_with(new).reports;
        reports.push_back((now, report));
        while reports.len() > KEPT_MAX || reports.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            reports.pop_front();
        }
        true
    }

    /// What is known now. `serves`: the lives of the nodes that serve each module. Of a module of which one of them has told
    /// nothing it is not known how much there is to do.
    pub(crate) fn figures<'m>(
        &self,
        serves: impl IntoIterator<Item = (&'m str, Vec<Incarnation>)>,
    ) -> Figures {
        let mut heard = self.heard();
        let now = Instant::now();
        heard.forget(now);
        if heard.since.is_none_or(|since| now - since < WINDOW) {
            return Figures::default();
        }
        let load = |(module, lives): (&str, Vec<Incarnation>)| {
            let loads: Option<Vec<u64>> =
                lives.iter().map(|life| heard.nodes.get(life)?.load(module)).collect();
            let loads = loads.filter(|loads| !loads.is_empty())?;
            Some((module.to_owned(), loads.into_iter().sum()))
        };
        Figures { loads: serves.into_iter().filter_map(load).collect(), traffic: heard.traffic() }
    }

    /// Whom each node has reached the last time that it has said so, and whom not.
    pub(crate) fn reach(&self) -> Vec<Reach> {
        let mut heard = self.heard();
        heard.forget(Instant::now());
        let last = heard.nodes.iter().filter_map(|(life, told)| {
            let (_, report) = told.reports.back()?;
            Some(Reach {
                by: (told.name.clone(), *life),
                reached: report.reached.clone(),
                unreached: report.unreached.clone(),
            })
        });
        last.collect()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whom a node reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The node.
    pub(crate) by: (NodeName, Incarnation),
    pub(crate) reached: Vec<NodeName>,
    pub(crate) unreached: Vec<NodeName>,
}

impl Heard {
    /// Forgets nodes that have told nothing of late.
    fn forget(&mut self, now: Instant) {
        self.nodes.retain(|_, told| told.reports.back().is_some_and(|(at, _)| now - *at <= FRESH));
    }

    fn traffic(&self) -> Vec<Traffic> {
        let mut milli = BTreeMap::<(&str, &str), u64>::new();
        for told in self.nodes.values() {
            let count = told.reports.len().max(1) as u64;
            for rate in told.reports.iter().flat_map(|(_, report)| &report.traffic) {
                // Code outside all modules is everywhere, and goes nowhere.
                if !rate.from.is_empty() && rate.from != rate.to {
                    let sum = milli.entry((rate.from.as_str(), rate.to.as_str())).or_default();
                    *sum += (rate.local_milli + rate.remote_milli) / count;
                }
            }
        }
        let traffic = milli.into_iter().map(|((from, to), milli)| Traffic {
            from: from.to_owned(),
            to: to.to_owned(),
            calls_per_s: milli / 1_000,
        });
        traffic.filter(|traffic| traffic.calls_per_s > 0).collect()
    }
}

impl Told {
    /// The mean of what it has told of a module, by the reports that have it.
    fn load(&self, module: &str) -> Option<u64> {
        let loads = self.reports.iter().flat_map(|(_, report)| &report.loads);
        let (mut sum, mut count) = (0, 0);
        for load in loads.filter(|load| load.module == module) {
            (sum, count) = (sum + load.load_milli, count + 1);
        }
        (count > 0).then(|| sum / count)
    }
}
