//! Taking the connections of other nodes and of operators.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Conn;
use super::dial::{Address, DialError, check_user};
use super::open::{Opening, in_time};
use super::proof::Proof;
use super::socket::WriteHalf;
use crate::app::AppInner;

/// Connections of this machine that may be in their handshake at once; further ones wait in the kernel's queue. Over TCP
/// nobody waits: see [`handshakes`](super::handshakes).
const LOCAL_MAX: usize = 128;

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

    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from)),
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

/// Takes connections until the App ends.
pub(crate) async fn accept_loop(app: Weak<AppInner>, listener: Listener) {
    let local = Arc::new(Semaphore::new(LOCAL_MAX));
    loop {
        let waiting = match listener {
            Listener::Unix(_) => local.clone().acquire_owned().await.ok(),
            Listener::Tcp(_) => None,
        };
        let accepted = listener.accept().await;
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
                match accepted.from() {
                    None => drop(runtime.spawn(async move {
                        finish(&app, None, in_time(welcome(&app, accepted)).await);
                        drop(waiting);
                    })),
                    Some(from) => {
                        // Without a place it is closed here.
                        let Some(place) = app.handshakes.begin(from.ip()) else { continue };
                        runtime.spawn(async move {
                            let opened = place.keeping(welcome(&app, accepted)).await;
                            if let Some(opened) = opened {
                                app.handshakes.ended(&opened);
                                finish(&app, Some(from), opened);
                            }
                        });
                    }
                }
            }
        }
    }
}

fn finish(app: &AppInner, from: Option<SocketAddr>, opened: Result<Arc<Conn>, DialError>) {
    match opened {
        Ok(conn) => app.links.accepted(&conn),
        Err(DialError::Leaving) => {}
        Err(error) => {
            let why = skybox_core::TextChain::of(&error).joined();
            let from = from.map_or_else(String::new, |from| format!(" from {from}"));
            crate::log_limit::warn(error.cause(), &format!("a connection{from} was refused: {why}"));
        }
    }
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Accepted {
    /// Where it comes from, if that says anything.
    fn from(&self) -> Option<SocketAddr> {
        match self {
            Accepted::Unix(_) => None,
            Accepted::Tcp(_, from) => Some(*from),
        }
    }
}

async fn welcome(app: &Arc<AppInner>, accepted: Accepted) -> Result<Arc<Conn>, DialError> {
    let Some(_arriving) = app.links.arrives() else { return Err(DialError::Leaving) };
    let opening = Opening::of(app);
    match accepted {
        Accepted::Unix(stream) => {
            let user = check_user(&stream)?;
            let (read, write) = stream.into_split();
            opening.shake(Proof::User(user), read, WriteHalf::Unix(write)).await
        }
        Accepted::Tcp(stream, _) => {
            stream.set_nodelay(true).map_err(DialError::Broke)?;
            #[cfg(feature = "tls")]
            if let Some(tls) = &app.tls {
                let known = tls.accept(stream).await?;
                return opening.shake_known(known).await;
            }
            let (read, write) = stream.into_split();
            opening.shake(Proof::Nothing, read, WriteHalf::Tcp(write)).await
        }
    }
}
