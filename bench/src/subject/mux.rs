//! The bar: a bare multiplexer that does nothing but carry calls.
//!
//! One connection; requests of all callers share it and are told apart by an id. What callers write
//! while the writer is busy leaves in one write, and the writer yields once before each, so that
//! callers that were woken together share it. The server runs the method where it read the
//! request. There are no deadlines, cancellation, back-pressure, tracing or error mapping: what a
//! runtime adds to this is the price of having them.

mod client;
mod frame;
mod server;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::tls::{self, Certificates};
use super::{BoxFuture, Client, Load, RemoteSubject, Transport};
use crate::child::Ready;
use crate::work::Echo;

/// The multiplexer over a Unix socket.
#[derive(Debug)]
pub(crate) struct MuxUnix;

impl RemoteSubject for MuxUnix {
    fn name(&self) -> &'static str {
        "mux-unix"
    }

    fn transport(&self) -> Transport {
        Transport::Unix
    }

    fn serve<'a>(&'a self, address: &'a str, ready: Ready) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let listener = UnixListener::bind(address).with_context(|| format!("listening on {address}"))?;
            ready.say(address);
            loop {
                let (stream, _) = listener.accept().await.context("accepting")?;
                let (reader, writer) = stream.into_split();
                tokio::spawn(server::serve(reader, writer));
            }
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>> {
        Box::pin(async move {
            let stream = UnixStream::connect(address).await.context("connecting")?;
            let (reader, writer) = stream.into_split();
            Ok(Box::new(client::Connection::start(reader, writer)) as Box<dyn Load>)
        })
    }
}

/// The multiplexer over TCP, without Nagle's delay.
#[derive(Debug)]
pub(crate) struct MuxTcp;

impl RemoteSubject for MuxTcp {
    fn name(&self) -> &'static str {
        "mux-tcp"
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
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                tokio::spawn(server::serve(reader, writer));
            }
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await.context("connecting")?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            Ok(Box::new(client::Connection::start(reader, writer)) as Box<dyn Load>)
        })
    }
}

/// The multiplexer over TCP with mutual TLS 1.3, by tokio-rustls.
#[derive(Debug)]
pub(crate) struct MuxTls;

impl RemoteSubject for MuxTls {
    fn name(&self) -> &'static str {
        "mux-tls"
    }

    fn transport(&self) -> Transport {
        Transport::Tcp
    }

    fn serve<'a>(&'a self, address: &'a str, ready: Ready) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let certificates = Certificates::make()?;
            let acceptor = certificates.acceptor()?;
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
            ready.say(&certificates.with(&listener.local_addr()?.to_string()));
            loop {
                let (stream, _) = listener.accept().await.context("accepting")?;
                stream.set_nodelay(true)?;
                let (reader, writer) = tokio::io::split(acceptor.accept(stream).await.context("TLS")?);
                tokio::spawn(server::serve(reader, writer));
            }
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>> {
        Box::pin(async move {
            let (certificates, address) = Certificates::of(address)?;
            let stream = TcpStream::connect(address).await.context("connecting")?;
            stream.set_nodelay(true)?;
            let stream =
                certificates.connector()?.connect(tls::server_name(), stream).await.context("TLS")?;
            let (reader, writer) = tokio::io::split(stream);
            Ok(Box::new(client::Connection::start(reader, writer)) as Box<dyn Load>)
        })
    }
}

impl Client for client::Connection {
    async fn echo(&self, message: Echo) -> Result<Echo> {
        self.call(frame::ECHO, |request| frame::encode(&message, request), |reply| frame::decode(reply)).await
    }

    async fn blob(&self, blob: Bytes) -> Result<Bytes> {
        let keep = |reply: &mut Vec<u8>| Ok(Bytes::from(std::mem::take(reply)));
        self.call(frame::BLOB, |request| request.extend_from_slice(&blob), keep).await
    }
}
