//! What a run has measured: a value for each round, summed up as a table or as JSON lines.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

/// The middle and the ends of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// NaN throughout, if there was no round.
    pub(crate) fn of(by_round: &[f64]) -> Summary {
        let mut sorted = by_round.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = match sorted.as_slice() {
            [] => (f64::NAN, f64::NAN),
            [only] => (*only, *only),
            [min, .., max] => (*min, *max),
        };
        let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
        Summary { median: (lower + upper) / 2.0, min, max }
    }
}

/// A subject's metric, as `--json` has it.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) bench: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) metric: &'a str,
    #[serde(flatten)]
    pub(crate) summary: Summary,
    pub(crate) unit: &'a str,
    /// The median over that of the reference, under `of_` and its name; empty where there is none.
    #[serde(flatten)]
    pub(crate) of_reference: BTreeMap<String, f64>,
}

/// Every metric of every subject.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// The subject that others are compared with.
    reference: Option<&'static str>,
    by_metric: BTreeMap<(String, &'static str), (&'static str, Vec<f64>)>,
}

impl Figures {
    pub(crate) fn beside(reference: &'static str) -> Figures {
        Figures { reference: Some(reference), ..Figures::default() }
    }

    /// Adds this round's value.
    pub(crate) fn add(&mut self, subject: &'static str, metric: String, unit: &'static str, value: f64) {
        self.by_metric.entry((metric, subject)).or_insert((unit, Vec::new())).1.push(value);
    }

    #[expect(clippy::print_stdout, reason = "this is what the command is for")]
    pub(crate) fn print(&self, bench: &str, json: bool) -> Result<()> {
        for ((metric, subject), (unit, by_round)) in &self.by_metric {
            let summary @ Summary { median, min, max } = Summary::of(by_round);
            let of_reference = self.of_reference(metric, subject, median);
            if json {
                let of_reference =
                    of_reference.map(|(name, ratio)| (format!("of_{}", name.replace('-', "_")), ratio));
                let of_reference = of_reference.into_iter().collect();
                let line = Line { bench, subject, metric, summary, unit, of_reference };
                println!("{}", serde_json::to_string(&line)?);
            } else {
                let ratio =
                    of_reference.map_or(String::new(), |(name, ratio)| format!("  {ratio:.3} of {name}"));
                println!("{metric:18} {subject:12} {median:12.3} {unit:11} ({min:.3} to {max:.3}){ratio}");
            }
        }
        Ok(())
    }

    fn of_reference(&self, metric: &str, subject: &str, median: f64) -> Option<(&'static str, f64)> {
        let reference = self.reference.filter(|reference| *reference != subject)?;
        let (_, by_round) = self.by_metric.get(&(metric.to_owned(), reference))?;
        Some((reference, median / Summary::of(by_round).median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_middle_and_the_ends() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]), Summary { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Summary::of(&[4.0, 1.0]), Summary { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Summary::of(&[7.0]), Summary { median: 7.0, min: 7.0, max: 7.0 });
    }

    #[test]
    fn a_line_has_its_ratio_under_the_name_of_the_reference() {
        let mut figures = Figures::beside("tokio-task");
        for (subject, value) in [("tokio-task", 2.0), ("skybox", 3.0)] {
            figures.add(subject, "call_ns".to_owned(), "ns", value);
        }
        assert_eq!(figures.of_reference("call_ns", "skybox", 3.0), Some(("tokio-task", 1.5)));
        assert_eq!(figures.of_reference("call_ns", "tokio-task", 2.0), None);
        let of_reference = BTreeMap::from([("of_tokio_task".to_owned(), 1.5)]);
        let summary = Summary { median: 3.0, min: 3.0, max: 3.0 };
        let line =
            Line { bench: "b", subject: "skybox", metric: "call_ns", summary, unit: "ns", of_reference };
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!((json["median"].as_f64(), json["of_tokio_task"].as_f64()), (Some(3.0), Some(1.5)));
    }
}
