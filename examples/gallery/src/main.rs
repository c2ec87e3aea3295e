//! Serves the gallery, or plays the show without a browser and prints what it saw.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use gallery::headless::{self, Scenario};
use gallery::show::{LOAD_MAX_PER_S, Show};
use gallery::site::{self, Site};
use gallery::stage::Alone;
use gallery::{load, pictures};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A picture gallery under load.
#[derive(Debug, Parser)]
struct Args {
    /// The port of the page; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Thumbnails asked for per second, 20 for each processor if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(LOAD_MAX_PER_S)))]
    load: Option<u32>,
    /// Plays the show without a browser, prints the figures, and exits 0 only if no call failed.
    #[arg(long)]
    headless: bool,
    /// With --headless: a gallery that is already running.
    #[arg(long, requires = "headless", value_name = "ADDRESS")]
    against: Option<SocketAddr>,
    /// With --headless: the length of each act; figures are those of its last five seconds.
    #[arg(long, default_value_t = 8, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    act_s: u64,
}

/// Half of what a processor can do when a thumbnail takes it 20 ms.
const LOAD_PER_PROCESSOR_PER_S: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let load_per_s = args.load.unwrap_or_else(load_for_this_machine);
    let scenario = Scenario { load_per_s, act: Duration::from_secs(args.act_s) };
    if let Some(address) = args.against {
        return play(address, scenario).await;
    }

    let show = Arc::new(Show::new(load_per_s));
    let (close, closing) = watch::channel(false);
    let site = Site::new(show, Arc::new(Alone), closing);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .with_context(|| format!("cannot listen on port {}", args.port))?;
    let address = listener.local_addr()?;
    println!("gallery: http://{address}/");

    let (loaded, ended) = (site.clone(), site.clone());
    let server = axum::serve(listener, site::routes(site))
        .with_graceful_shutdown(async move { ended.closing().await });
    let server = tokio::spawn(server.into_future());
    // Pictures that are yet to be drawn would be measured as slow thumbnails.
    tokio::task::spawn_blocking(pictures::draw_all).await?;
    load::start(loaded, address).context("cannot start the load")?;

    let code = if args.headless {
        play(address, scenario).await?
    } else {
        tokio::signal::ctrl_c().await?;
        ExitCode::SUCCESS
    };
    close.send_replace(true);
    server.await??;
    Ok(code)
}

async fn play(address: SocketAddr, scenario: Scenario) -> anyhow::Result<ExitCode> {
    let outcome = headless::play(address, scenario).await?;
    println!("{outcome}");
    Ok(if outcome.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load_for_this_machine() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    u32::try_from(processors * LOAD_PER_PROCESSOR_PER_S)
        .map_or(LOAD_MAX_PER_S, |load| load.min(LOAD_MAX_PER_S))
}
