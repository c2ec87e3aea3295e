//! From `App::builder()` to `start()`.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::Instant;

use skybox_core::{Code, ModuleKind, NodeName, Settings, TextChain};
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

use super::identity::Identity;
use super::linked::{self, Linked};
use super::sockets::{Asked, Others, Sockets};
use super::{App, AppId, AppInner, current, lifecycle};
use crate::between::{Orphans, Owners};
use crate::call::install_panic_hook;
use crate::cell::{Birth, Family, Inside};
use crate::config::{Config, ConfigError, TlsFiles};
use crate::control::{
    Alone, ByHand, Control, ControlError, DeclaredNeeds, Joining, ModuleDecl, Newcomer, OnceTurn, ParentLink,
    Through, join,
};
use crate::host::{AnyHost, HostSeed};
use crate::interface::{Candidate, CandidateRegistration};
use crate::links::Links;
use crate::module::Registration;
use crate::monitor::{Monitors, Observers};
use crate::names::HomeNames;
use crate::random::Random;
use crate::supervisor::Lives;
use crate::tie::Ties;

/// Makes every call go the long way.
pub(crate) const STRICT_ENV: &str = "SKYBOX_STRICT";

type Once = Box<dyn FnOnce(App) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// What an App is made from.
#[must_use = "nothing happens before `start`"]
pub struct Builder {
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    once: Vec<(String, Once)>,
    listeners: HashMap<String, String>,
    /// Candidates that were named, whether or not the linker has them too.
    candidates: Vec<&'static CandidateRegistration>,
    strict: Option<bool>,
    allow_abort: bool,
    /// Whether this is the process's main App: it obeys a parent and lets operators in.
    main: bool,
    /// The parent's socket and this node's name, where the environment does not say them.
    joined: Option<(PathBuf, NodeName)>,
    /// Where the node listens for other nodes, and with which certificates.
    asked: Asked,
}

/// Why an App did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// A mistake in the configuration.
    #[error("{}: the configuration is wrong", Code::CONFIG)]
    Config(#[from] ConfigError),
    /// Two modules of one name.
    #[error("{}: two modules are named `{name}`: {first} and {second}; rename one", Code::MODULE_TWICE)]
    Twice {
        /// The name.
        name: &'static str,
        /// Where the one is written.
        first: &'static str,
        /// And the other.
        second: &'static str,
    },
    /// An interface, and nothing that implements it.
    #[error(
        "{}: the interface `{interface}` ({path}) has no implementation in this program: put `#[skybox::module]` on \
         one, and name it with `.candidate::<…>()` if its crate is not named elsewhere",
        Code::NO_CANDIDATE
    )]
    NoCandidate {
        /// Its name.
        interface: &'static str,
        /// Where it is written.
        path: &'static str,
    },
    /// Two implementations of one name.
    #[error(
        "{}: two implementations of `{interface}` are named `{name}`: {first} and {second}; rename one",
        Code::CANDIDATE_TWICE
    )]
    CandidateTwice {
        /// Whose.
        interface: &'static str,
        /// The name.
        name: &'static str,
        /// Where the one is written.
        first: &'static str,
        /// And the other.
        second: &'static str,
    },
    /// An interface with several implementations, and nobody who says which.
    #[error(
        "{}: the interface `{interface}` has several implementations: {candidates}; choose one in skybox.toml: \
         `[modules.{interface}]`, `use = \"{first}\"`",
        Code::CANDIDATES
    )]
    Candidates {
        /// Its name.
        interface: &'static str,
        /// Their names, and where each is written.
        candidates: String,
        /// One of them.
        first: &'static str,
    },
    /// What is to be done once failed, here or on another node.
    #[error("{}: `once(\"{name}\")` failed: {cause}", Code::ONCE)]
    Once {
        /// Its name.
        name: String,
        /// Its error.
        cause: String,
    },
    /// Whoever plans could not be asked.
    #[error("{}: the node could not join its program", Code::JOIN)]
    Control(#[from] ControlError),
    /// A listener of the program; the source has its name, its address and the reason.
    #[error("{}: a listener could not be opened", Code::LISTENER)]
    Listener(#[source] ControlError),
    /// The node's own socket.
    #[error("{}: the node cannot listen on {address}", Code::SOCKET)]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Other machines could connect without TLS.
    #[error(
        "{}: other machines could connect to {address}, and this node has no certificate: give `[tls] authority`, \
         `certificate` and `key` (`skybox certs` makes them), or listen on 127.0.0.1",
        Code::UNSAFE
    )]
    Unsafe {
        /// Where it would listen.
        address: String,
    },
    /// A certificate file.
    #[cfg(feature = "tls")]
    #[error("{}: `[tls]` cannot be used", Code::TLS)]
    Tls(#[from] crate::conn::tls::TlsFilesError),
    /// A certificate of somebody else.
    #[error(
        "{}: the certificate in {} is for {of}, and this is {node}: give each node its own",
        Code::OTHERS_CERTIFICATE, certificate.display()
    )]
    OthersCertificate {
        /// Its file.
        certificate: PathBuf,
        /// Whom it is for.
        of: String,
        /// This node.
        node: String,
    },
    /// Certificates, by a build that cannot use them.
    #[error(
        "{}: `[tls]` is set, but the program is built without the feature `tls` of skybox",
        Code::BUILT_WITHOUT_TLS
    )]
    BuiltWithoutTls,
    /// Nothing says which node this is.
    #[error("{}: nothing says which node this is: set SKYBOX_NODE__NAME, or `[node] name`", Code::NAMELESS)]
    Nameless,
    /// The other nodes are named twice.
    #[error(
        "{}: `[node] peers` names the other nodes, and so does the store at {store}: leave one of the two out",
        Code::CONFIG
    )]
    PeersAndStore {
        /// Where the store is.
        store: String,
    },
    /// Built without unwinding.
    #[error(
        "{}: this program is built with `panic = \"abort\"`, so one panic ends every instance of the process: remove \
         it from the profile, or say `.allow_abort(true)`",
        Code::PANIC_ABORT
    )]
    PanicAbort,
    /// No runtime.
    #[error("{}: `start` needs a tokio runtime: call it inside `#[tokio::main]`", Code::NO_RUNTIME)]
    NoRuntime,
    /// Asked to be several nodes, by a build that cannot.
    #[error("{code}: {0}", code = Code::SPLIT)]
    Split(String),
}

impl AppError {
    /// Its stable code, which its text begins with.
    pub fn code(&self) -> Code {
        match self {
            AppError::Config(_) => Code::CONFIG,
            AppError::Twice { .. } => Code::MODULE_TWICE,
            AppError::NoCandidate { .. } => Code::NO_CANDIDATE,
            AppError::CandidateTwice { .. } => Code::CANDIDATE_TWICE,
            AppError::Candidates { .. } => Code::CANDIDATES,
            AppError::Once { .. } => Code::ONCE,
            AppError::Control(_) => Code::JOIN,
            AppError::Listener(_) => Code::LISTENER,
            AppError::Listen { .. } => Code::SOCKET,
            AppError::PanicAbort => Code::PANIC_ABORT,
            AppError::NoRuntime => Code::NO_RUNTIME,
            AppError::Split(_) => Code::SPLIT,
            AppError::Unsafe { .. } => Code::UNSAFE,
            #[cfg(feature = "tls")]
            AppError::Tls(_) => Code::TLS,
            AppError::OthersCertificate { .. } => Code::OTHERS_CERTIFICATE,
            AppError::BuiltWithoutTls => Code::BUILT_WITHOUT_TLS,
            AppError::Nameless => Code::NAMELESS,
            AppError::PeersAndStore { .. } => Code::CONFIG,
        }
    }
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            values: HashMap::new(),
            once: Vec::new(),
            listeners: HashMap::new(),
            candidates: Vec::new(),
            strict: None,
            allow_abort: false,
            main: true,
            joined: None,
            asked: Asked::default(),
        }
    }

    /// Gives a value to this node: a pool, a client, a configuration. Modules take it by its type with
    /// [`App::value`]. It never crosses the wire. A second one of the same type replaces the first.
    pub fn provide<T: Send + Sync + 'static>(mut self, value: T) -> Builder {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
        self
    }

    /// Names an implementation of an interface, so that its crate is part of the program even if nobody else names
    /// it. One of several is chosen in `skybox.toml`: `[modules.payments] use = "stripe"`.
    pub fn candidate<T: Candidate>(mut self) -> Builder {
        self.candidates.push(const { &CandidateRegistration::of::<T>() });
        self
    }

    /// Something to be done before any instance starts: on one node at a time, until one run succeeds; the
    /// others wait. Its failure is [`start`](Builder::start)'s error everywhere.
    pub fn once<F, Fut, E>(mut self, name: &str, run: F) -> Builder
    where
        F: FnOnce(App) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let run: Once = Box::new(move |app| {
            let running = run(app);
            Box::pin(async move { running.await.map_err(|error| TextChain::of(&*error.into()).joined()) })
        });
        self.once.push((name.to_owned(), run));
        self
    }

    /// The address of a listener where `skybox.toml` says nothing: the one your own configuration has.
    pub fn listener(mut self, name: &str, address: impl fmt::Display) -> Builder {
        self.listeners.insert(name.to_owned(), address.to_string());
        self
    }

    /// Runs every call the long way: encoded, decoded, on another task, after a moment; also with
    /// `SKYBOX_STRICT=1`. Finds what would break across processes, in one.
    pub fn strict(mut self, strict: bool) -> Builder {
        self.strict = Some(strict);
        self
    }

    /// Starts although the program is built with `panic = "abort"`, where a panic ends the whole process.
    pub fn allow_abort(mut self, allow: bool) -> Builder {
        self.allow_abort = allow;
        self
    }

    /// One of several Apps of the process, as tests have them: no parent, no socket for operators.
    pub fn aside(mut self) -> Builder {
        self.main = false;
        self
    }

    /// Joins a running program as one more of its nodes: tests do, to call what runs in others.
    pub fn join(mut self, parent: impl Into<PathBuf>, node: NodeName) -> Builder {
        self.joined = Some((parent.into(), node));
        self
    }

    /// Has the node listen for other nodes over TCP, as `[node] listen` does. Without certificates only on a loopback
    /// address: for measuring what TCP costs.
    pub fn node_address(mut self, address: &str) -> Builder {
        self.asked.address = Some(address.to_owned());
        self
    }

    /// The certificates for TCP, instead of those that `[tls]` names. Needs the feature `tls`.
    pub fn tls(mut self, files: TlsFiles) -> Builder {
        self.asked.tls = Some(files);
        self
    }

    /// Starts: reads the configuration, joins the program, does what is to be done once, starts the instances
    /// that belong here.
    ///
    /// In a cell, a process that a node has started for instances of a module with `isolate`, it does not return: it
    /// serves them, and skips what is to be done once.
    ///
    /// It does not wait for them: calls do. With `SKYBOX_NODES=3` (and the feature `cloud`) this process becomes
    /// the parent of three nodes, and `start` does not return.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn start(self) -> Result<App, AppError> {
        if cfg!(panic = "abort") && !self.allow_abort {
            return Err(AppError::PanicAbort);
        }
        let runtime = Runtime::try_current().map_err(|_| AppError::NoRuntime)?;
        install_panic_hook();
        let config = Config::load()?;
        let born = if self.main && self.joined.is_none() { Birth::take() } else { None };
        if self.main && self.joined.is_none() && born.is_none() {
            crate::parenthood::become_parent_if_asked(&config, &self.listeners).await?;
        }
        let linked = linked::modules(&config, &self.candidates)?;
        let (declared, stop_wait) = (declare(&linked), linked.longest_stop());
        let Linked { registrations, settings, stops, chosen, .. } = linked;
        let mut identity = match &born {
            Some((birth, _)) => Identity::of_cell(birth),
            None => Identity::of_this_process(self.main, self.joined.clone()),
        };
        let strict = self.strict.unwrap_or_else(|| std::env::var(STRICT_ENV).is_ok_and(|value| value == "1"));
        let Builder { values, once, listeners, asked, .. } = self;
        let sockets = Sockets::open(&mut identity, &config, asked).await?;
        let inside = born.as_ref().map(|(birth, _)| Arc::new(Inside::new(birth, &declared)));
        let newcomer = || Newcomer {
            hello: identity.hello(&sockets.address, declared.clone(), stop_wait),
            build: identity.build.clone(),
            guest: false,
            labels: config.node_labels(),
            capacity: config.node_capacity(),
            resources: config.resources().map(|(name, at)| (name.to_owned(), at.clone())).collect(),
            plan: config.plan().clone(),
        };
        let control: Arc<dyn Control> = match (&identity.parent, &sockets.others) {
            _ if inside.is_some() => inside.clone().expect("asked just now"),
            (None, Others::None) => Arc::new(Alone::new(&identity.node, &declared)),
            (None, Others::ByHand(peers)) => Arc::new(ByHand::new(&identity.node, peers, &declared)),
            (None, Others::Cloud(store)) => {
                let through = Through::Store(Box::new(store.clone()));
                join(Joining { newcomer: newcomer(), through }).await?
            }
            (Some(parent), _) => {
                let newcomer = newcomer();
                let link = ParentLink::connect(parent, newcomer.hello.clone()).await?;
                let newcomer = Newcomer { guest: link.is_guest(), ..newcomer };
                join(Joining { newcomer, through: Through::Parent(link) }).await?
            }
        };
        let inner = Arc::new_cyclic(|weak| {
            let id = AppId::next();
            let plant = Plant { weak, id, identity: &identity, strict, runtime: &runtime };
            let hosts: Vec<_> = plant.hosts(&registrations, settings.into_iter().zip(stops));
            let by_type =
                registrations.iter().enumerate().map(|(at, module)| ((module.type_id)(), at)).collect();
            AppInner {
                id,
                program: identity.program.clone(),
                build: identity.build.clone(),
                node: identity.node.clone(),
                home: born.as_ref().map_or(&identity.node, |(birth, _)| &birth.node).clone(),
                inside: inside.clone(),
                incarnation: identity.incarnation,
                address: sockets.address.clone(),
                config,
                values,
                hosts,
                by_type,
                chosen,
                links: Links::default(),
                handshakes: Arc::default(),
                owners: Owners::default(),
                orphans: Orphans::default(),
                monitors: Monitors::default(),
                observers: Observers::default(),
                names: HomeNames::default(),
                ties: Ties::default(),
                lives: Lives::default(),
                control,
                runtime: runtime.clone(),
                random: Random::new(identity.incarnation.0),
                instances: AtomicU64::new(0),
                ready: AtomicBool::new(false),
                warm: AtomicBool::new(false),
                closing: AtomicBool::new(false),
                leave: watch::Sender::new(None),
                drained: watch::Sender::new(false),
                closed: watch::Sender::new(false),
                signals: std::sync::Once::new(),
                asked: AtomicBool::new(false),
                started: Instant::now(),
                listeners,
                bound: std::sync::Mutex::default(),
                family: Family::default(),
                #[cfg(feature = "tls")]
                tls: sockets.tls.clone(),
            }
        });
        inner.links.attach(Arc::downgrade(&inner));
        current::enrol(&inner);
        crate::watchdog::begin(&inner);
        if let Some(fence) = inner.control.fence() {
            inner.hosts.iter().for_each(|host| host.core().fence_in(&fence));
            crate::fence::begin(&inner, fence);
        }
        let app = App::from_inner(inner);
        if let (Some(inside), Some((_, link))) = (inside, born) {
            for host in &app.inner().hosts {
                host.core().endings.tell(inside.clone());
            }
            return inside.serve(app, link).await;
        }
        for (name, run) in once {
            run_once(&app, name, run).await?;
        }
        for listener in sockets.listeners {
            runtime.spawn(crate::conn::accept_loop(Arc::downgrade(app.inner()), listener));
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &sockets.tls {
            runtime.spawn(crate::conn::tls::Tls::watch(Arc::downgrade(tls)));
        }
        lifecycle::begin(&app).await?;
        Ok(app)
    }
}

struct Plant<'p> {
    weak: &'p Weak<AppInner>,
    id: AppId,
    identity: &'p Identity,
    strict: bool,
    runtime: &'p Runtime,
}

impl Plant<'_> {
    fn hosts(
        &self,
        registrations: &[&'static Registration],
        settings: impl Iterator<Item = (Settings, bool)>,
    ) -> Vec<Arc<dyn AnyHost>> {
        let modules = registrations.len();
        let seeds =
            registrations.iter().zip(settings).enumerate().map(|(index, (module, (settings, stops)))| {
                let seed = HostSeed {
                    app: self.weak.clone(),
                    app_id: self.id,
                    node: self.identity.node.clone(),
                    index: index as u16,
                    modules,
                    descriptor: (module.descriptor)(),
                    settings,
                    stops,
                    strict: self.strict,
                    may_have_cells: self.identity.may_have_cells,
                    cell_of: self.identity.cell_of.clone(),
                    runtime: self.runtime.clone(),
                };
                (module.host)(seed)
            });
        seeds.collect()
    }
}

fn declare(linked: &Linked) -> Vec<ModuleDecl> {
    // Code says where the instances of a spawned module are, and nobody plans them.
    let planned = linked.registrations.iter().zip(&linked.settings);
    let planned = planned.filter(|(module, _)| (module.descriptor)().kind != ModuleKind::Spawned);
    let decl = planned.map(|(module, settings)| {
        let descriptor = (module.descriptor)();
        ModuleDecl {
            name: descriptor.name.to_owned(),
            kind: descriptor.kind,
            replicas: settings.replicas,
            cpu_milli: settings.cpu_milli.unwrap_or(0),
            needs: DeclaredNeeds::of(settings),
            implementations: module.is_interface.then(|| linked.implementations(module)),
        }
    });
    decl.collect()
}

async fn run_once(app: &App, name: String, run: Once) -> Result<(), AppError> {
    match app.inner().control.once(&name).await? {
        OnceTurn::Done => Ok(()),
        OnceTurn::Failed(cause) => Err(AppError::Once { name, cause }),
        OnceTurn::Run(ended) => {
            tracing::info!("running `once(\"{name}\")`");
            let outcome = app.enter(run(app.clone())).await;
            ended(outcome.clone()).await;
            outcome.map_err(|cause| AppError::Once { name, cause })
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("values", &self.values.len()).finish_non_exhaustive()
    }
}
