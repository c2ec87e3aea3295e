//! The bar: a Unix socket, and nothing but the bytes.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{Pipe, TOTAL_BYTES};
use crate::child::Ready;
use crate::subject::BoxFuture;

pub(super) const NAME: &str = "bare-unix";

const UPLOAD: u64 = 0;
const DOWNLOAD: u64 = 1;

/// Where the server listens; each measurement has a connection of its own.
pub(super) struct Bare {
    address: String,
}

impl Bare {
    pub(super) fn at(address: &str) -> Bare {
        Bare { address: address.to_owned() }
    }

    async fn ask(&self, way: u64, block_len: usize) -> Result<UnixStream> {
        let mut socket = UnixStream::connect(&self.address).await.context("connecting")?;
        socket.write_u64(way).await?;
        socket.write_u64(block_len as u64).await?;
        Ok(socket)
    }
}

impl Pipe for Bare {
    fn upload(&self, block_len: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut socket = self.ask(UPLOAD, block_len).await?;
            write_blocks(&mut socket, block_len).await?;
            ensure!(socket.read_u64().await? == TOTAL_BYTES, "not all bytes have arrived");
            Ok(())
        })
    }

    fn download(&self, block_len: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut socket = self.ask(DOWNLOAD, block_len).await?;
            read_blocks(&mut socket, block_len).await
        })
    }

    fn small_call(&self) -> Option<BoxFuture<'_, Result<()>>> {
        None
    }
}

pub(super) async fn serve(address: &str, ready: Ready) -> Result<()> {
    let listener = UnixListener::bind(address).with_context(|| format!("listening on {address}"))?;
    ready.say(address);
    loop {
        let (mut socket, _) = listener.accept().await.context("accepting")?;
        tokio::spawn(async move {
            let way = socket.read_u64().await?;
            let block_len = usize::try_from(socket.read_u64().await?)?;
            if way == DOWNLOAD {
                return write_blocks(&mut socket, block_len).await;
            }
            read_blocks(&mut socket, block_len).await?;
            socket.write_u64(TOTAL_BYTES).await?;
            anyhow::Ok(())
        });
    }
}

async fn write_blocks(socket: &mut UnixStream, block_len: usize) -> Result<()> {
    let block = vec![7; block_len];
    for _ in 0..TOTAL_BYTES / block_len as u64 {
        socket.write_all(&block).await?;
    }
    Ok(())
}

/// Each block is read whole, as the items of a stream are.
async fn read_blocks(socket: &mut UnixStream, block_len: usize) -> Result<()> {
    let mut block = vec![0; block_len];
    for _ in 0..TOTAL_BYTES / block_len as u64 {
        socket.read_exact(&mut block).await?;
        ensure!(block[block_len - 1] == 7, "a block is not what was sent");
    }
    Ok(())
}
