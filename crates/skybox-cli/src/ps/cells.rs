//! Instances that live in processes of their own, for people.

use std::collections::BTreeSet;
use std::io::Write;

use skybox_node::{CellStatus, LimitedBy};

use super::Module;
use crate::table::Table;

/// Writes the cells, if there are any, and what each may have.
pub(super) fn show_cells(modules: &[Module], out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut table = Table::new(&["CELL", "MODULE", "NODE", "MEMORY", "CPU"]);
    // Instances that share a cell are one line.
    let mut shown = BTreeSet::new();
    for module in modules {
        for instance in &module.instances {
            let Some(cell) = &instance.cell else { continue };
            if shown.insert((instance.node.as_str(), cell.pid)) {
                table.row(vec![
                    format!("process {}", cell.pid).into(),
                    module.module.as_str().into(),
                    instance.node.as_str().into(),
                    memory(cell).into(),
                    cpu(cell).into(),
                ]);
            }
        }
    }
    if table.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table.write(out, colours)
}

fn memory(cell: &CellStatus) -> String {
    let text = |bytes: u64| format!("{} MiB", bytes >> 20);
    limit(cell.memory_bytes.map(text), cell.memory_by)
}

fn cpu(cell: &CellStatus) -> String {
    let text = |milli: u32| format!("{}", f64::from(milli) / 1000.0);
    limit(cell.cpu_milli.map(text), cell.cpu_by)
}

fn limit(what: Option<String>, by: Option<LimitedBy>) -> String {
    match what.zip(by) {
        Some((what, by)) => format!("{what} ({by})"),
        None => "–".to_owned(),
    }
}
