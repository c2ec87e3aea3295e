//! `ARCHITECTURE.md` says what is true: the paths it names exist, and crates depend on each other as it draws.
//!
//! Paths are code spans that begin with a directory of the root, or name a Rust file below some crate's `src`. The
//! drawing is the table whose last column is headed "depends on": one row for each crate, with the crates it is
//! built with as code spans.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Finding;

const FILE: &str = "ARCHITECTURE.md";

/// How the column is headed that draws the dependencies.
const DRAWING: &str = "depends on";

/// Directories of the root, with which paths begin.
const TOP: [&str; 7] = ["crates", "examples", "bench", "docs", "fuzz", "hosts", "xtask"];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<Finding>> {
    let finding = |path: &Path, line, message| Finding { path: path.to_owned(), line, message };
    let architecture = Path::new(FILE);
    let Ok(text) = std::fs::read_to_string(root.join(FILE)) else {
        let message = "it is missing: write the code map, the flow of a call and the invariants".to_owned();
        return Ok(vec![finding(architecture, 0, message)]);
    };
    let mut findings = Vec::new();
    for (line, path) in paths(&text) {
        let exists = match path.split('/').next() {
            Some(first) if TOP.contains(&first) => root.join(&path).exists(),
            _ => files.iter().any(|file| file.starts_with("crates") && file.ends_with(&path)),
        };
        if !exists {
            findings.push(finding(
                architecture,
                line,
                format!("`{path}` does not exist: name what took its place"),
            ));
        }
    }
    let drawn = drawn(&text);
    for (name, (manifest, used)) in &used(root)? {
        let Some((line, drawn)) = drawn.get(name) else {
            let message = format!("`{name}` is missing in {FILE}: say what it is for and what it depends on");
            findings.push(finding(manifest, 0, message));
            continue;
        };
        for other in used.difference(drawn) {
            let message = format!(
                "it depends on `{other}`, which {FILE} does not draw: do without, or draw it and say why"
            );
            findings.push(finding(manifest, 0, message));
        }
        for other in drawn.difference(used) {
            let message = format!("`{name}` does not depend on `{other}`: take it out of the table");
            findings.push(finding(architecture, *line, message));
        }
    }
    Ok(findings)
}

/// The paths that a text names, with their lines.
fn paths(text: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for span in spans(line).filter(|span| !span.contains(['*', '{', '<', ' ', '(', ':'])) {
            let first = span.split('/').next().unwrap_or_default();
            if TOP.contains(&first) || span.ends_with(".rs") {
                paths.push((at + 1, span.trim_end_matches('/').to_owned()));
            }
        }
    }
    paths
}

/// The code spans of a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// What the table draws: for each crate its line, and what it depends on.
fn drawn(text: &str) -> BTreeMap<String, (usize, BTreeSet<String>)> {
    let mut drawn = BTreeMap::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let is_row = line.trim_start().starts_with('|');
        inside = is_row && (inside || cells.last() == Some(&DRAWING));
        if let (true, Some(name), Some(last)) = (inside, spans(cells[0]).next(), cells.last()) {
            let name = name.trim_start_matches("crates/").to_owned();
            drawn.insert(name, (at + 1, spans(last).map(str::to_owned).collect()));
        }
    }
    drawn
}

/// Each crate with its manifest and the other crates it is built with; those of its tests do not count.
fn used(root: &Path) -> anyhow::Result<BTreeMap<String, (PathBuf, BTreeSet<String>)>> {
    let mut used = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("crates")).context("crates")? {
        let manifest = Path::new("crates").join(entry?.file_name()).join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(root.join(&manifest)) else { continue };
        let table: toml::Table = text.parse().with_context(|| manifest.display().to_string())?;
        let name = table.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        let name = name.with_context(|| format!("{} has no package name", manifest.display()))?;
        let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
        let ours = dependencies
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("skybox"));
        used.insert(name.to_owned(), (manifest, ours.cloned().collect()));
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Calls begin in `crates/skybox-node/src/call.rs`; see `docs/`, `call/far.rs`, `foo/bar` and `crates/*/src`.

| crate | job | depends on |
|---|---|---|
| `crates/skybox-core` | ids | – |
| `crates/skybox-node` | the runtime of `skybox` | `skybox-core` `skybox-wire` |

| other | table |
|---|---|
| `crates/skybox-core` | `everything` |
";

    #[test]
    fn paths_are_code_spans_of_this_tree() {
        let named: Vec<_> =
            paths(TEXT).into_iter().filter(|(line, _)| *line == 1).map(|(_, path)| path).collect();
        assert_eq!(named, ["crates/skybox-node/src/call.rs", "docs", "call/far.rs"]);
    }

    #[test]
    fn the_table_draws_who_depends_on_whom() {
        let drawn = drawn(TEXT);
        let of = |name: &str| drawn[name].1.iter().map(String::as_str).collect::<Vec<_>>();
        assert!(of("skybox-core").is_empty());
        assert_eq!(of("skybox-node"), ["skybox-core", "skybox-wire"]);
        assert_eq!(drawn["skybox-node"].0, 6);
    }
}
