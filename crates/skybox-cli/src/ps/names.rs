//! Names and links of spawned instances, for people.

use std::io::Write;

use super::Module;
use crate::table::{self, Table, Tone, paint};

/// Instances with names or links that are shown; `--json` has all.
const SHOWN_MAX: usize = 20;

/// What it is called, if it has names. A node tells of the first ones.
pub(crate) fn names(names: &[String]) -> Option<String> {
    let (last, others) = names.split_last()?;
    Some(if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) })
}

/// With how many others it falls, if it is linked to some.
pub(crate) fn links(falls_with: u64) -> Option<String> {
    match falls_with {
        0 => None,
        1 => Some("falls with 1 other".to_owned()),
        n => Some(format!("falls with {n} others")),
    }
}

/// Writes which instances have names or links, if any have.
pub(super) fn show_names(modules: &[Module], out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut table = Table::new(&["NAMED", "MODULE", "INSTANCE", "NODE", "UP", "FALLS WITH"]);
    let all =
        modules.iter().flat_map(|module| module.instances.iter().map(move |instance| (module, instance)));
    let mut noted = all.filter(|(_, instance)| !instance.names.is_empty() || instance.falls_with > 0);
    for (module, instance) in noted.by_ref().take(SHOWN_MAX) {
        table.row(vec![
            names(&instance.names).unwrap_or_else(|| "–".to_owned()).into(),
            module.module.as_str().into(),
            instance.instance.as_str().into(),
            instance.node.as_str().into(),
            table::duration(instance.up_ms).into(),
            table::Cell::count(instance.falls_with),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table.write(out, colours)?;
    match noted.count() {
        0 => Ok(()),
        more => {
            writeln!(out, "{}", paint(&format!("and {more} more: --json has them"), Tone::Faint, colours))
        }
    }
}
