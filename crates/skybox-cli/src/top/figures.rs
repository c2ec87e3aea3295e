//! What has happened between two looks at a program.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use skybox_core::{ModuleKind, NodeName};
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
    /// Whether it is all that a node, or a module on it, has counted, and not a part of that.
    pub(super) whole: bool,
    /// Calls that it has taken, a second; absent where they are counted for all instances together.
    pub(super) calls_per_s: Option<f64>,
    /// Upper bounds of latencies in microseconds, of a sample; absent where none was measured since the node's start.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    /// Calls that failed, or returned the method's own error, a second.
    pub(super) errors_per_s: Option<f64>,
    /// Instances that have ended otherwise than by being stopped, or did not start, since the node's start; of one of
    /// several instances, those of its key, or those in whose place a supervisor has started it.
    pub(super) restarts: Option<u64>,
    /// Of a process: absent of those who share one.
    pub(super) memory_bytes: Option<u64>,
    /// In cores.
    pub(super) cpu: Option<f64>,
}

/// What can be read off two looks, one line each, in the order of nodes and modules.
pub(super) fn figures(before: &Look, after: &Look, passed: Duration) -> Vec<Figures> {
    let mut all = Vec::new();
    // A supervisor and its child may be on different nodes.
    let restarted: HashMap<&str, u64> =
        after.values().flat_map(|node| &node.restarted).map(|(child, count)| (&**child, *count)).collect();
    for (name, now) in after {
        let was = Was::of(before.get(name), now, passed);
        let mut node = Figures::of(name, now.modules.iter().map(|module| module.live()).sum());
        node.uses(was.known().and_then(|was| was.uses), now.uses, passed);
        let looked = Looked { name, was, now, restarted: &restarted, passed };
        let modules: Vec<_> = now.modules.iter().map(|module| looked.module(module)).collect();
        let sum = |of: fn(&Figures) -> Option<f64>| {
            // Of instances that stand alone, their modules count the same.
            let whole = modules.iter().flatten().filter(|line| line.whole);
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
            whole: true,
            calls_per_s: None,
            p50_us: None,
            p99_us: None,
            errors_per_s: None,
            restarts: None,
            memory_bytes: None,
            cpu: None,
        }
    }

    /// Adds what a process uses.
    fn uses(&mut self, was: Option<ProcessUse>, now: Option<ProcessUse>, passed: Duration) {
        let cores = |ms: u64| ms as f64 / 1e3 / passed.as_secs_f64();
        if let Some(now) = now {
            *self.memory_bytes.get_or_insert(0) += now.memory_bytes;
        }
        if let Some((now, was)) = now.zip(was) {
            *self.cpu.get_or_insert(0.0) += cores(now.cpu_ms.saturating_sub(was.cpu_ms));
        }
    }
}

/// What was seen of one node.
#[derive(Clone, Copy)]
struct Looked<'l> {
    name: &'l NodeName,
    was: Was<'l>,
    now: &'l NodeStatus,
    /// How often children of supervisors were started again, by their ids.
    restarted: &'l HashMap<&'l str, u64>,
    passed: Duration,
}

impl Looked<'_> {
    /// The line of a module that has instances here, or had; and those of its instances, if it does not stand for the
    /// only one.
    fn module(&self, module: &ModuleStatus) -> Vec<Figures> {
        if module.instances.is_empty() && module.ended == 0 {
            return Vec::new();
        }
        let known = self.was.known();
        let earlier =
            known.and_then(|was| was.modules.iter().find(|earlier| earlier.module == module.module));
        let before = known.map(|was| Taken::of(was, earlier)).unwrap_or_default();
        let taken = Taken::of(self.now, Some(module));
        let mut line = Figures::of(self.name, module.live());
        line.module = Some(module.module.clone());
        line.restarts = Some(module.ended);
        self.calls(&mut line, &before, &taken);
        let earlier = Earlier::of(earlier.map_or(&[], |module| &module.instances));
        self.cells(&mut line, &earlier, &module.instances);
        // Tasks and replicated modules have one instance on a node, and what was counted here is its, or that of those
        // before it. Another one that is alone is so for the moment, and what has ended may have been something else.
        let has_one = !matches!(module.kind, ModuleKind::Keyed | ModuleKind::Spawned);
        if let [only] = &module.instances[..]
            && (has_one || module.ended == 0)
        {
            line.instance = Some(only.instance.clone());
            line.key.clone_from(&only.key);
            return vec![line];
        }
        let mut in_process = HashMap::<_, u64>::new();
        module.instances.iter().filter_map(pid).for_each(|pid| *in_process.entry(pid).or_default() += 1);
        let line_of = |instance| {
            let mut line = self.instance(&earlier, instance);
            // What instances use of a process that they share cannot be told apart.
            if pid(instance).is_some_and(|pid| in_process[&pid] == 1) {
                self.cells(&mut line, &earlier, std::slice::from_ref(instance));
            }
            (instance, line)
        };
        let mut lines: Vec<_> = module.instances.iter().map(line_of).collect();
        // The busiest: where calls are not counted, those of which most was seen.
        let weight = |(instance, line): &(&InstanceStatus, Figures)| {
            let seen = instance.latency.iter().sum::<u64>() + instance.errors.unwrap_or(0);
            (line.calls_per_s.unwrap_or(0.0), line.errors_per_s.unwrap_or(0.0), seen)
        };
        lines.sort_by(|one, other| {
            weight(other).partial_cmp(&weight(one)).unwrap_or(std::cmp::Ordering::Equal)
        });
        lines.truncate(INSTANCES_MAX);
        let mut lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        lines.sort_by(|one, other| (&one.key, &one.instance).cmp(&(&other.key, &other.instance)));
        std::iter::once(line).chain(lines).collect()
    }

    /// The line of one of several instances.
    fn instance(&self, earlier: &Earlier<'_>, instance: &InstanceStatus) -> Figures {
        let mut line = Figures::of(self.name, 1);
        line.whole = false;
        line.module = Some(instance.module.clone());
        line.instance = Some(instance.instance.clone());
        line.key.clone_from(&instance.key);
        let taken = Taken::by(instance);
        self.calls(&mut line, &earlier.taken(instance, &taken), &taken);
        if instance.calls.is_none() {
            line.calls_per_s = None;
        }
        if instance.errors.is_none() {
            line.errors_per_s = None;
        }
        line.restarts = match instance.kind {
            ModuleKind::Spawned => self.restarted.get(&*instance.instance).copied(),
            _ => instance.restarts,
        };
        line
    }

    /// What calls say.
    fn calls(&self, line: &mut Figures, before: &Taken, taken: &Taken) {
        let lately = taken.since(before);
        line.calls_per_s = self.was.per_s(lately.calls, self.passed);
        line.errors_per_s = self.was.per_s(lately.errors, self.passed);
        // Few calls are measured: where none was, all of them since the start say more than nothing.
        let share = |share| lately.quantile(share).or_else(|| taken.quantile(share));
        (line.p50_us, line.p99_us) = (share(0.50), share(0.99));
    }

    /// What the processes of instances use, if they have such: cells.
    fn cells(&self, line: &mut Figures, earlier: &Earlier<'_>, instances: &[InstanceStatus]) {
        let mut seen = HashSet::new();
        for now in instances.iter().filter(|instance| seen.insert(pid(instance))) {
            let Some(cell) = &now.cell else { continue };
            line.uses(earlier.uses.get(&cell.pid).copied(), cell.uses, self.passed);
        }
    }
}

/// The instances of a module at the look before.
struct Earlier<'l> {
    by_id: HashMap<&'l str, &'l InstanceStatus>,
    by_key: HashMap<&'l str, &'l InstanceStatus>,
    /// What their cells had used, by process.
    uses: HashMap<u32, ProcessUse>,
}

impl<'l> Earlier<'l> {
    fn of(instances: &'l [InstanceStatus]) -> Earlier<'l> {
        let all = || instances.iter();
        let uses =
            |instance: &InstanceStatus| instance.cell.as_ref().and_then(|cell| Some((cell.pid, cell.uses?)));
        Earlier {
            by_id: all().map(|instance| (&*instance.instance, instance)).collect(),
            by_key: all().filter_map(|instance| Some((instance.key.as_deref()?, instance))).collect(),
            uses: all().filter_map(uses).collect(),
        }
    }

    /// What one of several instances had counted.
    fn taken(&self, instance: &InstanceStatus, now: &Taken) -> Taken {
        let same = self.by_id.get(&*instance.instance).copied();
        // Calls are those of one instance, or of a cell that outlives it; all else is put down to its key. What is less than
        // before was begun anew.
        let of_key = instance.key.as_deref().and_then(|key| self.by_key.get(key).copied());
        let noted = same.or(of_key).map(Taken::by).unwrap_or_default();
        let began_anew = now.errors < noted.errors || now.timed() < noted.timed();
        let noted = if began_anew { Taken::default() } else { noted };
        let in_its_cell = of_key.filter(|before| pid(before).is_some() && pid(before) == pid(instance));
        Taken { calls: same.or(in_its_cell).and_then(|before| before.calls).unwrap_or(0), ..noted }
    }
}

/// The process of an instance, if it lives in a cell.
fn pid(instance: &InstanceStatus) -> Option<u32> {
    instance.cell.as_ref().map(|cell| cell.pid)
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

    /// What one of several instances has counted.
    fn by(instance: &InstanceStatus) -> Taken {
        Taken {
            calls: instance.calls.unwrap_or(0),
            errors: instance.errors.unwrap_or(0),
            latency: instance.latency.clone(),
        }
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

    fn timed(&self) -> u64 {
        self.latency.iter().sum()
    }

    fn quantile(&self, share: f64) -> Option<u64> {
        let edge = EdgeCounts { latency: self.latency.clone(), ..EdgeCounts::default() };
        edge.latency_us(share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{look, node, room, rooms};
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
        assert_eq!((busy.p99_us, busy.errors_per_s, busy.restarts), (Some(16), Some(0.0), Some(0)));
        assert_eq!((quiet.key.as_deref(), quiet.calls_per_s), (Some("bob"), Some(0.0)));
        assert_eq!((quiet.p99_us, quiet.errors_per_s, quiet.restarts), (None, Some(1.5), Some(2)));
    }

    #[test]
    fn a_key_that_was_started_again_keeps_its_errors_and_counts_its_calls_anew() {
        let (before, mut after) = (look(node(0, 10, 0)), look(node(0, 12, 0)));
        let carts = &mut after.values_mut().next().expect("there is one").modules[1].instances;
        let [bob, _] = &mut carts[..] else { panic!("two carts: {carts:?}") };
        (bob.instance, bob.calls, bob.errors) = ("a.9".to_owned(), Some(2), Some(6));
        let bob = |after: &Look| figures(&before, after, Duration::from_secs(1)).remove(4);
        assert_eq!((bob(&after).calls_per_s, bob(&after).errors_per_s), (Some(2.0), Some(1.0)));
        // As after a while in which nobody looked.
        let node = after.values_mut().next().expect("there is one");
        node.modules[1].instances[0].errors = Some(2);
        assert_eq!(bob(&after).errors_per_s, Some(2.0));
    }

    #[test]
    fn what_a_cell_uses_is_its_only_instance_s() {
        let cells = |ms| {
            look(rooms(vec![
                room("a.1", Some((8, ms))),
                room("a.2", Some((8, ms))),
                room("a.3", Some((9, ms / 2))),
                room("a.4", None),
            ]))
        };
        let all = figures(&cells(0), &cells(1_000), Duration::from_secs(1));
        let uses: Vec<_> = all[1..].iter().map(|line| (line.memory_bytes, line.cpu)).collect();
        let none = (None, None);
        assert_eq!(
            uses,
            [(Some(16 << 20), Some(1.5)), none, none, (Some(8 << 20), Some(0.5)), none],
            "of two in one cell nothing can be told, and the module has what its cells have"
        );
        let known = |line: &Figures| (line.calls_per_s, line.errors_per_s, line.restarts);
        assert_eq!(known(&all[2]), (None, Some(0.0), None), "nobody counts the calls of spawned instances");
    }

    #[test]
    fn restarts_of_a_child_come_from_its_supervisor() {
        let mut after = look(rooms(vec![room("a.1", None), room("a.2", None)]));
        let mut other = rooms(vec![room("b.1", None)]);
        other.node = NodeName::new("node-2");
        other.restarted.insert("a.2".to_owned(), 3);
        after.insert(other.node.clone(), other);
        let all = figures(&after, &after, Duration::from_secs(1));
        let restarts = |id: &str| {
            all.iter().find(|line| line.instance.as_deref() == Some(id)).and_then(|line| line.restarts)
        };
        assert_eq!((restarts("a.1"), restarts("a.2")), (None, Some(3)));
        assert_eq!(all[1].restarts, Some(1), "the module's own are those that have ended");
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
