//! The parent of one machine, seen from a node: one line of JSON for each message, over a Unix socket.
//!
//! A node opens one connection for its life (`Opening::Node`): its hello and reports go up, plans and the order to
//! leave come down, and names are asked for and answered; its end is the parent's death. A turn for `once` and a
//! listener's descriptor have a short connection each.

mod asking;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_core::{Code, Incarnation, InstanceId, NodeName, Plan};
use skybox_plan::names::{NameAnswer, NameAsk};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use asking::{Asking, Ending};

use super::{Boxed, Control, Leave, ModuleDecl, OnceTurn, Report, orphan};

/// Names the parent's socket in a node's environment.
pub const PARENT_ENV: &str = "SKYBOX_PARENT";
/// Names the node in its own environment.
pub const NODE_ENV: &str = "SKYBOX_NODE";
/// Reports that may wait for the parent. A node has a few for each module.
const REPORTS_MAX: usize = 16 * 1024;
/// What one node may have asked about names and not have had answered: more wait in the node.
const NAME_ASKS_MAX: usize = 256;
/// The answers of that, and of the one message that tells of ends.
pub const NAME_ANSWERS_MAX: usize = NAME_ASKS_MAX + 1;
/// A line is a plan at most: a thousand shards for each of a few hundred modules.
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
    /// A node that wants to run something once.
    Once {
        /// Which node.
        node: NodeName,
        /// What.
        name: String,
    },
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
    /// The plan.
    Plan(Plan),
    /// Leave.
    Leave(Leave),
    /// Your turn.
    OnceRun,
    /// It has been done.
    OnceDone,
    /// It failed.
    OnceFailed(String),
    /// A listener; its descriptor comes with this line.
    Listener,
    /// This node does not serve that listener.
    NotServed,
    /// What was asked about names under this number.
    Name {
        /// The number.
        number: u64,
        /// The answer.
        answer: NameAnswer,
    },
    /// It cannot be done, with the reason.
    Refused(String),
}

/// What a node says to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromNode {
    /// Something happened.
    Report(Report),
    /// How a turn went.
    OnceEnded(Result<(), String>),
    /// It asks about names, under a number that it has not used before.
    Name {
        /// The number.
        number: u64,
        /// What.
        ask: NameAsk,
    },
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
    /// It has not answered in time.
    #[error(
        "the parent has not answered within {wait:?}, as if it were stopped or its machine overloaded: ask again later"
    )]
    Late {
        /// How long was waited.
        wait: Duration,
        /// Whether the question has left this node, so that it may be carried out still.
        asked: bool,
    },
    /// Too many wait for its answer.
    #[error(
        "{max} questions of this node wait for the parent already: it may be stopped, or its machine overloaded"
    )]
    Crowded {
        /// How many may.
        max: usize,
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
    plan: watch::Receiver<Arc<Plan>>,
    leave: watch::Receiver<Option<Leave>>,
    says: mpsc::Sender<FromNode>,
    asking: Arc<Asking>,
    ending: Ending,
}

impl ParentLink {
    /// Connects and says hello; resolves with the first plan.
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
        let first = match read_line::<FromParent>(&mut lines).await.map_err(io)? {
            FromParent::Plan(plan) => plan,
            FromParent::Refused(why) => return Err(ControlError::Refused(why)),
            other => return Err(ControlError::Unexpected { answer: format!("{other:?}") }),
        };
        let (plans, plan) = watch::channel(Arc::new(first));
        let (leaves, leave) = watch::channel(None);
        let (says, mut waiting) = mpsc::channel::<FromNode>(REPORTS_MAX);
        tokio::spawn(async move {
            while let Some(said) = waiting.recv().await {
                // The reader notices when the parent is gone, and ends the node.
                if write.write_all(&line(&said)).await.is_err() {
                    return;
                }
            }
        });
        let asking = Arc::new(Asking::new());
        let (ending, ends) = Ending::new();
        tokio::spawn(ends.tell(asking.clone(), says.clone()));
        let answers = asking.clone();
        tokio::spawn(async move {
            let why = loop {
                match read_line::<FromParent>(&mut lines).await {
                    Ok(FromParent::Plan(plan)) => drop(plans.send_replace(Arc::new(plan))),
                    Ok(FromParent::Leave(leave)) => drop(leaves.send_replace(Some(leave))),
                    Ok(FromParent::Name { number, answer }) => answers.answered(number, answer),
                    Ok(other) => break format!("it said {other:?}"),
                    Err(error) => break error.to_string(),
                }
            };
            answers.end();
            // First, because a log on the parent's broken pipe can panic.
            let told = leaves.send_replace(Some(Leave::Orphaned)).is_some();
            // A node that was told to leave ends its side of the connection first.
            if !told {
                tracing::warn!(code = %Code::PARENT_GONE, "the parent is gone ({why}): this node ends");
            }
        });
        Ok(ParentLink { path: path.to_owned(), node, plan, leave, says, asking, ending })
    }

    fn io(&self, source: std::io::Error) -> ControlError {
        ControlError::Io { path: self.path.clone(), source }
    }
}

impl Control for ParentLink {
    fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.clone()
    }

    fn leaving(&self) -> watch::Receiver<Option<Leave>> {
        self.leave.clone()
    }

    fn places_anew(&self) -> bool {
        true
    }

    fn report(&self, report: Report) {
        if let Err(mpsc::error::TrySendError::Full(report)) = self.says.try_send(FromNode::Report(report)) {
            tracing::error!(?report, "the parent does not read: a report is lost");
        }
    }

    fn names(&self, ask: NameAsk) -> Boxed<'_, Result<NameAnswer, ControlError>> {
        Box::pin(async {
            let answer = self.asking.ask(&self.says, ask).await;
            answer.map_err(|why| why.error(|| self.io(std::io::ErrorKind::UnexpectedEof.into())))
        })
    }

    fn ended(&self, instance: InstanceId) -> Boxed<'_, Result<(), ControlError>> {
        Box::pin(async move {
            let told = self.ending.ended(instance).await;
            told.ok_or_else(|| self.io(std::io::ErrorKind::UnexpectedEof.into()))
        })
    }

    fn once(&self, name: &str) -> Boxed<'_, Result<OnceTurn, ControlError>> {
        let opening = line(&Opening::Once { node: self.node.clone(), name: name.to_owned() });
        Box::pin(async move {
            let mut stream = UnixStream::connect(&self.path).await.map_err(|e| self.io(e))?;
            stream.write_all(&opening).await.map_err(|e| self.io(e))?;
            let mut lines = BufReader::new(stream);
            match read_line::<FromParent>(&mut lines).await.map_err(|e| self.io(e))? {
                FromParent::OnceDone => Ok(OnceTurn::Done),
                FromParent::OnceFailed(why) => Ok(OnceTurn::Failed(why)),
                FromParent::OnceRun => Ok(OnceTurn::Run(Box::new(move |outcome| {
                    Box::pin(async move {
                        let ended = line(&FromNode::OnceEnded(outcome));
                        if let Err(error) = lines.get_mut().write_all(&ended).await {
                            tracing::warn!("the parent did not hear how a `once` went: {error}");
                        }
                    })
                }))),
                other => Err(ControlError::Unexpected { answer: format!("{other:?}") }),
            }
        })
    }

    fn listener(&self, name: &str, address: &str) -> Boxed<'_, Result<Option<TcpListener>, ControlError>> {
        let (node, name, address) = (self.node.clone(), name.to_owned(), address.to_owned());
        let opening = line(&Opening::Listener { node, name, address });
        let path = self.path.clone();
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || ask_listener(&path, &opening)).await;
            let (answer, descriptor) =
                asked.map_err(|e| self.io(std::io::Error::other(e)))?.map_err(|e| self.io(e))?;
            match (answer, descriptor) {
                (FromParent::Listener, Some(descriptor)) => Ok(Some(TcpListener::from(descriptor))),
                (FromParent::NotServed, _) => Ok(None),
                (FromParent::Refused(why), _) => Err(ControlError::Refused(why)),
                (other, _) => Err(ControlError::Unexpected { answer: format!("{other:?}") }),
            }
        })
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
