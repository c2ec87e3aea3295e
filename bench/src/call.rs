//! What a call costs: `skybox-bench call`.
//!
//! A run is a number of rounds; each round measures every subject once, with a runtime, a callee
//! and (for remote subjects) a server process and a connection made anew. Reported are the median,
//! the least and the greatest over the rounds.

mod beside;
mod local;
mod remote;
mod report;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::subject::{self, LocalSubject, RemoteSubject};

pub(crate) use beside::{Options as BesideOptions, run as run_beside};
pub(crate) use remote::{Load, SocketDirectory};
use report::Report;

/// Which calls to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these subjects.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
    /// Two short rounds: enough to see that everything works, too few to quote.
    #[arg(long)]
    quick: bool,
    /// One round that measures next to nothing: whether every subject answers.
    #[arg(long, conflicts_with = "quick")]
    check: bool,
}

impl Options {
    fn pace(&self) -> Pace {
        match (self.check, self.quick) {
            (true, _) => Pace::CHECK,
            (false, true) => Pace::QUICK,
            (false, false) => Pace::FULL,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|subject| subject == name)
    }
}

/// How long a run measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rounds: usize,
    /// Before each measurement, and not counted.
    warm_up: Duration,
    /// Each measurement of a remote subject.
    remote: Duration,
    /// Each measurement of a local subject.
    local: Duration,
}

impl Pace {
    /// Seven rounds, so that three outliers move no median; nine remote subjects take 220 s.
    const FULL: Self = Self {
        rounds: 7,
        warm_up: Duration::from_millis(120),
        remote: Duration::from_millis(750),
        local: Duration::from_millis(300),
    };
    const QUICK: Self = Self {
        rounds: 2,
        warm_up: Duration::from_millis(80),
        remote: Duration::from_millis(600),
        local: Duration::from_millis(100),
    };
    const CHECK: Self = Self {
        rounds: 1,
        warm_up: Duration::from_millis(1),
        remote: Duration::from_millis(10),
        local: Duration::from_millis(1),
    };
}

/// Measures and prints.
///
/// # Errors
/// When a subject is unknown, cannot be started, or answers wrongly.
pub(crate) fn run(options: &Options) -> Result<()> {
    let local: Vec<_> = chosen(subject::local_subjects(), |subject| options.wants(subject.name()));
    let remote: Vec<_> = chosen(subject::remote_subjects(), |subject| options.wants(subject.name()));
    check_names(options, &local, &remote)?;

    let pace = options.pace();
    let directory = remote::SocketDirectory::create()?;
    let mut report = Report::default();
    for round in 0..pace.rounds {
        eprintln!("round {} of {}", round + 1, pace.rounds);
        for subject in &local {
            local::measure(*subject, pace, &mut report)?;
        }
        // Each round starts with another subject, so that none is always first.
        for index in 0..remote.len() {
            let subject = remote[(index + round) % remote.len()];
            remote::measure(subject, pace, &directory, &mut report)?;
        }
    }
    if options.json { report.print_json("call") } else { report.print_table() }
}

fn chosen<T: Copy>(all: &[T], wanted: impl Fn(&T) -> bool) -> Vec<T> {
    all.iter().copied().filter(wanted).collect()
}

fn check_names(options: &Options, local: &[&dyn LocalSubject], remote: &[&dyn RemoteSubject]) -> Result<()> {
    for name in &options.subjects {
        let known = local.iter().any(|subject| subject.name() == name)
            || remote.iter().any(|subject| subject.name() == name);
        ensure!(known, "no subject is called {name:?}; there are {}", all_names().join(", "));
    }
    Ok(())
}

fn all_names() -> Vec<&'static str> {
    let local = subject::local_subjects().iter().map(|subject| subject.name());
    local.chain(subject::remote_subjects().iter().map(|subject| subject.name())).collect()
}
