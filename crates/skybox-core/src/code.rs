//! Stable codes: what an operator sees go wrong, under a name that outlives its wording.
//!
//! Texts get better from version to version; a runbook, an alert or a search needs something that does not change.
//! `1xx` are calls, `2xx` a node that does not start, `3xx` a program of several nodes, `4xx` the `skybox` command, `5xx`
//! what code asks of its App.
//! `docs/errors.md` has a section for each, and a test keeps the two together.

use std::fmt;

/// A stable code; it shows itself as `SKY-101`.
///
/// A number never changes its meaning, and that of a code which is no longer used is not given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code {
    number: u16,
    name: &'static str,
}

impl Code {
    /// Its name: `unplaced`.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKY-{}", self.number)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $number:literal $name:literal,)*) => {
        impl Code {
            $($(#[$doc])* pub const $constant: Code = Code { number: $number, name: $name };)*

            /// Every code, by number.
            pub const ALL: &'static [Code] = &[$(Code::$constant),*];
        }
    };
}

codes! {
    /// No node may run it.
    UNPLACED = 101 "unplaced",
    /// The module's `start` fails.
    NOT_STARTED = 102 "not-started",
    /// A bound is full.
    OVERLOADED = 103 "overloaded",
    /// The caller may not call this.
    DENIED = 104 "denied",
    /// There was no connection to send it on.
    UNREACHABLE = 105 "unreachable",
    /// The instance was handed over.
    MOVED = 106 "moved",
    /// The instance has ended.
    GONE = 107 "gone",
    /// Caller and callee do not understand each other.
    MISMATCH = 108 "mismatch",
    /// It would wait for itself.
    REENTRANT = 109 "reentrant",
    /// Time was up.
    DEADLINE = 110 "deadline",
    /// It was sent, and its node or connection died.
    LOST = 111 "lost",
    /// Its instance was stopped.
    CANCELLED = 112 "cancelled",
    /// Its result could not cross.
    BAD_REPLY = 113 "bad-reply",
    /// It panicked.
    CRASHED = 114 "crashed",

    /// A mistake in `skybox.toml` or a `SKYBOX_…` variable.
    CONFIG = 201 "config",
    /// Two modules of one name.
    MODULE_TWICE = 202 "module-twice",
    /// An interface that nothing implements.
    NO_CANDIDATE = 203 "no-candidate",
    /// Two implementations of one name.
    CANDIDATE_TWICE = 204 "candidate-twice",
    /// Several implementations, and no choice.
    CANDIDATES = 205 "candidates",
    /// What is to be done once failed.
    ONCE = 206 "once",
    /// The parent could not be joined.
    JOIN = 207 "join",
    /// A listener of the program could not be bound.
    LISTENER = 208 "listener",
    /// A node's own socket could not be bound.
    SOCKET = 209 "socket",
    /// The program is built without unwinding.
    PANIC_ABORT = 210 "panic-abort",
    /// There is no tokio runtime.
    NO_RUNTIME = 211 "no-runtime",
    /// It was asked for what this build or this setting cannot do.
    SPLIT = 212 "split",
    /// Other machines could connect without TLS.
    UNSAFE = 213 "unsafe",
    /// A certificate file cannot be used.
    TLS = 214 "tls",
    /// The certificate is somebody else's.
    OTHERS_CERTIFICATE = 215 "others-certificate",
    /// Certificates, by a build that cannot use them.
    BUILT_WITHOUT_TLS = 216 "built-without-tls",
    /// Nothing says which node this is.
    NAMELESS = 217 "nameless",

    /// A node ended before it was ready, and says why itself.
    NODE_NOT_READY = 301 "node-not-ready",
    /// A node died, and is started again.
    NODE_DIED = 302 "node-died",
    /// A node died too often.
    NODE_GIVEN_UP = 303 "node-given-up",
    /// A node's process could not be started.
    NODE_NO_PROCESS = 304 "node-no-process",
    /// The parent has gone, and its nodes end.
    PARENT_GONE = 305 "parent-gone",
    /// A node's lease has ended, and others take it for lost.
    LEASE_LOST = 306 "lease-lost",
    /// So many nodes were lost at once that nothing of theirs is given to others.
    DEGRADED = 307 "degraded",
    /// A node could not reach the store in time, and its keyed instances ended.
    FENCED = 308 "fenced",
    /// The runtime of a node does not run, since code holds all its threads.
    HUNG = 309 "hung",

    /// An order was refused.
    ORDER_REFUSED = 401 "order-refused",
    /// A running program could not be asked.
    NOT_ASKED = 402 "not-asked",

    /// No value of a type.
    NO_VALUE = 501 "no-value",
    /// A module that is not linked into the program.
    NO_MODULE = 502 "no-module",
    /// A module that is reached in another way.
    OTHER_FORM = 503 "other-form",
    /// A key that cannot be encoded.
    BAD_KEY = 504 "bad-key",
    /// A table of the program's own, absent or of another form.
    OWN_CONFIG = 505 "own-config",
    /// No address of a resource.
    NO_RESOURCE = 506 "no-resource",
    /// No App in this process.
    NO_APP = 507 "no-app",
    /// Several, and code that runs in none of them.
    SEVERAL_APPS = 508 "several-apps",
    /// The App that code ran in has ended.
    APP_ENDED = 509 "app-ended",
    /// Code that is none of an instance.
    NO_INSTANCE = 510 "no-instance",
    /// Another instance has the name.
    NAME_TAKEN = 511 "name-taken",
    /// Empty or too long for a name.
    NOT_A_NAME = 512 "not-a-name",
    /// An instance of another module has the name.
    NAME_OF_ANOTHER = 513 "name-of-another",
    /// Nobody keeps names.
    NO_NAMES = 514 "no-names",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallErrorKind, Phase, Ran};

    const PAGE: &str = include_str!("../../../docs/errors.md");

    /// The sections about codes: heading and text.
    fn sections() -> Vec<(&'static str, &'static str)> {
        let sections = PAGE.split("\n### ").skip(1);
        let sections = sections.map(|section| section.split_once('\n').unwrap_or((section, "")));
        // The last one of a part is followed by the next part's heading.
        sections.map(|(heading, text)| (heading, text.split("\n## ").next().unwrap_or(text))).collect()
    }

    #[test]
    fn each_code_has_its_section_and_each_section_its_code() {
        let documented: Vec<String> = sections().iter().map(|(heading, _)| heading.to_string()).collect();
        let codes: Vec<String> = Code::ALL.iter().map(|code| format!("{code} {}", code.name())).collect();
        assert_eq!(documented, codes);
        assert!(Code::ALL.is_sorted_by(|one, next| one.number < next.number));
    }

    #[test]
    fn each_section_answers_the_four_questions() {
        for (heading, text) in sections() {
            for question in ["**What happened.**", "**Did it run?**", "**By itself.**", "**To do.**"] {
                assert_eq!(text.matches(question).count(), 1, "{heading}: {question}");
            }
        }
    }

    #[test]
    fn the_page_says_of_each_kind_whether_it_ran() {
        let text = String::new;
        let kinds = [
            CallErrorKind::Unplaced { why: text() },
            CallErrorKind::NotStarted { cause: text() },
            CallErrorKind::Overloaded { what: text() },
            CallErrorKind::Denied { why: text() },
            CallErrorKind::Unreachable { why: text() },
            CallErrorKind::Moved,
            CallErrorKind::Gone,
            CallErrorKind::Mismatch { why: text() },
            CallErrorKind::Reentrant { chain: text() },
            CallErrorKind::Deadline { phase: Phase::Unsent },
            CallErrorKind::Deadline { phase: Phase::Queued },
            CallErrorKind::Deadline { phase: Phase::Sent },
            CallErrorKind::Deadline { phase: Phase::Running },
            CallErrorKind::Deadline { phase: Phase::Idle },
            CallErrorKind::Lost { why: text() },
            CallErrorKind::Cancelled,
            CallErrorKind::BadReply { why: text() },
            CallErrorKind::Crashed { message: text(), place: text() },
        ];
        let mut seen: Vec<&str> = Vec::new();
        for kind in kinds {
            let heading = format!("{} {}", kind.code(), kind.name());
            let section = sections().into_iter().find(|(found, _)| *found == heading);
            let (_, text) = section.unwrap_or_else(|| panic!("no section {heading}"));
            let answer = match kind.ran() {
                Ran::No => "No",
                Ran::Yes => "Yes",
                Ran::Maybe => "Maybe",
            };
            // A deadline's phase decides; its section has both answers.
            let (_, said) = text.split_once("**Did it run?** ").expect("another test asks for it");
            let said = said.split("\n\n").next().unwrap_or(said);
            match kind {
                CallErrorKind::Deadline { .. } => {
                    assert!(said.to_lowercase().contains(&answer.to_lowercase()))
                }
                _ => assert!(said.starts_with(answer), "{heading}: {said}"),
            }
            seen.push(kind.name());
        }
        seen.dedup();
        assert_eq!(seen, CallErrorKind::NAMES);
    }
}
