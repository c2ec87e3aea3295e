//! Runs the gallery on five hosts out of network namespaces until Ctrl-C, or shows how one of them is lost:
//! `cargo xtask demo --hosts`. It takes root.

#[path = "../tests/hosts/cloud.rs"]
mod cloud;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use cloud::{Gallery, HOSTS};
use skybox_hosts::Hosts;
use tokio::sync::mpsc;

/// The gallery on five hosts.
#[derive(Debug, Parser)]
struct Args {
    /// Shows how a host is lost, prints what was seen, and exits 0 only if no request failed.
    #[arg(long)]
    headless: bool,
    /// Thumbnails asked for per second, all nodes together.
    #[arg(long, default_value_t = 20)]
    load: u32,
    /// A directory that keeps the pictures once they are drawn.
    #[arg(long, value_name = "DIRECTORY")]
    pictures: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Asked for before anything is made, so that nothing is left by a Ctrl-C that comes early.
    let mut interrupt = runtime
        .block_on(async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) })?;
    let example = std::env::current_exe()?;
    let program =
        example.parent().and_then(|directory| directory.parent()).context("it lies in a directory")?;
    let mut gallery =
        Gallery::start(Hosts::make(HOSTS)?, &program.join("gallery"), &args.pictures, args.load)?;
    if args.headless {
        println!("{} pages and thumbnails were answered, by each host to each", gallery.visit_all()?);
        let loss = gallery.lose_one()?;
        println!("{loss}");
        let failed: Vec<_> = loss.seen.iter().flat_map(|seen| &seen.failed).collect();
        failed.iter().for_each(|failed| println!("{failed}"));
        return Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    println!("{}", gallery.told());
    runtime.block_on(async {
        let mut lines = lines();
        loop {
            let line = tokio::select! {
                _ = interrupt.recv() => return,
                line = lines.recv() => line,
            };
            let Some(line) = line else {
                // Nobody types, as in CI.
                interrupt.recv().await;
                return;
            };
            match line.strip_prefix("kill ").map(|host| host.trim().parse()) {
                Some(Ok(host)) => match gallery.kill_host(host) {
                    Ok(()) => println!("host {host} is lost"),
                    Err(error) => println!("{error:#}"),
                },
                _ => println!("`kill` and the number of a host"),
            }
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// What is typed. Its thread ends with the process: nothing else ends a read from a terminal.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}
