//! Why an instance ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Code, InstanceId};

/// Why an instance ended, or why there never was one.
///
/// It is for people and programs that watch: `skybox ps` shows it, and `--json` has it under `reason`, in
/// kebab case. Reasons are added as the runtime learns to tell them apart. `docs/exits.md` says of each what has
/// happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Exit {
    /// It was of use no more and said so itself: its calls had come to their ends, and so had its `stop`.
    Normal,
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
    /// Another one has ended to which it was linked, directly or through others: it was killed with it.
    Linked {
        /// The module of the instance that ended first.
        module: String,
        /// The name of that instance, as `skybox ps` shows it.
        instance: String,
        /// How that one ended. Never `Linked` itself: however long the chain, everyone in it hears of its beginning.
        cause: Box<Exit>,
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
    /// It has ended for a reason that this version does not know: the node that says so is newer.
    #[serde(other)]
    Unknown,
}

impl Exit {
    /// Of an instance that was linked to this one, which has ended so.
    pub fn linked(module: &str, instance: InstanceId, exit: Exit) -> Exit {
        match exit {
            Exit::Linked { .. } => exit,
            exit => Exit::Linked {
                module: module.to_owned(),
                instance: instance.to_string(),
                cause: Box::new(exit),
            },
        }
    }

    /// Whether it takes along those that are linked to it: all but an end in order does.
    pub fn takes_along(&self) -> bool {
        !matches!(self, Exit::Normal | Exit::Stopped)
    }

    /// The stable code under which callers hear of it, if they do.
    pub fn code(&self) -> Option<Code> {
        match self {
            Exit::Crashed { .. } => Some(Code::CRASHED),
            Exit::FailedStart { .. } => Some(Code::NOT_STARTED),
            Exit::Normal | Exit::FailedStop { .. } | Exit::Stopped | Exit::Unknown => None,
            Exit::NodeLost { .. } => Some(Code::LOST),
            Exit::NoSuchInstance => Some(Code::GONE),
            Exit::Killed { .. } | Exit::Linked { .. } => Some(Code::CANCELLED),
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
            Exit::Normal => f.write_str("ended by itself"),
            Exit::Crashed { message, place } => write!(f, "crashed at {place}: {message}"),
            Exit::FailedStart { cause } => write!(f, "did not start: {cause}"),
            Exit::FailedStop { cause } => write!(f, "its `stop` failed: {cause}"),
            Exit::Stopped => f.write_str("stopped"),
            Exit::NodeLost { node } => write!(f, "its node {node} was lost"),
            Exit::NoSuchInstance => f.write_str("there is no such instance: it ended long ago"),
            Exit::Killed { by } => write!(f, "killed by {by}"),
            Exit::Linked { module, instance, cause } => {
                write!(f, "killed by its link to {module} {instance}: {cause}")
            }
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
            Exit::Unknown => f.write_str("ended for a reason that this version does not know"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Incarnation;

    const PAGE: &str = include_str!("../../../docs/exits.md");

    /// One of each.
    fn samples() -> Vec<Exit> {
        let last_words = |words: &str| format!("starting\n{words}\n");
        let picture = || last_words("reading a.png");
        vec![
            Exit::Normal,
            Exit::Unknown,
            Exit::Crashed { message: "no such square".to_owned(), place: "src/room.rs:12:9".to_owned() },
            Exit::FailedStart { cause: "there is no paper".to_owned() },
            Exit::FailedStop { cause: "the disk is full".to_owned() },
            Exit::Stopped,
            Exit::NodeLost { node: "node-2".to_owned() },
            Exit::NoSuchInstance,
            Exit::Killed { by: "the program".to_owned() },
            Exit::Linked {
                module: "room".to_owned(),
                instance: "8c1f00d2.17".to_owned(),
                cause: Box::new(Exit::Crashed {
                    message: "no such square".to_owned(),
                    place: "src/room.rs:12:9".to_owned(),
                }),
            },
            Exit::Aborted { last_words: last_words("thread caused non-unwinding panic. aborting.") },
            Exit::StackOverflow { last_words: last_words("fatal runtime error: stack overflow, aborting") },
            Exit::OutOfMemory { limit_bytes: Some(256 << 20), last_words: picture() },
            Exit::Signalled { signal: "SIGSEGV".to_owned(), last_words: picture() },
            Exit::Exited { code: 3, last_words: last_words("no licence found") },
            Exit::Overran { past_ms: 5012 },
        ]
    }

    #[test]
    fn the_end_of_a_chain_hears_of_its_beginning() {
        let id = |count| InstanceId { node: Incarnation(7), count };
        let crashed =
            Exit::Crashed { message: "no such square".to_owned(), place: "src/room.rs:12:9".to_owned() };
        let next = Exit::linked("room", id(1), crashed.clone());
        let last = (2..1_000).fold(next.clone(), |exit, count| Exit::linked("hall", id(count), exit));
        assert_eq!(last, next, "and is no larger");
        let Exit::Linked { module, instance, cause } = next else { panic!("{next}") };
        assert_eq!((module, instance, *cause), ("room".to_owned(), id(1).to_string(), crashed));
    }

    #[test]
    fn all_but_ends_in_order_take_others_along() {
        let alone: Vec<Exit> = samples().into_iter().filter(|exit| !exit.takes_along()).collect();
        assert_eq!(alone, [Exit::Normal, Exit::Stopped]);
    }

    /// Its variants, as they are written above.
    fn variants() -> Vec<&'static str> {
        let (_, rest) = include_str!("exit.rs").split_once("pub enum Exit {\n").expect("the type is here");
        let (body, _) = rest.split_once("\n}\n").expect("it ends");
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let named = lines.filter(|line| line.starts_with(char::is_uppercase));
        named.map(|line| line.trim_end_matches([' ', '{', ','])).collect()
    }

    /// What its section says of it: as a variant, and in JSON.
    fn heading(exit: &Exit) -> (String, String) {
        let json = serde_json::to_value(exit).expect("data");
        let fields = json.as_object().expect("a table").keys().map(String::as_str);
        let mut fields: Vec<&str> = fields.filter(|key| *key != "reason").collect();
        fields.sort_unstable();
        let name = format!("{exit:?}").split([' ', '{']).next().expect("a name").to_owned();
        let fields = if fields.is_empty() { String::new() } else { format!(" {{ {} }}", fields.join(", ")) };
        (json["reason"].as_str().expect("a text").to_owned(), format!("`Exit::{name}{fields}`"))
    }

    /// The sections: heading and text.
    fn sections() -> Vec<(&'static str, &'static str)> {
        let sections = PAGE.split("\n### ").skip(1);
        let sections = sections.map(|section| section.split_once('\n').unwrap_or((section, "")));
        // The last one of a part is followed by the next part's heading.
        sections.map(|(heading, text)| (heading, text.split("\n## ").next().unwrap_or(text))).collect()
    }

    #[test]
    fn each_reason_has_its_section_and_each_section_its_reason() {
        let samples = samples();
        let sampled: Vec<String> = samples.iter().map(|exit| heading(exit).1).collect();
        for variant in variants() {
            let alone = format!("`Exit::{variant}`");
            let with_fields = format!("`Exit::{variant} {{");
            let is_it = |sample: &&String| **sample == alone || sample.starts_with(&with_fields);
            assert_eq!(sampled.iter().filter(is_it).count(), 1, "{variant} needs a sample and a section");
        }
        let mut documented: Vec<&str> = sections().iter().map(|(heading, _)| *heading).collect();
        let mut reasons: Vec<String> = samples.iter().map(|exit| heading(exit).0).collect();
        documented.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(documented, reasons, "docs/exits.md, and the reasons there are");
    }

    #[test]
    fn each_section_says_what_is_printed_and_what_to_do() {
        for exit in samples() {
            let (reason, variant) = heading(&exit);
            let (_, text) =
                *sections().iter().find(|(heading, _)| *heading == reason).expect("another test asks");
            assert!(text.starts_with(&format!("\n{variant}\n")), "{reason}: it begins with {variant}");
            for part in ["**What happened.**", "**Printed.**", "**Calls.**", "**To do.**"] {
                assert_eq!(text.matches(part).count(), 1, "{reason}: {part}");
            }
            let printed =
                text.lines().find_map(|line| line.strip_prefix("**Printed.** ")).expect("counted above");
            assert!(printed.trim_start_matches('`').starts_with(&exit.to_string()), "{reason}: {exit}");
            if let Some(code) = exit.code() {
                let linked = format!("(errors.md#{}-{})", code.to_string().to_lowercase(), code.name());
                let shown = format!("({code})");
                assert!(text.contains(&linked) || text.contains(&shown), "{reason}: {code}");
            }
        }
    }
}
