//! What there is to be said of a cloud beside its nodes and modules: who leads, and what is held back.

use std::io::Write;

use serde::Serialize;
use skybox_cloud::running::Shown;
use skybox_core::Code;

use super::{Program, joined, texts};
use crate::table::{Tone, paint};

/// A cloud, as `--json` has it.
#[derive(Debug, Serialize)]
pub(super) struct Cloud {
    /// The node that leads; absent while one is elected.
    leader: Option<String>,
    /// Nodes that were lost too many at once to be believed: nothing of theirs is given to others yet.
    degraded: Vec<String>,
    /// Nodes that most others do not reach: they hand over what they have.
    unreached: Vec<String>,
    /// Why nothing is known of the plan, if so.
    trouble: Option<String>,
}

impl Cloud {
    pub(super) fn of(shown: Option<&Shown>) -> Option<Cloud> {
        let shown = shown.filter(|shown| shown.cloud)?;
        Some(Cloud {
            leader: shown.leader.as_ref().map(ToString::to_string),
            degraded: texts(&shown.degraded),
            unreached: texts(&shown.unreached),
            trouble: shown.trouble.clone(),
        })
    }
}

/// What the program is: `shop (process 7): 3 nodes`, `shop: a cloud of 3 nodes, led by a`.
pub(super) fn title(program: &Program) -> String {
    let name = &program.program;
    let count = match program.nodes.len() {
        1 => "1 node".to_owned(),
        n => format!("{n} nodes"),
    };
    match &program.cloud {
        None if program.split => format!("{name} (process {}): {count}", program.pid),
        None => format!("{name} (process {}): a single process", program.pid),
        Some(Cloud { trouble: Some(_), .. }) => format!("{name}: a cloud, of which {count} could be asked"),
        Some(Cloud { leader: Some(leader), .. }) => format!("{name}: a cloud of {count}, led by {leader}"),
        Some(_) => format!("{name}: a cloud of {count}, which nobody leads at this moment"),
    }
}

/// Writes what keeps the cloud from going on by itself, if something does.
pub(super) fn show_trouble(program: &Program, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let Some(cloud) = &program.cloud else { return Ok(()) };
    let mut texts = Vec::new();
    if let Some(why) = &cloud.trouble {
        texts.push(format!("the plan is not known, since the store is not there: {why}"));
    }
    if !cloud.degraded.is_empty() {
        let nodes = joined(cloud.degraded.iter().map(String::as_str));
        texts.push(format!(
            "degraded ({}): {nodes} were lost at once, and nothing of theirs is given to others until enough of them are \
             back; if they are gone for good, say `skybox go-on`",
            Code::DEGRADED
        ));
    }
    if !cloud.unreached.is_empty() {
        let nodes = joined(cloud.unreached.iter().map(String::as_str));
        texts.push(format!(
            "most other nodes do not reach {nodes}, although the store does: what is there goes elsewhere until they do; look \
             at the network between them"
        ));
    }
    texts.iter().try_for_each(|text| writeln!(out, "{}\n", paint(text, Tone::Bad, colours)))
}
