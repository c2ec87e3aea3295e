//! The kill matrix: what is done to an instance, in a task and in a cell, while others are called.
//!
//! It prints its table: `cargo nextest run -p skybox --test kill_matrix --no-capture`, with `SKYBOX_TEST_WINDOW_MS=5000`
//! for figures that mean something. Asserted is what fails and how, never how long anything takes.

mod crowd;
mod deadly;
mod group;
mod load;
mod stage;
mod table;
mod victims;
mod watched;

use rustix::process::Signal;

use stage::{Column, Deed, NODE_LOST, Outcome, Stage};
use table::Table;

/// One row: what is done, the errors of the calls that meet it, and why what ends then ends: the first as monitors hear
/// of it, and all as the node writes them down.
struct Fault {
    name: &'static str,
    deed: Deed,
    error: Option<&'static str>,
    exits: &'static [&'static str],
}

const fn fault(
    name: &'static str,
    deed: Deed,
    error: Option<&'static str>,
    exits: &'static [&'static str],
) -> Fault {
    Fault { name, deed, error, exits }
}

/// What code does to itself that Rust contains, wherever it runs.
const CONTAINED: [Fault; 5] = [
    fault("panic", Deed::Told("panic"), Some("Crashed"), &["crashed"]),
    fault(
        "panic in `start`, twice",
        Deed::Starts(2),
        Some("Crashed"),
        &["crashed", "failed-start", "failed-start"],
    ),
    fault("panic in `Drop`", Deed::Told("panic in Drop"), Some("Crashed"), &["crashed"]),
    fault("two that wait for each other", Deed::Clasp, Some("Deadline"), &[]),
    fault("descriptors used up", Deed::Told("descriptors used up"), None, &[]),
];

/// What only a process contains.
const UNCONTAINED: [Fault; 9] = [
    fault("double panic", Deed::Told("double panic"), Some("Lost"), &["aborted"]),
    fault("`abort`", Deed::Told("abort"), Some("Lost"), &["aborted"]),
    fault("null dereference", Deed::Told("null dereference"), Some("Lost"), &["signalled"]),
    fault("stack overflow", Deed::Told("stack overflow"), Some("Lost"), &["stack-overflow"]),
    fault("endless loop", Deed::Late("endless loop"), Some("Deadline"), &["overran"]),
    fault("endless allocation", Deed::Told("endless allocation"), Some("Lost"), &["out-of-memory"]),
    fault("`exit(0)`", Deed::Told("exit(0)"), Some("Lost"), &["exited"]),
    fault("SIGKILL", Deed::Signal(Signal::KILL), Some("Lost"), &["signalled"]),
    fault("SIGSTOP", Deed::Signal(Signal::STOP), Some("Deadline"), &["overran"]),
];

impl Fault {
    /// It has ended what it should, and nobody else has felt it.
    #[track_caller]
    fn is_contained(&self, outcome: &Outcome) {
        let name = self.name;
        assert_eq!(outcome.errors, Vec::from_iter(self.error), "{name}");
        assert_eq!(outcome.told.as_deref(), self.exits.first().copied(), "{name}");
        let starts = self.exits.iter().filter(|exit| **exit == "failed-start").map(|_| "NotStarted");
        assert_eq!(outcome.starts, Vec::from_iter(starts), "{name}");
        assert_eq!(outcome.exits, self.exits, "{name}");
        assert!(outcome.node_lives && outcome.answers_after.is_some(), "{name}");
        assert_eq!(outcome.felt.failures(), 0, "{name}: {:?}", outcome.felt.failed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_contains_them_all() {
    let stage = Stage::start(Column::Cell).await;
    let mut table = Table::new("a cell at 0.5 core", &stage).await;
    for fault in CONTAINED.iter().chain(&UNCONTAINED) {
        let outcome = stage.suffer(fault.deed, !fault.exits.is_empty()).await;
        table.row(fault.name, &outcome);
        fault.is_contained(&outcome);
        assert!(outcome.felt.calls() > 100, "{}: there was a load", fault.name);
        table.take(outcome.felt);
    }
    table.print();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_survives_what_rust_contains() {
    let stage = Stage::start(Column::Task).await;
    let mut table = Table::new("a task", &stage).await;
    for fault in &CONTAINED {
        let outcome = stage.suffer(fault.deed, !fault.exits.is_empty()).await;
        table.row(fault.name, &outcome);
        fault.is_contained(&outcome);
        table.take(outcome.felt);
    }
    table.print();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_task_cannot_survive_ends_its_node() {
    let stage = Stage::start(Column::Task).await;
    let mut table = Table::new("a task, and with it its node", &stage).await;
    for fault in UNCONTAINED.iter().filter(|fault| fault.name != "`exit(0)`") {
        if fault.name == "endless allocation" && !stage.group.is_in_force() {
            println!("{}: not tried, since nobody would stop it here", fault.name);
            continue;
        }
        // One that was stopped goes on when it may.
        let ends = fault.name != "SIGSTOP";
        let outcome = stage.suffer(fault.deed, ends).await;
        table.row(fault.name, &outcome);
        assert_eq!(outcome.told.as_deref(), ends.then_some(NODE_LOST), "{}", fault.name);
        assert_eq!(outcome.errors, Vec::from_iter(fault.error), "{}", fault.name);
        assert!(outcome.answers_after.is_some(), "{}: the node is started again", fault.name);
        assert_eq!(outcome.node_lives, !ends, "{}", fault.name);
        // Those that were in the node; later ones wait for the next, as many as may.
        assert!(
            outcome.felt.failed.keys().all(|kind| ["Lost", "Overloaded"].contains(kind)),
            "{}: {:?}",
            fault.name,
            outcome.felt.failed
        );
        table.take(outcome.felt);
    }
    table.print();
    // A node that ends well is not started again, and nobody comes in its place.
    let errors = stage.end().await;
    assert!(errors.len() == 2 && errors[0] == "Lost", "{errors:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_in_one_cell_and_a_hundred_in_cells_of_their_own() {
    let stage = Stage::start_with_driver(Column::Cell).await;
    let mut table = Table::new("spawned instances in cells", &stage).await;
    let outcome = crowd::panics(&stage, 10_000).await;
    table.row("10,000 panic at once in one cell", &outcome);
    crowd::check(&outcome, "Crashed", "10000 crashed");
    crowd::is_contained(&outcome);
    table.take(outcome.felt);
    let outcome = crowd::falls(&stage, 10_000).await;
    table.row("10,000 end at once with their cell", &outcome);
    crowd::check(&outcome, "Lost", "10000 aborted");
    crowd::is_contained(&outcome);
    table.take(outcome.felt);
    let outcome = crowd::alone(&stage, 100).await;
    table.row("100 end at once with a cell each", &outcome);
    crowd::check(&outcome, "Lost", "100 aborted");
    crowd::is_contained(&outcome);
    table.take(outcome.felt);
    table.print();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_in_the_node_itself() {
    let stage = Stage::start_with_driver(Column::Task).await;
    let mut table = Table::new("spawned instances in the node itself", &stage).await;
    let outcome = crowd::panics(&stage, 10_000).await;
    table.row("10,000 panic at once in the node", &outcome);
    crowd::check(&outcome, "Crashed", "10000 crashed");
    crowd::is_contained(&outcome);
    table.take(outcome.felt);
    let outcome = crowd::falls(&stage, 10_000).await;
    table.row("10,000 end at once with their node", &outcome);
    crowd::check(&outcome, "Lost", "10000 node-lost");
    assert!(!outcome.node_lives);
    table.take(outcome.felt);
    table.print();
    stage.stop().await;
}
