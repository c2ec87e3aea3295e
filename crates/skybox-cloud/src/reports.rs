//! What nodes tell the leader over the wire: how much there is to do, who calls whom, and whom they do not reach.
//!
//! None of it goes through the store, since all of it changes all the time. What is missing is unknown, and not zero.

use serde::{Deserialize, Serialize};
use skybox_core::NodeName;
use skybox_node::control::Load;
use skybox_plan::place::Explanation;

/// What a node tells another one, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// How it is. To the leader, about once a second.
    Report(Report),
    /// Explain where a module is, with all that the leader knows.
    Explain(String),
}

/// What is answered to that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It was heard.
    Heard,
    /// The one that was asked does not lead.
    NotLeader,
    /// What was asked for, if there is such a module.
    Explained(Box<Option<Explanation>>),
}

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of each module without keys that lives there.
    #[serde(default)]
    pub(crate) loads: Vec<Load>,
    /// The calls that modules there have made since the report before.
    #[serde(default)]
    pub(crate) traffic: Vec<Rate>,
    /// Nodes that it has reached.
    #[serde(default)]
    pub(crate) reached: Vec<NodeName>,
    /// Nodes that it has tried to reach, and has not.
    #[serde(default)]
    pub(crate) unreached: Vec<NodeName>,
}

/// How often one module calls another, on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// The caller.
    pub(crate) from: String,
    /// The callee.
    pub(crate) to: String,
    /// Calls a second that stayed within the node, in thousandths.
    #[serde(default)]
    pub(crate) local_milli: u64,
    /// Calls a second that went to other nodes, in thousandths.
    #[serde(default)]
    pub(crate) remote_milli: u64,
}
