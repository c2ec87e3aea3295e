//! The one test command.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::count::Count;
use crate::demo::Demo;
use crate::run::{Run, cargo};
use crate::{sanitizer, tidy, tools};

/// Runs every check, cheapest first, and stops at the first that fails.
pub(crate) fn all(root: &Path) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let cargo = || cargo(root);
    let step = |name: &str, run: Run| {
        println!("\n=== {name} ({:.0} s)", began.elapsed().as_secs_f64());
        run.finish()
    };
    tools::provide(root)?;
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    println!("\n=== house rules");
    if tidy::report(root)? != ExitCode::SUCCESS {
        return Ok(ExitCode::FAILURE);
    }
    let everything = ["--workspace", "--all-targets"];
    step("lints", cargo().arg("clippy").args(everything).args(["--", "-D", "warnings"]))?;
    let docs = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    step("docs", cargo().args(docs).env("RUSTDOCFLAGS", "-D warnings"))?;
    let of_tests = ["--workspace", "--lib", "--bins", "--tests", "--examples"];
    step("build", cargo().arg("build").args(of_tests))?;
    // Tests that start these programs take them as they are.
    let tests = || cargo().env("SKYBOX_TEST_IS_BUILT", "1");
    if cargo().args(["nextest", "--version"]).succeeds() {
        step("tests", tests().args(["nextest", "run", "--workspace"]))?;
    } else {
        step("tests", tests().arg("test").args(of_tests))?;
    }
    step("doctests", cargo().args(["test", "--workspace", "--doc"]))?;
    println!("\n=== wrong accesses to memory ({:.0} s)", began.elapsed().as_secs_f64());
    sanitizer::check(root)?;
    println!("\n=== instructions and allocations ({:.0} s)", began.elapsed().as_secs_f64());
    Count::check().run(root)?;
    step("demo", Demo::headless().command(root))?;
    step("browser", cargo().args(["test", "--workspace", "--test", "browser"]))?;
    println!("\nall good after {:.0} s", began.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
