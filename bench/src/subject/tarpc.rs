//! tarpc over TCP with bincode, set up as its examples do.
//!
//! Changed from its defaults: no Nagle delay, and room for every call that is measured at once.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tarpc::client;
use tarpc::context::{self, Context};
use tarpc::serde_transport::{self, Transport as Framed};
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tokio::net::{TcpListener, TcpStream};

use super::{BoxFuture, Client, Load, RemoteSubject, Transport};
use crate::child::Ready;
use crate::work::{self, Echo};

/// Requests in flight and responses that wait; more than are measured.
const CALLS_MAX: usize = 4_096;

/// tarpc 0.38.
#[derive(Debug)]
pub(crate) struct Tarpc;

impl RemoteSubject for Tarpc {
    fn name(&self) -> &'static str {
        "tarpc"
    }

    fn transport(&self) -> Transport {
        Transport::Tcp
    }

    fn serve<'a>(&'a self, address: &'a str, ready: Ready) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
            ready.say(&listener.local_addr()?.to_string());
            loop {
                let (stream, _) = listener.accept().await.context("accepting")?;
                let config = server::Config { pending_response_buffer: CALLS_MAX };
                let channel = BaseChannel::new(config, framed(stream)?);
                let responses = channel.execute(Server.serve());
                tokio::spawn(responses.for_each(|response| async {
                    tokio::spawn(response);
                }));
            }
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await.context("connecting")?;
            let mut config = client::Config::default();
            config.max_in_flight_requests = CALLS_MAX;
            config.pending_request_buffer = CALLS_MAX;
            let client = EchoServiceClient::new(config, framed(stream)?).spawn();
            Ok(Box::new(client) as Box<dyn Load>)
        })
    }
}

type BincodeOverTcp<Item, SinkItem> = Framed<TcpStream, Item, SinkItem, Bincode<Item, SinkItem>>;

fn framed<Item, SinkItem>(stream: TcpStream) -> Result<BincodeOverTcp<Item, SinkItem>>
where
    Item: for<'de> Deserialize<'de>,
    SinkItem: Serialize,
{
    stream.set_nodelay(true)?;
    let frames = LengthDelimitedCodec::builder().new_framed(stream);
    Ok(serde_transport::new(frames, Bincode::default()))
}

#[tarpc::service]
trait EchoService {
    async fn echo(message: Echo) -> Echo;
    async fn blob(blob: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl EchoService for Server {
    async fn echo(self, _: Context, message: Echo) -> Echo {
        work::echo(message).await
    }

    async fn blob(self, _: Context, blob: Bytes) -> Bytes {
        blob
    }
}

impl Client for EchoServiceClient {
    async fn echo(&self, message: Echo) -> Result<Echo> {
        Ok(EchoServiceClient::echo(self, context::current(), message).await?)
    }

    async fn blob(&self, blob: Bytes) -> Result<Bytes> {
        Ok(EchoServiceClient::blob(self, context::current(), blob).await?)
    }
}
