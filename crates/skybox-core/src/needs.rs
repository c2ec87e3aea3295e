//! The annotations as they stand in the source.

use serde::{Deserialize, Serialize};

/// The annotations of one module, as constants. [`crate::Settings`] is the same after `skybox.toml` and the
/// environment have had their say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Reserved cores for each instance, in thousandths; also the number of its own threads, rounded up.
    pub cpu_milli: Option<u32>,
    /// Reserved memory for each instance, in bytes.
    pub memory_bytes: Option<u64>,
    /// Reserved GPUs for each instance.
    pub gpu: Option<u32>,
    /// A resource or module to be close to.
    pub near: Option<&'static str>,
    /// A module to share every node with.
    pub with: Option<&'static str>,
    /// A module never to share a node with.
    pub apart: Option<&'static str>,
    /// A label in which instances should differ.
    pub spread: Option<&'static str>,
    /// A label, `key=value`, that a node must have.
    pub on: Option<&'static str>,
    /// How many instances; one when absent.
    pub replicas: Option<Replicas>,
    /// Whether each instance lives in a process of its own.
    pub isolate: Option<Isolate>,
    /// Calls that one instance runs at once; unlimited when absent.
    pub concurrency: Option<u32>,
    /// When an ended instance is started again.
    pub restart: Option<Restart>,
    /// Failed starts within [`Needs::within_ms`] after which it is given up.
    pub max_restarts: Option<u32>,
    /// The window of [`Needs::max_restarts`], in milliseconds.
    pub within_ms: Option<u64>,
    /// The longest any call may take, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// How long a `&mut self` call may go on past its deadline before its instance is crashed, in milliseconds.
    pub overrun_ms: Option<u64>,
    /// How long a keyed instance without calls stays awake, in milliseconds.
    pub idle_ms: Option<u64>,
    /// How many instances of a keyed module are awake in a node at once.
    pub awake: Option<u32>,
    /// How long the `stop` of an instance may take, in milliseconds.
    pub stop_wait_ms: Option<u64>,
    /// What a keyed module does when its node cannot reach the store.
    pub on_store_loss: Option<OnStoreLoss>,
}

impl Needs {
    /// No annotation.
    pub const NONE: Needs = Needs {
        cpu_milli: None,
        memory_bytes: None,
        gpu: None,
        near: None,
        with: None,
        apart: None,
        spread: None,
        on: None,
        replicas: None,
        isolate: None,
        concurrency: None,
        restart: None,
        max_restarts: None,
        within_ms: None,
        deadline_ms: None,
        overrun_ms: None,
        idle_ms: None,
        awake: None,
        stop_wait_ms: None,
        on_store_loss: None,
    };
}

/// How many instances of a replicated module there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replicas {
    /// From `min` to `max`, by measured load; the same number twice when fixed.
    Range { min: u32, max: u32 },
    /// One on each node.
    PerNode,
}

impl Replicas {
    /// Exactly `n`.
    pub const fn fixed(n: u32) -> Replicas {
        Replicas::Range { min: n, max: n }
    }
}

/// Where an instance lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolate {
    /// In a process of its own.
    Process,
    /// In one process with the module's other instances of the node.
    ProcessShared,
}

/// When an ended instance is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Whatever ended it.
    Always,
    /// When it crashed.
    OnCrash,
    /// Never.
    Never,
}

/// What a keyed module does when its node cannot reach the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStoreLoss {
    /// Its calls stop before another owner can start.
    Stop,
    /// It goes on; two owners may overlap.
    Continue,
}
