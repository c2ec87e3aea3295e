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
    /// It was to end, and its calls had come to their ends: its owner or the plan did not want it any more, or another
    /// instance had taken over.
    Stopped,
    /// Its node was lost: it died, or could not be reached, which is not proof of death.
    NodeLost {
        /// The node's name.
        node: String,
    },
    /// There is no such instance: it ended so long ago that nobody remembers why.
    NoSuchInstance,
    /// Somebody killed it: it had no time for a `stop`, and its calls in progress were cancelled.
    Killed {
        /// Who.
        by: String,
    },
    /// It lived in a cell, and its process called `abort`, as Rust does after a second panic.
    Aborted {
        /// What the process had written to its standard error last.
        last_words: String,
    },
    /// It lived in a cell, and a thread of it had used up its stack.
    StackOverflow {
        /// What the process had written to its standard error last.
        last_words: String,
    },
    /// It lived in a cell, and wanted more memory than there was for it.
    OutOfMemory {
        /// What it might have had, in bytes, if its `memory` is what was exceeded.
        limit_bytes: Option<u64>,
        /// What the process had written to its standard error last.
        last_words: String,
    },
    /// It lived in a cell, and a signal ended the process: a null dereference is `SIGSEGV`.
    Signalled {
        /// The signal's name, as `SIGKILL`.
        signal: String,
        /// What the process had written to its standard error last.
        last_words: String,
    },
    /// It lived in a cell, and its process ended itself. Zero too: a cell has no business ending.
    Exited {
        /// The exit code.
        code: i32,
        /// What the process had written to its standard error last.
        last_words: String,
    },
    /// It lived in a cell, and a call went on beyond its deadline and `overrun`: the cell was killed.
    Overran {
        /// How long beyond the deadline, in milliseconds.
        past_ms: u64,
    },
}

impl Exit {
    /// The stable code under which callers hear of it, if they do.
    pub fn code(&self) -> Option<Code> {
        match self {
            Exit::Crashed { .. } => Some(Code::CRASHED),
            Exit::FailedStart { .. } => Some(Code::NOT_STARTED),
            Exit::FailedStop { .. } | Exit::Stopped => None,
            Exit::NodeLost { .. } => Some(Code::LOST),
            Exit::NoSuchInstance => Some(Code::GONE),
            Exit::Killed { .. } => Some(Code::CANCELLED),
            Exit::Aborted { .. }
            | Exit::StackOverflow { .. }
            | Exit::OutOfMemory { .. }
            | Exit::Signalled { .. }
            | Exit::Exited { .. }
            | Exit::Overran { .. } => Some(Code::LOST),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Crashed { message, place } => write!(f, "crashed at {place}: {message}"),
            Exit::FailedStart { cause } => write!(f, "did not start: {cause}"),
            Exit::FailedStop { cause } => write!(f, "its `stop` failed: {cause}"),
            Exit::Stopped => f.write_str("stopped"),
            Exit::NodeLost { node } => write!(f, "its node {node} was lost"),
            Exit::NoSuchInstance => f.write_str("there is no such instance: it ended long ago"),
            Exit::Killed { by } => write!(f, "killed by {by}"),
            Exit::Aborted { last_words } => write!(f, "its cell called abort{}", Last(last_words)),
            Exit::StackOverflow { last_words } => {
                write!(f, "a thread of its cell overflowed its stack{}", Last(last_words))
            }
            Exit::OutOfMemory { limit_bytes: Some(bytes), last_words } => {
                write!(f, "its cell wanted more memory than {} MiB{}", bytes >> 20, Last(last_words))
            }
            Exit::OutOfMemory { limit_bytes: None, last_words } => {
                write!(f, "its cell got no more memory{}", Last(last_words))
            }
            Exit::Signalled { signal, last_words } => {
                write!(f, "its cell was ended by {signal}{}", Last(last_words))
            }
            Exit::Exited { code, last_words } => {
                write!(f, "its cell ended itself with exit code {code}{}", Last(last_words))
            }
            Exit::Overran { past_ms } => {
                write!(f, "its cell was killed: a call went on {past_ms} ms past its deadline")
            }
        }
    }
}

/// The last line of what a process has said, where one line is all there is room for.
struct Last<'w>(&'w str);

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end().lines().next_back() {
            Some(line) => write!(f, "; it said last: {line}"),
            None => Ok(()),
        }
    }
}
