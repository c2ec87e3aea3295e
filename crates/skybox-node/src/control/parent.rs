//! The parent of one machine, seen from a node: one line of JSON for each message, over a Unix socket.
//!
//! A node opens one connection for its life (`Opening::Node`): its hello, that it is ready and how it is go up, where the
//! store is and the order to leave come down; its end is the parent's death. A listener's descriptor has a short connection of its own.
//! Everything else is between the node and the store.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_core::{Code, Incarnation, NodeName};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::{Leave, ModuleDecl, orphan};

/// Names the parent's socket in a node's environment.
pub const PARENT_ENV: &str = "SKYBOX_PARENT";
/// Names the node in its own environment.
pub const NODE_ENV: &str = "SKYBOX_NODE";
/// A line is a transaction of the store at most, or what a node says of a few hundred modules.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A node's first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Its name.
    pub node: NodeName,
    /// Its process.
    pub pid: u32,
    /// Which life.
    pub incarnation: Incarnation,
    /// The program.
    pub program: String,
    /// Where other nodes reach it.
    pub address: String,
    /// What it can run.
    pub modules: Vec<ModuleDecl>,
    /// How long the slowest `stop` of its modules may take, in milliseconds; zero without one.
    #[serde(default)]
    pub stop_wait_ms: u64,
}

/// The first line of a connection to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Opening {
    /// A node, for its life.
    Node(Box<Hello>),
    /// A node that wants a listener.
    Listener {
        /// Which node.
        node: NodeName,
        /// Which listener.
        name: String,
        /// The address it is bound to if nobody has bound it yet.
        address: String,
    },
    /// A person's command: `move`, `kill`, and what else the parent can do.
    Operate(serde_json::Value),
}

/// What the parent says to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromParent {
    /// It is one of this program.
    Welcome {
        /// The socket of the store by which the nodes agree.
        store: PathBuf,
        /// It runs what is pinned to it and nothing else.
        guest: bool,
    },
    /// Leave.
    Leave(Leave),
    /// A listener; its descriptor comes with this line.
    Listener,
    /// This node does not serve that listener.
    NotServed,
    /// It cannot be done, with the reason.
    Refused(String),
}

/// What a node says to the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNode {
    /// Its `start` has returned.
    Ready,
    /// How it is, for whoever plans.
    Report(serde_json::Value),
}

/// Why the parent could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The connection failed.
    #[error("the parent at {path} cannot be reached: it may have ended; start the program again")]
    Io {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said something else than it should.
    #[error("the parent answered {answer}, which this version does not understand")]
    Unexpected {
        /// What it said.
        answer: String,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// The store of the cloud.
    #[error("{why}")]
    Store {
        /// What is wrong.
        why: String,
        /// Whether what was asked may have been done.
        asked: bool,
    },
    /// A cell's link to its node.
    #[error("this cell cannot talk to its node: the node may have ended")]
    Cell {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Whoever was asked to ask could not.
    #[error("{0}")]
    Failed(skybox_core::CallErrorKind),
    /// A listener could not be bound.
    #[error(
        "cannot listen on {address} for `{name}`: choose another with `[listeners.{name}] address`, or end what listens there"
    )]
    Bind {
        /// The listener.
        name: String,
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A node's connection to its parent.
pub struct ParentLink {
    path: PathBuf,
    node: NodeName,
    store: PathBuf,
    guest: bool,
    leave: watch::Receiver<Option<Leave>>,
    ready: mpsc::Sender<()>,
    report: watch::Sender<serde_json::Value>,
}

impl ParentLink {
    /// Connects and says hello; resolves when the parent knows this node.
    ///
    /// # Errors
    /// [`ControlError`]: there is no parent, or it refuses this node.
    pub async fn connect(path: &Path, hello: Hello) -> Result<ParentLink, ControlError> {
        let io = |source| ControlError::Io { path: path.to_owned(), source };
        let node = hello.node.clone();
        let stream = UnixStream::connect(path).await.map_err(io)?;
        // A process that joins by itself, as a test does, is not the parent's to end.
        if std::env::var_os(PARENT_ENV).is_some() {
            orphan::ends_in_time(&stream).map_err(io)?;
        }
        let (read, mut write) = stream.into_split();
        write.write_all(&line(&Opening::Node(Box::new(hello)))).await.map_err(io)?;
        let mut lines = BufReader::new(read);
        let (store, guest) = match read_line::<FromParent>(&mut lines).await.map_err(io)? {
            FromParent::Welcome { store, guest } => (store, guest),
            FromParent::Refused(why) => return Err(ControlError::Refused(why)),
            other => return Err(ControlError::Unexpected { answer: format!("{other:?}") }),
        };
        let (leaves, leave) = watch::channel(None);
        let (ready, mut is_ready) = mpsc::channel(1);
        let (report, mut reports) = watch::channel(serde_json::Value::Null);
        tokio::spawn(async move {
            loop {
                // Of reports that a parent was too slow for, the newest is told.
                let said = tokio::select! {
                    biased;
                    Some(()) = is_ready.recv() => FromNode::Ready,
                    Ok(()) = reports.changed() => FromNode::Report(reports.borrow_and_update().clone()),
                    else => return,
                };
                // The reader notices when the parent is gone, and ends the node.
                if write.write_all(&line(&said)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let why = loop {
                match read_line::<FromParent>(&mut lines).await {
                    Ok(FromParent::Leave(leave)) => drop(leaves.send_replace(Some(leave))),
                    Ok(other) => break format!("it said {other:?}"),
                    Err(error) => break error.to_string(),
                }
            };
            // First, because a log on the parent's broken pipe can panic.
            let told = leaves.send_replace(Some(Leave::Orphaned)).is_some();
            // A node that was told to leave ends its side of the connection first.
            if !told {
                tracing::warn!(code = %Code::PARENT_GONE, "the parent is gone ({why}): this node ends");
            }
        });
        Ok(ParentLink { path: path.to_owned(), node, store, guest, leave, ready, report })
    }

    /// The socket of the store by which the nodes agree.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Whether this node runs what is pinned to it and nothing else.
    pub fn is_guest(&self) -> bool {
        self.guest
    }

    /// Told to leave: `Some` once it is.
    pub fn leaving(&self) -> watch::Receiver<Option<Leave>> {
        self.leave.clone()
    }

    /// Says that the node's `start` has returned.
    pub fn ready(&self) {
        // An error says that the parent is gone, or that it was said already.
        let _ = self.ready.try_send(());
    }

    /// Says how the node is, in place of what it has said before and has not been sent yet.
    pub fn report(&self, report: serde_json::Value) {
        self.report.send_replace(report);
    }

    /// A listener that was bound once for all nodes. `None`: this node does not serve it.
    ///
    /// # Errors
    /// [`ControlError`]: it cannot be bound, or the parent is gone.
    pub async fn listener(&self, name: &str, address: &str) -> Result<Option<TcpListener>, ControlError> {
        let (node, name, address) = (self.node.clone(), name.to_owned(), address.to_owned());
        let opening = line(&Opening::Listener { node, name, address });
        let path = self.path.clone();
        let asked = tokio::task::spawn_blocking(move || ask_listener(&path, &opening)).await;
        let io = |source| ControlError::Io { path: self.path.clone(), source };
        let (answer, descriptor) = asked.map_err(|e| io(std::io::Error::other(e)))?.map_err(io)?;
        match (answer, descriptor) {
            (FromParent::Listener, Some(descriptor)) => Ok(Some(TcpListener::from(descriptor))),
            (FromParent::NotServed, _) => Ok(None),
            (FromParent::Refused(why), _) => Err(ControlError::Refused(why)),
            (other, _) => Err(ControlError::Unexpected { answer: format!("{other:?}") }),
        }
    }
}

/// Asks for a listener; its descriptor comes beside the bytes of the answer.
fn ask_listener(path: &Path, opening: &[u8]) -> std::io::Result<(FromParent, Option<OwnedFd>)> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.write_all(opening)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 4096];
    let iov = &mut [std::io::IoSliceMut::new(&mut bytes)];
    let received = recvmsg(&stream, iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut text = bytes[..received.bytes].to_vec();
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            descriptor = descriptors.next();
        }
    }
    while !text.ends_with(b"\n") {
        let more = stream.read(&mut bytes)?;
        if more == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&bytes[..more]);
    }
    Ok((serde_json::from_slice(&text)?, descriptor))
}

/// A message as a line.
pub fn line<M: Serialize>(message: &M) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("control messages are plain data with text keys");
    line.push(b'\n');
    line
}

/// Reads one message.
///
/// # Errors
/// The connection's errors; `InvalidData` for a line that is too long or not a message, `UnexpectedEof` at its end.
pub async fn read_line<M: DeserializeOwned>(
    lines: &mut BufReader<impl tokio::io::AsyncRead + Unpin>,
) -> std::io::Result<M> {
    use tokio::io::AsyncReadExt;
    let mut text = Vec::new();
    lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut text).await?;
    if text.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&text)?)
}

impl std::fmt::Debug for ParentLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParentLink")
            .field("node", &self.node)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
