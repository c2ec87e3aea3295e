//! The running programs of this user, found and asked: what a command line shows and orders.
//!
//! A program of several nodes has a directory with its parent's socket and its nodes'. A single process has a socket
//! without a file, whose name says whose it is; the kernel lists those. Both are proven by connecting, which also
//! checks that the same user runs them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use skybox_core::{CallErrorKind, Code, NodeName, Plan};
use skybox_node::{Address, AskError, Killed, NodeStatus, Operator, Restarted};

use crate::client::{Client, ClientError};
use crate::parent::{Done, GaveUp, Order};
use crate::runtime_dir::{self, PARENT_SOCKET};

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
    /// Its process: the parent's, if it has several nodes.
    pub pid: u32,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The directory of its parent.
    Directory(PathBuf),
    /// The socket of the only process.
    Process(Address),
    /// A node on any machine, and an operator's certificate for it.
    #[cfg(feature = "tls")]
    Remote(String, skybox_node::config::TlsFiles),
}

/// What a parent knows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The plan.
    pub plan: Plan,
    /// The nodes' processes.
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

/// Every running program of this user, by name and process.
pub fn running() -> Vec<Running> {
    let split = runtime_dir::running().into_iter().map(|(program, pid, directory)| Running {
        program,
        pid,
        place: Place::Directory(directory),
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
    let place = Place::Process(Address::Abstract(name.to_owned()));
    (flags & LISTENS != 0).then_some(Running { program: program.to_owned(), pid: pid.parse().ok()?, place })
}

impl Running {
    /// A node on any machine, for whoever has a certificate of an operator; which names the program.
    ///
    /// # Errors
    /// [`RunningError::Certificate`].
    #[cfg(feature = "tls")]
    pub fn at(address: &str, files: skybox_node::config::TlsFiles) -> Result<Running, RunningError> {
        let certificate = files.certificate.clone();
        let wrong = |why: String| RunningError::Certificate { certificate: certificate.clone(), why };
        let text = std::fs::read(&files.certificate).map_err(|error| wrong(error.to_string()))?;
        let uris = skybox_node::tls::uris_in(&text).map_err(wrong)?;
        let program = uris.iter().find_map(|uri| uri.strip_prefix("spiffe://")?.split('/').next());
        let program = program.ok_or_else(|| wrong("it has no spiffe:// URI".to_owned()))?.to_owned();
        Ok(Running { program, pid: 0, place: Place::Remote(address.to_owned(), files) })
    }

    /// Whether it has a parent and nodes, and is not a single process.
    pub fn is_split(&self) -> bool {
        matches!(self.place, Place::Directory(_))
    }

    /// Gives an order to its parent; resolves when it is done. A single process knows only [`Order::Stop`]: it is
    /// sent SIGTERM.
    ///
    /// # Errors
    /// [`RunningError`]; `Refused` with the parent's reason.
    pub async fn order(&self, order: &Order) -> Result<Done, RunningError> {
        #[cfg(feature = "tls")]
        if let Place::Remote(at, files) = &self.place {
            return self.order_remote(at, files, order).await;
        }
        let Place::Directory(directory) = &self.place else { return self.order_single(order) };
        match Client::at(directory.join(PARENT_SOCKET)).order(order).await? {
            Done::Refused(why) => Err(RunningError::Refused(why)),
            done => Ok(done),
        }
    }

    /// A node by hand knows no orders but one: to drain.
    #[cfg(feature = "tls")]
    async fn order_remote(
        &self,
        at: &str,
        files: &skybox_node::config::TlsFiles,
        order: &Order,
    ) -> Result<Done, RunningError> {
        let Order::Drain { node } = order else {
            return Err(RunningError::Remote { at: at.to_owned(), what: name_of(order) });
        };
        let failed = |source| RunningError::Node { node: node.clone(), source: Box::new(source) };
        let operator = remote(&self.program, at, files).await?;
        let status = operator.status().await.map_err(failed)?;
        if status.node != *node {
            return Err(RunningError::NoNode(format!("{} is at {at}, not {node}", status.node)));
        }
        operator.drain().await.map_err(failed)?;
        Ok(Done::Ok)
    }

    fn order_single(&self, order: &Order) -> Result<Done, RunningError> {
        let what = match order {
            Order::Stop => {
                let process = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
                let process = process.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound));
                let term =
                    |process| Ok(rustix::process::kill_process(process, rustix::process::Signal::TERM)?);
                let sent = process.and_then(term);
                return sent
                    .map(|()| Done::Ok)
                    .map_err(|source| RunningError::Signal { pid: self.pid, source });
            }
            other => name_of(other),
        };
        Err(RunningError::Single { program: self.program.clone(), pid: self.pid, what })
    }

    /// What its parent knows; `None` for a single process.
    ///
    /// # Errors
    /// [`RunningError`].
    pub async fn shown(&self) -> Result<Option<Shown>, RunningError> {
        if !self.is_split() {
            return Ok(None);
        }
        let who = || format!("the parent of {} (process {})", self.program, self.pid);
        let answer = tokio::time::timeout(STATUS_WAIT, self.order(&Order::Show)).await;
        match answer.map_err(|_| RunningError::Silent { who: who() })?? {
            Done::Shown { plan, processes, pins, listeners, gave_up, .. } => {
                Ok(Some(Shown { plan, processes, pins, listeners, gave_up }))
            }
            other => Err(RunningError::Refused(format!("{} answered {other:?}", who()))),
        }
    }

    /// What every living node runs and has counted, or why it does not say; by name.
    ///
    /// # Errors
    /// [`RunningError`] if the parent cannot be asked.
    pub async fn nodes(&self) -> Result<BTreeMap<NodeName, Result<NodeStatus, RunningError>>, RunningError> {
        #[cfg(feature = "tls")]
        if let Place::Remote(at, files) = &self.place {
            let asked = async {
                let operator = remote(&self.program, at, files).await?;
                operator.status().await.map_err(|source| at_node(at, source))
            };
            let silent = |_| RunningError::Silent { who: at.clone() };
            let status = tokio::time::timeout(STATUS_WAIT, asked).await.map_err(silent)??;
            return Ok(BTreeMap::from([(status.node.clone(), Ok(status))]));
        }
        let shown = self.shown().await?;
        let asked = self.addresses(shown.as_ref()).into_iter().map(|(node, address)| {
            let program = self.program.clone();
            let asked = tokio::spawn({
                let node = node.clone();
                async move { status(&program, node, &address).await }
            });
            (node, asked)
        });
        let asked: Vec<_> = asked.collect();
        let mut nodes = BTreeMap::new();
        for (node, asked) in asked {
            let silent = |_| RunningError::Silent { who: node.to_string() };
            let status = asked.await.map_err(silent).and_then(|status| status);
            nodes.insert(node, status);
        }
        Ok(nodes)
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
        let mut nodes = BTreeMap::new();
        for node in self.names().await? {
            let answer = match self.operator(Some(&node)).await {
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
        if self.is_split() && key.is_none() {
            self.order(&Order::TryAgain { module: module.to_owned() }).await?;
        }
        Ok(nodes)
    }

    /// Kills an instance, wherever it lives; says what came of it, and on which node. `None`: no node that answers has it.
    ///
    /// # Errors
    /// [`RunningError`]: of a node that could not be asked, if no other has it.
    pub async fn kill_instance(&self, instance: &str) -> Result<Option<(Killed, NodeName)>, RunningError> {
        let mut silent = None;
        for node in self.names().await? {
            let killed = async {
                let operator = self.operator(Some(&node)).await?;
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

    /// The names of its living nodes.
    async fn names(&self) -> Result<Vec<NodeName>, RunningError> {
        #[cfg(feature = "tls")]
        if let Place::Remote(at, _) = &self.place {
            return Ok(vec![NodeName::new(at)]);
        }
        Ok(self.addresses(self.shown().await?.as_ref()).into_keys().collect())
    }

    fn addresses(&self, shown: Option<&Shown>) -> BTreeMap<NodeName, Address> {
        match (&self.place, shown) {
            (Place::Process(address), _) => BTreeMap::from([(NodeName::new(ALONE), address.clone())]),
            #[cfg(feature = "tls")]
            (Place::Remote(..), _) => BTreeMap::new(),
            (Place::Directory(_), None) => BTreeMap::new(),
            // Whatever nodes say to each other, people of this user reach them here.
            (Place::Directory(directory), Some(shown)) => {
                let socket = |node: &NodeName| Address::Unix(directory.join(format!("{node}.sock")));
                shown.plan.nodes.keys().map(|node| (node.clone(), socket(node))).collect()
            }
        }
    }

    /// A connection to one of its nodes, the named one or the first that does not drain.
    ///
    /// # Errors
    /// [`RunningError`].
    pub async fn operator(&self, node: Option<&NodeName>) -> Result<Operator, RunningError> {
        #[cfg(feature = "tls")]
        if let Place::Remote(at, files) = &self.place {
            return remote(&self.program, at, files).await;
        }
        let shown = self.shown().await?;
        let mut addresses = self.addresses(shown.as_ref());
        if node.is_none()
            && let Some(shown) = &shown
        {
            addresses.retain(|name, _| shown.plan.nodes.get(name).is_some_and(|node| !node.draining));
        }
        let names: Vec<_> = addresses.keys().map(NodeName::to_string).collect();
        let found = match node {
            Some(node) => addresses.remove_entry(node).ok_or_else(|| {
                RunningError::NoNode(format!("there is no node `{node}`; there are {}", names.join(", ")))
            }),
            None => addresses.pop_first().ok_or_else(|| {
                RunningError::NoNode(format!(
                    "no node of {} (process {}) is there yet",
                    self.program, self.pid
                ))
            }),
        };
        let (node, address) = found?;
        let failed = |source| RunningError::Node { node, source: Box::new(source) };
        Operator::connect(&self.program, &address).await.map_err(failed)
    }
}

#[cfg(feature = "tls")]
async fn remote(
    program: &str,
    at: &str,
    files: &skybox_node::config::TlsFiles,
) -> Result<Operator, RunningError> {
    let connected = Operator::connect_tls(program, at, files.clone()).await;
    connected.map_err(|source| at_node(at, source))
}

#[cfg(feature = "tls")]
fn at_node(at: &str, source: AskError) -> RunningError {
    RunningError::Node { node: NodeName::new(at), source: Box::new(source) }
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
        Order::Kill { .. } => "kill",
        Order::Drain { .. } => "drain",
        Order::Show => "a plan",
        Order::Stop => "stop",
    }
}

async fn status(program: &str, node: NodeName, address: &Address) -> Result<NodeStatus, RunningError> {
    let asked = async { Operator::connect(program, address).await?.status().await };
    match tokio::time::timeout(STATUS_WAIT, asked).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(source)) => Err(RunningError::Node { node, source: Box::new(source) }),
        Err(_) => Err(RunningError::Silent { who: node.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_says_whose_it_is() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 51234 @skybox/1000/shop/4711";
        let found = parse_socket(line, 1000).expect("a listening socket of that user");
        assert_eq!((found.program.as_str(), found.pid, found.is_split()), ("shop", 4711, false));
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
