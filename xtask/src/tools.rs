//! Programs that the tests need beside cargo.

use std::path::Path;

use anyhow::{Context, bail};

use crate::run::{cargo, program};

/// The browser test drives this browser.
const BROWSER: [&str; 2] = ["chromium", "chromedriver"];
/// Debian's packages of both.
const BROWSER_PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Makes sure that everything is there: installs what is missing as root on Debian, or says what to install.
pub(crate) fn provide(root: &Path) -> anyhow::Result<()> {
    for component in ["fmt", "clippy"] {
        if !cargo(root).args([component, "--version"]).succeeds() {
            bail!("`cargo {component}` is missing: `rustup component add {}`", rustup_name(component));
        }
    }
    if BROWSER.iter().all(|name| program(root, name).args(["--version"]).succeeds()) {
        return Ok(());
    }
    let packages = BROWSER_PACKAGES.join(" ");
    if !root_on_debian(root) {
        bail!(
            "the browser test needs {}: `sudo apt-get install {packages}`, or your system's packages of these",
            BROWSER.join(" and ")
        );
    }
    println!("installing {packages}");
    let apt =
        |args: &[&str]| program(root, "apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args).finish();
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(BROWSER_PACKAGES);
    // The lists of a fresh machine may be empty or old; a current one needs no update.
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install).with_context(|| format!("install {packages} by hand"))?;
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
