//! `cargo xtask chart`: runs the test of a module that follows its database, and draws what its callers saw.
//!
//! The test writes a line for each payment to a file, and for what happened meanwhile: a time in microseconds, and what
//! there was then.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::run::{cargo, target};

/// The test, and the variable that names its file.
const TEST: &str = "distance::what_is_near_a_database_goes_where_that_is_closest_and_no_call_fails";
const SERIES: &str = "SKYBOX_TEST_SERIES";
/// Where the chart is.
const CHART: &str = "docs/near.svg";

/// Payments of this time are one point of each line.
const BIN_US: u64 = 250_000;
/// The chart, in pixels, and what is left around its lines.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 44.0;

/// What is drawn.
#[derive(Debug, clap::Args)]
pub(crate) struct Chart {
    /// Draws a run that the test has written to this file before, instead of one that is made now.
    #[arg(long, value_name = "FILE")]
    of: Option<PathBuf>,
}

impl Chart {
    /// Runs the test and draws.
    pub(crate) fn near(&self, root: &Path) -> anyhow::Result<()> {
        let file = match &self.of {
            Some(file) => file.clone(),
            None => run(root)?,
        };
        let lines = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        std::fs::write(root.join(CHART), Payments::read(&lines)?.draw())?;
        println!("{CHART} shows this run");
        Ok(())
    }
}

/// Runs the test; where it has written what it has seen.
fn run(root: &Path) -> anyhow::Result<PathBuf> {
    let file = target(root).join("near.series");
    // One of another run would be taken for this one's.
    drop(std::fs::remove_file(&file));
    let test = ["test", "--package", "skybox", "--test", "cloud", "--", TEST, "--exact", "--nocapture"];
    cargo(root).args(test).env(SERIES, &file.to_string_lossy()).finish()?;
    ensure!(file.exists(), "the test was skipped: it takes root, to make hosts out of network namespaces");
    Ok(file)
}

/// What has been measured. Times are in microseconds, from the beginning.
#[derive(Debug, Default)]
struct Payments {
    swapped: u64,
    moved: u64,
    /// When each had ended, and what it had taken.
    took: Vec<(u64, u64)>,
}

/// The payments of some time.
struct Bin {
    at_us: u64,
    median_us: u64,
    p99_us: u64,
}

impl Payments {
    fn read(lines: &str) -> anyhow::Result<Payments> {
        let mut began = None;
        let (mut swapped, mut moved, mut took) = (None, None, Vec::new());
        for line in lines.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            let at: u64 = fields[0].parse().with_context(|| format!("`{line}` begins with no time"))?;
            match fields[1..] {
                ["begins"] => began = Some(at),
                ["swapped"] => swapped = Some(at),
                ["moved"] => moved = Some(at),
                ["took", us] => took.push((at, us.parse().with_context(|| line.to_owned())?)),
                _ => bail!("`{line}` says nothing"),
            }
        }
        let began = began.context("the run has no beginning")?;
        let since = |at: u64| at.saturating_sub(began);
        let took: Vec<_> =
            took.iter().filter(|(at, _)| *at >= began).map(|(at, us)| (since(*at), *us)).collect();
        ensure!(!took.is_empty(), "nobody has paid");
        let (swapped, moved) = (swapped.context("nothing was swapped")?, moved.context("nothing moved")?);
        Ok(Payments { swapped: since(swapped), moved: since(moved), took })
    }

    /// What was paid in each part of the time; nothing for parts without.
    fn bins(&self) -> Vec<Bin> {
        let mut bins = std::collections::BTreeMap::<u64, Vec<u64>>::new();
        for (at, us) in &self.took {
            bins.entry(at / BIN_US).or_default().push(*us);
        }
        let bins = bins.into_iter().map(|(bin, mut took)| {
            took.sort_unstable();
            let at_us = bin * BIN_US + BIN_US / 2;
            Bin {
                at_us,
                median_us: took[took.len() / 2],
                p99_us: took[(took.len() * 99 / 100).min(took.len() - 1)],
            }
        });
        bins.collect()
    }

    fn draw(&self) -> String {
        let bins = self.bins();
        let seconds = |us: u64| us as f64 / 1e6;
        let last_s = bins.last().map_or(1.0, |bin| seconds(bin.at_us)).max(1.0);
        let most_us = bins.iter().map(|bin| bin.p99_us).max().unwrap_or(1);
        let least_us = bins.iter().map(|bin| bin.median_us).min().unwrap_or(1);
        // Whole decades of milliseconds.
        let decade = |us: u64| (us as f64 / 1e3).max(0.1).log10();
        let (low, high) = (decade(least_us).floor(), decade(most_us).ceil());
        let x = |us: u64| LEFT + seconds(us) / last_s * (WIDTH - LEFT - RIGHT);
        let y_of = |decade: f64| TOP + (high - decade) / (high - low).max(1.0) * (HEIGHT - TOP - BOTTOM);
        let y = |us: u64| y_of(decade(us));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\" fill=\"#333\">\n<title>What a transaction of four round trips takes while its database \
             moves</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, said: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{said}</text>");
        };
        let middle = |from: u64, to: u64| (x(from) + x(to)) / 2.0;
        let end = bins.last().map_or(0, |bin| bin.at_us);
        text(
            LEFT,
            18.0,
            "start",
            "What a transaction of four round trips takes, in milliseconds, for its callers",
        );
        text(middle(0, self.swapped), TOP - 8.0, "middle", "beside its database");
        text(middle(self.swapped, self.moved), TOP - 8.0, "middle", "the database is 20 ms away");
        text(middle(self.moved, end), TOP - 8.0, "middle", "moved after it");
        text(WIDTH - RIGHT, HEIGHT - 8.0, "end", "seconds");
        for at in (0..=last_s as u64).step_by(5) {
            text(x(at * 1_000_000), HEIGHT - BOTTOM + 16.0, "middle", &at.to_string());
        }
        let mut lines = String::new();
        for tens in (low as i32)..=(high as i32) {
            let at = y_of(f64::from(tens));
            text(LEFT - 8.0, at + 4.0, "end", &format!("{}", 10f64.powi(tens)));
            let right = WIDTH - RIGHT;
            let _ = writeln!(lines, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\" fill=\"none\"/>");
        }
        for at in [self.swapped, self.moved] {
            let (at, bottom) = (x(at), HEIGHT - BOTTOM);
            let _ = writeln!(
                lines,
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#888\" stroke-dasharray=\"4 3\" fill=\"none\"/>"
            );
        }
        let line = |name: &str, colour: &str, of: fn(&Bin) -> u64| {
            let points: Vec<_> =
                bins.iter().map(|bin| format!("{:.1},{:.1}", x(bin.at_us), y(of(bin)))).collect();
            format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"><title>{name}</title>\
                 </polyline>\n",
                points.join(" ")
            )
        };
        lines += &line("the slowest of a hundred", "#d95f02", |bin| bin.p99_us);
        lines += &line("median", "#1b62a5", |bin| bin.median_us);
        let key = |x: f64, colour: &str, name: &str| {
            format!("<text x=\"{x}\" y=\"{}\" fill=\"{colour}\">{name}</text>\n", HEIGHT - 8.0)
        };
        lines += &key(LEFT, "#1b62a5", "— median of a quarter of a second");
        lines += &key(LEFT + 220.0, "#d95f02", "— its 99th percentile");
        svg + &lines + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_and_drawn() {
        let run = "1000000 begins\n3000000 swapped\n5000000 moved\n900000 took 9\n1100000 took 3000\n\
                   1200000 took 5000\n3300000 took 90000\n6000000 took 4000\n";
        let payments = Payments::read(run).unwrap();
        assert_eq!((payments.swapped, payments.moved), (2_000_000, 4_000_000));
        let bins = payments.bins();
        let told: Vec<_> = bins.iter().map(|bin| (bin.at_us, bin.median_us, bin.p99_us)).collect();
        let expected = [(125_000, 5_000, 5_000), (2_375_000, 90_000, 90_000), (5_125_000, 4_000, 4_000)];
        assert_eq!(told, expected, "what came before the beginning is left out");
        let svg = payments.draw();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
    }

    #[test]
    fn what_is_no_run_is_not_drawn() {
        assert!(Payments::read("").is_err());
        assert!(Payments::read("7 begins\n8 swapped\n9 moved\n").is_err(), "nobody has paid");
        assert!(Payments::read("soon begins\n").is_err());
    }
}
