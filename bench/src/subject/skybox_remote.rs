//! Skybox between two processes, over a Unix socket, and over TCP on the loopback interface without TLS and with.
//!
//! The serving process holds the parent as well; it plans once and is then idle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use skybox::cloud::parent::{Launch, NODE_ADDRESS, Parent, ParentConfig};
use skybox::{App, Handle, TlsFiles};

use super::{BoxFuture, Client, Load, RemoteSubject, Transport};
use crate::child::Ready;
use crate::work::{self, Echo};

/// Skybox over one kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkyboxRemote {
    /// A Unix socket.
    Unix,
    /// TCP without TLS.
    Tcp,
    /// TCP with mutual TLS.
    Tls,
}

impl SkyboxRemote {
    /// Joins a parent as a node that listens on this kind of socket.
    async fn join(self, parent: &str, name: &str) -> Result<App> {
        let builder = App::builder().join(parent, skybox::cloud::node_name(name));
        let builder = match self {
            SkyboxRemote::Unix => builder,
            SkyboxRemote::Tcp => builder.node_address(NODE_ADDRESS),
            SkyboxRemote::Tls => builder.node_address(NODE_ADDRESS).tls(files_of(parent, name)),
        };
        builder.start().await.with_context(|| format!("joining as {name}"))
    }
}

fn owned<V>((name, value): (&str, V)) -> (String, V) {
    (name.to_owned(), value)
}

/// The certificate that the parent has made for a guest.
fn files_of(parent: &str, name: &str) -> TlsFiles {
    let certs = Path::new(parent).with_file_name("certs");
    TlsFiles {
        authority: certs.join("authority.pem"),
        certificate: certs.join(format!("{name}.pem")),
        key: certs.join(format!("{name}.key")),
    }
}

impl RemoteSubject for SkyboxRemote {
    fn name(&self) -> &'static str {
        match self {
            SkyboxRemote::Unix => "skybox-unix",
            SkyboxRemote::Tcp => "skybox-tcp",
            SkyboxRemote::Tls => "skybox-tls",
        }
    }

    fn transport(&self) -> Transport {
        match self {
            SkyboxRemote::Unix => Transport::Unix,
            SkyboxRemote::Tcp | SkyboxRemote::Tls => Transport::Tcp,
        }
    }

    fn serve<'a>(&'a self, _address: &'a str, ready: Ready) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let launch = Launch { program: PathBuf::from("skybox-bench"), arguments: Vec::new() };
            let mut config = ParentConfig::new(launch, 0, Default::default());
            config.guests = ["server", "client"].map(skybox::cloud::node_name).to_vec();
            let server = || vec![skybox::cloud::node_name("server")];
            config.pins = BTreeMap::from([("echoer", server()), ("carrier", server())].map(owned));
            config.tcp = *self == SkyboxRemote::Tls;
            let guests = config.guests.clone();
            let parent = Parent::start(config).await?;
            for guest in guests {
                // Written where `files_of` finds them.
                parent.guest_tls(&guest)?;
            }
            let socket = parent.socket().to_string_lossy().into_owned();
            // The first plan waits for both nodes, so the address goes out before this one has joined.
            ready.say(&socket);
            let _app = self.join(&socket, "server").await?;
            std::future::pending().await
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>> {
        Box::pin(async move {
            let app = self.join(address, "client").await?;
            let (echoer, carrier) = (app.get::<Echoer>(), app.get::<Carrier>());
            // The connection is made by the first call.
            echoer.echo(Echo::sample(0)).await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
            Ok(Box::new(Caller { _app: app, echoer, carrier }) as Box<dyn Load>)
        })
    }
}

#[derive(Default)]
struct Echoer;

#[skybox::module]
impl Echoer {
    pub(crate) async fn echo(&self, message: Echo) -> skybox::Result<Echo> {
        Ok(work::echo(message).await)
    }
}

/// Apart from [`Echoer`]: calls of one module keep their order, so its small ones would wait for its large ones.
#[derive(Default)]
struct Carrier;

#[skybox::module]
impl Carrier {
    pub(crate) async fn blob(&self, blob: Bytes) -> skybox::Result<Bytes> {
        Ok(blob)
    }
}

#[derive(Clone)]
struct Caller {
    _app: App,
    echoer: Handle<Echoer>,
    carrier: Handle<Carrier>,
}

impl Client for Caller {
    async fn echo(&self, message: Echo) -> Result<Echo> {
        self.echoer.echo(message).await.map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    async fn blob(&self, blob: Bytes) -> Result<Bytes> {
        self.carrier.blob(blob).await.map_err(|error| anyhow::anyhow!("{error:#}"))
    }
}
