//! What a call costs on each of its paths: instructions, by callgrind, and allocations.
//!
//! Neither depends on who else uses the machine, so a test can compare them with what is written down. Time is
//! measured by `cargo xtask bench`.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::run::{cargo, target};

/// The paths of `skybox-paths`.
const PATHS: [&str; 5] = ["shared", "exclusive", "mixed", "interface", "remote"];

/// Calls of the shorter and of the longer run: what the longer one costs more is what calls cost, without the start
/// of the program.
const CALLS: [u64; 2] = [1_000, 5_000];

/// Instructions may grow by so much before it is asked about: other code at other places, another compiler.
const TOLERANCE_PERCENT: f64 = 5.0;

/// Where the numbers stand.
const RECORD: &str = "bench/instructions.toml";

const HEAD: &str = "\
# What a call costs on each path of bench/paths: instructions, which may grow by 5 %, and allocations, which may not.
# `cargo xtask count --record` writes this file. Do that in the commit that changes a number, and say there why.
";

/// Counts, and compares with what is recorded.
#[derive(Debug, clap::Args)]
pub(crate) struct Count {
    /// Writes the numbers down instead.
    #[arg(long)]
    record: bool,
}

impl Count {
    /// The comparison.
    pub(crate) fn check() -> Count {
        Count { record: false }
    }

    /// Builds, counts and compares.
    ///
    /// # Errors
    /// When a path costs more than is recorded, with all such paths; when valgrind or the build fails.
    pub(crate) fn run(&self, root: &Path) -> anyhow::Result<()> {
        cargo(root).args(["build", "--release", "--package", "skybox-paths"]).finish()?;
        let costs = PATHS.iter().map(|path| Ok((*path, cost(root, path)?)));
        let costs = costs.collect::<anyhow::Result<Vec<_>>>()?;
        let file = root.join(RECORD);
        if self.record {
            std::fs::write(&file, record(&costs)).with_context(|| file.display().to_string())?;
            println!("{RECORD} is written");
            return Ok(());
        }
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let recorded = text.parse().with_context(|| file.display().to_string())?;
        let mut faults = Vec::new();
        for (path, cost) in &costs {
            println!("{path:<10} {cost}");
            faults.extend(compare(path, *cost, Cost::of(&recorded, path)?));
        }
        if !faults.is_empty() {
            bail!(
                "{}\nIf that was meant: `cargo xtask count --record`, and the commit says why",
                faults.join("\n")
            );
        }
        Ok(())
    }
}

/// What one call costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} instructions, {:.0} allocations a call", self.instructions, self.allocations)
    }
}

impl Cost {
    /// What is recorded of a path.
    fn of(recorded: &toml::Table, path: &str) -> anyhow::Result<Cost> {
        let number = |key: &str| {
            let number = recorded.get(path)?.get(key)?.as_integer()?;
            Some(number as f64)
        };
        match (number("instructions"), number("allocations")) {
            (Some(instructions), Some(allocations)) => Ok(Cost { instructions, allocations }),
            _ => bail!("{RECORD} does not say what `{path}` costs: `cargo xtask count --record`"),
        }
    }
}

fn record(costs: &[(&str, Cost)]) -> String {
    let row = |(path, Cost { instructions, allocations }): &(&str, Cost)| {
        format!("\n[{path}]\ninstructions = {instructions:.0}\nallocations = {allocations:.0}\n")
    };
    HEAD.to_owned() + &costs.iter().map(row).collect::<String>()
}

/// What is wrong with a path's cost.
fn compare(path: &str, now: Cost, recorded: Cost) -> Vec<String> {
    let mut faults = Vec::new();
    let percent = (now.instructions / recorded.instructions - 1.0) * 100.0;
    if percent > TOLERANCE_PERCENT {
        faults.push(format!(
            "a call on the path `{path}` takes {percent:.1} % more instructions: {:.0}, and {:.0} are recorded",
            now.instructions, recorded.instructions
        ));
    } else if percent < -TOLERANCE_PERCENT {
        println!("{path}: {:.1} % fewer than recorded; `cargo xtask count --record` keeps it so", -percent);
    }
    // A buffer that grows now and then is no allocation of a call.
    if now.allocations.round() != recorded.allocations {
        faults.push(format!(
            "a call on the path `{path}` allocates {:.2} times, and {:.0} are recorded: \
             `target/release/skybox-paths {path} --who` says who does",
            now.allocations, recorded.allocations
        ));
    }
    faults
}

fn cost(root: &Path, path: &str) -> anyhow::Result<Cost> {
    let [short, long] = CALLS.map(|calls| totals(root, path, calls));
    let ((short_instructions, short_allocations), (long_instructions, long_allocations)) = (short?, long?);
    let more = (CALLS[1] - CALLS[0]) as f64;
    // Each run warms up with as many calls as it counts allocations in.
    let instructions = (long_instructions as f64 - short_instructions as f64) / (2.0 * more);
    let allocations = (long_allocations as f64 - short_allocations as f64) / more;
    Ok(Cost { instructions, allocations })
}

/// The instructions of a run, and the allocations of its calls.
fn totals(root: &Path, path: &str, calls: u64) -> anyhow::Result<(u64, u64)> {
    let program = target(root).join("release/skybox-paths");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([path, "--calls", &calls.to_string()])
        .output()
        .context("valgrind cannot be started: it is a package of that name")?;
    let (said, counted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`skybox-paths {path}` fails under valgrind:\n{said}{counted}");
    let collected = counted.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    let allocations = said.split_once(" allocations").and_then(|(count, _)| count.trim().parse().ok());
    match (collected, allocations) {
        (Some(instructions), Some(allocations)) => Ok((instructions, allocations)),
        _ => bail!("callgrind did not say what `{path}` costs:\n{said}{counted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: Cost = Cost { instructions: 300.0, allocations: 3.0 };

    #[test]
    fn a_path_that_costs_more_is_named_with_how_much() {
        let check =
            |instructions, allocations| compare("shared", Cost { instructions, allocations }, RECORDED);
        assert!(check(314.0, 3.02).is_empty() && check(200.0, 3.0).is_empty());
        let faults = check(330.0, 4.0);
        assert!(faults[0].contains("`shared` takes 10.0 % more instructions: 330, and 300"), "{faults:?}");
        assert!(faults[1].contains("`shared` allocates 4.00 times, and 3 are recorded"), "{faults:?}");
        assert_eq!(check(300.0, 2.0).len(), 1, "fewer are written down, or more would not be seen again");
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let text = record(&[("shared", RECORDED)]);
        let table = text.parse().unwrap();
        assert_eq!(Cost::of(&table, "shared").unwrap(), RECORDED);
        assert!(Cost::of(&table, "remote").unwrap_err().to_string().contains("`remote`"));
    }
}
