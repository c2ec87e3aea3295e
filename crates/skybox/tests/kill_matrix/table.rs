//! What a run has seen, as the table of the page.

use std::fmt::Write;
use std::time::Duration;

use crate::load::Felt;
use crate::stage::{Outcome, Stage};

pub(crate) struct Table {
    text: String,
    /// Of the other module, without faults.
    undisturbed: Duration,
    all: Felt,
}

impl Table {
    /// Measures the other module alone first.
    pub(crate) async fn new(column: &str, stage: &Stage) -> Table {
        let load = stage.load();
        // Sleeps because a load is so many calls a second for so many seconds.
        tokio::time::sleep(Stage::window() * 2).await;
        let alone = load.end().await;
        let undisturbed = alone.p99();
        let mut text = format!(
            "\n{column}; the node has {} MiB, by {}; the other module's p99 without faults: {} µs of {} calls\n\n",
            stage.group.memory_mib,
            stage.group.by,
            undisturbed.as_micros(),
            alone.calls(),
        );
        text += "| what happens | its call | the exit, told after | answers after | the other module: failed | p99, ratio |\n";
        text += "|---|---|---|---|---|---|\n";
        Table { text, undisturbed, all: Felt::default() }
    }

    fn ratio(&self, p99: Duration) -> f64 {
        p99.as_secs_f64() / self.undisturbed.as_secs_f64()
    }

    pub(crate) fn row(&mut self, name: &str, outcome: &Outcome) {
        let felt = &outcome.felt;
        let list = |words: Vec<String>| if words.is_empty() { "–".to_owned() } else { words.join(", ") };
        let mut errors = list(outcome.errors.iter().map(|kind| format!("`{kind}`")).collect());
        if !outcome.starts.is_empty() {
            write!(errors, ", then `{}`", outcome.starts.join("`, `")).expect("a string takes everything");
        }
        let ms = |after: Duration| format!("{:.1} ms", after.as_secs_f64() * 1e3);
        let told = outcome.told.iter().zip(outcome.told_after);
        let told = list(told.map(|(exit, after)| format!("`{exit}`, {}", ms(after))).collect());
        let after = outcome.answers_after.map_or_else(|| "never".to_owned(), ms);
        let kinds = felt.failed.iter().map(|(kind, count)| format!("{count} `{kind}`"));
        let failed = if felt.failures() == 0 { "0".to_owned() } else { list(kinds.collect()) };
        writeln!(
            self.text,
            "| {name} | {errors} | {told} | {after} | {failed} of {} | {:.1} |",
            felt.calls(),
            self.ratio(felt.p99()),
        )
        .expect("a string takes everything");
    }

    /// Adds a row's calls to those of all rows.
    pub(crate) fn take(&mut self, felt: Felt) {
        self.all.add(felt);
    }

    pub(crate) fn print(&self) {
        print!("{}", self.text);
        println!("\nall rows together: p99, ratio {:.1}", self.ratio(self.all.p99()));
    }
}
