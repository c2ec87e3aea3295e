//! Makes calls on one of the paths that a call can take, so that somebody can count what they cost.
//!
//! `cargo xtask count` runs it under callgrind, which counts instructions, with so many calls and with more of them:
//! what the further ones cost is what calls cost, whatever the start of the program costs. Allocations are counted
//! here. One thread does everything, so that the same calls cost the same every time.

mod allocations;
mod paths;

use anyhow::Result;
use clap::Parser;

use paths::Path;

#[derive(Debug, Parser)]
struct Arguments {
    /// The path that calls take.
    path: Path,
    /// Calls that are made, after as many that warm up.
    #[arg(long, default_value_t = 1_000)]
    calls: u64,
    /// Prints who allocates in one call: a line for each allocation.
    #[arg(long)]
    who: bool,
}

fn main() -> Result<()> {
    let Arguments { path, calls, who } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let callee = path.open().await?;
        callee.call(calls).await?;
        if who {
            let (outcome, places) = allocations::places(callee.call(1)).await;
            outcome?;
            places.iter().for_each(|place| println!("{place}"));
            return Ok(());
        }
        let (outcome, count) = allocations::count(callee.call(calls)).await;
        outcome?;
        println!("{} allocations in {calls} calls", count);
        Ok(())
    })
}
