//! What was found, and how it is said.

use std::io::Write;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not always.
    Warning,
    /// It does not work.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    level: Level,
    about: &'static str,
    says: String,
}

/// All of them, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, level: Level, about: &'static str, says: impl Into<String>) {
        self.0.push(Finding { level, about, says: says.into() });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.level == Level::Error)
    }

    pub(super) fn print(&self, json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            return writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(&self.0).map_err(std::io::Error::other)?
            );
        }
        let width = self.0.iter().map(|finding| finding.about.len()).max().unwrap_or_default();
        for Finding { level, about, says } in &self.0 {
            writeln!(out, "{:7}  {about:width$}  {says}", level.word())?;
        }
        Ok(())
    }

    /// What was said of something, with how bad it is; for tests.
    #[cfg(test)]
    pub(super) fn of(&self, about: &str) -> Vec<(Level, &str)> {
        self.0.iter().filter(|one| one.about == about).map(|one| (one.level, one.says.as_str())).collect()
    }
}
