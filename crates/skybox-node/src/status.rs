//! What `skybox ps` shows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skybox_core::{Isolate, Mode, ModuleKind, NodeName, Replicas, Restart, Settings};
use skybox_plan::restart::{BACKOFF_FIRST, BACKOFF_MAX};

use crate::cell::LimitedBy;
use crate::conn::HandshakeCounts;
use crate::control::PlanFigures;
use crate::host::{Ending, GivenUp};
use crate::metrics::EdgeCounts;
use crate::uses::ProcessUse;
use crate::watchdog::HoldStatus;

/// One live instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its module.
    pub module: String,
    /// The module's form.
    pub kind: ModuleKind,
    /// Where it lives.
    pub node: NodeName,
    /// Its id.
    pub instance: String,
    /// Its key, if it has one, as text where that is possible.
    pub key: Option<String>,
    /// Milliseconds since it started.
    pub up_ms: u64,
    /// Calls that hold it, where that is counted.
    pub holding: Option<u64>,
    /// Calls that wait for their turn on it.
    pub waiting: Option<u64>,
    /// Of those that wait, the calls that are made under others, in their order; the first 16 of them.
    pub waits: Vec<WaitStatus>,
    /// Calls that hold it and have made calls themselves, while others wait for it.
    pub holders: Vec<u64>,
    /// Its process, if it lives in a cell; absent from a node of a version without.
    #[serde(default)]
    pub cell: Option<CellStatus>,
    /// Of a keyed instance, and of one in a cell of its own, the calls that it has taken; absent from a node of a version
    /// without.
    #[serde(default)]
    pub calls: Option<u64>,
    /// Of a keyed or spawned instance, calls that failed, or returned the method's own error: since somebody looks, or in a
    /// cell of its own since its start. Absent where that is not known, and of others, which are alone on their node.
    #[serde(default)]
    pub errors: Option<u64>,
    /// Since then, the latencies of a sample of its calls, as [`EdgeCounts::latency`]; empty where `errors` is absent.
    #[serde(default)]
    pub latency: Vec<u64>,
    /// Of a key, how often an instance of it has ended here otherwise than by being stopped, or has not started; absent where
    /// that is not known.
    #[serde(default)]
    pub restarts: Option<u64>,
    /// Of a spawned instance, the one on the same node whose code has made it, if one has.
    #[serde(default)]
    pub spawned_by: Option<String>,
    /// Of a spawned instance, its names, at most 16; absent from a node of a version without, and none while whoever keeps
    /// them does not answer.
    #[serde(default)]
    pub names: Vec<String>,
    /// Of a spawned instance, with how many others it falls since it is linked to them; absent from a node of a version
    /// without.
    #[serde(default)]
    pub falls_with: u64,
}

/// The process of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CellStatus {
    /// Its number.
    pub pid: u32,
    /// How much memory it may have, if that is limited.
    pub memory_bytes: Option<u64>,
    /// Who sees to that.
    pub memory_by: Option<LimitedBy>,
    /// How many thousandths of a core it may have, if that is limited.
    pub cpu_milli: Option<u32>,
    /// Who sees to that.
    pub cpu_by: Option<LimitedBy>,
    /// What it uses; absent from a node of a version without, and where the kernel does not say.
    #[serde(default)]
    pub uses: Option<ProcessUse>,
}

/// Waiting calls of an instance that its status tells of. Two that wait for each other are the first of their queues.
pub(crate) const WAITS_MAX: usize = 16;

/// Keys that were given up of which a status tells: the first ones show why.
pub(crate) const GIVEN_UP_MAX: usize = 16;

/// A call that waits for its turn, and keeps those above it waiting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WaitStatus {
    /// How it wants the instance.
    pub mode: Mode,
    /// What the calls above it hold, innermost first.
    pub above: Vec<HeldStatus>,
}

/// A call above another, and the instance that it holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldStatus {
    /// The instance's id.
    pub instance: String,
    /// The call, among [`InstanceStatus::holders`] as long as it holds it.
    pub call: u64,
    /// How.
    pub mode: Mode,
}

/// The implementation of an interface that was chosen on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImplementationStatus {
    /// Its name, as `use` in `skybox.toml` has it.
    pub name: String,
    /// Where it is written.
    pub path: String,
}

/// One module, seen from one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// Its name.
    pub module: String,
    /// Its form.
    pub kind: ModuleKind,
    /// Where it is written.
    pub path: String,
    /// Of an interface, what implements it on this node; absent from a node of a version without.
    #[serde(default)]
    pub implementation: Option<ImplementationStatus>,
    /// Its methods with their parameters.
    pub methods: Vec<(String, Vec<String>)>,
    /// Why it was given up here; of a keyed module, the keys that were, the last 16 of them, the very last one first.
    pub given_up: Vec<GivenUp>,
    /// How many keys of it are given up here, as far as that is remembered; absent from a node of a version without.
    #[serde(default)]
    pub given_up_keys: u64,
    /// Of a spawned module, how many instances are here: of many, `instances` has the first hundred of each process. Absent
    /// from a node of a version without.
    #[serde(default)]
    pub spawned: u64,
    /// Its instances here.
    pub instances: Vec<InstanceStatus>,
    /// How earlier ones ended, newest last; at most 16.
    pub endings: Vec<Ending>,
    /// The methods that have held async threads here for longer than `hold-warning`; absent from a node of a version
    /// without.
    #[serde(default)]
    pub holds: Vec<HoldStatus>,
    /// How many instances have ended here otherwise than by being stopped, or have failed to start; absent from a node of
    /// a version without.
    #[serde(default)]
    pub ended: u64,
    /// The calls that came here from other processes, as `remote`; absent from a node of a version without.
    #[serde(default)]
    pub served: Option<EdgeCounts>,
    /// How its instances are kept; absent from a node of a version without.
    #[serde(default)]
    pub policy: Option<PolicyStatus>,
}

impl ModuleStatus {
    /// How many instances live here, those among them that `instances` does not list.
    pub fn live(&self) -> u64 {
        self.spawned.max(self.instances.len() as u64)
    }
}

/// How the instances of a module are kept on one node: its annotations, after the configuration has had its say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// How many there are to be, in all nodes. Of a replicated module alone.
    pub replicas: Replicas,
    /// Whether they live in processes of their own.
    pub isolate: Option<Isolate>,
    /// Reserved cores for each, in thousandths; what a cell may have.
    pub cpu_milli: Option<u32>,
    /// Reserved memory for each, in bytes; what a cell may have.
    pub memory_bytes: Option<u64>,
    /// When one that has ended is started again.
    pub restart: Restart,
    /// After how many failed starts within the window another one is the last.
    pub max_restarts: u32,
    /// The window, in milliseconds.
    pub within_ms: u64,
    /// The pause before the first restart, in milliseconds; each further one doubles it.
    pub backoff_first_ms: u64,
    /// The longest pause, in milliseconds.
    pub backoff_max_ms: u64,
    /// How long its `stop` may take, in milliseconds.
    pub stop_wait_ms: u64,
}

impl PolicyStatus {
    pub(crate) fn of(settings: &Settings) -> PolicyStatus {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        PolicyStatus {
            replicas: settings.replicas,
            isolate: settings.isolate,
            cpu_milli: settings.cpu_milli,
            memory_bytes: settings.memory_bytes,
            restart: settings.restart,
            max_restarts: settings.max_restarts,
            within_ms: ms(settings.within),
            backoff_first_ms: ms(BACKOFF_FIRST),
            backoff_max_ms: ms(BACKOFF_MAX),
            stop_wait_ms: ms(settings.stop_wait),
        }
    }
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: NodeName,
    /// Where other nodes reach it: a socket, or `host:port`.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// The program.
    pub program: String,
    /// Milliseconds since it started.
    pub up_ms: u64,
    /// Ready for calls from outside.
    pub ready: bool,
    /// The listeners it serves, and where they are bound.
    pub listeners: BTreeMap<String, SocketAddr>,
    /// What it runs.
    pub modules: Vec<ModuleStatus>,
    /// What it has counted.
    pub edges: Vec<EdgeCounts>,
    /// Call and reply frames that went over its open connections, either way.
    pub frames: u64,
    /// What its process uses; absent from a node of a version without, and where the kernel does not say.
    #[serde(default)]
    pub uses: Option<ProcessUse>,
    /// How many instances here fall with others, each counted once for each of those: a link of two that live here counts
    /// twice. Absent from a node of a version without.
    #[serde(default)]
    pub linked: u64,
    /// How often children of supervisors in this node, wherever they live, have been started again: by the id of the one
    /// that lives; at most 1,000. Absent from a node of a version without.
    #[serde(default)]
    pub restarted: BTreeMap<String, u64>,
    /// The connections that others have opened to it over TCP; absent from a node of a version without.
    #[serde(default)]
    pub handshakes: HandshakeCounts,
    /// How it stands to the plan of its cloud; absent where there is no store, and from a node of a version without.
    #[serde(default)]
    pub plan: Option<PlanFigures>,
}
