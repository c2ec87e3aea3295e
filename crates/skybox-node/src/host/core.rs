//! The part of a host that does not know its module's type.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use skybox_core::{
    CallErrorKind, Chain, Code, Epoch, Exit, InstanceId, Link, MethodDescriptor, Mode, ModuleDescriptor,
    ModuleKind, NodeName, OnStoreLoss, Settings, Shards,
};
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

use super::cells::{Cells, on_demand};
use super::line::Lines;
use super::restart::{Ordered, Orders};
use super::room::Room;
use super::{Endings, FailedKeys, Failure, Falls, Instance, Pool, Tallies, Turn, Useful, Which, lock};
use crate::app::{AppId, AppInner};
use crate::fence::Fence;
use crate::links::Peer;
use crate::metrics::{Edge, Edges};
use crate::status::{HeldStatus, InstanceStatus, WAITS_MAX, WaitStatus};
use crate::thread::{CallerIndex, Origin};
use crate::watchdog::Holds;

/// What a host is made from.
pub(crate) struct HostSeed {
    pub(crate) app: Weak<AppInner>,
    pub(crate) app_id: AppId,
    pub(crate) node: NodeName,
    pub(crate) index: u16,
    pub(crate) modules: usize,
    pub(crate) descriptor: &'static ModuleDescriptor,
    pub(crate) settings: Settings,
    pub(crate) stops: bool,
    pub(crate) strict: bool,
    /// Whether instances may live in cells, if their module asks for it.
    pub(crate) may_have_cells: bool,
    /// In a cell, the node that it is a cell of.
    pub(crate) cell_of: Option<NodeName>,
    pub(crate) runtime: Runtime,
}

/// The part of a host that does not know the module's type.
pub(crate) struct HostCore {
    pub(crate) app: Weak<AppInner>,
    pub(crate) app_id: AppId,
    pub(crate) node: NodeName,
    pub(crate) index: u16,
    /// Where its code's calls come from, put together once.
    pub(crate) origin: Origin,
    pub(crate) descriptor: &'static ModuleDescriptor,
    /// In a cell, the node that it is a cell of.
    pub(crate) cell_of: Option<NodeName>,
    pub(crate) settings: Settings,
    /// Its instances have a last word.
    pub(super) stops: bool,
    /// Calls wait for one another here, so that a call could wait for itself.
    pub(crate) traced: bool,
    /// Every call goes the long way: encoded, run on another task, decoded.
    pub(crate) strict: bool,
    /// Neither strict nor with a deadline of its own: a call may take the fast way.
    pub(crate) plain: bool,
    /// Held in strict mode by the call that is on its way.
    pub(crate) strict_way: Arc<tokio::sync::Mutex<()>>,
    pub(crate) runtime: Runtime,
    pub(crate) edges: Edges,
    /// Where the plan has it.
    pub(crate) placement: ArcSwap<Placement>,
    /// Counts changes of the placement and of the local instance; those who wait watch it.
    changed: watch::Sender<u64>,
    /// Calls that wait because nothing is live.
    waiting: AtomicUsize,
    /// Calls to a key or to what was spawned that wait to hear where that is.
    pub(crate) lines: Lines,
    /// Why it was given up here.
    pub(crate) failed: Mutex<Option<Failure>>,
    /// How its instances ended.
    pub(crate) endings: Endings,
    /// What is to be logged of those that their links have killed.
    pub(super) falls: Falls,
    /// The calls that came from other processes.
    pub(crate) served: Edge,
    /// What is put down to each of its instances.
    pub(crate) tallies: Tallies,
    /// How its methods have held async threads.
    pub(crate) holds: Holds,
    /// The count of the replicated instance that is live here; zero for none.
    pub(super) live: AtomicU64,
    /// The live replicated instance whose end came last, and whether it was killed: for the task that starts the next.
    pub(super) over: watch::Sender<Option<(InstanceId, bool)>>,
    /// Whether the plan wants an instance here.
    pub(super) wanted: watch::Sender<bool>,
    /// How often the plan has said that what was given up here is to be tried again.
    pub(super) chances: watch::Sender<u64>,
    /// Orders to start a replicated instance anew, for the task that keeps it.
    pub(super) orders: Orders,
    /// The end of `orders` at which they arrive, until that task has it.
    pub(super) ordered: Mutex<Option<Ordered>>,
    /// Until when its calls may begin, of a keyed module that others could take over.
    fence: OnceLock<Arc<Fence>>,
    /// How many of its keys are awake.
    pub(super) room: Room,
    /// Its keys that do not start.
    pub(crate) failed_keys: FailedKeys,
    /// Its cells, if its instances live in such.
    pub(crate) cells: Option<Cells>,
    /// The module's own threads, made when first needed.
    pool: OnceLock<Option<Pool>>,
    instances: AtomicU64,
    /// How many instances have their last word still to say, of a module with `stop`.
    pub(super) lives: watch::Sender<usize>,
    born: Instant,
    /// A call of a replicated module has ended well here.
    pub(crate) useful: Useful,
}

/// Where the plan has a module, seen from one node.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// The version of the plan that said so.
    pub(crate) version: u64,
    /// The other nodes whose instance is ready.
    pub(crate) elsewhere: Vec<Arc<Peer>>,
    /// The owners of a keyed module's shards; absent where all of them are here.
    pub(crate) shards: Option<Shards>,
    /// The peers behind `shards.nodes`, in their order; `None` for this node.
    pub(crate) owners: Vec<Option<Arc<Peer>>>,
    /// Why it is nowhere.
    pub(crate) failed: Option<String>,
}

impl HostCore {
    pub(super) fn new(seed: HostSeed) -> HostCore {
        let HostSeed {
            app,
            app_id,
            node,
            index,
            modules,
            descriptor,
            settings,
            stops,
            strict,
            may_have_cells,
            cell_of,
            runtime,
        } = seed;
        let (orders, ordered) = Orders::new();
        let cells = Cells::of(&settings, descriptor.kind, may_have_cells && !strict);
        // Orders for a keyed or spawned module that has one cell go to that.
        let (cells, ordered) = match cells {
            Some((cells, of_slot)) if on_demand(descriptor.kind) => (Some(cells), of_slot),
            Some((cells, _)) => (Some(cells), ordered),
            None => (None, ordered),
        };
        HostCore {
            edges: Edges::new(modules + 1, descriptor.methods.len()),
            origin: Origin::new(app_id, CallerIndex(index + 1)),
            app,
            app_id,
            node,
            index,
            descriptor,
            cell_of,
            traced: descriptor.kind == ModuleKind::Keyed
                || settings.concurrency.is_some()
                || descriptor.methods.iter().any(|method| method.mode == Mode::Exclusive),
            plain: !strict && settings.deadline.is_none(),
            room: Room::of(&settings, cells.is_some()),
            failed_keys: FailedKeys::default(),
            settings,
            stops,
            strict,
            strict_way: Arc::default(),
            runtime,
            placement: ArcSwap::default(),
            fence: OnceLock::new(),
            changed: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            lines: Lines::default(),
            failed: Mutex::default(),
            endings: Endings::default(),
            falls: Falls::default(),
            holds: Holds::default(),
            served: Edge::default(),
            tallies: Tallies::default(),
            live: AtomicU64::new(0),
            over: watch::Sender::new(None),
            wanted: watch::Sender::new(false),
            chances: watch::Sender::new(0),
            orders,
            ordered: Mutex::new(Some(ordered)),
            cells,
            pool: OnceLock::new(),
            instances: AtomicU64::new(0),
            lives: watch::Sender::new(0),
            useful: Useful::default(),
            born: Instant::now(),
        }
    }

    /// Another node; `None` for this one.
    pub(super) fn peer(&self, node: &NodeName) -> Option<Arc<Peer>> {
        if *node == self.node {
            return None;
        }
        self.app.upgrade().map(|app| app.links.peer(node))
    }

    /// Whether the order of its calls means something.
    #[inline]
    pub(crate) fn keeps_order(&self) -> bool {
        self.traced && self.descriptor.kind != ModuleKind::Task
    }

    /// Whether a key of this module belongs to this node.
    pub(crate) fn owns(&self, key: &[u8]) -> bool {
        self.is_planned_here(key)
            && self.fence.get().is_none_or(|fence| fence.is_open(self.placement.load().version))
    }

    /// Whether the plan has a key of this module on this node, whatever the fence says.
    pub(super) fn is_planned_here(&self, key: &[u8]) -> bool {
        self.owns_shard(skybox_core::KeyHash::of(key).shard())
    }

    /// Whether the plan has the keys of a shard of this module on this node.
    pub(crate) fn owns_shard(&self, shard: skybox_core::Shard) -> bool {
        let placement = self.placement.load();
        placement.shards.as_ref().is_none_or(|shards| shards.owner(shard) == Some(&self.node))
    }

    /// Which of the owners of a key's shard this node is, if somebody counts them.
    pub(super) fn epoch(&self, key: Option<&[u8]>) -> Option<Epoch> {
        let shard = skybox_core::KeyHash::of(key?).shard();
        self.placement.load().shards.as_ref()?.epoch(shard)
    }

    /// The same for all shards, and nothing else of them.
    pub(crate) fn epochs(&self) -> Shards {
        let placement = self.placement.load();
        let known = placement.shards.as_ref();
        known.map_or_else(Shards::default, |shards| Shards {
            nodes: Vec::new(),
            owner: Vec::new(),
            ..shards.clone()
        })
    }

    /// Has its calls begin only as long as this is open.
    pub(crate) fn fence_in(&self, fence: &Arc<Fence>) {
        if self.descriptor.kind == ModuleKind::Keyed && self.settings.on_store_loss == OnStoreLoss::Stop {
            drop(self.fence.set(fence.clone()));
        }
    }

    /// Whether others could take its keys over.
    pub(crate) fn has_fence(&self) -> bool {
        self.fence.get().is_some()
    }

    /// Whether a call may begin on an instance that is here.
    #[inline]
    pub(crate) fn may_begin(&self) -> bool {
        self.fence.get().is_none_or(|fence| !fence.has_passed())
    }

    /// Whether the fence is about to open, or the plan that says who owns what is about to come.
    pub(crate) fn is_about_to_open(&self) -> bool {
        self.fence
            .get()
            .is_some_and(|fence| !fence.was_open() || fence.is_ahead_of(self.placement.load().version))
    }

    /// Whether it is not known yet who owns a key.
    pub(super) fn is_undecided(&self, key: &[u8]) -> bool {
        let shard = skybox_core::KeyHash::of(key).shard();
        let has_no_owner = |shards: &Shards| shards.owner(shard).is_none();
        self.is_about_to_open() || self.placement.load().shards.as_ref().is_some_and(has_no_owner)
    }

    /// Why no call may begin here, if none may.
    pub(super) fn fenced(&self) -> Result<(), CallErrorKind> {
        match self.fence.get() {
            // Whoever calls waits.
            Some(_) if self.is_about_to_open() => Err(CallErrorKind::Moved),
            Some(fence) if fence.has_passed() => {
                let why = format!(
                    "{} has not reached the store in time, so others may own the keys of {} by now \
                     (`on-store-loss = \"stop\"`)",
                    self.node, self.descriptor.name
                );
                Err(CallErrorKind::Unplaced { why })
            }
            _ => Ok(()),
        }
    }

    /// Resolves when its calls may not begin any more and what runs is killed; never where there is no fence.
    pub(super) async fn fence_passed(&self) {
        match self.fence.get() {
            Some(fence) => fence.passed().await,
            None => std::future::pending().await,
        }
    }

    /// The node that people and other nodes know.
    pub(crate) fn home(&self) -> &NodeName {
        self.cell_of.as_ref().unwrap_or(&self.node)
    }

    /// In a cell, the node that it is a cell of.
    pub(crate) fn its_node(&self) -> Option<Arc<Peer>> {
        self.peer(self.cell_of.as_ref()?)
    }

    /// This module as the caller of others.
    pub(crate) fn as_caller(&self) -> CallerIndex {
        CallerIndex(self.index + 1)
    }

    pub(crate) fn next_instance_id(&self) -> InstanceId {
        match self.app.upgrade() {
            Some(app) => app.next_instance_id(),
            None => InstanceId {
                node: skybox_core::Incarnation(0),
                count: 1 + self.instances.fetch_add(1, Ordering::Relaxed),
            },
        }
    }

    /// A turn for a new instance, if its calls ever have to wait for one another.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let exclusive = self.descriptor.methods.iter().any(|method| method.mode == Mode::Exclusive);
        (exclusive || self.settings.concurrency.is_some())
            .then(|| Turn::new(self.settings.concurrency, self.settings.queue as usize))
    }

    /// Tells those who wait that something changed.
    pub(crate) fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
    }

    /// The plan has given it so many chances to start here after it was given up.
    pub(super) fn has_chances(&self, chances: u64) {
        self.chances.send_if_modified(|now| std::mem::replace(now, chances) != chances);
    }

    /// Enters the bounded queue of those who wait for an instance.
    pub(crate) fn queue_up(&self) -> Result<Waiting<'_>, CallErrorKind> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.settings.queue as usize {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let what = format!("{} calls wait for it to start already (`queue`)", self.settings.queue);
            return Err(CallErrorKind::Overloaded { what });
        }
        Ok(Waiting(self))
    }

    /// The same, for a call that may be in it already.
    pub(super) fn queue_up_once<'h>(
        &'h self,
        queued: Option<Waiting<'h>>,
    ) -> Result<Waiting<'h>, CallErrorKind> {
        queued.map_or_else(|| self.queue_up(), Ok)
    }

    /// A call's code panicked: the instance is replaced.
    #[cold]
    pub(super) fn crash(&self, instance: InstanceId, message: &str, place: &str) {
        let (module, code) = (self.descriptor.name, Code::CRASHED);
        tracing::error!(module, %instance, place, %code, "crashed: {message}");
        self.unroute(instance);
        self.is_over(instance, false);
    }

    /// A replicated instance has ended, if that is the live one: a call that an already replaced instance still runs
    /// must not take its successor down.
    pub(super) fn is_over(&self, instance: InstanceId, killed: bool) {
        if self.live.load(Ordering::Acquire) == instance.count {
            // Once each: whoever is killed may crash when its code is dropped.
            self.over.send_if_modified(|last| {
                let news = last.is_none_or(|(last, _)| last != instance);
                if news {
                    *last = Some((instance, killed));
                }
                news
            });
        }
    }

    /// New calls no longer find a replicated instance, from this moment on.
    pub(crate) fn unroute(&self, instance: InstanceId) {
        if let Some(app) = self.app.upgrade() {
            app.hosts[usize::from(self.index)].unroute(instance);
        }
    }

    /// The instance of a key has crashed, which is not to be started again.
    #[cold]
    pub(super) fn key_crashed(&self, instance: InstanceId, key: &[u8], exit: &Exit) {
        if let Some(app) = self.app.upgrade() {
            app.hosts[usize::from(self.index)].key_crashed(instance, key, exit);
        }
    }

    /// Nothing is left of an instance, and whoever waited for that was told.
    pub(super) fn is_gone(&self, instance: InstanceId) {
        // Others are not looked for by their id once they have ended.
        if self.descriptor.kind == ModuleKind::Spawned
            && let Some(app) = self.app.upgrade()
        {
            app.hosts[usize::from(self.index)].is_gone(instance);
        }
    }

    /// The threads on which a method's code runs, if it is not the caller's.
    #[inline(always)]
    pub(crate) fn pool_for(&self, method: &MethodDescriptor) -> Option<&Pool> {
        if method.compute { self.pool() } else { None }
    }

    /// The module's own threads, if it has any.
    #[cold]
    #[inline(never)]
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.pool
            .get_or_init(|| {
                let threads = self.settings.cpu_milli?.div_ceil(1000) as usize;
                Some(Pool::start(
                    self.descriptor.name,
                    threads,
                    self.settings.queue as usize,
                    self.runtime.clone(),
                    self.endings.node().map(|node| (self.settings.overrun, node)),
                ))
            })
            .as_ref()
    }

    /// The module's own threads, if it has made them: how many, how many of them work, and the calls that wait for one.
    pub(super) fn at_work(&self) -> Option<(u64, u64, u64)> {
        let (threads, at_work, queued) = self.pool.get()?.as_ref()?.at_work();
        Some((threads as u64, at_work as u64, queued as u64))
    }

    pub(crate) fn instance_status<T>(&self, instance: &Instance<T>, key: Option<&[u8]>) -> InstanceStatus {
        let waiting = instance.turn.as_ref().map(|turn| turn.waiting() as u64);
        let waits = instance.turn.iter().flat_map(|turn| turn.chains(WAITS_MAX));
        let which = match (self.descriptor.kind, key) {
            (ModuleKind::Spawned, _) => Some(Which::Seat(instance.id.count)),
            (_, key) => key.map(|key| Which::Key(Bytes::copy_from_slice(key))),
        };
        let tally = which.and_then(|which| self.tallies.of(&which));
        InstanceStatus {
            module: self.descriptor.name.to_owned(),
            kind: self.descriptor.kind,
            node: self.node.clone(),
            instance: instance.id.to_string(),
            key: key.map(crate::call::key_text),
            up_ms: instance.started.elapsed().as_millis() as u64,
            holding: instance.turn.as_ref().map(Turn::holding),
            waiting,
            waits: waits.map(|(mode, chain)| wait_status(mode, &chain)).collect(),
            holders: if waiting > Some(0) { instance.calls() } else { Vec::new() },
            cell: None,
            calls: None,
            errors: tally.as_ref().map(|tally| tally.errors),
            latency: tally.map(|tally| tally.latency.to_vec()).unwrap_or_default(),
            restarts: key.and_then(|key| self.endings.of_key(&crate::call::key_text(key))),
            spawned_by: instance.spawned_by.map(|count| InstanceId { count, ..instance.id }.to_string()),
            names: Vec::new(),
            falls_with: 0,
        }
    }

    /// Waits for the next change, at most until `until`.
    pub(crate) async fn changed_before(changes: &mut watch::Receiver<u64>, until: Instant) -> bool {
        tokio::time::timeout_at(until.into(), changes.changed()).await.is_ok()
    }

    /// Time since this host was made, for histories of restarts.
    pub(crate) fn since_start(&self) -> Duration {
        self.born.elapsed()
    }

    /// The end of a wait that begins now: the bound of the module, or the call's deadline before that.
    pub(crate) fn wait_end(&self, deadline: Option<Instant>) -> Instant {
        let end = tokio::time::Instant::now().into_std() + self.settings.start_wait;
        deadline.map_or(end, |deadline| deadline.min(end))
    }

    /// Why a wait that ended did so.
    pub(crate) fn waited_out(&self, deadline: Option<Instant>, why: &str) -> CallErrorKind {
        if deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std()) {
            return CallErrorKind::Deadline { phase: skybox_core::Phase::Unsent };
        }
        CallErrorKind::Unreachable { why: format!("{why} after {:?}", self.settings.start_wait) }
    }
}

fn wait_status(mode: Mode, chain: &Chain) -> WaitStatus {
    let held =
        |link: Link| HeldStatus { instance: link.instance.to_string(), call: link.call.0, mode: link.mode };
    WaitStatus { mode, above: chain.links().map(held).collect() }
}

impl fmt::Debug for HostCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.descriptor.name)
    }
}

/// A place among those who wait for an instance.
#[derive(Debug)]
pub(crate) struct Waiting<'h>(&'h HostCore);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why the module was given up on this node.
pub(crate) fn failed_here(core: &HostCore) -> Option<String> {
    lock(&core.failed).as_ref().map(|failure| failure.cause.clone())
}

/// Why nobody starts a module without keys, here or elsewhere: its calls need not wait.
pub(crate) fn nobody_starts(core: &HostCore) -> Option<CallErrorKind> {
    let (here, placement) = (failed_here(core), core.placement.load());
    let cause = match core.app.upgrade().is_some_and(|app| app.control.places_anew()) {
        // It is tried again here, which the plan may not have heard yet.
        true if here.is_none() && *core.wanted.borrow() => None,
        // What was given up here is placed on another node, until the plan says that there is none.
        true => placement.failed.clone(),
        false => here.or_else(|| placement.failed.clone()),
    };
    cause.map(|cause| match cause.strip_prefix("unplaced: ") {
        Some(why) => CallErrorKind::Unplaced { why: why.to_owned() },
        None => CallErrorKind::NotStarted { cause },
    })
}
