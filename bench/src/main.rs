//! Skybox measured beside its peers: the same work, one run, one machine.
//!
//! `skybox-bench call` measures calls. Every subject of a run is measured in every round, so that
//! a machine that grows slower or faster hits all of them alike; **ratios within one run mean
//! something, absolute figures of two runs do not.** The program starts itself again as the server
//! of each remote subject.
//!
//! Start reading in [`subject`]: it holds the traits and the registry. A new subject is one file
//! below it and one line in the registry.

mod actors;
mod call;
mod cells;
mod child;
mod figures;
mod hello;
mod overload;
mod plan;
mod store;
mod stream;
mod subject;
mod work;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "skybox-bench", about = "Skybox measured beside its peers")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What an idle instance costs beside tasks and actors, what a call to one, and what a crash.
    Actors(actors::Options),
    /// One subject of `actors`, which starts it.
    #[command(hide = true)]
    ActorsOf(actors::One),
    /// What a call costs, in one process and between two.
    Call(call::Options),
    /// What becomes of small calls beside a large transfer on their connection.
    Beside(call::BesideOptions),
    /// What the smallest program costs: crates, build, cold start, idle memory.
    Hello(hello::Options),
    /// What becomes of a module that is asked for more than it can do.
    Overload(overload::Options),
    /// What a plan for a large cloud costs, and how good it is.
    Plan(plan::Options),
    /// What a real etcd has to do for thousands of nodes.
    Store(store::Options),
    /// What a stream carries between two processes, beside a bare socket.
    Stream(stream::Options),
    /// What a cell costs: a call to it beside one to another node, and a start.
    Cells(cells::Options),
    /// A node of `cells`, which starts it.
    #[command(hide = true)]
    CellsNode,
    /// The server half of a remote subject; `call` starts it.
    #[command(hide = true)]
    Serve {
        /// The subject to serve.
        subject: String,
        /// Where to listen, in the subject's own notation.
        #[arg(long)]
        address: String,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::Actors(options) => actors::run(&options),
        Bench::ActorsOf(one) => actors::run_one(&one),
        Bench::Call(options) => call::run(&options),
        Bench::Beside(options) => call::run_beside(&options),
        Bench::Hello(options) => hello::run(&options),
        Bench::Overload(options) => overload::run(&options),
        Bench::Plan(options) => plan::run(&options),
        Bench::Store(options) => store::run(&options),
        Bench::Stream(options) => stream::run(&options),
        Bench::Cells(options) => cells::run(&options),
        Bench::CellsNode => cells::node(),
        Bench::Serve { subject, address } => child::serve(&subject, &address),
    }
}
