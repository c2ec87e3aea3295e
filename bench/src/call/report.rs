//! The figures of a run: collected by round, printed as a table or as JSON lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write as _, stdout};

use anyhow::{Context, Result};

use crate::figures::{Line, Summary};

/// Which subjects are compared, wherever a run measured both.
const RATIOS: &[(&str, &str)] = &[
    ("skybox-unix", "mux-unix"),
    ("skybox-tcp", "mux-tcp"),
    ("skybox-tls", "mux-tls"),
    ("skybox-tls", "skybox-tcp"),
    ("skybox-tls", "tonic-tls"),
    ("skybox-tcp", "tarpc"),
    ("skybox-tcp", "tonic"),
    ("skybox-local", "direct"),
    ("skybox-local", "boxed-dyn"),
    ("skybox-local-dyn", "boxed-dyn"),
    ("skybox-local-2threads", "boxed-dyn-2threads"),
];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    NsPerCall,
    P50At1,
    P99At1,
    CallsPerSecondAt64,
    CpuPerCallAt64,
    CallsPerSecondAt1024,
    CpuPerCallAt1024,
    BlobCallsPerSecondAt16,
    P50Beside,
    P99Beside,
    P99BesideOfAlone,
    MibPerSecondBeside,
}

impl Metric {
    const ALL: [Self; 12] = [
        Self::NsPerCall,
        Self::P50At1,
        Self::P99At1,
        Self::CallsPerSecondAt64,
        Self::CpuPerCallAt64,
        Self::CallsPerSecondAt1024,
        Self::CpuPerCallAt1024,
        Self::BlobCallsPerSecondAt16,
        Self::P50Beside,
        Self::P99Beside,
        Self::P99BesideOfAlone,
        Self::MibPerSecondBeside,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NsPerCall => "ns_per_call",
            Self::P50At1 => "p50_us_1",
            Self::P99At1 => "p99_us_1",
            Self::CallsPerSecondAt64 => "calls_per_s_64",
            Self::CpuPerCallAt64 => "cpu_us_per_call_64",
            Self::CallsPerSecondAt1024 => "calls_per_s_1024",
            Self::CpuPerCallAt1024 => "cpu_us_per_call_1024",
            Self::BlobCallsPerSecondAt16 => "calls_per_s_64k_16",
            Self::P50Beside => "p50_us_beside",
            Self::P99Beside => "p99_us_beside",
            Self::P99BesideOfAlone => "p99_beside_of_alone",
            Self::MibPerSecondBeside => "mib_per_s_beside",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::NsPerCall => "ns",
            Self::P50At1 | Self::P99At1 | Self::P50Beside | Self::P99Beside => "us",
            Self::P99BesideOfAlone => "times",
            Self::MibPerSecondBeside => "MiB/s",
            Self::CpuPerCallAt64 | Self::CpuPerCallAt1024 => "us/call",
            Self::CallsPerSecondAt64 | Self::CallsPerSecondAt1024 | Self::BlobCallsPerSecondAt16 => "calls/s",
        }
    }

    fn more_is_better(self) -> bool {
        matches!(self.unit(), "calls/s" | "MiB/s")
    }
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    series: Vec<Series>,
}

/// One metric of one subject, a value for each round in their order.
#[derive(Debug)]
struct Series {
    subject: &'static str,
    metric: Metric,
    by_round: Vec<f64>,
}

impl Report {
    /// Adds this round's value.
    pub(super) fn add(&mut self, subject: &'static str, metric: Metric, value: f64) {
        let known =
            self.series.iter_mut().find(|series| series.subject == subject && series.metric == metric);
        match known {
            Some(series) => series.by_round.push(value),
            None => self.series.push(Series { subject, metric, by_round: vec![value] }),
        }
    }

    /// Prints an object for each subject and metric, one a line.
    ///
    /// # Errors
    /// When nobody reads the output.
    pub(super) fn print_json(&self, bench: &str) -> Result<()> {
        for Series { subject, metric, by_round } in &self.series {
            let (metric, unit, summary) = (metric.name(), metric.unit(), Summary::of(by_round));
            let line = Line { bench, subject, metric, summary, unit, of_reference: BTreeMap::new() };
            let line = serde_json::to_string(&line).context("writing a figure as JSON")?;
            writeln!(stdout(), "{line}").context("printing")?;
        }
        Ok(())
    }

    /// Prints all figures by metric, then the ratios.
    ///
    /// # Errors
    /// When nobody reads the output.
    pub(super) fn print_table(&self) -> Result<()> {
        write!(stdout(), "{}{}", self.table(), self.ratios()).context("printing")
    }

    fn table(&self) -> String {
        let mut table = String::new();
        for metric in Metric::ALL {
            let rows: Vec<_> = self.series.iter().filter(|series| series.metric == metric).collect();
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(table, "{} ({}): median, min .. max", metric.name(), metric.unit());
            for Series { subject, by_round, .. } in rows {
                let Summary { median, min, max } = Summary::of(by_round);
                let (median, min, max) = (figure(median), figure(min), figure(max));
                let _ = writeln!(table, "  {subject:<24}{median:>12}{min:>12} .. {max}");
            }
        }
        table
    }

    /// Ratios are made within each round and only then summed up: both sides of one had the
    /// same machine.
    fn ratios(&self) -> String {
        let mut text = String::new();
        for (subject, peer) in RATIOS {
            for metric in Metric::ALL {
                let (Some(ours), Some(theirs)) =
                    (self.by_round(subject, metric), self.by_round(peer, metric))
                else {
                    continue;
                };
                let by_round: Vec<f64> = ours.iter().zip(theirs).map(|(our, their)| our / their).collect();
                let Summary { median, min, max } = Summary::of(&by_round);
                let pair = format!("{subject}/{peer}");
                let better = if metric.more_is_better() { "more is better" } else { "less is better" };
                let name = metric.name();
                let _ = writeln!(text, "  {pair:<42}{name:<22}{median:>8.2}{min:>8.2} .. {max:<8.2}{better}");
            }
        }
        if text.is_empty() { text } else { format!("ratios: median, min .. max over rounds\n{text}") }
    }

    fn by_round(&self, subject: &str, metric: Metric) -> Option<&[f64]> {
        let found = self.series.iter().find(|series| series.subject == subject && series.metric == metric);
        found.map(|series| series.by_round.as_slice())
    }
}

/// Three digits that count, or whole numbers where there are more.
fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_round_by_round() {
        let mut report = Report::default();
        for (ours, theirs) in [(1.0, 2.0), (30.0, 30.0), (4.0, 2.0)] {
            report.add("skybox-unix", Metric::CallsPerSecondAt64, ours);
            report.add("mux-unix", Metric::CallsPerSecondAt64, theirs);
        }
        let text = report.ratios();
        assert!(text.contains("skybox-unix/mux-unix"), "{text}");
        assert!(text.contains("1.00    0.50 .. 2.00"), "{text}");
        assert!(!text.contains("boxed-dyn"), "{text}");
    }
}
