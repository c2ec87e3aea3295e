//! Small calls beside a large transfer on the same connection: `skybox-bench beside`.
//!
//! One caller makes small calls, each timed, first alone and then while another one sends a payload as large as one
//! may be there and back, again and again. What carries calls in the order in which they were made has each small
//! one wait for what is left of a payload.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::remote::{Pair, Work};
use super::report::{Metric, Report};
use super::{SocketDirectory, chosen};
use crate::subject::{self, RemoteSubject};

/// A payload is 64 MiB at the most, and this leaves room for what else waits to be sent.
const LARGE_BYTES: usize = 63 << 20;

/// Before each measurement, and not counted: the first transfer has come back by then.
const WARM_UP: Duration = Duration::from_millis(500);

/// Each measurement. Thousands of calls alone; what waits for whole payloads has some tens.
const WINDOW: Duration = Duration::from_secs(2);

/// Subjects that carry such payloads: others refuse them, unless told not to.
const SUBJECTS: [&str; 6] = ["mux-unix", "skybox-unix", "mux-tcp", "skybox-tcp", "mux-tls", "skybox-tls"];

/// Which of them are measured.
const DEFAULT: [&str; 4] = ["mux-unix", "skybox-unix", "mux-tcp", "skybox-tcp"];

/// What is measured, and how often.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these subjects.
    #[arg(long, value_delimiter = ',', default_values = DEFAULT)]
    subjects: Vec<String>,
    /// Rounds; five, so that two outliers move no median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measures and prints.
///
/// # Errors
/// When a subject is unknown, cannot be started, or answers wrongly.
pub(crate) fn run(options: &Options) -> Result<()> {
    for name in &options.subjects {
        let known = SUBJECTS.contains(&name.as_str());
        ensure!(
            known,
            "no subject that carries large payloads is called {name:?}; there are {}",
            SUBJECTS.join(", ")
        );
    }
    let subjects = chosen(subject::remote_subjects(), |subject| {
        options.subjects.iter().any(|name| name == subject.name())
    });
    let directory = SocketDirectory::create()?;
    let mut report = Report::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        // Each round starts with another subject, so that none is always first.
        for index in 0..subjects.len() {
            let subject = subjects[(index + round) % subjects.len()];
            let name = subject.name();
            measure(subject, &directory, &mut report).with_context(|| format!("measuring {name}"))?;
        }
    }
    if options.json { report.print_json("beside") } else { report.print_table() }
}

fn measure(subject: &dyn RemoteSubject, directory: &SocketDirectory, report: &mut Report) -> Result<()> {
    let mut pair = Pair::start(subject, directory)?;
    pair.drive(1, Work::EchoTimed, WARM_UP)?;
    let alone = pair.drive(1, Work::EchoTimed, WINDOW)?;

    let large = pair.begin(1, Work::Blob(LARGE_BYTES));
    pair.drive(1, Work::EchoTimed, WARM_UP)?;
    let beside = pair.drive(1, Work::EchoTimed, WINDOW)?;
    let large = pair.end(large)?;

    let mut add = |metric, value| report.add(subject.name(), metric, value);
    let (alone_us, beside_us) = (alone.percentile_us(99)?, beside.percentile_us(99)?);
    add(Metric::P50At1, alone.percentile_us(50)?);
    add(Metric::P99At1, alone_us);
    add(Metric::P50Beside, beside.percentile_us(50)?);
    add(Metric::P99Beside, beside_us);
    add(Metric::P99BesideOfAlone, beside_us / alone_us);
    // There and back.
    add(Metric::MibPerSecondBeside, large.calls_per_s() * ((2 * LARGE_BYTES) >> 20) as f64);
    Ok(())
}
