//! Rules for every Rust file: its name, its length, and what tests must not do.

use std::path::Path;

use super::Finding;

/// Longer files need a reason in their first comment.
const LINES_MAX: usize = 800;

/// How such a reason begins.
const REASON: &str = "One file because";

/// Names of modules that become magnets.
const MAGNETS: [&str; 4] = ["util", "utils", "common", "helpers"];

/// How a comment above a sleep in a test begins, if the sleep is what the test is about.
const SLEEP_REASON: &str = "// Sleeps because";

/// A Rust file, as the rules see it.
pub(super) struct Source<'s> {
    pub(super) path: &'s Path,
    pub(super) lines: Vec<&'s str>,
    /// The line with which its tests begin, counted from 0.
    tests_from: usize,
}

impl<'s> Source<'s> {
    pub(super) fn new(path: &'s Path, text: &'s str) -> Source<'s> {
        let lines: Vec<&str> = text.lines().collect();
        let tests_from = if is_test_file(path) {
            0
        } else {
            // `#[cfg(test)]` on a `mod …;` begins nothing here.
            let begins = |at: &usize| {
                lines[*at].trim() == "#[cfg(test)]"
                    && lines.get(at + 1).is_some_and(|next| next.trim_end().ends_with('{'))
            };
            (0..lines.len()).find(begins).unwrap_or(lines.len())
        };
        Source { path, lines, tests_from }
    }

    /// The code without its tests and comments, with line numbers from 1.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &'s str)> + '_ {
        self.numbered(0, self.tests_from)
    }

    fn tests(&self) -> impl Iterator<Item = (usize, &'s str)> + '_ {
        self.numbered(self.tests_from, self.lines.len())
    }

    fn numbered(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &'s str)> + '_ {
        (from..to).map(|at| (at + 1, without_comment(self.lines[at])))
    }

    pub(super) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.to_owned(), line, message: message.into() }
    }

    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = self.check_name();
        findings.extend(self.check_length());
        findings
    }

    fn check_name(&self) -> Vec<Finding> {
        let Some(stem) = self.path.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
        if stem == "mod" {
            let directory =
                self.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            return vec![
                self.finding(0, format!("a module lies beside its directory: call it ../{directory}.rs")),
            ];
        }
        if MAGNETS.contains(&stem) {
            let fix = format!("`{stem}` attracts everything: put each thing beside its owner");
            return vec![self.finding(0, fix)];
        }
        Vec::new()
    }

    fn check_length(&self) -> Option<Finding> {
        let first_comment = self.lines.iter().take_while(|line| line.starts_with("//"));
        let reasoned = first_comment.into_iter().any(|line| line.contains(REASON));
        let count = self.lines.len();
        (count > LINES_MAX && !reasoned).then(|| {
            let fix = "split it, or give the reason in its first comment";
            self.finding(0, format!("{count} lines, and {LINES_MAX} is the limit: {fix} (\"{REASON} …\")"))
        })
    }

    /// What tests must not do.
    pub(super) fn check_tests(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (line, text) in self.tests() {
            if has_word(text, "sleep(") && !self.reason_above(line) {
                let fix = format!(
                    "wait for a condition, with a bound (a comment \"{SLEEP_REASON} …\" above it is a way out)"
                );
                findings.push(self.finding(line, format!("a sleep in a test: {fix}")));
            }
            if text.trim_start().starts_with("#[ignore") {
                findings.push(self.finding(line, "an ignored test: make it run, or delete it"));
            }
        }
        findings
    }

    fn reason_above(&self, line: usize) -> bool {
        let above = self.lines[..line - 1].iter().rev().map(|line| line.trim());
        above.take_while(|line| line.starts_with("//")).any(|line| line.starts_with(SLEEP_REASON))
    }
}

fn is_test_file(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

/// The line up to its `//`. One inside a text ends it too early, which hides nothing that matters here.
fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

/// Whether the word stands there, and not as part of a longer one.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let begins = !word.starts_with(part_of_a_word) || !before.is_some_and(part_of_a_word);
        let ends = !word.ends_with(part_of_a_word) || !after.is_some_and(part_of_a_word);
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let source = Source::new(Path::new(path), text);
        source.check().iter().chain(&source.check_tests()).map(ToString::to_string).collect()
    }

    #[test]
    fn names_and_lengths() {
        let long = "fn f() {}\n".repeat(LINES_MAX + 1);
        assert_eq!(check("a/b.rs", "fn f() {}\n"), Vec::<String>::new());
        assert_eq!(
            check("a/b/mod.rs", ""),
            ["a/b/mod.rs: a module lies beside its directory: call it ../b.rs"]
        );
        assert!(check("a/util.rs", "")[0].starts_with("a/util.rs: `util` attracts everything"));
        assert!(check("a/b.rs", &long)[0].starts_with("a/b.rs: 801 lines, and 800 is the limit"));
        assert!(
            check("a/b.rs", &format!("//! Parses.\n//! One file because it is one table.\n{long}"))
                .is_empty()
        );
    }

    #[test]
    fn tests_wait_for_conditions() {
        let test = "#[cfg(test)]\nmod tests {\n    sleep(SECOND);\n}\n";
        assert!(
            check("src/a.rs", test)[0].starts_with("src/a.rs:3: a sleep in a test: wait for a condition")
        );
        assert_eq!(check("tests/a.rs", "fn f() {\n    sleep(SECOND);\n}\n").len(), 1);
        assert!(check("tests/a.rs", "// Sleeps because it is a clock's test.\nsleep(SECOND);\n").is_empty());
        assert!(
            check("src/a.rs", "fn pause() {\n    sleep(SECOND);\n}\n#[cfg(test)]\nmod tests;\n").is_empty()
        );
        assert_eq!(
            check("tests/a.rs", "#[ignore = \"slow\"]\n"),
            ["tests/a.rs:1: an ignored test: make it run, or delete it"]
        );
    }
}
