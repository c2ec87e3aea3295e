//! Skybox between two processes, over a Unix socket.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use skybox::cloud::parent::{Launch, Parent, ParentConfig};
use skybox::{App, Handle, Stream};

use super::{Pipe, TOTAL_BYTES};
use crate::child::Ready;
use crate::subject::BoxFuture;

pub(super) const NAME: &str = "skybox-unix";

async fn join(parent: &str, name: &str) -> Result<App> {
    let builder = App::builder().join(parent, skybox::cloud::node_name(name));
    builder.start().await.with_context(|| format!("joining as {name}"))
}

pub(super) async fn serve(ready: Ready) -> Result<()> {
    let launch = Launch { program: PathBuf::from("skybox-bench"), arguments: Vec::new() };
    let mut config = ParentConfig::new(launch, 0, Default::default());
    config.guests = ["server", "client"].map(skybox::cloud::node_name).to_vec();
    config.pins = BTreeMap::from([("reservoir".to_owned(), vec![skybox::cloud::node_name("server")])]);
    let parent = Parent::start(config).await?;
    let socket = parent.socket().to_string_lossy().into_owned();
    // The first plan waits for both nodes, so the address goes out before this one has joined.
    ready.say(&socket);
    let _app = join(&socket, "server").await?;
    std::future::pending().await
}

fn blocks(block_len: usize) -> Stream<Bytes> {
    let block = Bytes::from(vec![7; block_len]);
    let count = TOTAL_BYTES / block_len as u64;
    Stream::from_stream(stream::iter((0..count).map(move |_| Ok::<_, skybox::Error>(block.clone()))))
}

async fn read(mut blocks: Stream<Bytes>) -> skybox::Result<u64> {
    let mut total = 0;
    while let Some(block) = blocks.next().await {
        total += block?.len() as u64;
    }
    Ok(total)
}

#[derive(Default)]
struct Reservoir;

#[skybox::module]
impl Reservoir {
    pub(crate) async fn fill(&self, blocks: Stream<Bytes>) -> skybox::Result<u64> {
        read(blocks).await
    }

    pub(crate) async fn drain(&self, block_len: u64) -> skybox::Result<Stream<Bytes>> {
        Ok(blocks(usize::try_from(block_len)?))
    }

    pub(crate) async fn level(&self) -> skybox::Result<u64> {
        Ok(TOTAL_BYTES)
    }
}

pub(super) struct Client {
    _app: App,
    reservoir: Handle<Reservoir>,
}

impl Client {
    pub(super) async fn join(address: &str) -> Result<Client> {
        let app = join(address, "client").await?;
        let reservoir = app.get::<Reservoir>();
        // The connection is made by the first call.
        reservoir.level().await.map_err(plain)?;
        Ok(Client { _app: app, reservoir })
    }
}

fn plain(error: skybox::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

impl Pipe for Client {
    fn upload(&self, block_len: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let total = self.reservoir.fill(blocks(block_len)).await.map_err(plain)?;
            ensure!(total == TOTAL_BYTES, "{total} bytes have arrived");
            Ok(())
        })
    }

    fn download(&self, block_len: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let blocks = self.reservoir.drain(block_len as u64).await.map_err(plain)?;
            let total = read(blocks).await.map_err(plain)?;
            ensure!(total == TOTAL_BYTES, "{total} bytes have come");
            Ok(())
        })
    }

    fn small_call(&self) -> Option<BoxFuture<'_, Result<()>>> {
        Some(Box::pin(async { self.reservoir.level().await.map(|_| ()).map_err(plain) }))
    }
}
