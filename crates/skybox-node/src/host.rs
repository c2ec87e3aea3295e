//! A module in one node: its instances, where else it is, and who waits for it.

mod alive;
pub(crate) mod cells;
mod core;
mod failed_keys;
mod falls;
mod history;
mod hold;
mod instance;
mod keyed;
mod kill;
mod line;
mod pace;
mod pool;
mod releases;
mod replicated;
mod restart;
mod room;
mod slot;
mod spawned;
pub(crate) mod stop;
mod tally;
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
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skybox_core::{CallErrorKind, Exit, InstanceId, KeyHash, ModuleKind, ModulePlan, NodeName, Settings};
use tokio::runtime::Handle as Runtime;

pub(crate) use self::core::{HostCore, HostSeed, Placement, Waiting, failed_here, nobody_starts};
use failed_keys::FailedKeys;
use falls::Falls;
pub use history::{Ending, GivenUp};
pub(crate) use history::{Endings, Failure};
pub use hold::{Exclusive, Shared};
pub(crate) use hold::{Hold, Taken};
pub(crate) use instance::{Ended, Instance, InstanceCore, Useful};
pub(crate) use kill::Watch;
pub(crate) use line::{Entered, Head, LINE_OF_MODULE, Line};
pub(crate) use pool::Pool;
pub use restart::Restarted;
pub(crate) use slot::Tenant;
pub(crate) use spawned::{SEAT_BYTES, Seat, encoded_arguments, seat_bytes};
pub(crate) use tally::{Tallies, Which};
pub(crate) use turn::NoTurn;
use turn::Turn;

use crate::app::AppId;
use crate::call::{Arriving, Failed, Relayed, Serving, Target, To, data_code, decode_key, in_app};
use crate::module::Module;
use crate::monitor::Monitor;
use crate::route::{Name, Route};
use crate::status::InstanceStatus;
use crate::stream::Outlets;

/// A module in one node, with its instances.
pub(crate) struct Host<T: Module> {
    pub(crate) core: Arc<HostCore>,
    /// The live instance of a replicated module or task, if it runs here.
    pub(crate) local: Route<Instance<T>>,
    /// Calls from elsewhere that wait for it.
    pub(crate) line: Line,
    keyed: keyed::Keyed<T>,
    spawned: spawned::Seats<T>,
}

/// What every host can do, whatever its module's type.
pub(crate) trait AnyHost: Send + Sync {
    fn core(&self) -> &Arc<HostCore>;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    /// Starts what keeps its instances alive.
    fn open(self: Arc<Self>);
    /// Runs a call that came from elsewhere.
    fn serve(self: Arc<Self>, call: Arriving) -> Serving;
    /// Runs a call that a cell of this node makes, or passes it on.
    fn pass_on(self: Arc<Self>, call: Arriving) -> Serving;
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
    /// Makes an instance of a spawned module, with encoded arguments.
    fn spawn(
        self: Arc<Self>,
        arguments: Bytes,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<InstanceId, CallErrorKind>> + Send>>;
    /// In a cell: starts a spawned instance in a seat that its node has made, with encoded arguments.
    fn sit_down(
        self: Arc<Self>,
        seat: InstanceId,
        arguments: Bytes,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CallErrorKind>> + Send>>;
    /// Tells of the end of a spawned instance.
    fn monitor(self: Arc<Self>, seat: InstanceId) -> Monitor;
    /// A spawned instance says that it has come to its end; says whether it is one that has started and is live.
    fn end_itself(&self, instance: InstanceId) -> bool;
    /// Whether a spawned instance that is here takes calls, or will once it has started.
    fn takes_calls(&self, seat: InstanceId) -> bool;
    /// Nothing is left of a spawned instance.
    fn is_gone(&self, instance: InstanceId);
    /// Stops a spawned instance, and kills after `limit` what goes on of it; without one it is killed at once.
    fn stop_seat(
        self: Arc<Self>,
        seat: InstanceId,
        limit: Option<Duration>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Exit> + Send>>;
    /// Kills a spawned instance, for a reason that many may have in the same moment: one has ended to which they are
    /// linked, or their owner has taken their node for lost. Says whether there was one to kill.
    fn kill_seat(
        self: Arc<Self>,
        seat: InstanceId,
        exit: Exit,
    ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>>;
    /// Ends a spawned instance, if it is here; what is given back resolves when it is gone.
    fn end_seat(&self, seat: InstanceId) -> Option<Ended>;
    /// An instance of a key has crashed, which is not to be started again.
    fn key_crashed(&self, instance: InstanceId, key: &[u8], exit: &Exit);
    /// A key of the module, from the command line.
    fn key(&self, text: &str) -> Result<Bytes, String>;
    /// What lives here.
    fn status(&self) -> Vec<InstanceStatus>;
    /// How busy the one instance of a module without keys is at this moment; `None` if none is live here.
    fn occupied(&self) -> Option<Occupied>;
    /// How many of its instances were spawned here and have not ended.
    fn spawned(&self) -> usize;
    /// What is not started again here.
    fn given_up(&self) -> Vec<GivenUp>;
    /// New calls no longer find this replicated instance.
    fn unroute(&self, instance: InstanceId);
    /// Kills all that is here of a module that has a fence.
    fn fence(self: Arc<Self>) -> Fenced;
    /// How much of that has not ended.
    fn fence_left(&self) -> usize;
    /// Kills a live instance; says whether it is one of these.
    fn kill(self: Arc<Self>, instance: &str, by: &str) -> Option<Ended>;
    /// Has an instance crash as if a call of it had panicked; says whether it is one of these, and has started.
    fn crash(&self, instance: InstanceId, message: &str, place: &str) -> bool;
}

/// What an instance has to do at one moment, as far as that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Occupied {
    /// Calls that hold it.
    pub(crate) holding: u64,
    /// One of them is of a `&mut self` method.
    pub(crate) is_exclusive: bool,
    /// Calls that wait for it.
    pub(crate) waiting: u64,
    /// Its module's own threads, how many of them work, and the calls that wait for one.
    pub(crate) pool: Option<(u64, u64, u64)>,
}

impl<T: Module> Host<T> {
    /// Makes a host, as an entry of an App's registry.
    pub(crate) fn plant(seed: HostSeed) -> Arc<dyn AnyHost> {
        Arc::new(Host::<T> {
            core: Arc::new(HostCore::new(seed)),
            local: Route::new(None),
            line: Line::default(),
            keyed: keyed::Keyed::default(),
            spawned: spawned::Seats::default(),
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
            // Without an App there is nobody who would retire it: it is dropped as any value is.
            stops: false,
            strict: false,
            may_have_cells: false,
            cell_of: None,
            // Handles are made from values in tests and examples: inside a runtime, as every call is.
            runtime: Runtime::current(),
        });
        let core = Arc::new(core);
        let id = core.next_instance_id();
        let instance = Instance::new(value, (id, None), core.turn(), &Arc::downgrade(&core), None, None);
        let local = Route::new(Some(instance));
        let (line, keyed, spawned) = (Line::default(), Default::default(), Default::default());
        Arc::new(Host { core, local, line, keyed, spawned })
    }
}

/// How many were killed, and what has to be dropped somewhere.
pub(crate) type Fenced = (usize, Box<dyn Any + Send>);

impl<T: Module> AnyHost for Host<T> {
    fn core(&self) -> &Arc<HostCore> {
        &self.core
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn open(self: Arc<Self>) {
        if let Some(cells) = &self.core.cells {
            return cells.open(&self.core);
        }
        match self.core.descriptor.kind {
            ModuleKind::Keyed => keyed::open(&self),
            ModuleKind::Spawned => {}
            ModuleKind::Task | ModuleKind::Replicated => replicated::open(&self),
        }
    }

    fn serve(self: Arc<Self>, call: Arriving) -> Serving {
        if self.core.cells.is_some() {
            return crate::call::pass_on::to_cell(self.core.clone(), call);
        }
        T::serve(crate::call::Incoming::new(self, call))
    }

    fn pass_on(self: Arc<Self>, call: Arriving) -> Serving {
        crate::call::pass_on::from_cell(self, call)
    }

    fn follow(self: Arc<Self>, plan: &ModulePlan, version: u64) {
        match plan {
            ModulePlan::Replicated { assigned, serving, failed, chances } => {
                let me = &self.core.node;
                let called = skybox_plan::subset::subset(me, serving);
                let elsewhere = called.into_iter().filter_map(|node| self.core.peer(node)).collect();
                let failed = failed.clone();
                self.core.placement.store(Arc::new(Placement {
                    version,
                    elsewhere,
                    failed,
                    ..Placement::default()
                }));
                // Whoever is no longer assigned goes on until the plan's next version has others serving.
                let wanted = assigned.contains(me) || serving.contains(me);
                self.core.has_chances(chances.get(me).copied().unwrap_or_default());
                self.core.want(wanted);
            }
            ModulePlan::Keyed(shards) => {
                let owners = shards.nodes.iter().map(|node| self.core.peer(node)).collect();
                let placement =
                    Placement { version, shards: Some(shards.clone()), owners, ..Placement::default() };
                self.core.placement.store(Arc::new(placement));
                match &self.core.cells {
                    None => keyed::follow(&self, shards),
                    Some(cells) => cells.follow(&self.core, version),
                }
            }
        }
        if let Some(cells) = &self.core.cells {
            cells.changed();
        }
        self.core.notify();
    }

    fn close(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Some(cells) = &self.core.cells {
                return cells.close(&self.core).await;
            }
            let closed = async {
                match self.core.descriptor.kind {
                    ModuleKind::Keyed => keyed::close(&self).await,
                    ModuleKind::Spawned => spawned::close(&self).await,
                    ModuleKind::Task | ModuleKind::Replicated => replicated::close(&self).await,
                }
            };
            tokio::join!(closed, stop::all_ended(&self.core));
        })
    }

    fn fence(self: Arc<Self>) -> Fenced {
        match &self.core.cells {
            Some(cells) => (cells.fence(&self.core), Box::new(())),
            None => keyed::fence(&self),
        }
    }

    fn fence_left(&self) -> usize {
        match &self.core.cells {
            Some(_) => self.core.app.upgrade().map_or(0, |app| app.family.of(&self.core).len()),
            None => self.keyed.alive.left(),
        }
    }

    fn settled(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut changes = self.core.changes();
            let is_settled = || match &self.core.cells {
                Some(cells) => cells.is_settled(&self.core),
                None => {
                    !*self.core.wanted.borrow() || !self.local.is_empty() || failed_here(&self.core).is_some()
                }
            };
            while !is_settled() {
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
        let to = self.named(key);
        let target = Target::new(self, to);
        Box::pin(async move { target.relay(method, payload, &outlets).await })
    }

    fn restart(
        self: Arc<Self>,
        key: Option<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Restarted, CallErrorKind>> + Send>> {
        Box::pin(async move {
            if let Some(cells) = &self.core.cells {
                return cells.restart(&self.core, key.as_deref()).await;
            }
            match key {
                Some(key) => keyed::restart(&self, &key).await,
                None if self.core.descriptor.kind == ModuleKind::Keyed => {
                    Ok(Restarted::Forgotten { keys: self.core.forget_failed(None) })
                }
                None => replicated::restart(&self).await,
            }
        })
    }

    fn spawn(
        self: Arc<Self>,
        arguments: Bytes,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<InstanceId, CallErrorKind>> + Send>> {
        Box::pin(async move {
            if self.core.descriptor.kind != ModuleKind::Spawned {
                let why = format!("`{}` is not a spawned module here", self.core.descriptor.name);
                return Err(CallErrorKind::Mismatch { why });
            }
            if let Some(cells) = &self.core.cells {
                return cells.seat(&self.core, arguments).await;
            }
            Ok(self.seat(self.arguments(&arguments)?).await?.id)
        })
    }

    fn sit_down(
        self: Arc<Self>,
        seat: InstanceId,
        arguments: Bytes,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CallErrorKind>> + Send>> {
        Box::pin(async move { spawned::sit_down(&self, seat, self.arguments(&arguments)?).await })
    }

    fn monitor(self: Arc<Self>, seat: InstanceId) -> Monitor {
        self.watch(&self.seat_here(seat))
    }

    fn end_itself(&self, instance: InstanceId) -> bool {
        spawned::end_itself(self, instance)
    }

    fn takes_calls(&self, seat: InstanceId) -> bool {
        match &self.core.cells {
            Some(cells) => cells.is_seated(seat),
            None => self.known_seat(seat).is_some_and(|seat| !seat.is_over()),
        }
    }

    fn is_gone(&self, instance: InstanceId) {
        self.spawned.leaving.is_gone(instance);
    }

    fn stop_seat(
        self: Arc<Self>,
        seat: InstanceId,
        limit: Option<Duration>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Exit> + Send>> {
        Box::pin(async move {
            let seat = self.seat_here(seat);
            match limit {
                Some(limit) => self.stop(&seat, limit).await,
                None => self.kill_seated(&seat).await,
            }
        })
    }

    fn kill_seat(
        self: Arc<Self>,
        seat: InstanceId,
        exit: Exit,
    ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(async move {
            match &self.core.cells {
                Some(cells) => cells.fall(&self.core, seat, exit).await,
                None => self.fall(&self.seat_here(seat), exit).await,
            }
        })
    }

    fn end_seat(&self, seat: InstanceId) -> Option<Ended> {
        if let Some(cells) = &self.core.cells {
            return cells.end(&self.core, seat);
        }
        self.end(&*self.known_seat(seat)?)
    }

    fn key_crashed(&self, instance: InstanceId, key: &[u8], exit: &Exit) {
        if self.core.descriptor.kind == ModuleKind::Keyed {
            keyed::crashed(self, instance, key, exit);
        }
    }

    fn key(&self, text: &str) -> Result<Bytes, String> {
        crate::call::json_key::<T::Key>(text)
    }

    fn spawned(&self) -> usize {
        match &self.core.cells {
            Some(cells) => cells.seated_count(),
            None => self.spawned.count(),
        }
    }

    fn status(&self) -> Vec<InstanceStatus> {
        if let Some(cells) = &self.core.cells {
            return cells.status(&self.core);
        }
        let mut status = keyed::status(self);
        status.extend(spawned::status(self));
        if let Some(instance) = self.local.load() {
            status.push(self.core.instance_status(&instance, None));
        }
        status
    }

    fn occupied(&self) -> Option<Occupied> {
        if let Some(cells) = &self.core.cells {
            let links = cells.links();
            let holding = links.iter().map(|link| link.load()).sum::<u64>();
            // The cell knows which of its calls has the turn, where some share it.
            let mut modes = self.core.descriptor.methods.iter().map(|method| method.mode);
            let all_exclude = modes.all(|mode| mode == skybox_core::Mode::Exclusive);
            return (!links.is_empty()).then(|| Occupied {
                holding,
                is_exclusive: holding > 0 && all_exclude,
                ..Occupied::default()
            });
        }
        // Whoever asks has a thread that no code of users is to hold: not even the `Drop` of a value.
        self.local.look(|instance| {
            let turn = instance.turn.as_ref();
            Occupied {
                holding: turn.map_or(0, Turn::holding),
                is_exclusive: turn.is_some_and(Turn::is_exclusive),
                waiting: turn.map_or(0, |turn| turn.waiting() as u64),
                pool: self.core.at_work(),
            }
        })
    }

    fn given_up(&self) -> Vec<GivenUp> {
        match lock(&self.core.failed).as_ref() {
            Some(failure) => vec![failure.status(None)],
            None => match &self.core.cells {
                Some(cells) => cells.given_up(&self.core),
                None => self.core.failed_keys.given_up(),
            },
        }
    }

    fn unroute(&self, instance: InstanceId) {
        if self.core.descriptor.kind == ModuleKind::Spawned {
            return spawned::unroute(self, instance);
        }
        // Only if it is still there: a successor may have been published in the meantime.
        if self.local.clear_if(|local| local.id == instance) {
            self.core.notify();
        }
    }

    fn crash(&self, instance: InstanceId, message: &str, place: &str) -> bool {
        let live = match self.core.descriptor.kind {
            ModuleKind::Keyed => keyed::live(self, instance),
            ModuleKind::Spawned => spawned::live(self, instance),
            _ => self.local.load().filter(|local| local.id == instance),
        };
        live.is_some_and(|live| {
            live.crash(message, place);
            true
        })
    }

    fn kill(self: Arc<Self>, instance: &str, by: &str) -> Option<Ended> {
        match self.core.descriptor.kind {
            ModuleKind::Keyed => keyed::kill(&self, instance, by),
            ModuleKind::Spawned => spawned::kill(&self, instance, by),
            _ => {
                let local = self.local.load().filter(|local| local.id.to_string() == instance)?;
                let ended = local.ended();
                local.kill(by).then_some(ended)
            }
        }
    }
}

impl<T: Module> Host<T> {
    /// Whether the plan has the module, or the key, on this node.
    pub(crate) fn is_wanted(&self, key: Option<&Bytes>) -> bool {
        match key {
            // It is sought where it was made, which is here unless a cell says otherwise.
            Some(seat) if self.core.descriptor.kind == ModuleKind::Spawned => {
                self.seat_named(seat).node.is_none()
            }
            Some(key) => keyed::owned_here(self, key),
            None => *self.core.wanted.borrow(),
        }
    }

    /// The live instance here that a call is for, starting it if it is a keyed one that sleeps; with the call's place
    /// before those who came later, to be kept until it has its turn. `queued`: its place among those who wait, if it has
    /// one.
    ///
    /// # Errors
    /// `Moved` if it belongs elsewhere, `NotStarted`, `Overloaded`, `Unreachable`, `Deadline`.
    pub(crate) async fn find_here(
        self: &Arc<Self>,
        to: &To<T>,
        deadline: Option<Instant>,
        queued: Option<Waiting<'_>>,
    ) -> Result<(Hold<T>, Head), CallErrorKind> {
        match to {
            To::Module => replicated::find(self, deadline).await,
            To::Key(key) => keyed::find(self, key, deadline, queued).await,
            To::Seat(seat) => spawned::find(self, seat, deadline, queued).await,
        }
    }

    /// What a spawned instance is made with.
    fn arguments(&self, encoded: &[u8]) -> Result<<T::Key as std::borrow::ToOwned>::Owned, CallErrorKind> {
        let decoded = in_app(self.core.app_id, || data_code(|| decode_key::<T::Key>(encoded)));
        decoded.map_err(|why| CallErrorKind::Mismatch {
            why: format!("what it is spawned with cannot be decoded: {why}"),
        })
    }

    /// Which instance a call from elsewhere is for.
    #[inline]
    pub(crate) fn named(&self, key: Option<Bytes>) -> To<T> {
        match key {
            None => To::Module,
            Some(key) if self.core.descriptor.kind == ModuleKind::Spawned => To::Seat(self.seat_named(&key)),
            Some(key) => To::Key(key),
        }
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
    /// What a route leads to.
    #[inline(always)]
    fn of(route: &Route<Instance<T>>) -> Option<Near<T>>
    where
        T: Send + 'static,
    {
        match route.protect() {
            Some(protected) => {
                let (instance, name) = protected.into_parts();
                // SAFETY: whoever takes `Near` apart drops or counts the hold before the name.
                Some(Near { hold: unsafe { Hold::named(instance) }, name: Some(name) })
            }
            None if route.is_empty() => None,
            None => Some(Near::counted(route.load()?)),
        }
    }

    fn counted(instance: Arc<Instance<T>>) -> Self {
        Near { hold: Hold::counted(instance), name: None }
    }

    /// The instance, counted.
    pub(crate) fn into_hold(mut self) -> Hold<T> {
        self.hold.count();
        self.hold
    }
}

/// [`route_here`], for a call that has looked before and counts as one.
pub(crate) fn look_again<T: Module>(host: &Host<T>, to: &To<T>) -> Option<Near<T>> {
    match to {
        To::Key(key) => peek_keyed(host, key, false),
        To::Module | To::Seat(_) => route_here(host, to),
    }
}

/// The live instance here that a call is for, if nobody has to wait for it.
#[inline(always)]
pub(crate) fn route_here<T: Module>(host: &Host<T>, to: &To<T>) -> Option<Near<T>> {
    match to {
        To::Module => {}
        To::Key(key) => return peek_keyed(host, key, true),
        To::Seat(seat) => return seat.peek(),
    }
    let near = Near::of(&host.local)?;
    // Where calls have turns, those who wait for the instance come first.
    let comes_next = || host.line.is_empty() && host.core.lines.is_free(|| LINE_OF_MODULE);
    (near.hold.turn.is_none() || comes_next()).then_some(near)
}

fn peek_keyed<T: Module>(host: &Host<T>, key: &Bytes, counts: bool) -> Option<Near<T>> {
    let peeked = || keyed::peek(host, key, counts).map(Near::counted);
    if host.core.lines.is_free(|| KeyHash::of(key).0) { peeked() } else { None }
}

pub(crate) fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
