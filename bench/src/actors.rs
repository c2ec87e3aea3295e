//! What an instance costs that does nothing most of the time: `skybox-bench actors`.
//!
//! A million of them are made, one of them is called, one crashes again and again, and all are stopped. Each subject has
//! a process of its own in each round, since memory that one has used would be another's to use again; the report says
//! the median, the least and the greatest over the rounds, and the ratio to a tokio task with a channel.

mod erlang;
mod kameo;
mod measure;
mod ractor;
mod skybox;
mod tokio_task;

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::child;
use crate::figures::Figures;

/// What the others are compared with.
const REFERENCE: &str = tokio_task::NAME;
const SUBJECTS: [&str; 5] = [skybox::NAME, tokio_task::NAME, ractor::NAME, kameo::NAME, erlang::NAME];
/// Instances, and those of a quick look.
const INSTANCES: u64 = 1_000_000;
const QUICK_INSTANCES: u64 = 100_000;

/// How instances are measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Rounds; three by default, since one of all subjects takes half a minute.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A tenth of the instances: for a look while working, not for the record.
    #[arg(long)]
    quick: bool,
    /// How many instances, if neither of the two numbers.
    #[arg(long)]
    instances: Option<u64>,
    /// These alone.
    #[arg(long, value_delimiter = ',', default_values_t = SUBJECTS.map(str::to_owned))]
    subjects: Vec<String>,
}

/// One subject, in a process of its own.
#[derive(Debug, Args)]
pub(crate) struct One {
    subject: String,
    #[arg(long)]
    instances: u64,
}

/// What one process has measured, as it says it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Measured {
    /// Instances made in a second, until the last one has begun.
    spawn_per_s: f64,
    /// Resident bytes for each, without the value itself.
    bytes_idle: f64,
    /// A call to one of them, awaited.
    call_ns: f64,
    /// From a call that panics until a fresh one has answered: the median.
    crash_to_answer_us: f64,
    /// Until all of them are gone.
    stop_all_ms: f64,
}

impl Measured {
    fn metrics(&self) -> [(&'static str, &'static str, f64); 5] {
        [
            ("spawn_per_s", "1/s", self.spawn_per_s),
            ("bytes_idle", "bytes", self.bytes_idle),
            ("call_ns", "ns", self.call_ns),
            ("crash_to_answer_us", "us", self.crash_to_answer_us),
            ("stop_all_ms", "ms", self.stop_all_ms),
        ]
    }
}

/// Measures and prints.
///
/// # Errors
/// When there is no such subject, or one fails. Erlang's absence is said, and no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut subjects = Vec::new();
    for name in &options.subjects {
        let known = SUBJECTS.into_iter().find(|known| known == name);
        let known = known.with_context(|| format!("there is no subject {name:?}; there are {SUBJECTS:?}"))?;
        if known == erlang::NAME && !erlang::is_there() {
            eprintln!("erlang is left out: there is no `escript` on the PATH");
            continue;
        }
        subjects.push(known);
    }
    ensure!(!subjects.is_empty(), "there is nothing to measure");
    let instances = options.instances.unwrap_or(if options.quick { QUICK_INSTANCES } else { INSTANCES });
    let mut figures = Figures::beside(REFERENCE);
    for round in 0..options.rounds {
        eprintln!("round {} of {}: {instances} instances", round + 1, options.rounds);
        // Each round starts with another subject, so that none is always first.
        let (before, after) = subjects.split_at(round % subjects.len());
        for subject in after.iter().chain(before) {
            let measured = in_a_process(subject, instances).with_context(|| (*subject).to_owned())?;
            for (metric, unit, value) in measured.metrics() {
                figures.add(subject, metric.to_owned(), unit, value);
            }
        }
    }
    figures.print("actors", options.json)
}

fn in_a_process(subject: &str, instances: u64) -> Result<Measured> {
    let mut command = match subject {
        erlang::NAME => erlang::command(instances),
        _ => {
            let mut command = Command::new(std::env::current_exe().context("finding this program")?);
            command.args(["actors-of", subject, "--instances", &instances.to_string()]);
            command
        }
    };
    let output = command.output().context("starting it")?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {err}{out}", output.status);
    serde_json::from_str(out.trim()).with_context(|| format!("it said {out:?}"))
}

/// The process of one subject.
///
/// # Errors
/// When there is no such subject, or it fails.
#[expect(clippy::print_stdout, reason = "its parent reads it there")]
pub(crate) fn run_one(one: &One) -> Result<()> {
    // Crashes are what is measured; a line for each would be, too.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = child::runtime()?;
    let instances = one.instances;
    // On a task, as the code of programs is: a runtime's main thread has to be woken each time.
    let measured = match one.subject.as_str() {
        skybox::NAME => runtime.block_on(runtime.spawn(measure::all::<skybox::Skybox>(instances))),
        tokio_task::NAME => runtime.block_on(runtime.spawn(measure::all::<tokio_task::Tasks>(instances))),
        ractor::NAME => runtime.block_on(runtime.spawn(measure::all::<ractor::Ractor>(instances))),
        kameo::NAME => runtime.block_on(runtime.spawn(measure::all::<kameo::Kameo>(instances))),
        other => bail!("there is no subject {other:?}"),
    };
    println!("{}", serde_json::to_string(&measured.context("the measuring task ended")??)?);
    Ok(())
}
