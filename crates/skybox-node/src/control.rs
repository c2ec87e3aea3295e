//! What a node needs from whoever plans: the seam behind which the parent of one machine stands, and the store of many.

mod alone;
mod by_hand;
mod figures;
mod joining;
mod orphan;
mod parent;
mod vitals;

use std::future::Future;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skybox_core::{Incarnation, InstanceId, ModuleKind, NodeName, Plan, Settings};
use skybox_plan::names::{NameAnswer, NameAsk};
use tokio::sync::watch;

use crate::fence::Fence;

pub(crate) use alone::Alone;
pub(crate) use by_hand::ByHand;
pub use figures::{Latencies, LeaderFigures, PlanFigures};
pub(crate) use joining::join;
pub use joining::{Joined, Joining, Membership, Newcomer, Through};
pub use parent::{
    ControlError, FromNode, FromParent, Hello, NODE_ENV, Opening, PARENT_ENV, ParentLink, line, read_line,
};
pub use vitals::{Flow, LOAD_MAX_MILLI, Load, Vitals};

/// A boxed future: control calls are rare.
pub type Boxed<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// Whoever plans, seen from a node.
pub trait Control: Send + Sync {
    /// The plan, and each later version of it.
    fn plans(&self) -> watch::Receiver<Arc<Plan>>;
    /// Told to leave: `Some` once it is.
    fn leaving(&self) -> watch::Receiver<Option<Leave>>;
    /// This node is told to leave by a signal, or by people who have asked it alone: how it is to leave.
    fn leaves_by_itself(&self) -> Leave {
        Leave::End
    }
    /// Until when calls of keyed instances may begin here; absent where nobody else could take keys over.
    fn fence(&self) -> Option<Arc<Fence>> {
        None
    }
    /// Whether what is given up here may be placed on another node: then its plan says when all have given it up.
    fn places_anew(&self) -> bool {
        false
    }
    /// Resolves when whoever plans has said for the first time what this node is to run.
    fn told(&self) -> Boxed<'static, ()> {
        Box::pin(std::future::ready(()))
    }
    /// How this node stands to the plan; absent where there is no store.
    fn figures(&self) -> Option<PlanFigures> {
        None
    }
    /// The node runs, and connects to others: from now on this may ask how it is, and speak to others through it.
    fn begun(&self, vitals: Arc<dyn Vitals>) {
        drop(vitals);
    }
    /// Another node tells something, with [`Vitals::tell`]; gives what it is answered.
    ///
    /// # Errors
    /// Why nothing can be made of it, for the log of that node.
    fn heard(&self, from: NodeName, life: Incarnation, what: String) -> Boxed<'_, Result<String, String>> {
        drop((from, life, what));
        Box::pin(async { Err("this node has nobody who plans".to_owned()) })
    }
    /// Says what happened here. Never waits; what is said may arrive late, but in order.
    fn report(&self, report: Report);
    /// Asks for the turn to run `name`, which one node at a time has, until one run succeeds.
    fn once(&self, name: &str) -> Boxed<'_, Result<OnceTurn, ControlError>>;
    /// A listener that was bound once for all nodes. `None`: this node does not serve it.
    fn listener(&self, name: &str, address: &str) -> Boxed<'_, Result<Option<TcpListener>, ControlError>>;
    /// Asks whoever keeps the names of instances, for a limited time. What is asked by one node is done in that order.
    fn names(&self, ask: NameAsk) -> Boxed<'_, Result<NameAnswer, ControlError>>;
    /// Tells whoever keeps the names that nothing is left of an instance; resolves when it has none, however long that
    /// takes. Done after all that was asked for it before. An error says that nobody keeps them.
    fn ended(&self, instance: InstanceId) -> Boxed<'_, Result<(), ControlError>>;
    /// Carries out what people order of the whole program, which a node that they have reached is asked to; resolves when
    /// it is done. `by`: who that is, as the node's connection to them has proven it.
    fn order(&self, order: serde_json::Value, by: &str) -> Boxed<'_, Result<serde_json::Value, Unanswered>> {
        let _ = (order, by);
        let why = "this node knows no plan that could be changed: it is alone";
        Box::pin(async move { Err(Unanswered::Refused(why.to_owned())) })
    }
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It cannot be.
    Refused(String),
    /// Whoever keeps the plan cannot be reached; some of it may have been carried out.
    Unreachable(String),
}

/// How a node is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leave {
    /// Others go on: hand everything over first.
    HandOver,
    /// The whole program ends: nobody takes anything over.
    End,
    /// Whoever plans is gone without a word: nobody takes anything over, and nobody hears of the end.
    Orphaned,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Its instance of the module is ready for calls.
    Started {
        /// The module.
        module: String,
    },
    /// Its instance of the module is gone, as the plan wanted.
    Stopped {
        /// The module.
        module: String,
    },
    /// The module does not start here.
    GaveUp {
        /// The module.
        module: String,
        /// The error of its `start`.
        cause: String,
        /// How often it has failed; zero if its `restart` does not allow another start, here or elsewhere.
        #[serde(default)]
        failed_starts: u32,
    },
    /// Somebody has ordered that what was given up be tried again.
    TriesAgain {
        /// The module.
        module: String,
    },
    /// The shards that the plan of this version took away are free.
    Released {
        /// The module.
        module: String,
        /// The plan's version.
        version: u64,
    },
    /// It is ready: its main has started everything.
    Ready,
    /// It has handed everything over.
    Drained,
}

/// A module, as whoever plans has to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleDecl {
    /// Its name.
    pub name: String,
    /// Its form.
    pub kind: ModuleKind,
    /// How many instances.
    pub replicas: skybox_core::Replicas,
    /// Reserved cores for each, in thousandths.
    pub cpu_milli: u32,
    /// What else it needs.
    #[serde(default)]
    pub needs: DeclaredNeeds,
    /// Of an interface, the names of its implementations in this program.
    #[serde(default)]
    pub implementations: Option<Vec<String>>,
}

/// Whom to tell how it went.
pub type RunEnded = Box<dyn FnOnce(Result<(), String>) -> Boxed<'static, ()> + Send>;

/// What a module needs beside cores, as its annotations and their overrides say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeclaredNeeds {
    /// Reserved memory for each instance, in bytes.
    pub memory_bytes: u64,
    /// Reserved GPUs for each instance.
    pub gpu: u32,
    /// A resource or module to be close to.
    pub near: Option<String>,
    /// A module to share every node with.
    pub with: Option<String>,
    /// A module never to share a node with.
    pub apart: Option<String>,
    /// A label in which instances should differ.
    pub spread: Option<String>,
    /// A label, `key=value`, that a node must have.
    pub on: Option<String>,
}

impl DeclaredNeeds {
    pub(crate) fn of(settings: &Settings) -> DeclaredNeeds {
        DeclaredNeeds {
            memory_bytes: settings.memory_bytes.unwrap_or(0),
            gpu: settings.gpu.unwrap_or(0),
            near: settings.near.clone(),
            with: settings.with.clone(),
            apart: settings.apart.clone(),
            spread: settings.spread.clone(),
            on: settings.on.clone(),
        }
    }
}

/// The answer to `once`.
pub enum OnceTurn {
    /// Run it, and say how it went.
    Run(RunEnded),
    /// It has succeeded, here or elsewhere.
    Done,
    /// It failed, here or elsewhere, with this error.
    Failed(String),
}

impl std::fmt::Debug for OnceTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OnceTurn::Run(_) => f.write_str("Run"),
            OnceTurn::Done => f.write_str("Done"),
            OnceTurn::Failed(why) => f.debug_tuple("Failed").field(why).finish(),
        }
    }
}
