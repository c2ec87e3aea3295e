//! Builds the program of this directory with cargo, and finds its file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::args::RunArgs;

/// An executable that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Built {
    name: String,
    /// The id of its package, as `cargo metadata` has it.
    pub(super) package: String,
    pub(super) file: PathBuf,
}

/// Builds; cargo's own messages go where they always go.
pub(super) fn build(args: &RunArgs) -> anyhow::Result<Built> {
    let mut command = cargo();
    command.args(["build", "--message-format=json-render-diagnostics"]);
    if args.release {
        command.arg("--release");
    }
    for (option, value) in [("--bin", &args.bin), ("--package", &args.package)] {
        if let Some(value) = value {
            command.args([option, value]);
        }
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cargo cannot be started")?;
    let messages = child.stdout.take().context("cargo has no output")?;
    let mut built = Vec::new();
    for line in BufReader::new(messages).lines() {
        built.extend(executable(&line.context("cargo's output cannot be read")?));
    }
    let status = child.wait().context("cargo cannot be waited for")?;
    if !status.success() {
        bail!("the program does not build");
    }
    choose(built)
}

/// The cargo that runs us, as `cargo run` has it, or the one of the path.
pub(super) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// The executable that one of cargo's messages speaks of.
fn executable(line: &str) -> Option<Built> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    let is_program = target.get("kind")?.as_array()?.iter().any(|kind| kind == "bin");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let file = text(message.get("executable"))?.into();
    is_program.then_some(Built {
        name: text(target.get("name"))?,
        package: text(message.get("package_id"))?,
        file,
    })
}

fn choose(mut built: Vec<Built>) -> anyhow::Result<Built> {
    if built.len() > 1 {
        let defaults = default_runs();
        let chosen = built.iter().position(|built| defaults.get(&built.package) == Some(&built.name));
        match chosen {
            Some(at) => return Ok(built.swap_remove(at)),
            None => {
                let names: Vec<_> = built.iter().map(|built| built.name.as_str()).collect();
                bail!(
                    "there are several programs here: {}; choose one with --bin or --package",
                    names.join(", ")
                );
            }
        }
    }
    let only = built.pop();
    only.context("no program is built here: it needs a package with a `main.rs`, or --program PATH")
}

/// The `default-run` of each package, by its id.
fn default_runs() -> BTreeMap<String, String> {
    let output =
        cargo().args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::null()).output();
    // Without it the person is asked to choose.
    let Some(metadata) = output.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok())
    else {
        return BTreeMap::new();
    };
    let packages = metadata.get("packages").and_then(Value::as_array).into_iter().flatten();
    let default = |package: &Value| {
        let text = |key| package.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((text("id")?, text("default_run")?))
    };
    packages.filter_map(default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let program = r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["bin"],"name":"shop"},"executable":"/t/shop"}"#;
        let built = Built { name: "shop".into(), package: "p".into(), file: "/t/shop".into() };
        assert_eq!(executable(program), Some(built));
        let others = [
            r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["lib"],"name":"shop"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["example"],"name":"x"},"executable":"/t/x"}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "a line that is not JSON",
        ];
        for other in others {
            assert_eq!(executable(other), None, "{other}");
        }
    }
}
