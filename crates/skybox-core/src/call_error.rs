//! What went wrong with a call, and whether it ran.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Code;

/// Did the call run? Retries hang on this answer alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ran {
    /// It provably did not: sending it again is safe.
    No,
    /// It ran, to its end or until it crashed.
    Yes,
    /// Nobody can tell: only an idempotent call may be sent again.
    Maybe,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ran::No => "it did not run",
            Ran::Yes => "it ran",
            Ran::Maybe => "it may have run",
        })
    }
}

/// Which method of which module was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Callee {
    /// The module's or task's name.
    pub module: &'static str,
    /// The method's name; `call` for a task.
    pub method: &'static str,
}

impl Callee {
    /// Names a method of a module.
    pub const fn new(module: &'static str, method: &'static str) -> Callee {
        Callee { module, method }
    }
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method == "call" {
            f.write_str(self.module)
        } else {
            write!(f, "{}.{}", self.module, self.method)
        }
    }
}

/// How far a call had come when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// Before it left the caller: waiting for an instance, or expired on arrival.
    Unsent,
    /// It had arrived and waited for its turn; the callee says so.
    Queued,
    /// It was sent, and nothing was heard of it.
    Sent,
    /// It was running.
    Running,
    /// Its stream gave no item for as long as its reader would wait.
    Idle,
}

/// The ways a call fails. [`CallErrorKind::ran`] is part of each one's meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// There is no node it may run on: `why` says which need is unmet. It did not run.
    Unplaced { why: String },
    /// The module's `start` fails, with this error. It did not run.
    NotStarted { cause: String },
    /// A bound is full, or so many wait that time would be up before its turn: `what` says which. It did not run; call
    /// again later, or raise the bound or the deadline.
    Overloaded { what: String },
    /// The caller may not call this. It did not run.
    Denied { why: String },
    /// No connection, or it broke before the request's last byte was handed over. It did not run.
    Unreachable { why: String },
    /// The instance was handed over to another node; calls are resent, so this is rarely seen. It did not run.
    Moved,
    /// That instance has ended. It did not run.
    Gone,
    /// Another version or contract, or a request that cannot be encoded or decoded. It did not run.
    Mismatch { why: String },
    /// The call would wait for itself: `chain` shows how. It did not run.
    Reentrant { chain: String },
    /// Time was up.
    Deadline { phase: Phase },
    /// The connection or the node died after the request's last byte was handed to the kernel. It may have run.
    Lost { why: String },
    /// The instance was stopped before the call ended. It may have run.
    Cancelled,
    /// It ran; its result could not be encoded or decoded.
    BadReply { why: String },
    /// It ran, and panicked.
    Crashed { message: String, place: String },
}

impl CallErrorKind {
    /// Whether a call that failed this way ran.
    pub fn ran(&self) -> Ran {
        use CallErrorKind::*;
        match self {
            Unplaced { .. } | NotStarted { .. } | Overloaded { .. } | Denied { .. } | Unreachable { .. } => {
                Ran::No
            }
            Moved | Gone | Mismatch { .. } | Reentrant { .. } => Ran::No,
            Deadline { phase: Phase::Unsent | Phase::Queued } => Ran::No,
            Deadline { .. } | Lost { .. } | Cancelled => Ran::Maybe,
            BadReply { .. } | Crashed { .. } => Ran::Yes,
        }
    }

    /// The kind's stable code.
    pub fn code(&self) -> Code {
        use CallErrorKind::*;
        match self {
            Unplaced { .. } => Code::UNPLACED,
            NotStarted { .. } => Code::NOT_STARTED,
            Overloaded { .. } => Code::OVERLOADED,
            Denied { .. } => Code::DENIED,
            Unreachable { .. } => Code::UNREACHABLE,
            Moved => Code::MOVED,
            Gone => Code::GONE,
            Mismatch { .. } => Code::MISMATCH,
            Reentrant { .. } => Code::REENTRANT,
            Deadline { .. } => Code::DEADLINE,
            Lost { .. } => Code::LOST,
            Cancelled => Code::CANCELLED,
            BadReply { .. } => Code::BAD_REPLY,
            Crashed { .. } => Code::CRASHED,
        }
    }

    /// The kind's name as metrics and operators see it: `not-started`.
    pub fn name(&self) -> &'static str {
        self.code().name()
    }

    /// The kind's number in [`CallErrorKind::NAMES`], for counters.
    pub fn index(&self) -> usize {
        let name = self.name();
        Self::NAMES.iter().position(|n| *n == name).expect("every name is listed in NAMES")
    }

    /// Every kind's name.
    pub const NAMES: [&'static str; 14] = [
        "unplaced",
        "not-started",
        "overloaded",
        "denied",
        "unreachable",
        "moved",
        "gone",
        "mismatch",
        "reentrant",
        "deadline",
        "lost",
        "cancelled",
        "bad-reply",
        "crashed",
    ];
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CallErrorKind::*;
        match self {
            Unplaced { why } => write!(f, "there is no node it may run on: {why}"),
            NotStarted { cause } => write!(f, "its start fails: {cause}"),
            Overloaded { what } => write!(f, "overloaded: {what}"),
            Denied { why } => write!(f, "denied: {why}"),
            Unreachable { why } => write!(f, "unreachable: {why}"),
            Moved => f.write_str("its instance was handed over to another node"),
            Gone => f.write_str("that instance has ended"),
            Mismatch { why } => write!(f, "caller and callee do not understand each other: {why}"),
            Reentrant { chain } => write!(f, "the call would wait for itself: {chain}"),
            Deadline { phase: Phase::Unsent } => f.write_str("time was up before it was sent"),
            Deadline { phase: Phase::Queued } => f.write_str("time was up while it waited for its turn"),
            Deadline { phase: Phase::Sent } => f.write_str("time was up before an answer came"),
            Deadline { phase: Phase::Running } => f.write_str("time was up while it ran"),
            Deadline { phase: Phase::Idle } => f.write_str("its stream gave no item for too long"),
            Lost { why } => write!(f, "no answer: {why}"),
            Cancelled => f.write_str("its instance was stopped before it ended"),
            BadReply { why } => write!(f, "its result could not cross: {why}"),
            Crashed { message, place } if place.is_empty() => write!(f, "it panicked: {message}"),
            Crashed { message, place } => write!(f, "it panicked at {place}: {message}"),
        }
    }
}

/// A call that did not return its result: which call, why, and whether it ran.
///
/// It speaks of that one call alone. An error of an inner call that a method passes on is part of that method's
/// result, and when it crosses a further call it becomes text, so that the `CallError` you hold always speaks of
/// a call you made yourself.
#[derive(Clone, PartialEq, Eq)]
pub struct CallError(Box<Failure>);

#[derive(Clone, PartialEq, Eq)]
struct Failure {
    callee: Callee,
    kind: CallErrorKind,
}

impl CallError {
    /// Says that a call to `callee` failed as `kind`.
    #[cold]
    pub fn new(callee: Callee, kind: CallErrorKind) -> CallError {
        CallError(Box::new(Failure { callee, kind }))
    }

    /// Which method was called.
    pub fn callee(&self) -> Callee {
        self.0.callee
    }

    /// Why it failed.
    pub fn kind(&self) -> &CallErrorKind {
        &self.0.kind
    }

    /// Whether it ran.
    pub fn ran(&self) -> Ran {
        self.0.kind.ran()
    }

    /// Its stable code, as in `SKY-111`.
    pub fn code(&self) -> Code {
        self.0.kind.code()
    }

    /// Takes the kind out.
    pub fn into_kind(self) -> CallErrorKind {
        self.0.kind
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call to {} failed ({}, {}): {}", self.0.callee, self.code(), self.ran(), self.0.kind)
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError")
            .field("callee", &format_args!("{}", self.0.callee))
            .field("kind", &self.0.kind)
            .field("ran", &self.ran())
            .finish()
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_says_whether_it_ran() {
        let text = String::new;
        let rows = [
            (CallErrorKind::Unplaced { why: text() }, Ran::No),
            (CallErrorKind::NotStarted { cause: text() }, Ran::No),
            (CallErrorKind::Overloaded { what: text() }, Ran::No),
            (CallErrorKind::Denied { why: text() }, Ran::No),
            (CallErrorKind::Unreachable { why: text() }, Ran::No),
            (CallErrorKind::Moved, Ran::No),
            (CallErrorKind::Gone, Ran::No),
            (CallErrorKind::Mismatch { why: text() }, Ran::No),
            (CallErrorKind::Reentrant { chain: text() }, Ran::No),
            (CallErrorKind::Deadline { phase: Phase::Unsent }, Ran::No),
            (CallErrorKind::Deadline { phase: Phase::Queued }, Ran::No),
            (CallErrorKind::Deadline { phase: Phase::Sent }, Ran::Maybe),
            (CallErrorKind::Deadline { phase: Phase::Running }, Ran::Maybe),
            (CallErrorKind::Deadline { phase: Phase::Idle }, Ran::Maybe),
            (CallErrorKind::Lost { why: text() }, Ran::Maybe),
            (CallErrorKind::Cancelled, Ran::Maybe),
            (CallErrorKind::BadReply { why: text() }, Ran::Yes),
            (CallErrorKind::Crashed { message: text(), place: text() }, Ran::Yes),
        ];
        for (kind, ran) in rows {
            assert_eq!(kind.ran(), ran, "{kind:?}");
            assert_eq!(CallErrorKind::NAMES[kind.index()], kind.name());
        }
    }
}
