//! Starting other programs.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// A program to be run in the root of the repository.
pub(crate) struct Run(Command);

/// This very cargo, so that `cargo +nightly xtask` means what it says.
pub(crate) fn cargo(root: &Path) -> Run {
    program(root, &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target))
}

/// Any program.
pub(crate) fn program(root: &Path, name: &str) -> Run {
    let mut command = Command::new(name);
    command.current_dir(root);
    Run(command)
}

impl Run {
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        self.0.args(args);
        self
    }

    pub(crate) fn arg(self, arg: impl AsRef<OsStr>) -> Run {
        self.args([arg])
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Run {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end; anything but success is an error.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let text = self.text();
        let status = self.0.status().with_context(|| format!("`{text}` cannot be started"))?;
        if !status.success() {
            bail!("`{text}` ended with {status}");
        }
        Ok(())
    }

    /// Whether it runs and succeeds; what it prints is not shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.0.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.0.status().is_ok_and(|status| status.success())
    }

    /// Makes this process that program: Ctrl-C and the exit code are its own. Returns only if that fails.
    pub(crate) fn instead_of_this_process(mut self) -> anyhow::Error {
        let text = self.text();
        anyhow::Error::new(self.0.exec()).context(format!("`{text}` cannot be started"))
    }

    fn text(&self) -> String {
        let program = Path::new(self.0.get_program()).file_name().unwrap_or(self.0.get_program());
        let words = std::iter::once(program).chain(self.0.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}
