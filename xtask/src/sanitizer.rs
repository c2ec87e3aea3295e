//! Wrong accesses to memory: unsafe code, and all that calls mean, under tools that see each of them.
//!
//! Miri, where rustup has it, reads the small modules' tests by the language's own rules. AddressSanitizer runs those
//! and the conformance suite as machine code, with freed and foreign memory made to trap.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::{Run, cargo, program};

/// Unit tests that Miri can run: it knows neither sockets nor the barrier of `route.rs`.
const FOR_MIRI: [&str; 2] = ["host::slot", "host::turn_tests"];

/// The conformance suite where all of it is in one process. Strict mode takes calls the way they take from elsewhere, so
/// unsafe code is all run. With several processes a case takes ten seconds here, a third of what its conditions are
/// waited for, and a node that ends with `exit` has its threads' memory reported as leaked, or not, by chance.
const ONE_PROCESS: [&str; 5] = [
    "inline::",
    "strict::",
    "alone::a_handle_of_a_value_needs_no_app",
    "alone::between_two_apps_a_task_asks_for_one",
    "alone::without_an_app_a_task_is_a_plain_function",
];

/// How AddressSanitizer runs. Its reports go to files, so that those of a test's own processes are found too.
struct Sanitizer {
    toolchain: Option<&'static str>,
    target: String,
    directory: PathBuf,
}

/// Runs both as far as they are there, and says so.
///
/// # Errors
/// When a test fails, something was reported, or neither tool is there.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let miri = miri(root);
    let sanitizer = Sanitizer::find(root)?;
    match (&miri, &sanitizer) {
        (None, None) => bail!(
            "neither Miri nor AddressSanitizer is there, so nobody looks for wrong accesses to memory: \
             `rustup toolchain install stable` brings the one, `rustup +nightly component add miri` the other"
        ),
        (Some(_), None) => {
            println!("Miri runs; AddressSanitizer's runtime comes with rustup's toolchains and is not here")
        }
        (None, Some(_)) => println!(
            "AddressSanitizer runs; Miri is not here (`rustup +nightly component add miri`), so the tests it would run \
             are the sanitizer's alone"
        ),
        (Some(_), Some(_)) => println!("Miri and AddressSanitizer run"),
    }
    if let Some(miri) = miri {
        let tests = ["test", "--package", "skybox-node", "--lib", "--"];
        miri.args(tests).args(FOR_MIRI).finish()?;
    }
    sanitizer.map_or(Ok(()), |sanitizer| sanitizer.run(root))
}

/// `cargo miri`, of this toolchain or of the nightly one.
fn miri(root: &Path) -> Option<Run> {
    let of = |toolchain: Option<&str>| cargo_of(root, toolchain).arg("miri");
    [None, Some(NIGHTLY)].into_iter().find(|toolchain| of(*toolchain).arg("--version").succeeds()).map(of)
}

const NIGHTLY: &str = "+nightly";

fn cargo_of(root: &Path, toolchain: Option<&str>) -> Run {
    // Only rustup's own `cargo` knows of other toolchains.
    toolchain.map_or_else(|| cargo(root), |toolchain| program(root, "cargo").arg(toolchain))
}

impl Sanitizer {
    /// The first toolchain that has the runtime: this one, or the nightly one.
    fn find(root: &Path) -> anyhow::Result<Option<Sanitizer>> {
        for toolchain in [None, Some(NIGHTLY)] {
            let Some((target, libraries)) = libraries(root, toolchain) else { continue };
            let has_runtime = libraries.read_dir().is_ok_and(|mut files| {
                files.any(|file| file.is_ok_and(|file| is_runtime(&file.file_name().to_string_lossy())))
            });
            if has_runtime {
                // Apart from all else that is built: every crate is built anew for this.
                let directory = crate::run::target(root).join("sanitizer");
                return Ok(Some(Sanitizer { toolchain, target, directory }));
            }
        }
        Ok(None)
    }

    fn run(&self, root: &Path) -> anyhow::Result<()> {
        let reports = self.directory.join("reports");
        if reports.exists() {
            std::fs::remove_dir_all(&reports).with_context(|| format!("removing {}", reports.display()))?;
        }
        std::fs::create_dir_all(&reports).with_context(|| format!("making {}", reports.display()))?;
        let options = format!("log_path={}", reports.join("report").display());
        let unit = ["--package", "skybox-node", "--lib"];
        let suite = ["--package", "skybox", "--test", "conformance"];
        let outcome = self
            .test(root, &unit, &options, &[])
            .and_then(|()| self.test(root, &suite, &options, &ONE_PROCESS));
        // A report is the reason of what its test has seen, so it comes first.
        print_reports(&reports)?;
        outcome
    }

    fn test(&self, root: &Path, what: &[&str], options: &str, names: &[&str]) -> anyhow::Result<()> {
        let cargo = cargo_of(root, self.toolchain).arg("test").args(what);
        // With a target of its own, build scripts and macros run in the compiler as ever.
        let cargo = cargo.args(["--target", &self.target, "--target-dir"]).arg(&self.directory);
        let cargo = cargo.args(["--", "--quiet"]).args(names);
        // The switch is not for everyone yet; this is how a stable compiler takes it.
        let cargo = cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
        // The cases panic on purpose, a thousand times, and a trace takes half a second here.
        cargo.env("RUST_BACKTRACE", "0").env("ASAN_OPTIONS", options).finish()
    }
}

/// The target that a toolchain builds for, and where its libraries for that are.
fn libraries(root: &Path, toolchain: Option<&str>) -> Option<(String, PathBuf)> {
    let rustc = |arguments: &[&str]| {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let output = Command::new(rustc).current_dir(root).args(toolchain).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let version = rustc(&["--version", "--verbose"])?;
    let target = version.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let libraries = rustc(&["--print", "target-libdir"])?;
    Some((target, PathBuf::from(libraries.trim())))
}

/// `librustc-stable_rt.asan.a`, by the name of its channel.
fn is_runtime(file: &str) -> bool {
    file.starts_with("librustc") && file.ends_with("_rt.asan.a")
}

/// Prints what was reported; an error if anything was.
fn print_reports(directory: &Path) -> anyhow::Result<()> {
    let mut count = 0;
    for file in directory.read_dir().with_context(|| format!("reading {}", directory.display()))? {
        let path = file?.path();
        println!("--- {}\n{}", path.display(), std::fs::read_to_string(&path)?);
        count += 1;
    }
    if count > 0 {
        bail!("AddressSanitizer has reported {count} wrong accesses or leaks; they are printed above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_an_error() {
        let directory = std::env::temp_dir().join(format!("skybox-reports-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        assert!(print_reports(&directory).is_ok());
        std::fs::write(directory.join("report.1"), "heap-use-after-free").unwrap();
        let error = print_reports(&directory).unwrap_err();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(error.to_string().contains("reported 1"), "{error}");
    }

    #[test]
    fn the_runtime_is_known_by_its_name() {
        assert!(is_runtime("librustc-stable_rt.asan.a") && is_runtime("librustc-nightly_rt.asan.a"));
        assert!(!is_runtime("librustc-stable_rt.tsan.a") && !is_runtime("libstd-1.so"));
    }
}
