//! Opening connections to other nodes, and who may be found there.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use skybox_core::{Incarnation, NodeName};
use skybox_wire::handshake::{HandshakeError, Hello, Role};
use tokio::net::{TcpStream, UnixStream};

use super::open::{HANDSHAKE_WAIT, Opening, in_time};
use super::proof::Proof;
use super::socket::WriteHalf;
use super::{Conn, Kin};
use crate::app::AppInner;

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
    /// The peer ended the connection during the handshake.
    #[error(
        "the peer closed the connection during the handshake: its log may say why; if it is no node, check the address"
    )]
    Closed,
    /// This node has ended for its peers.
    #[error("this node leaves, and has answered its last call")]
    Leaving,
    /// The peer said nothing.
    #[error("the peer was silent for {HANDSHAKE_WAIT:?} during the handshake")]
    Silent,
    /// The peer is not who it should be, or refused.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// TLS does not let the two together.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] super::tls::TlsError),
    /// Another user's process listens there.
    #[error("the peer runs as user {theirs}, not as {ours}")]
    OtherUser {
        /// The peer's user id.
        theirs: u32,
        /// One's own.
        ours: u32,
    },
}

impl DialError {
    /// A name for each cause, so that a flood of one hides no other in the log.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            DialError::Connect { .. } => "connect",
            DialError::Broke(_) => "handshake-broke",
            DialError::Closed => "handshake-closed",
            DialError::Leaving => "leaving",
            DialError::Silent => "handshake-silent",
            DialError::Handshake(_) => "handshake",
            #[cfg(feature = "tls")]
            DialError::Tls(error) => error.cause(),
            DialError::OtherUser { .. } => "other-user",
        }
    }
}

/// Connects to another node and shakes hands. `expected`: which life of which node must be there.
pub(crate) async fn dial(
    app: &Arc<AppInner>,
    address: &Address,
    expected: Option<(NodeName, Option<Incarnation>)>,
) -> Result<Arc<Conn>, DialError> {
    let opening = Opening { expected, ..Opening::of(app) };
    match address {
        Address::Tcp(to) => {
            let dialling = async {
                let stream = connect_tcp(to).await?;
                #[cfg(feature = "tls")]
                if let Some(tls) = &app.tls {
                    let known = tls.connect(stream).await?;
                    return opening.shake_known(known).await;
                }
                let (read, write) = stream.into_split();
                opening.shake(Proof::Nothing, read, WriteHalf::Tcp(write)).await
            };
            in_time(dialling).await
        }
        _ => dial_unix(address, opening).await,
    }
}

/// Connects to a running node as an operator: a person's command line.
pub(crate) async fn dial_operator(address: &Address, hello: Hello) -> Result<Arc<Conn>, DialError> {
    debug_assert_eq!(hello.role, Role::Operator);
    let runtime = tokio::runtime::Handle::current();
    dial_unix(address, Opening { runtime, app: Weak::new(), ours: hello, expected: None, kin: Kin::Peer })
        .await
}

/// The same over TLS, from any machine.
#[cfg(feature = "tls")]
pub(crate) async fn dial_operator_tls(
    tls: &super::tls::Tls,
    address: &str,
    hello: Hello,
) -> Result<Arc<Conn>, DialError> {
    let runtime = tokio::runtime::Handle::current();
    let opening = Opening { runtime, app: Weak::new(), ours: hello, expected: None, kin: Kin::Peer };
    let dialling = async {
        let known = tls.connect(connect_tcp(address).await?).await?;
        opening.shake_known(known).await
    };
    in_time(dialling).await
}

async fn dial_unix(address: &Address, opening: Opening) -> Result<Arc<Conn>, DialError> {
    let failed = |source| DialError::Connect { address: address.to_string(), source };
    let stream = connect_unix(address).await.map_err(failed)?;
    check_user(&stream)?;
    let (read, write) = stream.into_split();
    in_time(opening.shake(Proof::SameUser, read, WriteHalf::Unix(write))).await
}

async fn connect_tcp(to: &str) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect { address: to.to_owned(), source };
    let stream = TcpStream::connect(to).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
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

/// Unix sockets are for processes of one user: the kernel says who is there.
pub(super) fn check_user(stream: &UnixStream) -> Result<u32, DialError> {
    let ours = rustix::process::geteuid().as_raw();
    let theirs = stream.peer_cred().map_err(DialError::Broke)?.uid();
    if theirs == ours || theirs == 0 { Ok(theirs) } else { Err(DialError::OtherUser { theirs, ours }) }
}
