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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ps::Instance;

    #[test]
    fn each_cell_is_a_line_with_its_limits_and_who_sees_to_them() {
        let cell = |pid| CellStatus {
            pid,
            memory_bytes: Some(64 << 20),
            memory_by: Some(LimitedBy::Rlimit),
            cpu_milli: Some(500),
            cpu_by: Some(LimitedBy::Nobody),
            uses: None,
        };
        let lives = |node: &str, cell| Instance { node: node.to_owned(), cell, ..Instance::default() };
        let free =
            CellStatus { memory_bytes: None, memory_by: None, cpu_milli: None, cpu_by: None, ..cell(7) };
        let module =
            |name: &str, instances| Module { module: name.to_owned(), instances, ..Module::default() };
        let modules = [
            module("page", vec![lives("a", None)]),
            module(
                "draw",
                vec![lives("a", Some(cell(5))), lives("a", Some(cell(5))), lives("b", Some(cell(5)))],
            ),
            module("read", vec![lives("b", Some(free))]),
        ];
        let text = |modules: &[Module]| {
            let mut out = Vec::new();
            show_cells(modules, &mut out, false).expect("a Vec takes everything");
            String::from_utf8(out).expect("it is text")
        };
        let told = "\n\
            CELL       MODULE  NODE           MEMORY                 CPU\n\
            process 5  draw    a     64 MiB (rlimit)  0.5 (not in force)\n\
            process 5  draw    b     64 MiB (rlimit)  0.5 (not in force)\n\
            process 7  read    b                   –                   –\n";
        assert_eq!(text(&modules), told);
        assert_eq!(text(&modules[..1]), "", "nothing of what has none");
    }
}
