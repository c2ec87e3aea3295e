//! What `skybox ps` shows.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use skybox_core::{ModuleKind, NodeName};

use crate::host::Ending;
use crate::metrics::EdgeCounts;

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
    /// Its methods with their parameters.
    pub methods: Vec<(String, Vec<String>)>,
    /// Why it was given up here.
    pub failed: Option<String>,
    /// Its instances here.
    pub instances: Vec<InstanceStatus>,
    /// How earlier ones ended, newest last.
    pub endings: Vec<Ending>,
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
}
