//! The gallery as four nodes of this machine: three serve the page on one port, the fourth is the worker.
//!
//! The process that plays this part is the nodes' parent: it starts its own binary once for each of them, and
//! replaces the one that the page's third button kills.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use skybox::cloud::parent::{Config, ConfigError, Launch, NodeName, Parent, ParentConfig, ParentError};
use tokio::time::MissedTickBehavior;

use crate::client;
use crate::headless::{self, HeadlessError, Scenario};

/// Three that serve the page, as `skybox.toml` says, and the worker.
const NODES: u32 = 4;
const WORKER: &str = "node-4";

/// The name under which the nodes listen.
const LISTENER: &str = "http";

/// Where the show's figures come together: anywhere but on the worker, which dies.
const SHOW: &str = "node-1";

/// The worker takes what the page leaves: as far down as makes it yield, and still leaves it a share.
const WORKER_NICE: i32 = 10;

/// How often the page is looked for until it answers.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The programs that open a page in the user's browser.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// What is played, and on which port.
#[derive(Clone, Debug)]
pub struct Demo {
    /// 0 takes a free one.
    pub port: u16,
    pub load_per_s: u32,
    /// The directory that keeps the pictures; without it each node draws its own.
    pub pictures: Option<PathBuf>,
    /// Whether to show the page in a browser.
    pub open: bool,
    /// Played without a browser, instead of waiting for Ctrl-C.
    pub scenario: Option<Scenario>,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// This program's own file is not known.
    #[error("this program's own file is unknown")]
    Program(#[source] std::io::Error),
    /// The configuration that is part of the program.
    #[error("the gallery's own skybox.toml is wrong")]
    Config(#[from] ConfigError),
    /// The parent.
    #[error("the nodes could not be started")]
    Parent(#[from] ParentError),
    /// The show that was to be played.
    #[error("the show was not played to its end")]
    Headless(#[from] HeadlessError),
}

/// Keeps this process, and all that it starts, to two processors: three nodes that make thumbnails, on a machine
/// with a processor for each of them, would show nothing.
///
/// Call it before other threads are started.
///
/// # Errors
/// If the system does not let a process choose among the processors it has.
pub fn keep_to_two_processors() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let mine = sched_getaffinity(None)?;
        let mut two = CpuSet::new();
        (0..CpuSet::MAX_CPU).filter(|&processor| mine.is_set(processor)).take(2).for_each(|it| two.set(it));
        sched_setaffinity(None, &two)?;
    }
    Ok(())
}

/// Starts the nodes, says where the page is, and runs until Ctrl-C, or plays the scenario and ends.
///
/// # Errors
/// [`DemoError`]. A node that does not start says why by itself, and ends the demo with a code above 0.
pub async fn run(demo: Demo) -> Result<ExitCode, DemoError> {
    let parent = Parent::start(family(&demo)?).await?;
    let address = tokio::select! {
        address = page(&parent) => address,
        code = parent.run_to_end() => return Ok(exit_code(code)),
    };
    let Some(scenario) = demo.scenario else {
        println!("gallery: http://{address}/   (Ctrl-C ends it)");
        if demo.open {
            open(&format!("http://{address}/"));
        }
        return Ok(exit_code(parent.run_to_end().await));
    };
    let played = tokio::select! {
        played = headless::play(address, scenario) => played,
        code = parent.run_to_end() => return Ok(exit_code(code.max(1))),
    };
    parent.stop().await;
    let code = parent.ended().await;
    let outcome = played?;
    println!("{outcome}");
    Ok(exit_code(if outcome.good() { code } else { 1 }))
}

fn family(demo: &Demo) -> Result<ParentConfig, DemoError> {
    let program = std::env::current_exe().map_err(DemoError::Program)?;
    let mut arguments: Vec<OsString> = Vec::new();
    let mut argument = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    argument("--port", demo.port.to_string().into());
    argument("--load", demo.load_per_s.to_string().into());
    argument("--worker", WORKER.into());
    if let Some(directory) = &demo.pictures {
        argument("--pictures", directory.into());
    }
    let config = Config::parse(Path::new("skybox.toml"), include_str!("../skybox.toml"))?;
    let mut family = ParentConfig::new(Launch { program, arguments }, NODES, config);
    family.pins.insert("thumbnail".to_owned(), vec![NodeName::new(WORKER)]);
    family.pins.insert("show".to_owned(), vec![NodeName::new(SHOW)]);
    // Where its restarts are reported: the worker has no page, and so nothing to say.
    family.pins.insert("mortal".to_owned(), vec![NodeName::new(SHOW)]);
    family.nice.insert(NodeName::new(WORKER), WORKER_NICE);
    Ok(family)
}

/// Where the page is, as soon as it answers.
async fn page(parent: &Parent) -> SocketAddr {
    let mut listeners = parent.listeners();
    let bound = listeners.wait_for(|bound| bound.contains_key(LISTENER)).await;
    let Some(address) = bound.ok().and_then(|bound| bound.get(LISTENER).copied()) else {
        // The parent has ended, and says so itself.
        return std::future::pending().await;
    };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if client::ask(address, "/", None).await.is_ok_and(|answer| answer.status == 200) {
            return address;
        }
    }
}

/// Shows the page, if this machine has a screen and a browser; if not, the address is on the terminal.
fn open(url: &str) {
    let screen = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !screen {
        return;
    }
    for opener in OPENERS {
        let mut command = tokio::process::Command::new(opener);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.spawn().is_ok() {
            return;
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
