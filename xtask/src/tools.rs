//! Programs that the tests need beside cargo.

use std::path::Path;

use anyhow::{Context, bail};

use crate::run::{cargo, program};

/// A program, Debian's package of it, and what needs it. `skybox-hosts` needs util-linux and coreutils too, which are
/// everywhere.
///
/// `postgresql` starts a server when it is installed, for the machine. It is left alone: that of the tests has another
/// network and another directory.
const PROGRAMS: [(&str, &str, &str); 10] = [
    ("chromium", "chromium", "the browser test"),
    ("chromedriver", "chromium-driver", "the browser test"),
    ("valgrind", "valgrind", "the count of instructions"),
    ("etcd", "etcd-server", "the tests of stores"),
    ("protoc", "protobuf-compiler", "the client of etcd"),
    ("ip", "iproute2", "test hosts"),
    ("nft", "nftables", "test hosts"),
    ("etcdctl", "etcd-client", "the tests of test hosts"),
    ("psql", "postgresql-client", "the tests of test hosts"),
    ("postgres", "postgresql", "test hosts"),
];

/// Makes sure that everything is there: installs what is missing as root on Debian, or says what to install.
pub(crate) fn provide(root: &Path) -> anyhow::Result<()> {
    for component in ["fmt", "clippy"] {
        if !cargo(root).args([component, "--version"]).succeeds() {
            bail!("`cargo {component}` is missing: `rustup component add {}`", rustup_name(component));
        }
    }
    let missing = PROGRAMS.iter().filter(|(name, _, _)| !is_there(root, name));
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

fn is_there(root: &Path, name: &str) -> bool {
    match name {
        // It lies beside the search path, in a directory for each version.
        "postgres" => std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|versions| {
            versions.flatten().any(|version| version.path().join("bin/postgres").exists())
        }),
        "ip" => program(root, name).arg("-Version").succeeds(),
        "etcdctl" => program(root, name).env("ETCDCTL_API", "3").arg("version").succeeds(),
        name => program(root, name).arg("--version").succeeds(),
    }
}

fn rustup_name(component: &str) -> &str {
    if component == "fmt" { "rustfmt" } else { component }
}

fn root_on_debian(root: &Path) -> bool {
    let root_user = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")));
    root_user && program(root, "apt-get").args(["--version"]).succeeds()
}
