//! Serves the gallery, or plays the show without a browser and prints what it saw.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use gallery::demo::{self, Demo};
use gallery::headless::{self, Scenario};
use gallery::show::{LOAD_MAX_PER_S, Opening, Show};
use gallery::site::{self, Site};
use gallery::stage::{Alone, Place, Split, Stage};
use gallery::{load, pictures};
use skybox::App;
use skybox::cloud::client::Client;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// A picture gallery under load.
#[derive(Debug, Parser)]
struct Args {
    /// The port of the page; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Thumbnails asked for per second, 22 for each processor if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(LOAD_MAX_PER_S)))]
    load: Option<u32>,
    /// A directory that keeps the pictures once they are drawn; without it they are drawn anew each time.
    #[arg(long, value_name = "DIRECTORY")]
    pictures: Option<PathBuf>,
    /// The node that the page's buttons call the worker.
    #[arg(long, value_name = "NODE")]
    worker: Option<String>,
    /// Runs the gallery as four nodes of this machine: three serve the page, the fourth is the worker.
    #[arg(long)]
    demo: bool,
    /// With --demo: opens the page in a browser.
    #[arg(long, requires = "demo")]
    open: bool,
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

/// Not quite half of what a processor can do when a thumbnail takes it 20 ms: of two processors, one can make them.
const LOAD_PER_PROCESSOR_PER_S: usize = 22;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.demo {
        // Before the runtime starts its threads: what they start inherits it.
        demo::keep_to_two_processors()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let load_per_s = args.load.unwrap_or_else(load_for_this_machine);
    let scenario = Scenario { load_per_s, act: Duration::from_secs(args.act_s) };
    if let Some(address) = args.against {
        play(address, scenario).await
    } else if args.demo {
        let scenario = args.headless.then_some(scenario);
        let Args { port, pictures, open, .. } = args;
        Ok(demo::run(Demo { port, load_per_s, pictures, open, scenario }).await?)
    } else {
        serve(args, scenario).await
    }
}

async fn serve(args: Args, scenario: Scenario) -> anyhow::Result<ExitCode> {
    let in_demo = args.worker.is_some();
    let (stage, place): (Arc<dyn Stage>, Place) = match (args.worker, Client::of_this_node()) {
        (Some(worker), Some(parent)) => (Arc::new(Split::new(parent, &worker)), Place::Worker),
        _ => (Arc::new(Alone), Place::Pages),
    };
    pictures::keep_in(args.pictures);
    let app = App::builder()
        .provide(Opening { load_per_s: scenario.load_per_s, place })
        .listener("http", SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)))
        .once("draw the pictures", |_| draw())
        .start()
        .await?;

    let listener = app.listen("http").await?;
    let address = listener.local_addr()?;
    let (close, closing) = watch::channel(false);
    let site = Site::new(app.get::<Show>(), stage, closing);
    let (loaded, ended, draining) = (site.clone(), site.clone(), app.draining());
    tokio::spawn(async move {
        draining.await;
        close.send_replace(true);
    });
    let server = axum::serve(listener, site::routes(site))
        .with_graceful_shutdown(async move { ended.closing().await });
    let server = tokio::spawn(server.into_future());
    load::start(loaded, address).context("cannot start the load")?;

    let mut code = ExitCode::SUCCESS;
    if args.headless {
        code = play(address, scenario).await?;
        app.drain();
    } else if !in_demo {
        println!("gallery: http://{address}/");
    }
    server.await??;
    Ok(code)
}

/// Pictures that are yet to be drawn would be measured as slow thumbnails.
async fn draw() -> anyhow::Result<()> {
    Ok(tokio::task::spawn_blocking(pictures::draw_all).await??)
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
