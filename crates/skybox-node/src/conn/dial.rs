//! Opening connections, from either side.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use skybox_core::{Incarnation, NodeName};
use skybox_wire::handshake::{Agreed, Handshake, HandshakeError, Hello, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Conn;
use super::writer::WriteHalf;
use crate::app::AppInner;

/// How long a peer may take for its handshake. It is one round trip; a silent one is closed after this.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// Connections that may be in their handshake at once; further ones wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 128;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A socket file.
    Unix(PathBuf),
    /// A name in Linux's abstract namespace: no file.
    Abstract(String),
    /// `host:port`.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
            Address::Tcp(address) => f.write_str(address),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Address, Self::Err> {
        Ok(match text.strip_prefix("unix:") {
            Some(name) => match name.strip_prefix('@') {
                Some(name) => Address::Abstract(name.to_owned()),
                None => Address::Unix(name.into()),
            },
            None => Address::Tcp(text.to_owned()),
        })
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody listens there, or the network says no.
    #[error("no connection to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke during the handshake.
    #[error("the connection broke during the handshake")]
    Broke(#[source] std::io::Error),
    /// The peer said nothing.
    #[error("the peer was silent for {HANDSHAKE_WAIT:?} during the handshake")]
    Silent,
    /// The peer is not who it should be, or refused.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Another user's process listens there.
    #[error("the peer runs as user {theirs}, not as {ours}")]
    OtherUser {
        /// The peer's user id.
        theirs: u32,
        /// One's own.
        ours: u32,
    },
}

/// A socket that takes connections of other nodes.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> std::io::Result<Listener> {
        Ok(match address {
            Address::Unix(path) => {
                // What a killed process left behind refuses every connection; a living one has its own name.
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => Listener::Unix(UnixListener::bind(path)?),
                }
            }
            Address::Abstract(name) => Listener::Unix(bind_abstract(name)?),
            Address::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
        })
    }

    /// Whether only this machine reaches it.
    pub(crate) fn is_private(&self) -> bool {
        match self {
            Listener::Unix(_) => true,
            Listener::Tcp(tcp) => tcp.local_addr().is_ok_and(|address| address.ip().is_loopback()),
        }
    }

    pub(crate) fn local_address(&self, asked: &Address) -> Address {
        match self {
            Listener::Tcp(tcp) => {
                tcp.local_addr().map_or_else(|_| asked.clone(), |at| Address::Tcp(at.to_string()))
            }
            Listener::Unix(_) => asked.clone(),
        }
    }
}

#[cfg(target_os = "linux")]
fn bind_abstract(name: &str) -> std::io::Result<UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

#[cfg(not(target_os = "linux"))]
fn bind_abstract(_name: &str) -> std::io::Result<UnixListener> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "this system has no abstract socket names"))
}

async fn connect_unix(address: &Address) -> std::io::Result<UnixStream> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await,
        #[cfg(target_os = "linux")]
        Address::Abstract(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        }
        _ => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

/// Connects to another node and shakes hands. `expected`: which life of which node must be there.
pub(crate) async fn dial(
    app: &Arc<AppInner>,
    address: &Address,
    expected: Option<(NodeName, Incarnation)>,
) -> Result<Arc<Conn>, DialError> {
    let failed = |source| DialError::Connect { address: address.to_string(), source };
    let weak = Arc::downgrade(app);
    match address {
        Address::Tcp(to) => {
            let stream = TcpStream::connect(to).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let (read, write) = stream.into_split();
            open(&app.runtime, weak, app.hello(Role::Node), expected, read, write, WriteHalf::Tcp).await
        }
        _ => {
            let stream = connect_unix(address).await.map_err(failed)?;
            check_user(&stream)?;
            let (read, write) = stream.into_split();
            open(&app.runtime, weak, app.hello(Role::Node), expected, read, write, WriteHalf::Unix).await
        }
    }
}

/// Connects to a running node as an operator: a person's command line.
pub(crate) async fn dial_operator(address: &Address, hello: Hello) -> Result<Arc<Conn>, DialError> {
    let failed = |source| DialError::Connect { address: address.to_string(), source };
    let stream = connect_unix(address).await.map_err(failed)?;
    check_user(&stream)?;
    let (read, write) = stream.into_split();
    open(&tokio::runtime::Handle::current(), Weak::new(), hello, None, read, write, WriteHalf::Unix).await
}

/// Takes connections until the App ends.
pub(crate) async fn accept_loop(app: Weak<AppInner>, listener: Listener) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = match &listener {
            Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
        };
        let Some(app) = app.upgrade() else { return };
        match accepted {
            Err(error) => {
                // Out of descriptors: those in use go on; give them a moment to end.
                crate::log_limit::warn("accept", &format!("a connection could not be taken: {error}"));
                drop(app);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(accepted) => {
                let runtime = app.runtime.clone();
                runtime.spawn(async move {
                    match welcome(&app, accepted).await {
                        Ok(conn) => app.links.accepted(&conn),
                        Err(error) => {
                            let error = skybox_core::TextChain::of(&error).joined();
                            crate::log_limit::warn(
                                "handshake",
                                &format!("a connection was refused: {error}"),
                            );
                        }
                    }
                    drop(place);
                });
            }
        }
    }
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

async fn welcome(app: &Arc<AppInner>, accepted: Accepted) -> Result<Arc<Conn>, DialError> {
    let (weak, hello) = (Arc::downgrade(app), app.hello(Role::Node));
    match accepted {
        Accepted::Unix(stream) => {
            check_user(&stream)?;
            let (read, write) = stream.into_split();
            open(&app.runtime, weak, hello, None, read, write, WriteHalf::Unix).await
        }
        Accepted::Tcp(stream) => {
            stream.set_nodelay(true).map_err(DialError::Broke)?;
            let (read, write) = stream.into_split();
            open(&app.runtime, weak, hello, None, read, write, WriteHalf::Tcp).await
        }
    }
}

/// Unix sockets are for processes of one user: the kernel says who is there.
fn check_user(stream: &UnixStream) -> Result<(), DialError> {
    let ours = rustix::process::geteuid().as_raw();
    let theirs = stream.peer_cred().map_err(DialError::Broke)?.uid();
    if theirs == ours || theirs == 0 { Ok(()) } else { Err(DialError::OtherUser { theirs, ours }) }
}

/// Shakes hands and starts the connection's tasks.
async fn open<R, W>(
    runtime: &tokio::runtime::Handle,
    app: Weak<AppInner>,
    ours: Hello,
    expected: Option<(NodeName, Incarnation)>,
    mut read: R,
    mut write: W,
    half: impl FnOnce(W) -> WriteHalf,
) -> Result<Arc<Conn>, DialError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut input = BytesMut::new();
    let shaking = shake(ours, expected, &mut read, &mut write, &mut input);
    let agreed = tokio::time::timeout(HANDSHAKE_WAIT, shaking).await.map_err(|_| DialError::Silent)??;
    let conn = Arc::new(Conn::new(app, agreed, half(write)));
    conn.start(runtime, read, input);
    Ok(conn)
}

async fn shake<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    ours: Hello,
    expected: Option<(NodeName, Incarnation)>,
    read: &mut R,
    write: &mut W,
    input: &mut BytesMut,
) -> Result<Agreed, DialError> {
    let mut output = BytesMut::new();
    let mut handshake = Handshake::new(ours, &mut output)?;
    if let Some((node, incarnation)) = expected {
        handshake = handshake.expecting(node, incarnation);
    }
    loop {
        write.write_all_buf(&mut output).await.map_err(DialError::Broke)?;
        if read.read_buf(input).await.map_err(DialError::Broke)? == 0 {
            return Err(DialError::Broke(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match handshake.feed(input, &mut output) {
            Ok(None) => {}
            Ok(Some(agreed)) => {
                write.write_all_buf(&mut output).await.map_err(DialError::Broke)?;
                return Ok(agreed);
            }
            Err(error) => {
                // The peer is told why, if it still listens.
                drop(write.write_all_buf(&mut output).await);
                drop(write.shutdown().await);
                return Err(error.into());
            }
        }
    }
}
