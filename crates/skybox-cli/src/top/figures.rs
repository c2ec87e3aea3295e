//! What has happened between two looks at a program.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;
use skybox_core::NodeName;
use skybox_node::{EdgeCounts, InstanceStatus, ModuleStatus, NodeStatus, ProcessUse};

/// What nodes have said, by their names.
pub(super) type Look = BTreeMap<NodeName, NodeStatus>;

/// Instances of a module on one node that have lines of their own; the busiest ones.
const INSTANCES_MAX: usize = 100;

/// One line: a node's process, a module on a node, or one of several instances of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) node: String,
    /// Absent of the node itself.
    pub(super) module: Option<String>,
    /// Of a line about one instance.
    pub(super) instance: Option<String>,
    pub(super) key: Option<String>,
    /// How many live here.
    pub(super) instances: u64,
    /// Calls that it has taken, a second; absent where they are counted for all instances together.
    pub(super) calls_per_s: Option<f64>,
    /// Upper bounds of latencies in microseconds, of a sample; absent where none was measured since the node's start.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    /// Calls that failed, or returned the method's own error, a second.
    pub(super) errors_per_s: Option<f64>,
    /// Instances that have ended otherwise than by being stopped, or did not start, since the node's start.
    pub(super) restarts: Option<u64>,
    /// Of a process: absent of those who share their node's.
    pub(super) memory_bytes: Option<u64>,
    /// In cores.
    pub(super) cpu: Option<f64>,
}

/// What can be read off two looks, one line each, in the order of nodes and modules.
pub(super) fn figures(before: &Look, after: &Look, passed: Duration) -> Vec<Figures> {
    let mut all = Vec::new();
    for (name, now) in after {
        let was = Was::of(before.get(name), now, passed);
        let mut node =
            Figures::of(name, now.modules.iter().map(|module| module.instances.len() as u64).sum());
        node.uses(was.known().and_then(|was| was.uses), now.uses, passed);
        let modules: Vec<_> =
            now.modules.iter().map(|module| of_module(name, was, now, module, passed)).collect();
        let sum = |of: fn(&Figures) -> Option<f64>| {
            // Of instances that stand alone, their modules count the same.
            let whole = modules.iter().flatten().filter(|line| line.is_whole());
            was.can_be_told().then(|| whole.filter_map(of).sum::<f64>())
        };
        node.calls_per_s = sum(|line| line.calls_per_s);
        node.errors_per_s = sum(|line| line.errors_per_s);
        node.restarts = Some(now.modules.iter().map(|module| module.ended).sum());
        all.push(node);
        all.extend(modules.into_iter().flatten());
    }
    all
}

/// What a node had said at the look before.
#[derive(Clone, Copy)]
enum Was<'l> {
    Said(&'l NodeStatus),
    /// It was not there: it counts from zero.
    New,
    /// It did not answer: nobody knows what has happened since.
    Unknown,
}

impl<'l> Was<'l> {
    fn of(before: Option<&'l NodeStatus>, now: &NodeStatus, passed: Duration) -> Was<'l> {
        // In containers each is process 1: only the age tells that it is another one.
        let is_same = |was: &&NodeStatus| was.pid == now.pid && was.up_ms <= now.up_ms;
        match before.filter(is_same) {
            Some(was) => Was::Said(was),
            None if before.is_some() || u128::from(now.up_ms) <= passed.as_millis() => Was::New,
            None => Was::Unknown,
        }
    }

    fn known(self) -> Option<&'l NodeStatus> {
        match self {
            Was::Said(was) => Some(was),
            Was::New | Was::Unknown => None,
        }
    }

    /// So many a second, if that can be said.
    fn per_s(self, count: u64, passed: Duration) -> Option<f64> {
        self.can_be_told().then(|| count as f64 / passed.as_secs_f64())
    }

    /// Whether what has happened since can be told.
    fn can_be_told(self) -> bool {
        !matches!(self, Was::Unknown)
    }
}

impl Figures {
    fn of(node: &NodeName, instances: u64) -> Figures {
        Figures {
            node: node.to_string(),
            module: None,
            instance: None,
            key: None,
            instances,
            calls_per_s: None,
            p50_us: None,
            p99_us: None,
            errors_per_s: None,
            restarts: None,
            memory_bytes: None,
            cpu: None,
        }
    }

    /// Whether it is about all that a module has on its node.
    fn is_whole(&self) -> bool {
        self.restarts.is_some()
    }

    fn uses(&mut self, was: Option<ProcessUse>, now: Option<ProcessUse>, passed: Duration) {
        self.memory_bytes = now.map(|now| now.memory_bytes);
        let spent = now.zip(was).map(|(now, was)| now.cpu_ms.saturating_sub(was.cpu_ms));
        self.cpu = spent.map(|ms| ms as f64 / 1e3 / passed.as_secs_f64());
    }
}

/// The line of a module that has instances on a node, or had; and those of its instances, if there are several.
fn of_module(
    name: &NodeName,
    was: Was<'_>,
    now: &NodeStatus,
    module: &ModuleStatus,
    passed: Duration,
) -> Vec<Figures> {
    if module.instances.is_empty() && module.ended == 0 {
        return Vec::new();
    }
    let known = was.known();
    let earlier = known.and_then(|was| was.modules.iter().find(|earlier| earlier.module == module.module));
    let before = known.map(|was| Taken::of(was, earlier)).unwrap_or_default();
    let taken = Taken::of(now, Some(module));
    let lately = taken.since(&before);
    let mut line = Figures::of(name, module.instances.len() as u64);
    line.module = Some(module.module.clone());
    line.calls_per_s = was.per_s(lately.calls, passed);
    line.errors_per_s = was.per_s(lately.errors, passed);
    line.restarts = Some(module.ended);
    // Few calls are measured: where none was, all of them since the start say more than nothing.
    let share = |share| lately.quantile(share).or_else(|| taken.quantile(share));
    (line.p50_us, line.p99_us) = (share(0.50), share(0.99));
    let earlier: HashMap<&str, &InstanceStatus> = earlier
        .iter()
        .flat_map(|module| &module.instances)
        .map(|instance| (&*instance.instance, instance))
        .collect();
    let known = |instance: &InstanceStatus| earlier.get(&*instance.instance).copied();
    if let [only] = &module.instances[..] {
        line.instance = Some(only.instance.clone());
        line.key.clone_from(&only.key);
        in_cell(&mut line, known(only), only, passed);
        return vec![line];
    }
    let mut lines: Vec<_> = module
        .instances
        .iter()
        .map(|instance| {
            let earlier = known(instance);
            let mut line = Figures::of(name, 1);
            line.module = Some(module.module.clone());
            line.instance = Some(instance.instance.clone());
            line.key.clone_from(&instance.key);
            // One that is new has been called since, and not before.
            let calls = |of: &InstanceStatus| of.calls.unwrap_or(0);
            let lately = instance.calls.map(|now| now.saturating_sub(earlier.map_or(0, calls)));
            line.calls_per_s = lately.and_then(|calls| was.per_s(calls, passed));
            in_cell(&mut line, earlier, instance, passed);
            line
        })
        .collect();
    lines.sort_by(|one, other| {
        other.calls_per_s.partial_cmp(&one.calls_per_s).unwrap_or(std::cmp::Ordering::Equal)
    });
    lines.truncate(INSTANCES_MAX);
    lines.sort_by(|one, other| (&one.key, &one.instance).cmp(&(&other.key, &other.instance)));
    std::iter::once(line).chain(lines).collect()
}

/// What the process of an instance uses, if it has one.
fn in_cell(line: &mut Figures, was: Option<&InstanceStatus>, now: &InstanceStatus, passed: Duration) {
    let Some(cell) = &now.cell else { return };
    let was = was.and_then(|was| was.cell.as_ref()).filter(|was| was.pid == cell.pid);
    line.uses(was.and_then(|was| was.uses), cell.uses, passed);
}

/// The calls that a module has taken on one node.
#[derive(Debug, Default)]
struct Taken {
    calls: u64,
    errors: u64,
    latency: Vec<u64>,
}

impl Taken {
    /// Calls of this node's code that stayed here, and those that came from elsewhere.
    fn of(node: &NodeStatus, module: Option<&ModuleStatus>) -> Taken {
        let mut taken = Taken::default();
        let Some(module) = module else { return taken };
        for edge in node.edges.iter().filter(|edge| edge.module == module.module) {
            taken.calls += edge.local;
            // Where most of an edge's calls went elsewhere, they are counted there.
            if edge.local >= edge.remote {
                taken.add(edge);
            }
        }
        if let Some(served) = &module.served {
            taken.calls += served.remote;
            taken.add(served);
        }
        taken
    }

    fn add(&mut self, edge: &EdgeCounts) {
        self.errors += edge.own_errors + edge.call_errors.iter().map(|(_, count)| count).sum::<u64>();
        self.latency.resize(self.latency.len().max(edge.latency.len()), 0);
        self.latency.iter_mut().zip(&edge.latency).for_each(|(sum, count)| *sum += count);
    }

    fn since(&self, before: &Taken) -> Taken {
        let earlier = before.latency.iter().copied().chain(std::iter::repeat(0));
        Taken {
            calls: self.calls.saturating_sub(before.calls),
            errors: self.errors.saturating_sub(before.errors),
            latency: self.latency.iter().zip(earlier).map(|(now, was)| now.saturating_sub(was)).collect(),
        }
    }

    fn quantile(&self, share: f64) -> Option<u64> {
        let edge = EdgeCounts { latency: self.latency.clone(), ..EdgeCounts::default() };
        edge.latency_us(share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{look, node};
    use super::*;

    #[test]
    fn two_looks_make_figures() {
        let (before, after) = (look(node(1_000, 10, 1_000)), look(node(4_000, 16, 1_500)));
        let all = figures(&before, &after, Duration::from_secs(2));
        let [node, catalog, carts, busy, quiet] = &all[..] else { panic!("five lines: {all:?}") };
        assert_eq!((node.module.as_deref(), node.cpu, node.memory_bytes), (None, Some(0.25), Some(64 << 20)));
        assert_eq!((node.calls_per_s, node.restarts), (Some(1_503.0), Some(2)));
        assert_eq!((catalog.instance.as_deref(), catalog.calls_per_s), (Some("a.1"), Some(1_500.0)));
        assert_eq!((catalog.p50_us, catalog.p99_us, catalog.errors_per_s), (Some(4), Some(4), Some(0.0)));
        assert_eq!((catalog.memory_bytes, catalog.cpu), (None, None), "a node's process is its own line");
        assert_eq!((carts.instances, carts.calls_per_s, carts.restarts), (2, Some(3.0), Some(2)));
        assert_eq!((busy.key.as_deref(), busy.calls_per_s), (Some("ann"), Some(3.0)));
        assert_eq!((quiet.key.as_deref(), quiet.calls_per_s), (Some("bob"), Some(0.0)));
    }

    #[test]
    fn a_node_that_was_started_again_counts_from_zero() {
        let before = look(node(9_000, 90, 9_000));
        let mut after = look(node(100, 0, 50));
        after.values_mut().for_each(|node| node.pid += 1);
        let all = figures(&before, &after, Duration::from_secs(1));
        assert_eq!((all[0].cpu, all[1].calls_per_s), (None, Some(100.0)));
        // In containers each is process 1.
        let mut before = before;
        before.values_mut().for_each(|node| node.up_ms = 9_000);
        after.values_mut().for_each(|node| (node.pid, node.up_ms) = (node.pid - 1, 500));
        assert_eq!(figures(&before, &after, Duration::from_secs(1))[1].calls_per_s, Some(100.0));
    }

    #[test]
    fn of_a_node_that_had_not_answered_nothing_is_said() {
        let mut after = look(node(9_000, 90, 9_000));
        after.values_mut().for_each(|node| node.up_ms = 60_000);
        let all = figures(&Look::new(), &after, Duration::from_secs(1));
        assert!(all.iter().all(|line| line.calls_per_s.is_none() && line.errors_per_s.is_none()), "{all:?}");
        assert_eq!(all[2].restarts, Some(2));
    }
}
