//! tonic (gRPC over HTTP/2), with what its code generator would write, written by hand.
//!
//! Changed from its defaults: no Nagle delay, as many streams as calls are measured at once, and
//! windows that one blob does not fill.

use std::convert::Infallible;
use std::future::{Ready as ReadyNow, ready};
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::tls::{self, Certificates};
use super::{BoxFuture, Client, Load, RemoteSubject, Transport};
use crate::child::Ready;
use crate::work::{self, Echo};

const ECHO_PATH: &str = "/bench.Echo/Echo";
const BLOB_PATH: &str = "/bench.Echo/Blob";

/// Streams of a connection, and requests that wait for it; more than are measured.
const CALLS_MAX: u32 = 4_096;

/// Flow-control windows: a stream's holds some blobs, a connection's all that are in flight.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// tonic 0.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tonic {
    /// Over TCP.
    Plain,
    /// Over TCP with mutual TLS.
    Tls,
}

impl RemoteSubject for Tonic {
    fn name(&self) -> &'static str {
        match self {
            Tonic::Plain => "tonic",
            Tonic::Tls => "tonic-tls",
        }
    }

    fn transport(&self) -> Transport {
        Transport::Tcp
    }

    fn serve<'a>(&'a self, address: &'a str, ready: Ready) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let address = address.parse().with_context(|| format!("{address:?} is no address"))?;
            let incoming = TcpIncoming::bind(address).with_context(|| format!("listening on {address}"))?;
            let at = incoming.local_addr()?.to_string();
            let mut server = tonic::transport::Server::builder();
            let mut certificates = None;
            if *self == Tonic::Tls {
                let made = Certificates::make()?;
                let tls = ServerTlsConfig::new().identity(made.identity()).client_ca_root(made.authority());
                server = server.tls_config(tls)?;
                certificates = Some(made);
            }
            ready.say(&certificates.as_ref().map_or(at.clone(), |made| made.with(&at)));
            server
                .max_concurrent_streams(CALLS_MAX)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .add_service(EchoServer)
                .serve_with_incoming(incoming.with_nodelay(Some(true)))
                .await
                .context("serving")
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>> {
        Box::pin(async move {
            let endpoint = match self {
                Tonic::Plain => Endpoint::from_shared(format!("http://{address}"))?,
                Tonic::Tls => {
                    let (certificates, address) = Certificates::of(address)?;
                    let tls = ClientTlsConfig::new()
                        .identity(certificates.identity())
                        .ca_certificate(certificates.authority())
                        .domain_name(tls::NAME);
                    Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?
                }
            };
            let channel = endpoint
                .tcp_nodelay(true)
                .buffer_size(CALLS_MAX as usize)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .connect()
                .await
                .context("connecting")?;
            Ok(Box::new(EchoClient { channel }) as Box<dyn Load>)
        })
    }
}

/// [`Echo`] as Protocol Buffers know it.
#[derive(Clone, PartialEq, prost::Message)]
struct EchoMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint32, repeated, tag = "3")]
    tags: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BlobMessage {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

impl From<Echo> for EchoMessage {
    fn from(Echo { id, name, tags }: Echo) -> Self {
        Self { id, name, tags: tags.to_vec() }
    }
}

impl TryFrom<EchoMessage> for Echo {
    type Error = anyhow::Error;

    fn try_from(EchoMessage { id, name, tags }: EchoMessage) -> Result<Self> {
        ensure!(tags.len() == 8, "{} tags instead of eight", tags.len());
        let mut eight = [0; 8];
        eight.copy_from_slice(&tags);
        Ok(Self { id, name, tags: eight })
    }
}

#[derive(Clone, Debug)]
struct EchoClient {
    channel: Channel,
}

impl EchoClient {
    async fn unary<M>(&self, path: &'static str, message: M) -> Result<M>
    where
        M: prost::Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.context("waiting for the connection")?;
        let path = http::uri::PathAndQuery::from_static(path);
        let response = grpc.unary(Request::new(message), path, ProstCodec::<M, M>::default()).await?;
        Ok(response.into_inner())
    }
}

impl Client for EchoClient {
    async fn echo(&self, message: Echo) -> Result<Echo> {
        self.unary(ECHO_PATH, EchoMessage::from(message)).await?.try_into()
    }

    async fn blob(&self, blob: Bytes) -> Result<Bytes> {
        Ok(self.unary(BLOB_PATH, BlobMessage { bytes: blob }).await?.bytes)
    }
}

/// The service as the router sees it.
#[derive(Clone, Debug)]
struct EchoServer;

impl NamedService for EchoServer {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for EchoServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            ECHO_PATH => Box::pin(async move {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::<EchoMessage, EchoMessage>::default());
                Ok(grpc.unary(EchoMethod, request).await)
            }),
            BLOB_PATH => Box::pin(async move {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::<BlobMessage, BlobMessage>::default());
                Ok(grpc.unary(BlobMethod, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

struct EchoMethod;

impl UnaryService<EchoMessage> for EchoMethod {
    type Response = EchoMessage;
    type Future = BoxFuture<'static, Result<Response<EchoMessage>, Status>>;

    fn call(&mut self, request: Request<EchoMessage>) -> Self::Future {
        Box::pin(async move {
            let message = request.into_inner().try_into();
            let message: Echo = message.map_err(|error| Status::invalid_argument(format!("{error:#}")))?;
            Ok(Response::new(work::echo(message).await.into()))
        })
    }
}

struct BlobMethod;

impl UnaryService<BlobMessage> for BlobMethod {
    type Response = BlobMessage;
    type Future = ReadyNow<Result<Response<BlobMessage>, Status>>;

    fn call(&mut self, request: Request<BlobMessage>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}
