//! The annotations as they stand in the source.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

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
    /// Failed starts within [`Needs::within_ms`] that are borne: one more, and it is given up.
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

/// How many instances of a replicated module there are. Read and written as it stands in the source: `3`, `1..=8` or
/// `per-node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Replicas::PerNode => f.write_str("per-node"),
            Replicas::Range { min, max } if min == max => write!(f, "{min}"),
            Replicas::Range { min, max } => write!(f, "{min}..={max}"),
        }
    }
}

// By hand, for `serde(into)` would have an `impl From<Replicas> for String`, which compilers then suggest to people.
impl Serialize for Replicas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Replicas {
    type Err = BadReplicas;

    fn from_str(text: &str) -> Result<Replicas, BadReplicas> {
        if text == "per-node" {
            return Ok(Replicas::PerNode);
        }
        let number = |text: &str| text.trim().parse().map_err(|_| BadReplicas);
        let (min, max) = match text.split_once("..=") {
            Some((min, max)) => (number(min)?, number(max)?),
            None => number(text).map(|n| (n, n))?,
        };
        if min > 0 && min <= max { Ok(Replicas::Range { min, max }) } else { Err(BadReplicas) }
    }
}

impl TryFrom<String> for Replicas {
    type Error = BadReplicas;

    fn try_from(text: String) -> Result<Replicas, BadReplicas> {
        text.parse()
    }
}

/// A text that is no number of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not a number above zero, a range such as \"1..=8\", or \"per-node\"")]
pub struct BadReplicas;

/// Where an instance lives. Serialized as it stands in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolate {
    /// In a process of its own.
    #[serde(rename = "process")]
    Process,
    /// In one process with the module's other instances of the node.
    #[serde(rename = "process:shared")]
    ProcessShared,
}

/// When an ended instance is started again. Serialized as it stands in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_serialized_as_they_stand_in_the_source() {
        let replicas = [
            (Replicas::fixed(3), "3"),
            (Replicas::Range { min: 1, max: 8 }, "1..=8"),
            (Replicas::PerNode, "per-node"),
        ];
        for (replicas, text) in replicas {
            let json = serde_json::to_value(replicas).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_value::<Replicas>(json).unwrap(), replicas);
        }
        for text in ["0", "3..=2", "many", "1..8", ""] {
            assert_eq!(text.parse::<Replicas>(), Err(BadReplicas), "{text}");
        }
        let words =
            serde_json::to_value((Restart::OnCrash, Isolate::Process, Isolate::ProcessShared)).unwrap();
        assert_eq!(words, serde_json::json!(["on-crash", "process", "process:shared"]));
    }
}
