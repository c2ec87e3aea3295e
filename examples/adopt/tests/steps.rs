//! The way of this program to Skybox and back: the diffs in `docs/adopt.md` are those between the packages, they are
//! as short as it says, and taken back they leave the program as it was.
//!
//! `ADOPT_DOCS=write` writes the diffs into the document.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const PLAIN: &str = "adopt";

/// A step: its package, what the document calls it, and how many lines it may change. A changed line counts twice,
/// as one that goes and one that comes; `Cargo.lock` does not count.
const STEPS: [(&str, &str, usize); 2] = [("adopt-task", "task", 10), ("adopt-module", "module", 30)];

/// The text of each file, by its path in the package.
type Tree = BTreeMap<PathBuf, String>;

#[test]
fn the_diffs_are_short_and_in_the_document() {
    let path = examples().join("../docs/adopt.md");
    let document = fs::read_to_string(&path).expect("the document");
    let mut current = document.clone();
    let mut before = package(PLAIN);
    for (name, step, lines_max) in STEPS {
        let after = package(name);
        let diff = diff(&before, &after);
        let (added, removed) = (count(&diff, '+'), count(&diff, '-'));
        assert!(added + removed <= lines_max, "{name} changes {} lines:\n{diff}", added + removed);
        let text = format!("{added} lines come and {removed} go:\n\n```diff\n{diff}```\n");
        current = with_section(&current, step, &text);
        before = after;
    }
    if env::var("ADOPT_DOCS").is_ok_and(|value| value == "write") {
        fs::write(&path, &current).expect("the document can be written");
    }
    let document = fs::read_to_string(&path).expect("the document");
    assert!(document == current, "docs/adopt.md is not up to date: run this test with ADOPT_DOCS=write");
}

#[test]
fn there_and_back_again_nothing_has_changed() {
    let document = fs::read_to_string(examples().join("../docs/adopt.md")).expect("the document");
    let diffs = STEPS.map(|(_, step, _)| fenced(section(&document, step)).to_owned());
    let dir = TempDir::new().expect("a temporary directory");
    let plain = package(PLAIN);
    write(dir.path(), &plain);
    for ((name, ..), diff) in STEPS.iter().zip(&diffs) {
        apply(dir.path(), diff, &[]);
        assert_eq!(read(dir.path()), package(name), "{name}");
    }
    for diff in diffs.iter().rev() {
        apply(dir.path(), diff, &["--reverse"]);
    }
    assert_eq!(read(dir.path()), plain);
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a package is built from, under the one name that the program has in all steps.
fn package(name: &str) -> Tree {
    let mut tree = read(&examples().join(name));
    // The tests are the same ones, and no part of the program.
    tree.retain(|path, _| !path.starts_with("tests"));
    let manifest = tree.get_mut(Path::new("Cargo.toml")).expect("a package has a manifest");
    *manifest = manifest.replacen(&format!("name = \"{name}\""), &format!("name = \"{PLAIN}\""), 1);
    tree
}

/// Every file below `dir`; a link is what it leads to.
fn read(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text =
                    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                tree.insert(path.strip_prefix(dir).expect("it is below").to_owned(), text);
            }
        }
    }
    tree
}

fn write(dir: &Path, tree: &Tree) {
    for (path, text) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a new directory");
        fs::write(path, text).expect("a new file");
    }
}

/// As `git diff` shows it, without what only a repository knows.
fn diff(before: &Tree, after: &Tree) -> String {
    let dir = TempDir::new().expect("a temporary directory");
    write(&dir.path().join("a"), before);
    write(&dir.path().join("b"), after);
    let output = git(dir.path())
        .args(["diff", "--no-index", "--no-prefix", "--no-color", "--no-ext-diff", "a", "b"])
        .output()
        .expect("git is installed");
    let text = String::from_utf8(output.stdout).expect("sources are text");
    assert!(!text.is_empty(), "no difference: {}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter(|line| !line.starts_with("index ") && !line.starts_with("diff --git "));
    let lines = lines.map(|line| match line.strip_prefix("@@ ").and_then(|rest| rest.split_once(" @@")) {
        // What follows is git's guess at the function around it.
        Some((place, _)) => format!("@@ {place} @@\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn count(diff: &str, sign: char) -> usize {
    let header = format!("{sign}{sign}{sign} ");
    diff.lines().filter(|line| line.starts_with(sign) && !line.starts_with(&header)).count()
}

fn apply(dir: &Path, diff: &str, options: &[&str]) {
    let patches = TempDir::new().expect("a temporary directory");
    let patch = patches.path().join("step.patch");
    fs::write(&patch, diff).expect("a new file");
    let output = git(dir).arg("apply").args(options).arg(&patch).output().expect("git is installed");
    assert!(output.status.success(), "{}\n{diff}", String::from_utf8_lossy(&output.stderr));
}

/// git, apart from any repository and from the settings of whoever runs the tests.
fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CEILING_DIRECTORIES", env::temp_dir());
    git
}

fn marks(step: &str) -> (String, String) {
    (format!("<!-- {step} -->\n"), format!("<!-- end of {step} -->\n"))
}

fn section<'d>(document: &'d str, step: &str) -> &'d str {
    let (begin, end) = marks(step);
    let (_, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("docs/adopt.md has no {begin}"));
    rest.split_once(&end).unwrap_or_else(|| panic!("docs/adopt.md has no {end}")).0
}

fn with_section(document: &str, step: &str, text: &str) -> String {
    let (begin, end) = marks(step);
    let old = format!("{begin}{}{end}", section(document, step));
    document.replacen(&old, &format!("{begin}{text}{end}"), 1)
}

/// What stands between the fences.
fn fenced(section: &str) -> &str {
    let (_, rest) = section.split_once("```diff\n").expect("a step shows its diff");
    rest.split_once("```").expect("a fence is closed").0
}
