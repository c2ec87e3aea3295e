//! The parent of one machine: starts nodes, hands out listeners, keeps the store, and replaces what dies.
//!
//! One task owns all state (`parent/state.rs`); sockets and processes only send it events. What runs where is decided by the
//! nodes themselves, through the store (`parent/cloud.rs`), as on many machines.

mod cloud;
mod listeners;
mod process;
mod secure;
mod serve;
mod state;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
pub use skybox_core::NodeName;
use skybox_core::Plan;
use skybox_node::config::TlsFiles;
pub use skybox_node::config::{Config, ConfigError};
use skybox_node::control::{ModuleDecl, PARENT_ENV};
pub use skybox_plan::place::{Explanation, Move, Reason, Unplaced};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use cloud::Cloud;
pub use process::Output;
pub use secure::NODE_ADDRESS;
use secure::Secure;
use state::{Event, News, State};

use crate::history::Line;
use crate::runtime_dir::{PARENT_SOCKET, RuntimeDir, STORE_SOCKET};

/// Events that may wait for the parent. Its work for each is short.
const EVENTS_MAX: usize = 16 * 1024;

/// Nodes that [`ParentConfig::split`] starts at most: enough to see every edge of a program cross, few enough for a
/// laptop.
pub const SPLIT_NODES_MAX: u32 = 8;

/// Which program, and with what.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Launch {
    /// The program's name, as its nodes see it: `SKYBOX_PROGRAM`, or that of its file.
    pub fn name(&self) -> String {
        std::env::var("SKYBOX_PROGRAM").unwrap_or_else(|_| {
            let stem = self.program.file_stem();
            stem.map_or_else(|| "program".into(), |stem| stem.to_string_lossy().into_owned())
        })
    }
}

/// What a parent is to do.
#[derive(Clone, Debug)]
pub struct ParentConfig {
    /// What each node runs.
    pub launch: Launch,
    /// How many nodes: `node-1` to `node-n`.
    pub nodes: u32,
    /// Whether further nodes are started until there are as many as the program has modules, at most
    /// [`SPLIT_NODES_MAX`]: the first node says how many those are.
    pub split: bool,
    /// Whether somebody brings other builds ([`Parent::replace`]): the parent goes on when its program has ended, or does
    /// not start.
    pub watched: bool,
    /// Whether nodes talk over TCP with TLS on the loopback interface, instead of Unix sockets.
    pub tcp: bool,
    /// How their output is shown.
    pub output: Output,
    /// The configuration of the program.
    pub config: Config,
    /// Where modules belong from the beginning, by name.
    pub pins: BTreeMap<String, Vec<NodeName>>,
    /// Nodes that run at a lower priority, as `nice` counts.
    pub nice: BTreeMap<NodeName, i32>,
    /// Further variables of the nodes' environment.
    pub environment: Vec<(String, String)>,
    /// Nodes that others start and that say hello to this parent, as tests do.
    pub guests: Vec<NodeName>,
}

impl ParentConfig {
    /// So many nodes of a program, everything else as usual.
    pub fn new(launch: Launch, nodes: u32, config: Config) -> ParentConfig {
        ParentConfig {
            launch,
            nodes,
            split: false,
            watched: false,
            tcp: false,
            output: Output::for_terminal(),
            config,
            pins: BTreeMap::new(),
            nice: BTreeMap::new(),
            environment: Vec::new(),
            guests: Vec::new(),
        }
    }

    fn names(&self) -> Vec<NodeName> {
        (1..=self.nodes)
            .map(|n| NodeName::new(format!("node-{n}")))
            .chain(self.guests.iter().cloned())
            .collect()
    }
}

/// A running parent.
#[derive(Debug)]
pub struct Parent {
    socket: PathBuf,
    events: mpsc::Sender<Event>,
    plan: watch::Receiver<Arc<Plan>>,
    modules: watch::Receiver<Arc<[ModuleDecl]>>,
    listeners: watch::Receiver<BTreeMap<String, SocketAddr>>,
    ended: watch::Receiver<Option<i32>>,
    secure: Arc<Secure>,
    /// Removed when the parent goes.
    _directory: Arc<RuntimeDir>,
}

/// Why a parent could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParentError {
    /// Its directory or socket.
    #[error("the parent cannot make its socket")]
    Socket(#[from] std::io::Error),
    /// The configuration's certificates.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// Certificates for this run could not be made.
    #[cfg(feature = "certs")]
    #[error("no certificates for this run")]
    Certs(#[from] crate::certs::CertsError),
    /// Nobody can make certificates.
    #[error("nodes over TCP need certificates: name them in `[tls]`, or build with the feature `certs`")]
    NoCertificates,
    /// The program's file.
    #[error("{} cannot be started", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a person can order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A module belongs on these nodes from now on; an empty list takes that back.
    Move {
        /// The module.
        module: String,
        /// The nodes.
        nodes: Vec<NodeName>,
    },
    /// A module may be tried again on the nodes that gave it up and where it is not any more. Where it is, its node is asked
    /// itself.
    TryAgain {
        /// The module.
        module: String,
    },
    /// SIGKILL for a node's process.
    Kill {
        /// Which node.
        node: NodeName,
    },
    /// A node hands everything over and ends.
    Drain {
        /// Which node.
        node: NodeName,
    },
    /// There are so many instances of a module; an empty text takes that back.
    Scale {
        /// The module.
        module: String,
        /// How many, as in the source: `3`, `1..=8` or `per-node`.
        replicas: String,
    },
    /// A node gets nothing more, and keeps what it has; or that is taken back.
    Cordon {
        /// Which node.
        node: NodeName,
        /// Whether it gets nothing more.
        on: bool,
    },
    /// Nothing moves that need not; or that is taken back.
    Freeze {
        /// Whether nothing moves.
        on: bool,
    },
    /// Where a module is, why, and what other nodes would have cost.
    Explain {
        /// The module.
        module: String,
    },
    /// What has been changed, and by whom.
    History {},
    /// Something that was ordered is taken back.
    Undo {
        /// Which line of the history; the last one that can be, if nothing is said.
        number: Option<u64>,
    },
    /// What the plan would become if all of this were ordered. Nothing is changed.
    TryOut {
        /// Modules, and where they would belong.
        moves: BTreeMap<String, Vec<NodeName>>,
        /// Modules, and how many of each there would be, as in the source.
        scales: BTreeMap<String, String>,
        /// Nodes that would get nothing more.
        cordons: Vec<NodeName>,
    },
    /// The nodes that are lost are gone for good, however many they are: others take over what they had.
    GoOn,
    /// The plan, and the nodes' processes.
    Show,
    /// The whole program ends.
    Stop,
}

/// The answer to an [`Order`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It is done: instances run where they should.
    Ok,
    /// What was to be explained.
    Explained(Box<Explanation>),
    /// What has been changed, the newest last.
    Told(Vec<Line>),
    /// What has been taken back, as the line that says so.
    Undone(Box<Line>),
    /// What the plan would become.
    Foreseen(Box<Outlook>),
    /// It is begun: the program is killed if it has not ended by then.
    Ending {
        /// How long it has, in milliseconds.
        within_ms: u64,
    },
    /// It cannot be done.
    Refused(String),
    /// What was asked for.
    Shown {
        /// The plan.
        plan: Plan,
        /// The nodes' processes.
        processes: BTreeMap<NodeName, u32>,
        /// Where people have said that modules belong.
        pins: BTreeMap<String, Vec<NodeName>>,
        /// Where each listener that a node has asked for is bound.
        listeners: BTreeMap<String, SocketAddr>,
        /// The modules that living nodes gave up, in the order in which they did.
        #[serde(default)]
        gave_up: BTreeMap<String, Vec<GaveUp>>,
        /// Of a cloud, the node that leads, if one does at this moment.
        #[serde(default)]
        leader: Option<NodeName>,
        /// Of a cloud, nodes that were lost too many at once to be believed: nothing of theirs is given to others until
        /// enough of them are back, or for [`Order::GoOn`].
        #[serde(default)]
        degraded: Vec<NodeName>,
        /// Of a cloud, nodes that reach the store and are not reached by most others: they hand over what they have.
        #[serde(default)]
        unreached: Vec<NodeName>,
    },
}

/// What a plan would become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// What would move, and why, by module.
    pub moves: Vec<Move>,
    /// What would have no place, and which need is not met, by module.
    pub unplaced: Vec<Unplaced>,
}

/// That a node gave a module up, which is tried on others as long as there are such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaveUp {
    /// Which node.
    pub node: NodeName,
    /// The error of the last start.
    pub cause: String,
    /// How many starts had failed; zero if its `restart` allows no other start.
    pub failed_starts: u32,
    /// Milliseconds since then.
    pub ago_ms: u64,
}

impl Parent {
    /// Makes the socket and starts the nodes.
    ///
    /// # Errors
    /// [`ParentError`].
    pub async fn start(config: ParentConfig) -> Result<Parent, ParentError> {
        let program = config.launch.name();
        let directory = Arc::new(RuntimeDir::make(&program)?);
        let socket = directory.path().join(PARENT_SOCKET);
        let listener = UnixListener::bind(&socket)?;
        let (events, waiting) = mpsc::channel(EVENTS_MAX);
        let (plans, plan) = watch::channel(Arc::new(Plan::default()));
        let (bound, listeners) = watch::channel(BTreeMap::new());
        let (ends, ended) = watch::channel(None);
        tokio::spawn(serve::accept(listener, events.clone()));
        let news = News { listeners: bound, ends };
        let secure = Arc::new(Secure::new(&config, &program, directory.path())?);
        let cloud = Cloud::begin(directory.path().join(STORE_SOCKET), plans)?;
        cloud.pin(&config.pins).await;
        let modules = cloud.watch_modules();
        let mut state = State::new(config, socket.clone(), secure.clone(), events.clone(), cloud, news);
        state.start_nodes().await?;
        tokio::spawn(state.run(waiting));
        Ok(Parent { socket, events, plan, modules, listeners, ended, secure, _directory: directory })
    }

    /// Its socket, for [`PARENT_ENV`].
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// The certificate with which a guest joins, where nodes talk over TCP; it listens at [`NODE_ADDRESS`].
    ///
    /// # Errors
    /// [`ParentError::Certs`].
    pub fn guest_tls(&self, guest: &NodeName) -> Result<Option<TlsFiles>, ParentError> {
        self.secure.files(guest)
    }

    /// An operator's certificate for this run, where nodes talk over TCP with certificates that are made for it.
    ///
    /// # Errors
    /// [`ParentError::Certs`].
    #[cfg(feature = "certs")]
    pub fn operator_tls(
        &self,
        name: &str,
        right: skybox_node::Right,
    ) -> Result<Option<TlsFiles>, ParentError> {
        self.secure.operator(name, right)
    }

    /// The plan, and each later version.
    pub fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.clone()
    }

    /// Where each listener is bound, by name; grows as nodes ask for them.
    pub fn listeners(&self) -> watch::Receiver<BTreeMap<String, SocketAddr>> {
        self.listeners.clone()
    }

    /// Gives an order; resolves when it is done.
    pub async fn order(&self, order: Order) -> Done {
        let (reply, done) = oneshot::channel();
        if self
            .events
            .send(Event::Order { order, by: "the program that is the parent".to_owned(), reply })
            .await
            .is_err()
        {
            return Done::Refused("the program has ended".to_owned());
        }
        done.await.unwrap_or_else(|_| Done::Refused("the program has ended".to_owned()))
    }

    /// Whether the program that runs could run with this configuration.
    ///
    /// # Errors
    /// [`ConfigError`], with the line or the variable.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        // A program that has not joined has said nothing of its modules.
        config.check(&self.modules.borrow())
    }

    /// Puts another build, or the same one with another configuration, in the place of the running one; resolves when
    /// every node's `start` has returned, or with why it has not.
    ///
    /// The old nodes end as they do when the program ends, and then the new ones start: calls between two builds are
    /// never made, and what instances had in memory is gone. The listeners stay open, but for those whose address is
    /// another one now: who connects in between waits. Whether nodes talk over TCP stays as it was.
    pub async fn replace(&self, program: PathBuf, config: Config) -> Done {
        let (reply, done) = oneshot::channel();
        if self.events.send(Event::Replace { program, config: Box::new(config), reply }).await.is_err() {
            return Done::Refused("the program has ended".to_owned());
        }
        done.await.unwrap_or_else(|_| Done::Refused("the program has ended".to_owned()))
    }

    /// Ends the program: all nodes but one drain, which hands what they have to that one, and then that one ends. So
    /// every request that has begun finds what it calls. A second call kills.
    pub async fn stop(&self) {
        // An error says that it has ended already.
        drop(self.events.send(Event::Stop).await);
    }

    /// Resolves when every node has ended for good, with the exit code for this process.
    pub async fn ended(&self) -> i32 {
        let mut ended = self.ended.clone();
        ended.wait_for(Option::is_some).await.ok().and_then(|code| *code).unwrap_or(1)
    }

    /// Runs until the program has ended, taking Ctrl-C and SIGTERM as the order to end it.
    pub async fn run_to_end(&self) -> i32 {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt());
        let terminate = signal(SignalKind::terminate());
        let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
            return self.ended().await;
        };
        loop {
            tokio::select! {
                code = self.ended() => return code,
                _ = interrupt.recv() => self.stop().await,
                _ = terminate.recv() => self.stop().await,
            }
        }
    }

    /// The environment with which a further node joins: what [`ParentConfig::guests`] are started with.
    pub fn environment(&self, node: &NodeName) -> Vec<(String, String)> {
        let socket = self.socket.to_string_lossy().into_owned();
        vec![(PARENT_ENV.to_owned(), socket), (skybox_node::control::NODE_ENV.to_owned(), node.to_string())]
    }
}
