//! Tells whoever plans how this node is, about once a second: the leader, over the connection between the two, or the parent
//! of one machine. That one sees itself which of its nodes live, and is told nothing of whom they reach.
//!
//! For whom it reaches, a node tries the next few of all nodes, in the order of their hashes, so that each node is tried by
//! as many and all connections together grow with the cloud and not with its square; and the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{KeyHash, NodeEntry, NodeName, Plan};
use skybox_node::control::{Flow, ParentLink, Vitals};
use skybox_plan::place::Explanation;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::Shared;
use crate::leader::has_ranges;
use crate::records::{LEADER, Leader, PARENT, Table};
use crate::reports::{Answer, Rate, Report, Told};
use crate::store::{Revision, View, follow};

/// How often it tells.
const EVERY: Duration = Duration::from_secs(1);
/// How often it looks at what there is to do: a hundred looks in the five seconds by which a leader judges are off by a
/// twentieth or less, mostly.
const LOOK: Duration = Duration::from_millis(50);
/// How many nodes each one tries to reach, beside the leader.
const TRIED_MAX: usize = 8;
/// How long it tries. A connection over which nothing was heard for two seconds counts as none before that.
const TRY_WAIT: Duration = Duration::from_millis(1_500);
/// How long the leader may take to hear it.
const TELL_WAIT: Duration = Duration::from_secs(1);
/// How long the leader may take to answer what people ask.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// A node that does not reach half of those that it tries is cut off, if that is so for as long as a lease lasts and this:
/// until then those may be dead, and nobody knows it yet.
const CUT_OFF_AFTER: Duration = Duration::from_secs(1);

/// Does all of this once the node has begun, for as long as it is awaited.
pub(super) async fn run(shared: Arc<Shared>, plan: watch::Receiver<Arc<Plan>>) {
    if let Some(vitals) = begun(&shared).await {
        tokio::join!(look(shared.clone(), vitals.clone()), tell(shared, vitals, plan));
    }
}

/// The same for a node of one machine.
pub(super) async fn run_under(shared: Arc<Shared>, parent: Arc<ParentLink>) {
    if let Some(vitals) = begun(&shared).await {
        tokio::join!(look(shared.clone(), vitals.clone()), tell_parent(shared, vitals, parent));
    }
}

async fn begun(shared: &Shared) -> Option<Arc<dyn Vitals>> {
    let mut vitals = shared.vitals.subscribe();
    vitals.wait_for(Option::is_some).await.ok().and_then(|vitals| vitals.clone())
}

/// Looks at what there is to do, for as long as it is awaited; not at all where no plan depends on it.
async fn look(shared: Arc<Shared>, vitals: Arc<dyn Vitals>) {
    if !has_ranges(&shared.modules) {
        return;
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        vitals.look();
    }
}

/// Tells the parent how this node is, for as long as it is awaited; also that it has nothing to do.
async fn tell_parent(shared: Arc<Shared>, vitals: Arc<dyn Vitals>, parent: Arc<ParentLink>) {
    let mut flows = Flows::begin(&*vitals);
    loop {
        tokio::time::sleep(a_pause(&shared)).await;
        let (loads, traffic) = (vitals.loads(), flows.since(&*vitals));
        match serde_json::to_value(Report { loads, traffic, ..Report::default() }) {
            Ok(report) => parent.report(report),
            Err(error) => tracing::error!("how this node is cannot be written: {error}"),
        }
    }
}

/// Until it is told again: not by all nodes at once.
fn a_pause(shared: &Shared) -> Duration {
    EVERY.mul_f64(0.75 + (shared.pace.jitter)().clamp(0.0, 1.0) / 2.0)
}

/// Tells the leader how this node is, for as long as it is awaited.
async fn tell(shared: Arc<Shared>, vitals: Arc<dyn Vitals>, plan: watch::Receiver<Arc<Plan>>) {
    let runtime = tokio::runtime::Handle::current();
    let leader = follow(&runtime, shared.store.clone(), LEADER, shared.pace);
    leader.at(Revision::default()).await;
    let mut flows = Flows::begin(&*vitals);
    let mut cut_off_since: Option<Instant> = None;
    loop {
        let next = Instant::now() + a_pause(&shared);
        let leads = leader
            .views()
            .borrow()
            .entries
            .get(LEADER)
            .and_then(|entry| serde_json::from_str::<Leader>(&entry.value).ok());
        let nodes = plan.borrow().nodes.clone();
        let tried = neighbours(&nodes, &shared.node.name, leads.as_ref());
        let (reached, unreached) = reach(&*vitals, tried).await;
        let is_cut_off = unreached.len() >= 2 && reached.len() < unreached.len();
        cut_off_since = is_cut_off.then(|| cut_off_since.unwrap_or_else(Instant::now));
        let lease = shared.known().renewed.map(|(_, _, ttl)| ttl).unwrap_or_default();
        let is_cut_off = cut_off_since.is_some_and(|since| since.elapsed() >= lease + CUT_OFF_AFTER);
        if shared.cut_off.send_if_modified(|now| std::mem::replace(now, is_cut_off) != is_cut_off)
            && is_cut_off
        {
            tracing::warn!(
                "this node reaches {} of {} others: it does not lead",
                reached.len(),
                reached.len() + unreached.len()
            );
        }
        let report = Report { loads: vitals.loads(), traffic: flows.since(&*vitals), reached, unreached };
        match leads {
            Some(leads) if leads.incarnation == shared.node.incarnation => {
                shared.reports.take(&shared.node.name, shared.node.incarnation, report);
            }
            Some(leads) => say(&*vitals, &leads, report).await,
            None => {}
        }
        tokio::time::sleep_until(next).await;
    }
}

async fn say(vitals: &dyn Vitals, leader: &Leader, report: Report) {
    let Ok(what) = serde_json::to_string(&Told::Report(report)) else { return };
    let told = vitals.tell(&leader.name, leader.incarnation, what);
    match tokio::time::timeout(TELL_WAIT, told).await {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => tracing::debug!(leader = %leader.name, "it was not told how this node is: {why}"),
        Err(_) => {
            tracing::debug!(leader = %leader.name, "it has not heard within {TELL_WAIT:?} how this node is")
        }
    }
}

/// Tries to reach nodes, all at once: those that it has reached, and those that it has not.
async fn reach(vitals: &dyn Vitals, tried: BTreeSet<NodeName>) -> (Vec<NodeName>, Vec<NodeName>) {
    let mut trying = JoinSet::new();
    for name in tried {
        let reaches = vitals.reaches(&name);
        trying.spawn(async move { (name, tokio::time::timeout(TRY_WAIT, reaches).await.unwrap_or(false)) });
    }
    let (mut reached, mut unreached) = (Vec::new(), Vec::new());
    while let Some(tried) = trying.join_next().await {
        match tried {
            Ok((name, true)) => reached.push(name),
            Ok((name, false)) => unreached.push(name),
            Err(error) => tracing::error!("a try to reach another node has ended: {error}"),
        }
    }
    reached.sort();
    unreached.sort();
    (reached, unreached)
}

/// The nodes that a node tries to reach: those after it in the order of their hashes, and the leader.
fn neighbours(
    nodes: &BTreeMap<NodeName, NodeEntry>,
    me: &NodeName,
    leader: Option<&Leader>,
) -> BTreeSet<NodeName> {
    let place = |name: &NodeName| (KeyHash::of(name.as_str().as_bytes()).0, name.clone());
    let mut ring: Vec<_> = nodes.keys().filter(|name| *name != me).map(place).collect();
    ring.sort_unstable();
    let from = ring.partition_point(|other| *other < place(me));
    let after = ring[from..].iter().chain(&ring[..from]).take(TRIED_MAX).map(|(_, name)| name.clone());
    let leader = leader.filter(|leader| leader.name != *me && nodes.contains_key(&leader.name));
    after.chain(leader.map(|leader| leader.name.clone())).collect()
}

/// The calls of this node's modules, as they were counted the last time.
struct Flows {
    at: Instant,
    counted: BTreeMap<(String, String), Flow>,
}

impl Flows {
    fn begin(vitals: &dyn Vitals) -> Flows {
        Flows { at: Instant::now(), counted: by_name(vitals.flows()) }
    }

    /// How often each was made since then.
    fn since(&mut self, vitals: &dyn Vitals) -> Vec<Rate> {
        let now = Flows::begin(vitals);
        let before = std::mem::replace(self, now);
        let passed_ms = u64::try_from((self.at - before.at).as_millis()).unwrap_or(u64::MAX).max(1);
        let a_second = |more: u64| more.saturating_mul(1_000_000) / passed_ms;
        let rates = self.counted.iter().map(|(name, flow)| {
            let (local, remote) = before.counted.get(name).map_or((0, 0), |flow| (flow.local, flow.remote));
            Rate {
                from: flow.from.clone(),
                to: flow.to.clone(),
                local_milli: a_second(flow.local.saturating_sub(local)),
                remote_milli: a_second(flow.remote.saturating_sub(remote)),
            }
        });
        rates.filter(|rate| rate.local_milli + rate.remote_milli > 0).collect()
    }
}

fn by_name(flows: Vec<Flow>) -> BTreeMap<(String, String), Flow> {
    flows.into_iter().map(|flow| ((flow.from.clone(), flow.to.clone()), flow)).collect()
}

/// Has the leader explain where a module is, if that is another node; `None` where it cannot be asked.
pub(super) async fn explained_by_leader(shared: &Shared, module: &str) -> Option<Explanation> {
    let mut leaders = Table::<Leader>::default();
    leaders.follow(&View::of(shared.store.list(LEADER).await.ok()?));
    let leader = leaders.get(LEADER).map(|row| row.value.clone())?;
    // A parent is asked by people themselves.
    if leader.incarnation == shared.node.incarnation || leader.incarnation == PARENT {
        return None;
    }
    match ask(shared, &leader, &Told::Explain(module.to_owned())).await? {
        Answer::Explained(explained) => *explained,
        Answer::Heard | Answer::NotLeader => None,
    }
}

/// Asks the leader something; `None` where it cannot be asked, or does not lead any more.
async fn ask(shared: &Shared, leader: &Leader, told: &Told) -> Option<Answer> {
    let vitals = shared.vitals.borrow().clone()?;
    let what = serde_json::to_string(told).ok()?;
    let telling = vitals.tell(&leader.name, leader.incarnation, what);
    let answer = tokio::time::timeout(ASK_WAIT, telling).await.ok()?.ok()?;
    serde_json::from_str(&answer).ok().filter(|answer| !matches!(answer, Answer::NotLeader))
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;

    use super::*;

    fn cloud(count: usize) -> BTreeMap<NodeName, NodeEntry> {
        let entry = || NodeEntry { incarnation: None, address: String::new(), draining: false };
        (0..count).map(|n| (NodeName::new(format!("node-{n}")), entry())).collect()
    }

    #[test]
    fn each_node_is_tried_by_as_many() {
        let small = cloud(5);
        for name in small.keys() {
            assert_eq!(neighbours(&small, name, None).len(), 4, "all others");
        }
        let large = cloud(100);
        let mut tried = BTreeMap::<NodeName, usize>::new();
        for name in large.keys() {
            for other in neighbours(&large, name, None) {
                assert_ne!(other, *name);
                *tried.entry(other).or_default() += 1;
            }
        }
        assert!(tried.len() == 100 && tried.values().all(|count| *count == TRIED_MAX), "{tried:?}");
        let leader = Leader { name: NodeName::new("node-7"), incarnation: Incarnation(1) };
        assert!(large.keys().all(|name| {
            *name == leader.name || neighbours(&large, name, Some(&leader)).contains(&leader.name)
        }));
        let me = NodeName::new("node-0");
        assert!(neighbours(&cloud(1), &me, None).is_empty());
    }
}
