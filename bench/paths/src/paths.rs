//! The paths: within the process, with `&self` and `&mut self`, and over a Unix socket.

// Those that `skybox-bench` times.
#[path = "../../src/subject/skybox_local/modules.rs"]
mod modules;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use skybox::cloud::node_name;
use skybox::cloud::parent::{Launch, Parent, ParentConfig};
use skybox::{App, Handle};

use modules::{Both, Reader, Teller, Writer};

/// Which way calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Path {
    /// Here, a `&self` method of a module that has no other: nobody waits for a turn.
    Shared,
    /// Here, a `&mut self` method.
    Exclusive,
    /// Here, a `&self` method of a module that has `&mut self` ones as well.
    Mixed,
    /// Here, a `&self` method of an interface.
    Interface,
    /// Over a Unix socket, both sides in this process.
    Remote,
}

/// What is called, and what it lives in.
pub(crate) struct Callee {
    handle: AnyHandle,
    _apps: Vec<App>,
    _parent: Option<Parent>,
}

enum AnyHandle {
    Shared(Handle<Reader>),
    Exclusive(Handle<Writer>),
    Mixed(Handle<Both>),
    Interface(Handle<dyn Teller>),
    Remote(Handle<Echoer>),
}

/// The small message of `skybox-bench call`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Echo {
    id: u64,
    name: String,
    tags: [u32; 8],
}

#[derive(Default)]
pub(crate) struct Echoer;

#[skybox::module]
impl Echoer {
    pub(crate) async fn echo(&self, message: Echo) -> skybox::Result<Echo> {
        Ok(message)
    }
}

#[inline(never)]
fn same(value: u64) -> u64 {
    black_box(value)
}

impl Path {
    /// Starts what is called.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn open(self) -> Result<Callee> {
        if self == Path::Remote {
            return remote().await;
        }
        let app = App::builder().aside().start().await?;
        app.settled().await;
        let handle = match self {
            Path::Shared => AnyHandle::Shared(app.get()),
            Path::Exclusive => AnyHandle::Exclusive(app.get()),
            Path::Mixed => AnyHandle::Mixed(app.get()),
            Path::Interface => AnyHandle::Interface(app.get()),
            Path::Remote => AnyHandle::Remote(app.get()),
        };
        Ok(Callee { handle, _apps: vec![app], _parent: None })
    }
}

/// Two nodes of a parent, all three in this process.
async fn remote() -> Result<Callee> {
    let launch = Launch { program: PathBuf::from("skybox-paths"), arguments: Vec::new() };
    let mut config = ParentConfig::new(launch, 0, Default::default());
    config.guests = ["server", "client"].map(node_name).to_vec();
    config.pins = BTreeMap::from([("echoer".to_owned(), vec![node_name("server")])]);
    let parent = Parent::start(config).await?;
    let join = |name| App::builder().aside().join(parent.socket(), node_name(name)).start();
    // The first plan waits for both.
    let (server, client) = tokio::join!(join("server"), join("client"));
    let apps = vec![client.context("the client")?, server.context("the server")?];
    Ok(Callee { handle: AnyHandle::Remote(apps[0].get()), _apps: apps, _parent: Some(parent) })
}

/// The loop is the same each time, and has to be: nothing may lie between two calls.
macro_rules! calls {
    ($callee:expr, $calls:expr) => {
        for value in 0..$calls {
            black_box($callee.echo(black_box(value)).await.map_err(|error| anyhow!("{error:#}"))?);
        }
    };
}

impl Callee {
    /// Makes calls, one after the other.
    ///
    /// # Errors
    /// When one fails.
    pub(crate) async fn call(&self, calls: u64) -> Result<()> {
        match &self.handle {
            AnyHandle::Shared(callee) => calls!(callee, calls),
            AnyHandle::Exclusive(callee) => calls!(callee, calls),
            AnyHandle::Mixed(callee) => calls!(callee, calls),
            AnyHandle::Interface(callee) => calls!(callee, calls),
            AnyHandle::Remote(callee) => {
                let mut message = Echo { id: 0, name: "a-name-of-16-chr".to_owned(), tags: [0x1234_5678; 8] };
                for _ in 0..calls {
                    message = callee.echo(message).await.map_err(|error| anyhow!("{error:#}"))?;
                }
            }
        }
        Ok(())
    }
}
