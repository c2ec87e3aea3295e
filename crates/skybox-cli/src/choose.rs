//! Which running program is meant.

use std::path::{Path, PathBuf};

use anyhow::bail;
use skybox_cloud::running::{Running, running};

use crate::args::Which;

/// The program that is meant: the named one, the only one, or the one of this directory.
pub(crate) fn choose(which: &Which) -> anyhow::Result<Running> {
    let here = std::env::current_dir().map(|directory| names_of(&directory)).unwrap_or_default();
    choose_from(running(), which.program.as_deref(), &here)
}

fn choose_from(all: Vec<Running>, named: Option<&str>, here: &[String]) -> anyhow::Result<Running> {
    if all.is_empty() {
        bail!("no program is running: start one with `skybox run` in its directory, or with `cargo run`");
    }
    let list = list(&all);
    let fits = |running: &Running| match named {
        None => true,
        Some(named) => running.program == named || running.pid.to_string() == named,
    };
    let mut found: Vec<Running> = all.into_iter().filter(fits).collect();
    if let (2.., None) = (found.len(), named) {
        let own: Vec<_> = found.iter().filter(|running| here.contains(&running.program)).cloned().collect();
        if own.len() == 1 {
            found = own;
        }
    }
    match (found.pop(), found.is_empty(), named) {
        (Some(only), true, _) => Ok(only),
        (None, _, Some(named)) => bail!("no program `{named}` is running; there are\n{list}"),
        _ => bail!("several programs are running; choose one with --program NAME or --program PID\n{list}"),
    }
}

fn list(all: &[Running]) -> String {
    let width = all.iter().map(|running| running.program.len()).max().unwrap_or(0);
    let line = |running: &Running| {
        let form = if running.is_split() { "nodes" } else { "a single process" };
        format!("  {:width$}  process {:<8} {form}", running.program, running.pid)
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The names that programs built from this directory have: the nearest package's, and its binaries'.
fn names_of(directory: &Path) -> Vec<String> {
    let Some((root, package)) = directory.ancestors().find_map(|at| Some((at.to_owned(), package_in(at)?)))
    else {
        return Vec::new();
    };
    let name = |table: &toml::Value| table.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    let mut names: Vec<String> = package.get("package").and_then(name).into_iter().collect();
    let bins = package.get("bin").and_then(toml::Value::as_array);
    names.extend(bins.into_iter().flatten().filter_map(name));
    for entry in std::fs::read_dir(root.join("src/bin")).into_iter().flatten().flatten() {
        let stem = entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
        names.extend(stem);
    }
    names
}

fn package_in(directory: &Path) -> Option<toml::Table> {
    let manifest: PathBuf = directory.join("Cargo.toml");
    let table: toml::Table = std::fs::read_to_string(manifest).ok()?.parse().ok()?;
    table.contains_key("package").then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_says_how_to_start_one() {
        let error = choose_from(Vec::new(), None, &[]).expect_err("nothing runs");
        assert!(error.to_string().contains("skybox run"), "{error}");
    }

    #[test]
    fn a_package_names_its_programs() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(names_of(&here), ["skybox-cli", "skybox"]);
        assert!(names_of(Path::new("/")).is_empty());
    }
}
