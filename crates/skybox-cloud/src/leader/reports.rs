//! What nodes have told this one while it leads, over the last seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use skybox_core::{Incarnation, NodeName};
use skybox_node::control::LOAD_MAX_MILLI;
use skybox_plan::place::Traffic;
use tokio::time::Instant;

use crate::reports::Report;

/// What is believed of figures that jump is their mean over so long. A leader that has led for less only repairs.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// A node that has told nothing for so long is one of which nothing is known: four reports are missing then.
const FRESH: Duration = Duration::from_secs(6);
/// Of who calls whom the sum is believed if no more than one of so many nodes is missing in it.
const UNHEARD_PARTS: usize = 10;
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
    /// For each module of which something is known.
    pub(crate) loads: BTreeMap<String, Work>,
    /// Who calls whom how often.
    pub(crate) traffic: Vec<Traffic>,
}

/// How much there is to do in a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// How many instances' worth, in thousandths.
    pub(crate) milli: u64,
    /// Not all of its nodes have said it: it is at least so much.
    pub(crate) is_partial: bool,
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

    /// What is known now. `lives`: the nodes that count, `serves`: those that serve each module.
    pub(crate) fn figures<'m>(
        &self,
        lives: &BTreeSet<Incarnation>,
        serves: impl IntoIterator<Item = (&'m str, Vec<Incarnation>)>,
    ) -> Figures {
        let mut heard = self.heard();
        let now = Instant::now();
        heard.forget(now);
        if heard.since.is_none_or(|since| now - since < WINDOW) {
            return Figures::default();
        }
        let load = |(module, lives): (&str, Vec<Incarnation>)| {
            let said = || lives.iter().filter_map(|life| heard.nodes.get(life)?.load(module));
            let count = said().count();
            let work = Work { milli: said().sum(), is_partial: count < lives.len() };
            (count > 0).then(|| (module.to_owned(), work))
        };
        Figures { loads: serves.into_iter().filter_map(load).collect(), traffic: heard.traffic(lives) }
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

    /// Who calls whom, if nearly all of these nodes have said it: what is missing may be what matters.
    fn traffic(&self, lives: &BTreeSet<Incarnation>) -> Vec<Traffic> {
        let heard = || lives.iter().filter_map(|life| self.nodes.get(life));
        if (lives.len() - heard().count()) * UNHEARD_PARTS > lives.len() {
            return Vec::new();
        }
        let mut milli = BTreeMap::<(&str, &str), u64>::new();
        for told in heard() {
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

#[cfg(test)]
mod tests {
    use skybox_node::control::Load;

    use super::*;
    use crate::reports::Rate;

    fn life(life: u64) -> Incarnation {
        Incarnation(life)
    }

    /// Each of these lives tells what it has to do, and that it calls so often.
    async fn told(said: &[(u64, u64)]) -> Reports {
        let reports = Reports::default();
        reports.begin();
        tokio::time::advance(WINDOW).await;
        for (of, milli) in said {
            let load = Load { module: "search".to_owned(), load_milli: *milli, ..Load::default() };
            let rate = Rate {
                from: "shop".to_owned(),
                to: "search".to_owned(),
                local_milli: 0,
                remote_milli: *milli,
            };
            let report = Report { loads: vec![load], traffic: vec![rate], ..Report::default() };
            assert!(reports.take(&NodeName::new(format!("n{of}")), life(*of), report));
        }
        reports
    }

    fn figures(reports: &Reports, lives: std::ops::RangeInclusive<u64>) -> Figures {
        reports.figures(&lives.clone().map(life).collect(), [("search", lives.map(life).collect())])
    }

    #[tokio::test(start_paused = true)]
    async fn what_some_have_not_said_makes_a_sum_the_least() {
        let reports = told(&[(1, LOAD_MAX_MILLI), (2, 900), (9, LOAD_MAX_MILLI + 1)]).await;
        let work = |milli, is_partial| Some(Work { milli, is_partial });
        assert_eq!(figures(&reports, 1..=2).loads.get("search").copied(), work(LOAD_MAX_MILLI + 900, false));
        assert_eq!(figures(&reports, 1..=3).loads.get("search").copied(), work(LOAD_MAX_MILLI + 900, true));
        assert_eq!(figures(&reports, 2..=2).loads.get("search").copied(), work(900, false), "who counts");
        assert_eq!(
            figures(&reports, 9..=9).loads.get("search").copied(),
            work(LOAD_MAX_MILLI, false),
            "bounded"
        );
        assert_eq!(figures(&reports, 7..=8).loads.get("search"), None);
        tokio::time::advance(FRESH + Duration::from_millis(1)).await;
        assert_eq!(figures(&reports, 1..=2), Figures::default());
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_that_many_are_missing_in_says_nothing() {
        let said: Vec<_> = (1..=20).map(|of| (of, 1_000)).collect();
        let reports = told(&said).await;
        let calls = |lives| figures(&reports, lives).traffic.first().map(|traffic| traffic.calls_per_s);
        assert_eq!(calls(1..=20), Some(20));
        assert_eq!(calls(1..=10), Some(10), "of those that count");
        assert_eq!(calls(1..=22), Some(20), "two of twenty-two");
        assert_eq!(calls(1..=23), None);
    }
}
