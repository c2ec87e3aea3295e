//! The programs that set up networks.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::namespace::Namespace;

/// Runs `ip` with these words.
pub(crate) fn ip(words: &[&str]) -> Result<()> {
    finish(Command::new("ip").args(words), "", "iproute2").map(drop)
}

/// Runs many commands of `ip`, one a line, in a namespace.
pub(crate) fn ip_in(namespace: &Namespace, script: &str) -> Result<()> {
    finish(Command::new("ip").args(["-n", namespace.name(), "-batch", "-"]), script, "iproute2").map(drop)
}

/// What the machine routes, one destination a line.
pub(crate) fn routes() -> Result<String> {
    finish(Command::new("ip").args(["-4", "-oneline", "route", "show", "table", "all"]), "", "iproute2")
}

/// Gives nftables a ruleset, in a namespace: all of it or nothing.
pub(crate) fn nft_in(namespace: &Namespace, rules: &str) -> Result<()> {
    finish(namespace.command("nft").args(["-f", "-"]), rules, "nftables").map(drop)
}

/// Runs a program to its end with this input; what it prints. Anything but success is an error with what it says.
pub(crate) fn finish(command: &mut Command, input: &str, package: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let text = format!("{program} {}", words.join(" "));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child
        .with_context(|| format!("`{program}` cannot be started: it is in Debian's package {package}"))?;
    // A program that ends before it has read everything says why itself.
    if let Some(mut stdin) = child.stdin.take() {
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().with_context(|| text.clone())?;
    if !output.status.success() {
        bail!("`{text}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
