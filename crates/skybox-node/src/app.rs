//! The App: what one process knows of the program it is part of.

mod builder;
mod current;
mod identity;
mod lifecycle;
mod linked;
mod missing;
mod scope;
mod sockets;
mod this;

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use skybox_core::{Incarnation, InstanceId, KeyHash, ModuleKind, NodeName};
use skybox_wire::handshake::{Hello, ModuleEntry, Role};
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

pub use builder::{AppError, Builder};
pub(crate) use current::AppId;
pub use current::NoApp;
pub use identity::program_name;
pub use lifecycle::DRAIN_MAX;
pub(crate) use lifecycle::close;
pub use missing::Missing;
pub use scope::{Scoped, spawn};

use crate::between::{Orphans, Owners};
use crate::call::{Handle, Target, To};
use crate::cell::{Family, Inside};
use crate::clock;
use crate::config::Config;
use crate::conn::Handshakes;
use crate::control::{Control, Leave};
use crate::exposition::Figures;
use crate::host::{AnyHost, Host};
use crate::interface::CandidateRegistration;
use crate::links::Links;
use crate::module::{Callable, KeyOf, Module, Spawns};
use crate::monitor::{Monitors, Observers};
use crate::names::HomeNames;
use crate::random::Random;
use crate::spawned::Spawning;
use crate::supervisor::Lives;
use crate::tie::Ties;

/// The program, seen from one of its processes.
///
/// Made by [`App::builder`]; cheap to clone. Everything else hangs on it: handles, values, listeners.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

pub(crate) struct AppInner {
    pub(crate) id: AppId,
    pub(crate) program: String,
    pub(crate) build: String,
    pub(crate) node: NodeName,
    /// The node that people know: in a cell, the one it belongs to.
    pub(crate) home: NodeName,
    /// In a cell, its node as it is spoken to.
    pub(crate) inside: Option<Arc<Inside>>,
    pub(crate) incarnation: Incarnation,
    /// Where other nodes reach it.
    pub(crate) address: crate::conn::Address,
    pub(crate) config: Config,
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    pub(crate) hosts: Vec<Arc<dyn AnyHost>>,
    by_type: HashMap<TypeId, usize>,
    /// The implementation of each interface.
    pub(crate) chosen: HashMap<TypeId, &'static CandidateRegistration>,
    pub(crate) links: Links,
    /// The connections that others are about to open here.
    pub(crate) handshakes: Arc<Handshakes>,
    /// Which instances here other nodes own.
    pub(crate) owners: Owners,
    /// Those of this one's own on nodes that it has taken for lost.
    pub(crate) orphans: Orphans,
    /// The instances of other nodes whose ends somebody here waits for.
    pub(crate) monitors: Monitors,
    /// Other nodes that wait for ends of instances here.
    pub(crate) observers: Observers,
    /// Which instances here have names.
    pub(crate) names: HomeNames,
    /// The instances here that fall with others.
    pub(crate) ties: Ties,
    /// The children of supervisors in this process.
    pub(crate) lives: Lives,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) runtime: Runtime,
    pub(crate) random: Random,
    instances: AtomicU64,
    pub(crate) ready: AtomicBool,
    /// What it was first told to run has started here, or was given up.
    pub(crate) warm: AtomicBool,
    /// What lives here ends for good.
    closing: AtomicBool,
    /// Set by `main`'s own shutdown signals where no parent says when to leave.
    leave: watch::Sender<Option<Leave>>,
    /// Everything here has been handed over: `draining()` resolves.
    drained: watch::Sender<bool>,
    /// Every instance here has ended.
    closed: watch::Sender<bool>,
    signals: std::sync::Once,
    /// Whether `main` waits for `draining()`; one that does not has signal handlers of its own, or none.
    asked: AtomicBool,
    pub(crate) started: Instant,
    listeners: HashMap<String, String>,
    /// Listeners that were given out here, and where they are bound.
    pub(crate) bound: Mutex<BTreeMap<String, SocketAddr>>,
    /// The cells of this node; dropped with the App, they end.
    pub(crate) family: Family,
    /// What TCP connections are made with.
    #[cfg(feature = "tls")]
    pub(crate) tls: sockets::Security,
}

impl App {
    /// Begins an App.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn from_inner(inner: Arc<AppInner>) -> App {
        App(inner)
    }

    pub(crate) fn inner(&self) -> &Arc<AppInner> {
        &self.0
    }

    /// A value that was given to the builder.
    ///
    /// # Errors
    /// [`Missing::Value`] if none of that type was.
    pub fn value<T: Send + Sync + 'static>(&self) -> Result<&T, Missing> {
        let value = self.0.values.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref());
        value.ok_or(Missing::Value(type_name::<T>()))
    }

    /// A handle of a replicated module. Costs a look-up; keep the handle.
    ///
    /// # Panics
    /// If the module is keyed or not linked into the program, which is a mistake in the program; see
    /// [`App::try_get`].
    pub fn get<T: Callable + ?Sized>(&self) -> Handle<T> {
        self.try_get().unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`App::get`], with an error instead of a panic.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn try_get<T: Callable + ?Sized>(&self) -> Result<Handle<T>, Missing> {
        let host = self.host::<T::Module>()?;
        let module = T::Module::descriptor().name;
        match T::Module::descriptor().kind {
            ModuleKind::Replicated => Ok(Handle::new(Target::new(host, To::Module))),
            ModuleKind::Keyed => Err(Missing::Form { module, is: "keyed", with: "app.at::<T>(&key)" }),
            ModuleKind::Spawned => {
                Err(Missing::Form { module, is: "spawned", with: "app.spawn::<T>(arguments)" })
            }
            ModuleKind::Task => Err(Missing::Form { module, is: "a task", with: "its own name" }),
        }
    }

    /// A handle of the instance of a keyed module that has this key.
    ///
    /// # Panics
    /// If the module is not keyed or not linked into the program, or the key cannot be encoded; see
    /// [`App::try_at`].
    pub fn at<T: Callable + ?Sized>(&self, key: &KeyOf<T>) -> Handle<T> {
        self.try_at(key).unwrap_or_else(|error| panic!("{}", skybox_core::TextChain::of(&error).joined()))
    }

    /// [`App::at`], with an error instead of a panic.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn try_at<T: Callable + ?Sized>(&self, key: &KeyOf<T>) -> Result<Handle<T>, Missing> {
        let module = T::Module::descriptor().name;
        if T::Module::descriptor().kind != ModuleKind::Keyed {
            return Err(Missing::Form { module, is: "not keyed", with: "app.get::<T>()" });
        }
        let host = self.host::<T::Module>()?;
        let key = crate::call::encode_key(key).map_err(|source| Missing::Key { module, source })?;
        Ok(Handle::new(Target::new(host, To::Key(key))))
    }

    /// Makes an instance of a spawned module, which is stopped when what this gives is dropped.
    ///
    /// # Errors
    /// Awaited, `NotStarted` with the error of its `start`; `Overloaded` where there are more than sixteen million of
    /// them; `Mismatch` if the arguments cannot cross; `Gone` once the node leaves. None of them leaves anything behind.
    ///
    /// # Cancel safety
    /// Dropped while it is awaited, `start` is dropped at its await and no instance is made.
    ///
    /// # Panics
    /// If the module is not linked into the program, which is a mistake in the program.
    pub fn spawn<T: Spawns>(&self, arguments: <T::Key as ToOwned>::Owned) -> Spawning<T> {
        let host = self.host::<T>().unwrap_or_else(|error| panic!("{error}"));
        Spawning::new(host, arguments)
    }

    pub(crate) fn host<T: Module>(&self) -> Result<Arc<Host<T>>, Missing> {
        let missing = || Missing::Module(T::descriptor().name);
        let index = *self.0.by_type.get(&TypeId::of::<T>()).ok_or_else(missing)?;
        self.0.hosts[index].clone().as_any().downcast().map_err(|_| missing())
    }

    /// The program's own table `[config.name]` of `skybox.toml`.
    ///
    /// # Errors
    /// [`Missing::Config`] if there is none, [`Missing::ConfigForm`] if it is of another form.
    pub fn config<C: DeserializeOwned>(&self, name: &str) -> Result<C, Missing> {
        let value = self.0.config.own(name).ok_or_else(|| Missing::Config(name.to_owned()))?;
        value.clone().try_into().map_err(|source| Missing::ConfigForm { name: name.to_owned(), source })
    }

    /// The address of a resource, `[resources.name] address`.
    ///
    /// # Errors
    /// [`Missing::Resource`] if there is none.
    pub fn resource(&self, name: &str) -> Result<&str, Missing> {
        self.0.config.resource(name).ok_or_else(|| Missing::Resource(name.to_owned()))
    }

    /// This node's name; `alone` in a single process. In a cell, the name of the node that it belongs to.
    pub fn node(&self) -> &str {
        self.0.home.as_str()
    }

    /// Runs a future so that the tasks it calls are those of this App: needed only in a process with several.
    pub fn enter<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::in_app(self, future)
    }

    /// This node's counters of every edge, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        crate::exposition::render(&[Figures::of(&self.0)])
    }

    /// What this node and its cells run and have counted. A cell that is too busy to answer within a quarter of a second
    /// is shown as its node knows it.
    pub async fn status_with_cells(&self) -> crate::status::NodeStatus {
        crate::cell::status_with_cells(&self.0).await
    }

    /// What this node runs and has counted, without what only its cells know.
    pub fn status(&self) -> crate::status::NodeStatus {
        crate::operate::status(self)
    }

    /// Kills an instance that is live in this process, by the name that [`status`](App::status) and `skybox ps` have for
    /// it; says whether there was one.
    ///
    /// Its calls in progress and their streams end with [`Cancelled`](skybox_core::CallErrorKind::Cancelled) where they
    /// next wait; code that holds its thread runs on until it does not. Calls that wait for their turn go to its
    /// successor, which is started at once, or of a key by its next call, and that is not counted as a failure. It has no
    /// `stop`.
    pub fn kill(&self, instance: &str) -> bool {
        self.0.hosts.iter().any(|host| host.clone().kill(instance, "the program").is_some())
    }
}

impl AppInner {
    /// A pause, shortened or lengthened by up to a quarter so that many restarts are not in step.
    pub(crate) fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(0.75 + self.random.unit() / 2.0)
    }

    /// Whether what lives here ends for good: nothing is started any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Turns true when every instance here has ended, because the node leaves.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    pub(crate) fn next_instance_id(&self) -> InstanceId {
        InstanceId { node: self.incarnation, count: 1 + self.instances.fetch_add(1, Ordering::Relaxed) }
    }

    /// What was chosen for the module of this index, if it is an interface.
    pub(crate) fn implementation(&self, index: usize) -> Option<&'static CandidateRegistration> {
        let mut chosen = self.chosen.iter();
        chosen.find(|(interface, _)| self.by_type.get(interface) == Some(&index)).map(|(_, chosen)| *chosen)
    }

    /// Tells every caller that waits to look again.
    pub(crate) fn routes_changed(&self) {
        for host in &self.hosts {
            host.core().notify();
        }
    }

    /// What this node says of itself to another.
    pub(crate) fn hello(&self, role: Role) -> Hello {
        let modules = self.hosts.iter().map(|host| {
            let module = host.core().descriptor;
            ModuleEntry { name: module.name.to_owned(), digest: digest(module) }
        });
        Hello {
            protocols: Hello::PROTOCOLS,
            role,
            incarnation: self.incarnation,
            clock_us: clock::monotonic_us(),
            program: self.program.clone(),
            build: self.build.clone(),
            node: self.node.clone(),
            modules: modules.collect(),
        }
    }
}

/// What a caller and a callee must agree on: the methods, their order, their parameters.
fn digest(module: &skybox_core::ModuleDescriptor) -> u64 {
    let mut text = format!("{:?}", module.kind);
    for method in module.methods {
        text.push_str(&format!("\n{} {:?} {:?}", method.name, method.mode, method.parameters));
    }
    KeyHash::of(text.as_bytes()).0
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("program", &self.0.program)
            .field("node", &self.0.node)
            .finish_non_exhaustive()
    }
}
