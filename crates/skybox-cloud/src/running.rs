//! The running programs of this user, found and asked: what a command line shows and orders.
//!
//! A program of several nodes has a directory with its parent's socket and its nodes'. A process without a parent has a
//! socket without a file, whose name says whose it is; the kernel lists those. Both are proven by connecting, which also
//! checks that the same user runs them.
//!
//! Such a process may be a node of a cloud. Any of those knows the plan of all, and so where the others are
//! (`running/sight.rs`); several of one cloud on this machine are one program (`running/clouds.rs`).

mod clouds;
mod sight;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use skybox_core::{CallErrorKind, Code, NodeName, Plan};
use skybox_node::config::TlsFiles;
use skybox_node::{Address, AskError, Killed, NodeStatus, Operator, Restarted};

use crate::client::{Client, ClientError};
use crate::parent::{Done, GaveUp, Order};
use crate::runtime_dir::{self, PARENT_SOCKET};
pub use clouds::together;
use sight::Sight;

/// How long a program may take to say what it runs. It is a few messages on this machine; a process that was
/// stopped or whose runtime hangs says nothing.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// The name of the only node of a single process.
pub const ALONE: &str = "alone";

/// A running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub program: String,
    /// Its process: the parent's, if it has one; of several nodes of a cloud the lowest; zero on other machines.
    pub pid: u32,
    place: Place,
    /// An operator's certificate, for nodes on other machines.
    files: Option<TlsFiles>,
}

/// What nodes have said of themselves, or why they have not.
pub type Statuses = BTreeMap<NodeName, Result<NodeStatus, RunningError>>;

/// A process without a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    socket: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The directory of its parent.
    Directory(PathBuf),
    /// Processes without a parent: one, or nodes of one cloud.
    Processes(Vec<Process>),
    /// A node on any machine.
    #[cfg(feature = "tls")]
    Remote(String),
}

/// What a parent knows, or a cloud.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whether the nodes agree through a store, and have no parent.
    pub cloud: bool,
    /// Why the cloud's store did not say what it has, if it did not: then the plan is empty.
    pub trouble: Option<String>,
    /// The node that leads the cloud, if one does.
    pub leader: Option<NodeName>,
    /// Nodes of the cloud that are held back: lost too many at once to be believed.
    pub degraded: Vec<NodeName>,
    /// Nodes of the cloud that most others do not reach: they hand over what they have.
    pub unreached: Vec<NodeName>,
    /// The plan.
    pub plan: Plan,
    /// The nodes' processes, where a parent has started them.
    pub processes: BTreeMap<NodeName, u32>,
    /// Where people have said that modules belong.
    pub pins: BTreeMap<String, Vec<NodeName>>,
    /// Where each listener is bound.
    pub listeners: BTreeMap<String, SocketAddr>,
    /// The modules that living nodes gave up, in the order in which they did.
    pub gave_up: BTreeMap<String, Vec<GaveUp>>,
}

/// Why a program could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunningError {
    /// Its parent.
    #[error(transparent)]
    Parent(#[from] ClientError),
    /// Its parent said no.
    #[error("{0}")]
    Refused(String),
    /// One of its nodes.
    #[error("{node} could not be asked")]
    Node {
        /// Which node.
        node: NodeName,
        /// Why.
        source: Box<AskError>,
    },
    /// A node or the parent took too long.
    #[error("{who} has said nothing for {STATUS_WAIT:?}: it may be stopped, or its runtime hangs")]
    Silent {
        /// Who.
        who: String,
    },
    /// An operator's certificate.
    #[cfg(feature = "tls")]
    #[error("{} cannot be used: {why}", certificate.display())]
    Certificate {
        /// Its file.
        certificate: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A node somewhere else was ordered what only a parent can do.
    #[cfg(feature = "tls")]
    #[error("the node at {at} can be asked and drained; {what} is its machine's business")]
    Remote {
        /// Where it is.
        at: String,
        /// What was ordered.
        what: &'static str,
    },
    /// Several nodes are needed.
    #[error(
        "{program} (process {pid}) is a single process: {what} needs nodes; start it with `skybox run --nodes 3`"
    )]
    Single {
        /// The program.
        program: String,
        /// Its process.
        pid: u32,
        /// What was ordered.
        what: &'static str,
    },
    /// A node of a cloud that nobody here can ask.
    #[error(
        "{node} at {address} was not asked: it is no process of yours on this machine that answers, and one on another machine \
         needs an operator's certificate, `--identity`"
    )]
    NotHere {
        /// Which node.
        node: NodeName,
        /// Where the plan has it.
        address: String,
    },
    /// No such node, or none that lives.
    #[error("{0}")]
    NoNode(String),
    /// A signal could not be sent.
    #[error("process {pid} could not be told to end")]
    Signal {
        /// The process.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
}

impl RunningError {
    /// Its stable code.
    pub fn code(&self) -> Code {
        match self {
            RunningError::Refused(_) | RunningError::Single { .. } => Code::ORDER_REFUSED,
            #[cfg(feature = "tls")]
            RunningError::Remote { .. } => Code::ORDER_REFUSED,
            _ => Code::NOT_ASKED,
        }
    }
}

/// Every running program of this user, by name and process. Nodes of one cloud are one program each: [`together`].
pub fn running() -> Vec<Running> {
    let split = runtime_dir::running().into_iter().map(|(program, pid, directory)| Running {
        program,
        pid,
        place: Place::Directory(directory),
        files: None,
    });
    let mut all: Vec<Running> = split.chain(single()).collect();
    all.sort_by(|a, b| (&a.program, a.pid).cmp(&(&b.program, b.pid)));
    all
}

/// Single processes: their sockets are in the kernel's list.
fn single() -> Vec<Running> {
    // Without /proc there are no sockets without files either.
    let list = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let user = rustix::process::geteuid().as_raw();
    list.lines().filter_map(|line| parse_socket(line, user)).collect()
}

/// A line of `/proc/net/unix`, if it is the listening socket of a program of that user.
fn parse_socket(line: &str, user: u32) -> Option<Running> {
    /// Set on sockets that listen; those that were accepted have the same name.
    const LISTENS: u32 = 1 << 16;
    let mut fields = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let (_, name) = line.split_once('@')?;
    let (program, pid) = name.strip_prefix(&format!("skybox/{user}/"))?.rsplit_once('/')?;
    let pid = pid.parse().ok()?;
    let place = Place::Processes(vec![Process { pid, socket: Address::Abstract(name.to_owned()) }]);
    (flags & LISTENS != 0).then_some(Running { program: program.to_owned(), pid, place, files: None })
}

impl Running {
    /// A node on any machine, for whoever has a certificate of an operator; which names the program.
    ///
    /// # Errors
    /// [`RunningError::Certificate`].
    #[cfg(feature = "tls")]
    pub fn at(address: &str, files: TlsFiles) -> Result<Running, RunningError> {
        let certificate = files.certificate.clone();
        let wrong = |why: String| RunningError::Certificate { certificate: certificate.clone(), why };
        let text = std::fs::read(&files.certificate).map_err(|error| wrong(error.to_string()))?;
        let uris = skybox_node::tls::uris_in(&text).map_err(wrong)?;
        let program = uris.iter().find_map(|uri| uri.strip_prefix("spiffe://")?.split('/').next());
        let program = program.ok_or_else(|| wrong("it has no spiffe:// URI".to_owned()))?.to_owned();
        Ok(Running { program, pid: 0, place: Place::Remote(address.to_owned()), files: Some(files) })
    }

    /// The same, asked with an operator's certificate where nodes of its cloud are on other machines.
    #[cfg(feature = "tls")]
    pub fn with_certificate(self, files: TlsFiles) -> Running {
        Running { files: Some(files), ..self }
    }

    /// Whether it has a parent, which starts its nodes and ends them.
    pub fn has_parent(&self) -> bool {
        matches!(self.place, Place::Directory(_))
    }

    /// Its processes: the parent's, or those on this machine that are known to be of it.
    pub fn pids(&self) -> Vec<u32> {
        match &self.place {
            Place::Processes(here) => here.iter().map(|process| process.pid).collect(),
            _ => vec![self.pid],
        }
    }

    /// Gives an order to its parent, or to a node of its cloud; resolves when it is done. [`Order::Drain`] of a node of a
    /// cloud resolves when that has begun. A single process knows only [`Order::Stop`]: it is sent SIGTERM.
    ///
    /// # Errors
    /// [`RunningError`]; `Refused` with the reason of whoever was asked.
    pub async fn order(&self, order: &Order) -> Result<Done, RunningError> {
        let Place::Directory(directory) = &self.place else {
            return self.sight().await?.order(self, order).await;
        };
        match Client::at(directory.join(PARENT_SOCKET)).order(order).await? {
            Done::Refused(why) => Err(RunningError::Refused(why)),
            done => Ok(done),
        }
    }

    /// What its parent or its cloud knows; `None` for a single process.
    ///
    /// # Errors
    /// [`RunningError`].
    pub async fn shown(&self) -> Result<Option<Shown>, RunningError> {
        Ok(self.sight().await?.into_shown())
    }

    /// What every living node runs and has counted, or why it does not say; by name.
    ///
    /// # Errors
    /// [`RunningError`] if nobody can be asked which there are.
    pub async fn nodes(&self) -> Result<Statuses, RunningError> {
        Ok(self.look().await?.1)
    }

    /// Both of these, asked together.
    ///
    /// # Errors
    /// As those of [`nodes`](Running::nodes).
    pub async fn look(&self) -> Result<(Option<Shown>, Statuses), RunningError> {
        let mut sight = self.sight().await?;
        let statuses = sight.statuses().await;
        Ok((sight.into_shown(), statuses))
    }

    /// Has every node that runs a module start it anew, one node after the other, or the owner of a key that key; says
    /// what became of it on each.
    ///
    /// # Errors
    /// [`RunningError`]: `Refused` if there is no such module or key; what one node did not answer is beside its name.
    pub async fn restart(
        &self,
        module: &str,
        key: Option<&str>,
    ) -> Result<BTreeMap<NodeName, Result<Restarted, RunningError>>, RunningError> {
        let sight = self.sight().await?;
        let mut nodes = BTreeMap::new();
        for node in sight.nodes_with(module) {
            let answer = match sight.operator_of(&node).await {
                Ok(operator) => {
                    operator.restart(module, key).await.map_err(|error| told(node.clone(), error))
                }
                Err(error) => Err(error),
            };
            if let Err(refused @ RunningError::Refused(_)) = answer {
                return Err(refused);
            }
            nodes.insert(node, answer);
        }
        // Nodes where it is not any more may have given it up before, and were not asked to start it.
        if sight.is_planned() && key.is_none() {
            self.order(&Order::TryAgain { module: module.to_owned() }).await?;
        }
        Ok(nodes)
    }

    /// Kills an instance, wherever it lives; says what came of it, and on which node. `None`: no node that answers has it.
    ///
    /// # Errors
    /// [`RunningError`]: of a node that could not be asked, if no other has it.
    pub async fn kill_instance(&self, instance: &str) -> Result<Option<(Killed, NodeName)>, RunningError> {
        let sight = self.sight().await?;
        let mut silent = None;
        for node in sight.nodes() {
            let killed = async {
                let operator = sight.operator_of(&node).await?;
                operator.kill(instance).await.map_err(|error| told(node.clone(), error))
            };
            match killed.await {
                Ok(Some(killed)) => return Ok(Some((killed, node))),
                Ok(None) => {}
                Err(refused @ RunningError::Refused(_)) => return Err(refused),
                Err(error) => silent = Some(error),
            }
        }
        silent.map_or(Ok(None), Err)
    }

    /// A connection to one of its nodes, the named one or the first that does not drain.
    ///
    /// # Errors
    /// [`RunningError`].
    pub async fn operator(&self, node: Option<&NodeName>) -> Result<Operator, RunningError> {
        self.sight().await?.operator(self, node).await
    }

    async fn sight(&self) -> Result<Sight, RunningError> {
        match &self.place {
            Place::Directory(directory) => Sight::of_parent(self, directory).await,
            Place::Processes(here) => Ok(Sight::of_processes(self, here).await),
            #[cfg(feature = "tls")]
            Place::Remote(at) => Sight::of_remote(self, at).await,
        }
    }

    /// Sends SIGTERM to its only process.
    fn terminate(&self) -> Result<Done, RunningError> {
        signal(self.pid, rustix::process::Signal::TERM)
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) -> Result<Done, RunningError> {
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let process = process.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound));
    let send = |process| Ok(rustix::process::kill_process(process, signal)?);
    process.and_then(send).map(|()| Done::Ok).map_err(|source| RunningError::Signal { pid, source })
}

/// What a node has said to an order.
fn told(node: NodeName, error: AskError) -> RunningError {
    match &error {
        AskError::Call(call) => match call.kind() {
            CallErrorKind::Mismatch { why } => RunningError::Refused(why.clone()),
            _ => RunningError::Node { node, source: Box::new(error) },
        },
        _ => RunningError::Node { node, source: Box::new(error) },
    }
}

/// An order, as messages name it.
fn name_of(order: &Order) -> &'static str {
    match order {
        Order::Move { .. } => "move",
        Order::TryAgain { .. } => "restart",
        Order::GoOn => "go-on",
        Order::Scale { .. } => "scale",
        Order::Cordon { .. } => "cordon",
        Order::Freeze { .. } => "freeze",
        Order::Explain { .. } => "explain",
        Order::History {} => "history",
        Order::Undo { .. } => "undo",
        Order::TryOut { .. } => "plan",
        Order::Kill { .. } => "kill",
        Order::Drain { .. } => "drain",
        Order::Show => "a plan",
        Order::Stop => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_says_whose_it_is() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 51234 @skybox/1000/shop/4711";
        let found = parse_socket(line, 1000).expect("a listening socket of that user");
        assert_eq!((found.program.as_str(), found.pid, found.has_parent()), ("shop", 4711, false));
        assert_eq!(parse_socket(line, 1001), None);
        assert_eq!(parse_socket(&line.replace("00010000", "00000000"), 1000), None, "an accepted connection");
        for other in [
            "Num       RefCount Protocol Flags    Type St Inode Path",
            "",
            "0: 2 0 00010000 1 1 5 /run/x.sock",
        ] {
            assert_eq!(parse_socket(other, 1000), None, "{other}");
        }
    }
}
