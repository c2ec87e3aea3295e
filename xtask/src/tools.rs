//! Programs that the tests need beside cargo.

use std::path::Path;

use anyhow::{Context, bail};

use crate::run::{cargo, program};

/// A program, Debian's package of it, and what needs it.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("chromium", "chromium", "the browser test"),
    ("chromedriver", "chromium-driver", "the browser test"),
    ("valgrind", "valgrind", "the count of instructions"),
    ("etcd", "etcd-server", "the tests of stores"),
    ("protoc", "protobuf-compiler", "the client of etcd"),
    // The server comes along, where no search path leads.
    ("psql", "postgresql", "the tests of distances"),
];

/// Makes sure that everything is there: installs what is missing as root on Debian, or says what to install.
pub(crate) fn provide(root: &Path) -> anyhow::Result<()> {
    for component in ["fmt", "clippy"] {
        if !cargo(root).args([component, "--version"]).succeeds() {
            bail!("`cargo {component}` is missing: `rustup component add {}`", rustup_name(component));
        }
    }
    let missing = PROGRAMS.iter().filter(|(name, _, _)| !program(root, name).arg("--version").succeeds());
    let missing: Vec<_> = missing.collect();
    let Some((name, _, user)) = missing.first() else { return Ok(()) };
    let packages: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
    let names = packages.join(" ");
    if !root_on_debian(root) {
        bail!("{user} needs `{name}`: `sudo apt-get install {names}`, or your system's packages of these");
    }
    println!("installing {names}");
    let apt =
        |args: &[&str]| program(root, "apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args).finish();
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    // The lists of a fresh machine may be empty or old; a current one needs no update.
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install).with_context(|| format!("install {names} by hand"))?;
    }
    Ok(())
}

fn rustup_name(component: &str) -> &str {
    if component == "fmt" { "rustfmt" } else { component }
}

fn root_on_debian(root: &Path) -> bool {
    let root_user = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")));
    root_user && program(root, "apt-get").args(["--version"]).succeeds()
}
