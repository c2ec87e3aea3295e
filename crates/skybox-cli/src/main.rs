//! The `skybox` command: runs a program as several nodes, shows what runs where, calls it and moves it.
//!
//! It keeps no state and no connection: `run` is the parent of its nodes, every other command finds a running
//! program of this user, asks it, and ends. Start reading at [`args`].

mod args;
mod call;
mod certs;
mod choose;
mod doctor;
mod explain;
mod graph;
mod history;
mod orders;
mod plan;
mod ps;
mod restart;
mod run;
mod table;
mod top;
mod unit;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skybox_cloud::running::RunningError;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    match start(args) {
        Ok(code) => code,
        // `skybox ps | head` has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_code(&error));
            ExitCode::FAILURE
        }
    }
}

/// The whole chain, with the code of a program that could not be asked, unless what it said has its own.
fn with_code(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    match error.chain().find_map(|cause| cause.downcast_ref::<RunningError>()) {
        Some(running) if !text.contains("SKY-") => format!("{text} ({})", running.code()),
        _ => text,
    }
}

fn start(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("no runtime")?.block_on(async {
        match args.command {
            Command::Run(args) => run::run(*args).await,
            Command::Ps(args) => ps::ps(&args).await,
            Command::Explain(args) => explain::explain(&args).await,
            Command::Plan(args) => plan::plan(&args).await,
            Command::History(args) => history::history(&args).await,
            Command::Top(args) => top::top(&args).await,
            Command::Graph(args) => graph::graph(&args).await,
            Command::Call(args) => call::call(&args).await,
            Command::Move(args) => orders::move_module(&args).await,
            Command::Scale(args) => orders::scale(&args).await,
            Command::Cordon(args) => orders::cordon(&args, true).await,
            Command::Uncordon(args) => orders::cordon(&args, false).await,
            Command::Freeze(args) => orders::freeze(&args, true).await,
            Command::Unfreeze(args) => orders::freeze(&args, false).await,
            Command::Undo(args) => history::undo(&args).await,
            Command::Restart(args) => restart::restart(&args).await,
            Command::Kill(args) => orders::kill(&args).await,
            Command::Drain(args) => orders::drain(&args).await,
            Command::GoOn(args) => orders::go_on(&args).await,
            Command::Stop(args) => orders::stop(&args).await,
            Command::Certs(args) => certs::certs(&args),
            Command::Unit(args) => unit::unit(&args),
            Command::Doctor(args) => doctor::doctor(&args).await,
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
