//! What this repository can do by itself: `cargo xtask demo`, `test`, `bench`, `hosts`, `chart`, `count`,
//! `sanitize` and `tidy`.
//!
//! It needs none of the crates it builds, so that `tidy` answers within seconds on a tree that does not compile.

mod chart;
mod count;
mod demo;
mod run;
mod sanitizer;
mod test;
mod tidy;
mod tools;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Demo, tests, benchmarks, test hosts and house rules of Skybox.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds a picture gallery and runs it as four nodes; its page opens in the browser.
    Demo(demo::Demo),
    /// Everything that is checked before a change is taken: one command, here and in CI.
    Test,
    /// Measures Skybox beside its peers.
    Bench {
        /// What is measured, such as `call`, and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Makes hosts out of network namespaces, with an etcd inside, and keeps them until Ctrl-C; it takes root.
    Hosts {
        /// How many, and what runs in them: `--help` after `--` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Runs the tests of unsafe code, and those of what a call means, under Miri and AddressSanitizer.
    Sanitize,
    /// Counts the instructions and allocations of a call on each path, and compares with what is recorded.
    Count(count::Count),
    /// Runs a module that follows its database between hosts, and draws what its callers saw; it takes root.
    Chart(chart::Chart),
    /// Checks the house rules; each finding says how to mend it.
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the workspace");
    match Args::parse().command {
        Command::Demo(demo) => demo.play(root),
        Command::Test => test::all(root),
        Command::Bench { arguments } => {
            let cargo = run::cargo(root).args(["run", "--release", "--package", "skybox-bench", "--"]);
            Err(cargo.args(arguments).instead_of_this_process())
        }
        Command::Hosts { arguments } => {
            let cargo = run::cargo(root).args(["run", "--quiet", "--package", "skybox-hosts", "--"]);
            Err(cargo.args(arguments).instead_of_this_process())
        }
        Command::Sanitize => sanitizer::check(root).map(|()| ExitCode::SUCCESS),
        Command::Count(count) => count.run(root).map(|()| ExitCode::SUCCESS),
        Command::Chart(chart) => chart.near(root).map(|()| ExitCode::SUCCESS),
        Command::Tidy => tidy::report(root),
    }
}
