//! Why an instance ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Code;

/// Why an instance ended, or why there never was one.
///
/// It is for people and programs that watch: `skybox ps` shows it, and `--json` has it under `reason`, in
/// kebab case. Reasons are added as the runtime learns to tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Exit {
    /// Code of one of its calls panicked.
    Crashed {
        /// What the panic said.
        message: String,
        /// Where in the source: `file:line:column`.
        place: String,
    },
    /// Its `start` returned an error or panicked.
    FailedStart {
        /// The error's text, with its causes.
        cause: String,
    },
    /// Its `stop` returned an error, panicked or was cut off: what it was to keep may be lost.
    FailedStop {
        /// The error's text with its causes, or what else became of it.
        cause: String,
    },
    /// It was to end, and its calls had come to their ends: another instance had taken over.
    Stopped,
}

impl Exit {
    /// The stable code under which callers hear of it, if they do.
    pub fn code(&self) -> Option<Code> {
        match self {
            Exit::Crashed { .. } => Some(Code::CRASHED),
            Exit::FailedStart { .. } => Some(Code::NOT_STARTED),
            Exit::FailedStop { .. } | Exit::Stopped => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Crashed { message, place } => write!(f, "crashed at {place}: {message}"),
            Exit::FailedStart { cause } => write!(f, "did not start: {cause}"),
            Exit::FailedStop { cause } => write!(f, "its `stop` failed: {cause}"),
            Exit::Stopped => f.write_str("stopped: another one took over"),
        }
    }
}
