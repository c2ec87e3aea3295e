//! What a cell costs: a call to it beside a call to another node over the same kind of socket, and the time from its end
//! until its successor answers.
//!
//! This process is the parent of two nodes. The one that measures has the cells; the other has the same module without.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::{Deserialize, Serialize};
use skybox::App;
use skybox::cloud::parent::{Launch, Output, Parent, ParentConfig};

use crate::figures::Summary;
use crate::work::{self, Echo};

/// Rounds, in each of which both are measured.
const ROUNDS: usize = 15;
/// Calls one after the other, of one round.
const CALLS: usize = 2_000;
/// Callers at once, where throughput is measured, each with as many calls.
const CALLERS: usize = 64;
/// For how long a busy cell is watched: thirty of the kernel's periods.
const BUSY_MS: u64 = 3_000;
/// Cells that are ended one after the other: as many as are replaced without a pause.
const ENDS: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The figures as JSON, for machines.
    #[arg(long)]
    json: bool,
}

/// What is measured, of the fastest rounds.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    cell_call_ns: u64,
    node_call_ns: u64,
    /// The median of the rounds' ratios, not the ratio of the two above: rounds differ, the two of one round less.
    call_ratio: f64,
    /// The same with 64 callers at once.
    busy_ratio: f64,
    /// From the failed call that ended a cell to the answer of its successor: the median.
    ready_ms: f64,
    /// The share of a core that a busy cell had with `cpu = 0.2`.
    cpu_share: f64,
}

#[derive(Default)]
struct InCell;

#[skybox::module(isolate = "process")]
impl InCell {
    pub(crate) async fn echo(&self, message: Echo) -> skybox::Result<Echo> {
        Ok(work::echo(message).await)
    }
}

#[derive(Default)]
struct InNode;

#[skybox::module]
impl InNode {
    pub(crate) async fn echo(&self, message: Echo) -> skybox::Result<Echo> {
        Ok(work::echo(message).await)
    }
}

#[derive(Default)]
struct Mortal;

#[skybox::module(isolate = "process")]
impl Mortal {
    pub(crate) async fn live(&self) -> skybox::Result<()> {
        Ok(())
    }

    pub(crate) async fn die(&self) -> skybox::Result<()> {
        std::process::exit(0)
    }
}

/// Has a fifth of a core, and wants all of it.
#[derive(Default)]
struct Busy;

#[skybox::module(isolate = "process", cpu = 0.2)]
impl Busy {
    /// Works for so many milliseconds; gives the share of a core that its process had meanwhile.
    pub(crate) fn work(&self, for_ms: u64) -> skybox::Result<f64> {
        let (began, used) = (Instant::now(), used_ms()?);
        let wanted = std::time::Duration::from_millis(for_ms);
        while began.elapsed() < wanted {
            std::hint::black_box((0..1000).sum::<u64>());
        }
        Ok((used_ms()? - used) / (began.elapsed().as_secs_f64() * 1000.0))
    }
}

/// The time on cores that this process has had.
fn used_ms() -> skybox::Result<f64> {
    // In nanoseconds, of each of its threads.
    let threads = std::fs::read_dir("/proc/self/task")?;
    let of_thread = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<f64>().ok()
    };
    Ok(threads.flatten().filter_map(of_thread).sum::<f64>() / 1e6)
}

#[derive(Default)]
struct Meter;

#[skybox::module]
impl Meter {
    pub(crate) async fn measure(&self) -> skybox::Result<Figures> {
        let app = App::current()?;
        let (cell, node) = (app.get::<InCell>(), app.get::<InNode>());
        let (mut ns, mut busy) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for round in 0..ROUNDS {
            // Whoever comes second must not always be the same.
            for which in [round % 2, 1 - round % 2] {
                let serial = Instant::now();
                for _ in 0..CALLS {
                    match which {
                        0 => cell.echo(Echo::sample(0)).await?,
                        _ => node.echo(Echo::sample(0)).await?,
                    };
                }
                ns[which].push(serial.elapsed().as_nanos() as u64 / CALLS as u64);
                let together = Instant::now();
                let callers: Vec<_> = (0..CALLERS)
                    .map(|_| {
                        let (cell, node) = (cell.clone(), node.clone());
                        tokio::spawn(async move {
                            for _ in 0..CALLS / 10 {
                                match which {
                                    0 => cell.echo(Echo::sample(0)).await?,
                                    _ => node.echo(Echo::sample(0)).await?,
                                };
                            }
                            Ok::<(), skybox::Error>(())
                        })
                    })
                    .collect();
                for caller in callers {
                    caller.await.map_err(skybox::Error::msg)??;
                }
                busy[which].push(together.elapsed().as_nanos() as u64);
            }
        }
        Ok(Figures {
            cell_call_ns: *ns[0].iter().min().unwrap_or(&0),
            node_call_ns: *ns[1].iter().min().unwrap_or(&0),
            call_ratio: median_ratio(&ns),
            busy_ratio: median_ratio(&busy),
            ready_ms: ready_ms(&app).await?,
            cpu_share: app.get::<Busy>().work(BUSY_MS).await?,
        })
    }
}

fn median_ratio([of, to]: &[Vec<u64>; 2]) -> f64 {
    let ratios: Vec<_> = of.iter().zip(to).map(|(of, to)| *of as f64 / *to as f64).collect();
    Summary::of(&ratios).median
}

async fn ready_ms(app: &App) -> skybox::Result<f64> {
    let mortal = app.get::<Mortal>();
    let mut took = Vec::new();
    for _ in 0..ENDS {
        mortal.live().await?;
        drop(mortal.die().await);
        let ended = Instant::now();
        mortal.live().await?;
        took.push(ended.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(Summary::of(&took).median)
}

/// One of the nodes, or a cell of one.
pub(crate) fn node() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = App::builder().start().await.context("starting a node")?;
        app.draining().await;
        Ok(())
    })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        let program = std::env::current_exe().context("finding this program")?;
        let launch = Launch { program, arguments: vec!["cells-node".into()] };
        let mut config = ParentConfig::new(launch, 2, Default::default());
        config.output = Output::Untouched;
        config.guests = vec![skybox::cloud::node_name("bench")];
        let on = |node: &str| vec![skybox::cloud::node_name(node)];
        config.pins = BTreeMap::from([
            ("in_cell".to_owned(), on("node-1")),
            ("mortal".to_owned(), on("node-1")),
            ("busy".to_owned(), on("node-1")),
            ("meter".to_owned(), on("node-1")),
            ("in_node".to_owned(), on("node-2")),
        ]);
        let parent = Parent::start(config).await?;
        let app = App::builder().join(parent.socket(), skybox::cloud::node_name("bench")).start().await?;
        let figures = app.get::<Meter>().measure().await.map_err(|error| anyhow!("{error:#}"));
        app.shutdown().await;
        // The parent waits for whoever has joined.
        drop(app);
        parent.stop().await;
        parent.ended().await;
        figures
    })?;
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        println!("a call to a cell        {:>8} ns", figures.cell_call_ns);
        println!("a call to a node        {:>8} ns", figures.node_call_ns);
        println!("ratio, one caller       {:>8.2}", figures.call_ratio);
        println!("ratio, {CALLERS} callers       {:>8.2}", figures.busy_ratio);
        println!("from an end to answers  {:>8.1} ms", figures.ready_ms);
        println!("cores at `cpu = 0.2`    {:>8.3}", figures.cpu_share);
    }
    Ok(())
}
