//! What has ended, and what is not started again, for people.

use std::io::Write;

use serde::Serialize;
use skybox_cloud::parent::GaveUp;
use skybox_core::Code;
use skybox_node::{Ending, GivenUp};

use super::{Module, joined};
use crate::table::{self, Cell, Table, Tone, paint};

/// Endings of each module that are shown; `--json` has all that its nodes remember.
const SHOWN_MAX: usize = 3;

/// What begins the cause of a module for which there is no node.
const UNPLACED: &str = "unplaced: ";

/// How an instance ended, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    node: String,
    #[serde(flatten)]
    ending: Ending,
}

/// What was given up, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Given {
    pub(crate) node: String,
    #[serde(flatten)]
    pub(crate) up: GivenUp,
}

impl Ended {
    /// When it ended, what it was, where, how long it had lived, and why.
    pub(crate) fn cells(&self, what: String) -> Vec<Cell> {
        let ending = &self.ending;
        vec![
            format!("{} ago", table::duration(ending.ago_ms)).into(),
            what.into(),
            self.node.as_str().into(),
            ending.lived_ms.map_or("–".to_owned(), table::duration).into(),
            why(ending).into(),
        ]
    }

    /// Its own name; of one that did not start there is none.
    pub(crate) fn instance(&self, module: &Module) -> String {
        let name = self.ending.instance.as_deref().unwrap_or("–");
        match &self.ending.key {
            Some(key) => format!("{}[{key}] {name}", module.module),
            None => name.to_owned(),
        }
    }
}

impl Module {
    /// What a node remembers.
    pub(super) fn remember(&mut self, node: &str, endings: &[Ending], given_up: &[GivenUp]) {
        let node = || node.to_owned();
        self.endings.extend(endings.iter().map(|ending| Ended { node: node(), ending: ending.clone() }));
        // The newest last, whichever node says it.
        self.endings.sort_by_key(|ended| std::cmp::Reverse(ended.ending.ago_ms));
        self.given_up.extend(given_up.iter().map(|up| Given { node: node(), up: up.clone() }));
        // A key that does not start keeps no other from it.
        if self.failed.is_none() {
            self.failed = given_up.iter().find(|up| up.key.is_none()).map(|up| up.cause.clone());
        }
    }

    /// How many things of it a node does not start again: itself, or keys of it.
    pub(super) fn given_up_on(&self, node: &str) -> u64 {
        match self.given_up_keys.get(node) {
            Some(keys) => *keys,
            None => self.given_up.iter().filter(|given| given.node == node).count() as u64,
        }
    }

    /// The key that was given up last, and how many there are, if that are several.
    pub(crate) fn keys_given_up(&self) -> Option<(u64, &Given)> {
        let keys = self.given_up_keys.values().sum::<u64>();
        let last = self.given_up.iter().filter(|given| given.up.key.is_some());
        last.min_by_key(|given| given.up.ago_ms).filter(|_| keys > 1).map(|last| (keys, last))
    }

    /// How the last instance on a node has ended.
    pub(super) fn last_ending_on(&self, node: &str) -> Option<String> {
        self.endings.iter().rfind(|ended| ended.node == node).map(|ended| ended.ending.exit.to_string())
    }

    /// Whether no node meets what it needs.
    pub(crate) fn is_unplaced(&self) -> bool {
        self.failed.as_ref().is_some_and(|cause| cause.starts_with(UNPLACED))
    }

    /// Why it does not run.
    pub(crate) fn why_not(&self) -> Option<String> {
        let cause = self.failed.as_ref()?;
        let (code, cause) = match cause.strip_prefix(UNPLACED) {
            Some(why) => (Code::UNPLACED, why),
            None => (Code::NOT_STARTED, cause.as_str()),
        };
        Some(format!("{} does not run ({code}): {cause}", self.module))
    }

    /// What of it was given up: where, when, and why if that has not been said.
    pub(crate) fn given_up_texts(&self) -> Vec<String> {
        let text = |given: &Given| {
            let cause = match self.failed.as_ref() {
                Some(cause) if *cause == given.up.cause => String::new(),
                _ => format!(" ({}): {}", Code::NOT_STARTED, given.up.cause),
            };
            (self.with_key(given.up.key.as_deref()), format!("{}{cause}", given.text()))
        };
        let line = |(what, text): (String, String)| format!("{what} was given up {text}");
        let Some((keys, last)) = self.keys_given_up() else {
            return self.given_up.iter().map(text).map(line).collect();
        };
        let (key, told) = text(last);
        let keys = format!("{keys} keys of {} were given up, the last one {key} {told}", self.module);
        // And the cell that they share.
        let whole = self.given_up.iter().filter(|given| given.up.key.is_none()).map(text).map(line);
        whole.chain([keys]).collect()
    }

    /// The nodes that failed to start it and where it is not any more.
    pub(crate) fn left(&self) -> impl Iterator<Item = &GaveUp> {
        let is_there =
            |node: &str| self.given_up.iter().any(|given| given.up.key.is_none() && given.node == node);
        self.failed_on.iter().filter(move |failed| !is_there(failed.node.as_str()))
    }

    /// Where it was tried in vain, and where it is now.
    pub(crate) fn left_texts(&self) -> Vec<String> {
        let failed = |node: &str| self.failed_on.iter().any(|failed| failed.node.as_str() == node);
        let tried: Vec<_> = self.assigned.iter().map(String::as_str).filter(|node| !failed(node)).collect();
        let now = match (self.serving.as_slice(), tried.as_slice()) {
            ([], []) => String::new(),
            ([], tried) => format!("; now tried on {}", joined(tried.iter().copied())),
            (serving, _) => format!("; now on {}", joined(serving.iter().map(String::as_str))),
        };
        let text = |left: &GaveUp| {
            let starts = if left.failed_starts == 1 { "start" } else { "starts" };
            let cause = match self.failed.as_ref() {
                Some(cause) if *cause == left.cause => String::new(),
                _ => format!(" ({}): {}", Code::NOT_STARTED, left.cause),
            };
            let GaveUp { node, failed_starts, .. } = left;
            format!("{} gave up on {node} after {failed_starts} {starts}{cause}{now}", self.module)
        };
        self.left().map(text).collect()
    }

    /// Whether instances of it have ended otherwise than by being stopped, as far as its nodes remember.
    pub(crate) fn has_crashed(&self) -> bool {
        self.ended.values().any(|count| *count > 0)
    }

    /// Its name, with a key if there is one.
    fn with_key(&self, key: Option<&str>) -> String {
        key.map_or_else(|| self.module.clone(), |key| format!("{}[{key}]", self.module))
    }
}

impl Given {
    fn text(&self) -> String {
        let since = format!("on {} {} ago", self.node, table::duration(self.up.ago_ms));
        match self.up.failed_starts {
            0 => format!("{since}: it is not to be started again (`restart`)"),
            1 => format!("{since}: it failed once"),
            times => {
                format!("{since}: it failed {times} times within {}", table::duration(self.up.within_ms))
            }
        }
    }
}

/// Writes what does not run, and why.
pub(super) fn show_failures(modules: &[Module], out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut bad = |text: &str| writeln!(out, "\n{}", paint(text, Tone::Bad, colours));
    for module in modules {
        let texts = module.why_not().into_iter().chain(module.given_up_texts()).chain(module.left_texts());
        texts.into_iter().try_for_each(|text| bad(&text))?;
    }
    Ok(())
}

/// Why one has ended.
fn why(ending: &Ending) -> String {
    let why = match ending.exit.code() {
        Some(code) => format!("{} ({code})", ending.exit),
        None => ending.exit.to_string(),
    };
    match ending.others {
        0 => why,
        1 => format!("{why}, and another one with it"),
        others => format!("{why}, and {others} others with it"),
    }
}

/// Writes how the last instances ended, if any did.
pub(super) fn show_endings(modules: &[Module], out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut table = Table::new(&["ENDED", "MODULE", "NODE", "LIVED", "WHY"]);
    for module in modules {
        let earlier = module.endings.len().saturating_sub(SHOWN_MAX);
        for ended in &module.endings[earlier..] {
            table.row(ended.cells(module.with_key(ended.ending.key.as_deref())));
        }
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table.write(out, colours)
}
