//! A module in one node: its instances, where else it is, and who waits for it.

mod history;
mod hold;
mod instance;
mod keyed;
mod line;
mod pool;
mod replicated;
mod restart;
mod slot;
mod stop;
mod turn;
// Not in `turn`: `tests/loom_turn.rs` compiles that file over other atomics.
#[cfg(test)]
#[path = "host/turn/tests.rs"]
mod turn_tests;

/// What `tests/loom_turn.rs` replaces.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard};
}

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use skybox_core::{
    CallErrorKind, Chain, Code, InstanceId, Link, MethodDescriptor, Mode, ModuleDescriptor, ModuleKind,
    ModulePlan, NodeName, Settings, Shards,
};
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

pub use history::{Ending, GivenUp};
pub(crate) use history::{Endings, Failure};
pub use hold::{Exclusive, Shared};
pub(crate) use hold::{Hold, Taken};
pub(crate) use instance::{Instance, InstanceCore, Useful};
pub(crate) use line::{Head, Line};
pub(crate) use pool::Pool;
pub use restart::Restarted;
use restart::{Ordered, Orders};
pub(crate) use slot::Tenant;
pub(crate) use turn::NoTurn;
use turn::Turn;

use crate::app::{AppId, AppInner};
use crate::call::{Arriving, CallOptions, Failed, Relayed, Serving, Target};
use crate::links::Peer;
use crate::metrics::Edges;
use crate::module::Module;
use crate::route::{Name, Route};
use crate::status::{HeldStatus, InstanceStatus, WAITS_MAX, WaitStatus};
use crate::stream::Outlets;
use crate::thread::CallerIndex;

/// A module in one node, with its instances.
pub(crate) struct Host<T: Module> {
    pub(crate) core: Arc<HostCore>,
    /// The live instance of a replicated module or task, if it runs here.
    pub(crate) local: Route<Instance<T>>,
    /// Calls that wait for it.
    pub(crate) line: Line,
    keyed: keyed::Keyed<T>,
}

/// What a host is made from.
pub(crate) struct HostSeed {
    pub(crate) app: Weak<AppInner>,
    pub(crate) app_id: AppId,
    pub(crate) node: NodeName,
    pub(crate) index: u16,
    pub(crate) modules: usize,
    pub(crate) descriptor: &'static ModuleDescriptor,
    pub(crate) settings: Settings,
    pub(crate) strict: bool,
    pub(crate) runtime: Runtime,
}

/// The part of a host that does not know the module's type.
pub(crate) struct HostCore {
    pub(crate) app: Weak<AppInner>,
    pub(crate) app_id: AppId,
    pub(crate) node: NodeName,
    pub(crate) index: u16,
    pub(crate) descriptor: &'static ModuleDescriptor,
    pub(crate) settings: Settings,
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
    /// Why it was given up here.
    pub(crate) failed: Mutex<Option<Failure>>,
    /// How its instances ended.
    pub(crate) endings: Endings,
    /// The count of the replicated instance that is live here; zero for none.
    live: AtomicU64,
    /// The last crash of a live replicated instance, for the task that starts the next.
    crashed: watch::Sender<Option<InstanceId>>,
    /// Whether the plan wants an instance here.
    wanted: watch::Sender<bool>,
    /// Orders to start a replicated instance anew, for the task that keeps it.
    orders: Orders,
    /// The end of `orders` at which they arrive, until that task has it.
    ordered: Mutex<Option<Ordered>>,
    /// The module's own threads, made when first needed.
    pool: OnceLock<Option<Pool>>,
    instances: AtomicU64,
    /// How many instances have their last word still to say, of a module with `stop`.
    lives: watch::Sender<usize>,
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

/// What every host can do, whatever its module's type.
pub(crate) trait AnyHost: Send + Sync {
    fn core(&self) -> &Arc<HostCore>;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    /// Starts what keeps its instances alive.
    fn open(self: Arc<Self>);
    /// Runs a call that came from elsewhere.
    fn serve(self: Arc<Self>, call: Arriving) -> Serving;
    /// Takes over what the plan says.
    fn follow(self: Arc<Self>, plan: &ModulePlan, version: u64);
    /// Retires what is here, once the calls in progress have ended; the future resolves when it is gone.
    fn close(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Resolves when what the plan wants here is ready, or given up.
    fn settled(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    /// A call from the command line: arguments, result and items as JSON.
    fn relay(
        self: Arc<Self>,
        method: u16,
        key: Option<Bytes>,
        payload: Bytes,
        outlets: Outlets,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Relayed, Failed>> + Send>>;
    /// Has the module, or one key of it, started anew.
    fn restart(
        self: Arc<Self>,
        key: Option<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Restarted, CallErrorKind>> + Send>>;
    /// A key of the module, from the command line.
    fn key(&self, text: &str) -> Result<Bytes, String>;
    /// What lives here.
    fn status(&self) -> Vec<InstanceStatus>;
    /// What is not started again here.
    fn given_up(&self) -> Vec<GivenUp>;
    /// New calls no longer find this replicated instance.
    fn unroute(&self, instance: InstanceId);
}

impl<T: Module> Host<T> {
    /// Makes a host, as an entry of an App's registry.
    pub(crate) fn plant(seed: HostSeed) -> Arc<dyn AnyHost> {
        Arc::new(Host::<T> {
            core: Arc::new(HostCore::new(seed)),
            local: Route::new(None),
            line: Line::default(),
            keyed: keyed::Keyed::default(),
        })
    }

    /// A host that holds one value and belongs to no App: for unit tests of code that takes handles.
    pub(crate) fn alone(value: T) -> Arc<Host<T>> {
        let descriptor = T::descriptor();
        let core = HostCore::new(HostSeed {
            app: Weak::new(),
            app_id: AppId::NONE,
            node: NodeName::new("alone"),
            index: 0,
            modules: 0,
            descriptor,
            settings: Settings::of(&descriptor.needs),
            strict: false,
            // Handles are made from values in tests and examples: inside a runtime, as every call is.
            runtime: Runtime::current(),
        });
        let core = Arc::new(core);
        let id = core.next_instance_id();
        // Without an App there is nobody who would retire it: it is dropped as any value is.
        let instance = Instance::new(value, id, core.turn(), &Arc::downgrade(&core), None, None);
        let local = Route::new(Some(instance));
        Arc::new(Host { core, local, line: Line::default(), keyed: Default::default() })
    }
}

impl<T: Module> AnyHost for Host<T> {
    fn core(&self) -> &Arc<HostCore> {
        &self.core
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn open(self: Arc<Self>) {
        match self.core.descriptor.kind {
            ModuleKind::Keyed => keyed::open(&self),
            _ => replicated::open(&self),
        }
    }

    fn serve(self: Arc<Self>, call: Arriving) -> Serving {
        T::serve(crate::call::Incoming::new(self, call))
    }

    fn follow(self: Arc<Self>, plan: &ModulePlan, version: u64) {
        match plan {
            ModulePlan::Replicated { assigned, serving, failed } => {
                let me = &self.core.node;
                let elsewhere = serving.iter().filter_map(|node| self.core.peer(node)).collect();
                let failed = failed.clone();
                self.core.placement.store(Arc::new(Placement {
                    version,
                    elsewhere,
                    failed,
                    ..Placement::default()
                }));
                // Whoever is no longer assigned goes on until the plan's next version has others serving.
                let wanted = assigned.contains(me) || serving.contains(me);
                self.core.want(wanted);
            }
            ModulePlan::Keyed(shards) => {
                let owners = shards.nodes.iter().map(|node| self.core.peer(node)).collect();
                let placement =
                    Placement { version, shards: Some(shards.clone()), owners, ..Placement::default() };
                self.core.placement.store(Arc::new(placement));
                keyed::follow(&self, shards);
            }
        }
        self.core.notify();
    }

    fn close(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let closed = async {
                match self.core.descriptor.kind {
                    ModuleKind::Keyed => keyed::close(&self).await,
                    _ => replicated::close(&self).await,
                }
            };
            tokio::join!(closed, stop::all_ended::<T>(&self.core));
        })
    }

    fn settled(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut changes = self.core.changes();
            while *self.core.wanted.borrow() && self.local.is_empty() && failed_here(&self.core).is_none() {
                // The sender lives in this very host.
                drop(changes.changed().await);
            }
        })
    }

    fn relay(
        self: Arc<Self>,
        method: u16,
        key: Option<Bytes>,
        payload: Bytes,
        outlets: Outlets,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Relayed, Failed>> + Send>> {
        let target = Target { host: self, key, options: CallOptions::new() };
        Box::pin(async move { target.relay(method, payload, &outlets).await })
    }

    fn restart(
        self: Arc<Self>,
        key: Option<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Restarted, CallErrorKind>> + Send>> {
        Box::pin(async move {
            match key {
                Some(key) => keyed::restart(&self, &key).await,
                None => replicated::restart(&self).await,
            }
        })
    }

    fn key(&self, text: &str) -> Result<Bytes, String> {
        crate::call::json_key::<T::Key>(text)
    }

    fn status(&self) -> Vec<InstanceStatus> {
        let mut status = keyed::status(self);
        if let Some(instance) = self.local.load() {
            status.push(self.core.instance_status(&instance, None));
        }
        status
    }

    fn given_up(&self) -> Vec<GivenUp> {
        match lock(&self.core.failed).as_ref() {
            Some(failure) => vec![failure.status(None)],
            None => keyed::given_up(self),
        }
    }

    fn unroute(&self, instance: InstanceId) {
        // Only if it is still there: a successor may have been published in the meantime.
        if self.local.clear_if(|local| local.id == instance) {
            self.core.notify();
        }
    }
}

impl<T: Module> Host<T> {
    /// The live instance here that a call is for, starting it if it is a keyed one that sleeps; with the call's place
    /// before those who came later, to be kept until it has its turn.
    ///
    /// # Errors
    /// `Moved` if it belongs elsewhere, `NotStarted`, `Overloaded`, `Unreachable`, `Deadline`.
    pub(crate) async fn find_here(
        self: &Arc<Self>,
        key: Option<&Bytes>,
        deadline: Option<Instant>,
    ) -> Result<(Hold<T>, Head), CallErrorKind> {
        match key {
            Some(key) => keyed::find(self, key, deadline).await,
            None => replicated::find(self, deadline).await,
        }
    }
}

impl HostCore {
    fn new(seed: HostSeed) -> HostCore {
        let HostSeed { app, app_id, node, index, modules, descriptor, settings, strict, runtime } = seed;
        let (orders, ordered) = Orders::new();
        HostCore {
            edges: Edges::new(modules + 1, descriptor.methods.len()),
            app,
            app_id,
            node,
            index,
            descriptor,
            traced: descriptor.kind == ModuleKind::Keyed
                || settings.concurrency.is_some()
                || descriptor.methods.iter().any(|method| method.mode == Mode::Exclusive),
            plain: !strict && settings.deadline.is_none(),
            settings,
            strict,
            strict_way: Arc::default(),
            runtime,
            placement: ArcSwap::default(),
            changed: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            failed: Mutex::default(),
            endings: Endings::default(),
            live: AtomicU64::new(0),
            crashed: watch::Sender::new(None),
            wanted: watch::Sender::new(false),
            orders,
            ordered: Mutex::new(Some(ordered)),
            pool: OnceLock::new(),
            instances: AtomicU64::new(0),
            lives: watch::Sender::new(0),
            useful: Useful::default(),
            born: Instant::now(),
        }
    }

    /// Another node; `None` for this one.
    fn peer(&self, node: &NodeName) -> Option<Arc<Peer>> {
        if *node == self.node {
            return None;
        }
        self.app.upgrade().map(|app| app.links.peer(node))
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

    fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
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

    /// A call's code panicked: the instance is replaced.
    #[cold]
    fn crash(&self, instance: InstanceId, message: &str, place: &str) {
        let (module, code) = (self.descriptor.name, Code::CRASHED);
        tracing::error!(module, %instance, place, %code, "crashed: {message}");
        self.unroute(instance);
        // A call that an already replaced instance still runs must not take its successor down.
        if self.live.load(Ordering::Acquire) == instance.count {
            self.crashed.send_replace(Some(instance));
        }
    }

    /// New calls no longer find a replicated instance, from this moment on.
    pub(crate) fn unroute(&self, instance: InstanceId) {
        if let Some(app) = self.app.upgrade() {
            app.hosts[usize::from(self.index)].unroute(instance);
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
                ))
            })
            .as_ref()
    }

    pub(crate) fn instance_status<T>(&self, instance: &Instance<T>, key: Option<&[u8]>) -> InstanceStatus {
        let waiting = instance.turn.as_ref().map(|turn| turn.waiting() as u64);
        let waits = instance.turn.iter().flat_map(|turn| turn.chains(WAITS_MAX));
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

/// How long it may take to say that nothing lives here any more, when a call never ends; beside what a `stop` takes.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// An instance here, and the name that keeps it alive until the call's poll returns, if it is not counted. They are
/// dropped in this order.
pub(crate) struct Near<T> {
    pub(crate) hold: Hold<T>,
    pub(crate) name: Option<Name>,
}

impl<T> Near<T> {
    fn counted(instance: Arc<Instance<T>>) -> Self {
        Near { hold: Hold::counted(instance), name: None }
    }

    /// The instance, counted.
    pub(crate) fn into_hold(mut self) -> Hold<T> {
        self.hold.count();
        self.hold
    }
}

/// The live instance here that a call is for, if nobody has to wait for it.
#[inline(always)]
pub(crate) fn route_here<T: Module>(host: &Host<T>, key: Option<&Bytes>) -> Option<Near<T>> {
    if let Some(key) = key {
        return keyed::peek(host, key).map(Near::counted);
    }
    let near = match host.local.protect() {
        Some(protected) => {
            let (instance, name) = protected.into_parts();
            // SAFETY: whoever takes `Near` apart drops or counts the hold before the name.
            Near { hold: unsafe { Hold::named(instance) }, name: Some(name) }
        }
        None if host.local.is_empty() => return None,
        None => Near::counted(host.local.load()?),
    };
    // Where calls have turns, those who wait for the instance come first.
    (near.hold.turn.is_none() || host.line.is_empty()).then_some(near)
}

/// Why the module was given up on this node.
pub(crate) fn failed_here(core: &HostCore) -> Option<String> {
    lock(&core.failed).as_ref().map(|failure| failure.cause.clone())
}

pub(crate) fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
