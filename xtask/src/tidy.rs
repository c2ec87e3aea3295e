//! The house rules that a machine can check. Each finding names the place, what is wrong, and what to do.

mod architecture;
mod source;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use source::Source;

/// Directories that hold what others wrote or made.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// These rules: the words that they are about stand in their own files.
const THESE_RULES: &str = "xtask/src/tidy";

/// Something to be mended.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: PathBuf,
    /// 0 for the whole file.
    line: usize,
    /// What is wrong, and what to do.
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.message),
        }
    }
}

/// Prints every finding; success if there is none.
pub(crate) fn report(root: &Path) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    let mut findings = architecture::check(root, &files)?;
    let mut checked = 0;
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| path.display().to_string())?;
        let source = Source::new(path, &text);
        findings.extend(source.check());
        if !path.starts_with(THESE_RULES) {
            findings.extend(source.check_tests());
            findings.extend(words::check(&source));
        }
        checked += 1;
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("{checked} files are tidy"),
        count => println!("{count} findings in {checked} files"),
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every file below a directory, as paths from the root.
fn walk(root: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(root.join(directory)).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            walk(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
