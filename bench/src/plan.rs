//! What a plan costs, and how good it is: `skybox-bench plan`.
//!
//! A large cloud is planned from nothing, again with nothing changed, after one of its nodes is lost, and once more. What
//! is measured:
//!
//! - how long the first plan takes, and that after the loss, with all that the leader hands in and gets back;
//! - moves that nobody needed: all of those when nothing has changed, and after the loss those of instances that were not
//!   on the lost node;
//! - on small clouds, how much more the plan costs than the best that trying everything finds, in the worst of them; it is
//!   infinite if an instance is left without a place that had one, or moves for nothing.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use skybox_core::NodeName;
use skybox_plan::place::{Decision, Facts, place, trials};

use crate::figures::Figures;

const NAME: &str = "skybox";
/// Between two decisions, in milliseconds: long enough that nothing has to stay.
const BETWEEN_MS: u64 = 60 * 60_000;

/// How plans are measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Nodes of the large cloud; metrics are named after ten thousand.
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Its modules.
    #[arg(long, default_value_t = 1_000)]
    modules: usize,
    /// About so many instances.
    #[arg(long, default_value_t = 50_000)]
    instances: usize,
    /// Large clouds, each another one.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Small clouds.
    #[arg(long, default_value_t = 200)]
    small: u64,
}

/// Measures and prints.
///
/// # Errors
/// When a cloud has not a single instance.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        large(options, round, &mut figures)?;
    }
    let gaps = (0..options.small).map(|seed| trials::gap_percent(&trials::small(seed)));
    figures.add(NAME, "worst_gap_percent".to_owned(), "%", gaps.fold(0.0, f64::max));
    figures.print("plan", options.json)
}

fn large(options: &Options, round: u64, figures: &mut Figures) -> Result<()> {
    let mut facts = trials::large(options.nodes, options.modules, options.instances, round);
    let mut add = |metric: &str, unit, value| figures.add(NAME, metric.to_owned(), unit, value);
    let (first, took_ms) = timed(&facts);
    add("plan_ms_10k", "ms", took_ms);
    let seats = |decision: &Decision| {
        decision.placement.modules.values().map(|placed| placed.seats.len()).sum::<usize>()
    };
    ensure!(seats(&first) > 0, "nothing has a place");
    add("placed", "", seats(&first) as f64);
    add("unplaced", "", f64::from(first.unplaced.iter().map(|unplaced| unplaced.missing).sum::<u32>()));
    let mut needless = again(&mut facts, first);
    let busiest = busiest(&facts).context("there is no node")?;
    let lost = facts.nodes.remove(busiest);
    let (after, took_ms) = timed(&facts);
    add("replan_ms_10k", "ms", took_ms);
    needless += moved(&after).filter(|from| **from != lost.name).count();
    needless += again(&mut facts, after);
    add("needless_moves", "", needless as f64);
    Ok(())
}

fn timed(facts: &Facts) -> (Decision, f64) {
    let began = Instant::now();
    let decision = place(facts);
    (decision, began.elapsed().as_secs_f64() * 1_000.0)
}

/// Takes a decision as the one before; how many moves follow while nothing changes.
fn again(facts: &mut Facts, decision: Decision) -> usize {
    facts.before = decision.placement;
    let mut moves = 0;
    // Twice, for some wait until something has been better for a while.
    for _ in 0..2 {
        facts.now_ms += BETWEEN_MS;
        let decision = place(facts);
        moves += moved(&decision).count();
        facts.before = decision.placement;
    }
    moves
}

/// Where those were that move. One more instance of something is no move.
fn moved(decision: &Decision) -> impl Iterator<Item = &NodeName> {
    decision.moves.iter().filter_map(|step| step.from.as_ref())
}

/// The node with the most instances.
fn busiest(facts: &Facts) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::new();
    for node in facts.before.modules.values().flat_map(|placed| placed.nodes()) {
        *counts.entry(node).or_insert(0) += 1;
    }
    (0..facts.nodes.len()).max_by_key(|index| counts.get(&facts.nodes[*index].name).copied().unwrap_or(0))
}
