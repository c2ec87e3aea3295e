//! Methods that have held async threads, for people.

use std::io::Write;

use serde::Serialize;
use skybox_core::NodeName;
use skybox_node::HoldStatus;

use super::Module;
use crate::table::{self, Tone, paint};

/// A method that has held async threads, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    node: String,
    #[serde(flatten)]
    hold: HoldStatus,
}

impl Held {
    pub(super) fn on(node: &NodeName, hold: &HoldStatus) -> Held {
        Held { node: node.to_string(), hold: hold.clone() }
    }

    fn text(&self, module: &str) -> String {
        let Held { node, hold: HoldStatus { method, count, longest_ms, instance } } = self;
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        let longest = table::duration(*longest_ms);
        format!(
            "{module}.{method} held an async thread of {node} {times}, up to {longest}; last on {instance}"
        )
    }
}

/// Writes who keeps others waiting, if anybody does.
pub(super) fn show_holds(modules: &[Module], out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut lines =
        modules.iter().flat_map(|module| module.holds.iter().map(|held| held.text(&module.module)));
    let Some(first) = lines.next() else { return Ok(()) };
    writeln!(out)?;
    std::iter::once(first)
        .chain(lines)
        .try_for_each(|line| writeln!(out, "{}", paint(&line, Tone::Bad, colours)))
}
