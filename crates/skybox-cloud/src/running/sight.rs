//! A program as it is at this moment: what is planned, which nodes there are, and how each is reached.

use std::collections::BTreeMap;
use std::path::Path;

use skybox_core::{CallErrorKind, ModulePlan, NodeName, Plan, TextChain};
#[cfg(feature = "tls")]
use skybox_node::config::TlsFiles;
use skybox_node::{Address, AskError, NodeStatus, Operator};
use tokio::time::timeout;

use super::{ALONE, Process, Running, RunningError, STATUS_WAIT, Shown, Statuses, name_of, signal, told};
use crate::client::Client;
use crate::parent::{Done, Order};
use crate::runtime_dir::PARENT_SOCKET;

/// How a node is reached.
#[derive(Clone, Debug)]
enum Way {
    /// At its socket on this machine; which process it is, if it has no parent.
    Socket(Address, Option<u32>),
    /// Over TLS.
    #[cfg(feature = "tls")]
    Tls(String, TlsFiles),
    /// Not: it is at this address, and nobody has given a certificate.
    Closed(String),
}

/// A program as it is at this moment.
pub(super) struct Sight {
    program: String,
    shown: Option<Shown>,
    ways: BTreeMap<NodeName, Way>,
    /// What nodes have said already.
    said: Statuses,
    /// The node that was asked for the plan.
    reached: Option<NodeName>,
}

impl Shown {
    /// What whoever plans has answered.
    fn of(done: Done, cloud: bool) -> Result<Shown, String> {
        match done {
            Done::Shown { plan, processes, pins, listeners, gave_up, leader, degraded, unreached } => {
                Ok(Shown {
                    cloud,
                    trouble: None,
                    leader,
                    degraded,
                    unreached,
                    plan,
                    processes,
                    pins,
                    listeners,
                    gave_up,
                })
            }
            Done::Refused(why) => Err(why),
            other => Err(format!("it answered {other:?}")),
        }
    }

    /// Of a cloud whose store does not say what it has.
    fn unknown(trouble: String) -> Shown {
        Shown {
            cloud: true,
            trouble: Some(trouble),
            leader: None,
            degraded: Vec::new(),
            unreached: Vec::new(),
            plan: Plan::default(),
            processes: BTreeMap::new(),
            pins: BTreeMap::new(),
            listeners: BTreeMap::new(),
            gave_up: BTreeMap::new(),
        }
    }

    /// Whether the plan has a module on a node.
    fn has(&self, module: &str, node: &NodeName) -> bool {
        match self.plan.modules.get(module) {
            None => true,
            Some(ModulePlan::Replicated { assigned, serving, .. }) => {
                assigned.contains(node) || serving.contains(node)
            }
            Some(ModulePlan::Keyed(shards)) => shards.nodes.contains(node),
        }
    }
}

impl Sight {
    /// Of nodes that have a parent: whatever nodes say to each other, people of this user reach them here.
    pub(super) async fn of_parent(running: &Running, directory: &Path) -> Result<Sight, RunningError> {
        let who = || format!("the parent of {} (process {})", running.program, running.pid);
        let client = Client::at(directory.join(PARENT_SOCKET));
        let answer = timeout(STATUS_WAIT, client.order(&Order::Show)).await;
        let done = answer.map_err(|_| RunningError::Silent { who: who() })??;
        let shown =
            Shown::of(done, false).map_err(|why| RunningError::Refused(format!("{}: {why}", who())))?;
        let socket = |node: &NodeName| Address::Unix(directory.join(format!("{node}.sock")));
        let ways = shown.plan.nodes.keys().map(|node| (node.clone(), Way::Socket(socket(node), None)));
        Ok(Sight {
            program: running.program.clone(),
            ways: ways.collect(),
            shown: Some(shown),
            said: BTreeMap::new(),
            reached: None,
        })
    }

    /// Of processes without a parent, which all are of one cloud if they are several.
    pub(super) async fn of_processes(running: &Running, here: &[Process]) -> Sight {
        let program = running.program.clone();
        let (mut said, mut ways, mut last) = (BTreeMap::new(), BTreeMap::new(), None);
        let mut addresses = BTreeMap::new();
        for (process, status) in said_by(&program, here.to_vec()).await {
            match status {
                Ok(status) => {
                    ways.insert(status.node.clone(), Way::Socket(process.socket, Some(process.pid)));
                    addresses.insert(status.node.clone(), status.address.clone());
                    said.insert(status.node.clone(), Ok(status));
                }
                Err(error) => last = Some((process, error)),
            }
        }
        let Some((reached, Way::Socket(socket, _))) = ways.first_key_value() else {
            let alone = NodeName::new(ALONE);
            let (process, error) =
                last.expect("a program that runs has a process, which has said something or not");
            let ways = BTreeMap::from([(alone.clone(), Way::Socket(process.socket, Some(process.pid)))]);
            let said = BTreeMap::from([(alone, Err(error))]);
            return Sight { program, shown: None, ways, said, reached: None };
        };
        let reached = reached.clone();
        let shown = knows(&program, socket).await.flatten();
        if let Some(shown) = &shown {
            for (node, entry) in &shown.plan.nodes {
                // A process that says it is a node that is somewhere else now has lost its lease, and is none any more.
                if addresses.get(node) != Some(&entry.address) {
                    said.remove(node);
                    ways.insert(node.clone(), running.way_to(&entry.address));
                }
            }
        }
        Sight { program, shown, ways, said, reached: Some(reached) }
    }

    /// Of a node on any machine, and with it of its cloud if it is of one.
    #[cfg(feature = "tls")]
    pub(super) async fn of_remote(running: &Running, at: &str) -> Result<Sight, RunningError> {
        let program = running.program.clone();
        let here = running.way_to(at);
        let asked = async {
            let operator = here.operator(&program, &NodeName::new(at)).await?;
            let status = operator.status().await;
            let status = status
                .map_err(|source| RunningError::Node { node: NodeName::new(at), source: Box::new(source) })?;
            Ok::<_, RunningError>((status, operator))
        };
        let silent = |_| RunningError::Silent { who: at.to_owned() };
        let (status, operator) = timeout(STATUS_WAIT, asked).await.map_err(silent)??;
        let shown = plan_of(&operator).await;
        let node = status.node.clone();
        let mut ways = BTreeMap::new();
        for (other, entry) in shown.iter().flat_map(|shown| &shown.plan.nodes) {
            ways.insert(other.clone(), running.way_to(&entry.address));
        }
        // It is reached where people reach it, wherever others do.
        ways.insert(node.clone(), here);
        let said = BTreeMap::from([(node.clone(), Ok(status))]);
        Ok(Sight { program, shown, ways, said, reached: Some(node) })
    }

    pub(super) fn into_shown(self) -> Option<Shown> {
        self.shown
    }

    /// Whether somebody plans for several nodes.
    pub(super) fn is_planned(&self) -> bool {
        self.shown.is_some()
    }

    /// Its nodes.
    pub(super) fn nodes(&self) -> Vec<NodeName> {
        self.ways.keys().cloned().collect()
    }

    /// Those that are to be asked about a module: where nobody here can ask, those alone on which the plan has it.
    pub(super) fn nodes_with(&self, module: &str) -> Vec<NodeName> {
        let has = |node: &NodeName| self.shown.as_ref().is_none_or(|shown| shown.has(module, node));
        let asked = self.ways.iter().filter(|(node, way)| !matches!(way, Way::Closed(_)) || has(node));
        asked.map(|(node, _)| node.clone()).collect()
    }

    /// What every node says, all asked at once. What has been said is given away.
    pub(super) async fn statuses(&mut self) -> Statuses {
        let mut statuses = std::mem::take(&mut self.said);
        let ways = self.ways.iter().filter(|(node, _)| !statuses.contains_key(*node));
        let asked = ways.map(|(node, way)| {
            let (program, node, way) = (self.program.clone(), node.clone(), way.clone());
            (node.clone(), tokio::spawn(async move { way.status(&program, node).await }))
        });
        let asked: Vec<_> = asked.collect();
        for (node, asked) in asked {
            let silent = |_| RunningError::Silent { who: node.to_string() };
            let status = asked.await.map_err(silent).and_then(|status| status);
            statuses.insert(node, status);
        }
        statuses
    }

    /// A connection to a node of that name.
    pub(super) async fn operator_of(&self, node: &NodeName) -> Result<Operator, RunningError> {
        let Some(way) = self.ways.get(node) else {
            let names: Vec<_> = self.ways.keys().map(NodeName::as_str).collect();
            let why = format!("there is no node `{node}`; there are {}", names.join(", "));
            return Err(RunningError::NoNode(why));
        };
        way.operator(&self.program, node).await
    }

    /// A connection to the named node; else to the one that was asked, or to the first that does not drain.
    pub(super) async fn operator(
        &self,
        running: &Running,
        node: Option<&NodeName>,
    ) -> Result<Operator, RunningError> {
        let drains = |node: &NodeName| {
            let planned = self.shown.as_ref().and_then(|shown| shown.plan.nodes.get(node));
            planned.is_some_and(|node| node.draining)
        };
        let reached = self.reached.as_ref();
        // Nodes by hand know nothing of each other.
        let node = node.filter(|_| self.shown.is_some() || !running.is_remote());
        let node = node.or(reached.filter(|node| !drains(node)));
        let node = node.or_else(|| self.ways.keys().find(|node| !drains(node))).ok_or_else(|| {
            let why = format!("no node of {} (process {}) is there yet", self.program, running.pid);
            RunningError::NoNode(why)
        })?;
        self.operator_of(node).await
    }

    /// Carries out an order for a program that has no parent.
    pub(super) async fn order(self, running: &Running, order: &Order) -> Result<Done, RunningError> {
        let Some(shown) = self.shown.as_ref() else { return self.order_alone(running, order).await };
        let refused = |why: String| Err(RunningError::Refused(why));
        match order {
            Order::Drain { node } => {
                let mut others =
                    shown.plan.nodes.iter().filter(|(name, entry)| *name != node && !entry.draining);
                if others.next().is_none() && shown.plan.nodes.contains_key(node) {
                    return refused(format!(
                        "{node} is the only node that does not drain: nobody would take over; end its process to end the program"
                    ));
                }
                let operator = self.operator_of(node).await?;
                operator.drain().await.map_err(|error| told(node.clone(), error))?;
                Ok(Done::Ok)
            }
            Order::Kill { node } => match self.ways.get(node) {
                Some(Way::Socket(_, Some(pid))) => signal(*pid, rustix::process::Signal::KILL),
                Some(_) => {
                    refused(format!("{node} is no process of yours on this machine: kill it on its own"))
                }
                None => self.operator_of(node).await.map(|_| Done::Ok),
            },
            Order::Stop if self.is_here_alone(running, shown) => running.terminate(),
            Order::Stop => refused(format!(
                "{} is a cloud of nodes without a parent that could end them all: have each drain (`skybox drain`), or end \
                 its processes where they were started",
                self.program
            )),
            Order::Move { .. }
            | Order::TryAgain { .. }
            | Order::Scale { .. }
            | Order::Cordon { .. }
            | Order::Freeze { .. }
            | Order::Explain { .. }
            | Order::History {}
            | Order::Undo { .. }
            | Order::TryOut { .. }
            | Order::GoOn
            | Order::Show => {
                if let Some(trouble) = &shown.trouble {
                    return refused(format!("the store of the cloud is not there: {trouble}"));
                }
                let operator = self.operator(running, None).await?;
                let node = self.reached.clone().unwrap_or_else(|| NodeName::new(ALONE));
                let failed = |why: serde_json::Error| RunningError::Refused(why.to_string());
                let asked = serde_json::to_value(order).map_err(failed)?;
                let done = operator.order(asked).await.map_err(|error| told(node, error))?;
                match serde_json::from_value(done).map_err(failed)? {
                    Done::Refused(why) => refused(why),
                    done => Ok(done),
                }
            }
        }
    }

    /// Whether it has one node, which is a process here.
    fn is_here_alone(&self, running: &Running, shown: &Shown) -> bool {
        shown.trouble.is_none() && self.ways.len() == 1 && !running.is_remote()
    }

    /// A single process knows how to end, and a node by hand how to drain.
    async fn order_alone(self, running: &Running, order: &Order) -> Result<Done, RunningError> {
        #[cfg(feature = "tls")]
        if let super::Place::Remote(at) = &running.place {
            let Order::Drain { node } = order else {
                return Err(RunningError::Remote { at: at.clone(), what: name_of(order) });
            };
            if let Some(reached) = self.reached.as_ref().filter(|reached| *reached != node) {
                return Err(RunningError::NoNode(format!("{reached} is at {at}, not {node}")));
            }
            let drained = self.operator_of(node).await?.drain().await;
            let failed = |source| RunningError::Node { node: node.clone(), source: Box::new(source) };
            return drained.map(|()| Done::Ok).map_err(failed);
        }
        match order {
            Order::Stop => running.terminate(),
            other => Err(RunningError::Single {
                program: running.program.clone(),
                pid: running.pid,
                what: name_of(other),
            }),
        }
    }
}

impl Running {
    /// Where the plan has a node that is not known to be a process here.
    fn way_to(&self, address: &str) -> Way {
        match &self.files {
            #[cfg(feature = "tls")]
            Some(files) => Way::Tls(address.to_owned(), files.clone()),
            _ => Way::Closed(address.to_owned()),
        }
    }

    fn is_remote(&self) -> bool {
        #[cfg(feature = "tls")]
        let is_remote = matches!(self.place, super::Place::Remote(_));
        #[cfg(not(feature = "tls"))]
        let is_remote = false;
        is_remote
    }
}

impl Way {
    async fn operator(&self, program: &str, node: &NodeName) -> Result<Operator, RunningError> {
        let connecting = async {
            match self {
                Way::Socket(address, _) => Operator::connect(program, address).await,
                #[cfg(feature = "tls")]
                Way::Tls(address, files) => Operator::connect_tls(program, address, files.clone()).await,
                Way::Closed(_) => std::future::pending().await,
            }
        };
        if let Way::Closed(address) = self {
            return Err(RunningError::NotHere { node: node.clone(), address: address.clone() });
        }
        match timeout(STATUS_WAIT, connecting).await {
            Ok(connected) => connected
                .map_err(|source| RunningError::Node { node: node.clone(), source: Box::new(source) }),
            Err(_) => Err(RunningError::Silent { who: node.to_string() }),
        }
    }

    async fn status(&self, program: &str, node: NodeName) -> Result<NodeStatus, RunningError> {
        let asked = async {
            let operator = self.operator(program, &node).await?;
            let failed = |source| RunningError::Node { node: node.clone(), source: Box::new(source) };
            operator.status().await.map_err(failed)
        };
        let answer = timeout(STATUS_WAIT, asked).await;
        answer.unwrap_or_else(|_| Err(RunningError::Silent { who: node.to_string() }))
    }
}

/// What processes say of themselves, all asked at once.
pub(super) async fn said_by(
    program: &str,
    processes: Vec<Process>,
) -> Vec<(Process, Result<NodeStatus, RunningError>)> {
    let asked = processes.into_iter().map(|process| {
        let (program, way) = (program.to_owned(), Way::Socket(process.socket.clone(), Some(process.pid)));
        (process, tokio::spawn(async move { way.status(&program, NodeName::new(ALONE)).await }))
    });
    let mut said = Vec::new();
    for (process, asked) in asked.collect::<Vec<_>>() {
        let silent = |_| RunningError::Silent { who: format!("process {}", process.pid) };
        let status = asked.await.map_err(silent).and_then(|status| status);
        said.push((process, status));
    }
    said
}

/// What the process behind a socket knows of its cloud, if it has one; absent if it cannot be asked, as when it has just
/// ended.
pub(super) async fn knows(program: &str, socket: &Address) -> Option<Option<Shown>> {
    let operator = timeout(STATUS_WAIT, Operator::connect(program, socket)).await.ok()?.ok()?;
    Some(plan_of(&operator).await)
}

/// What a node knows of its cloud; nothing if it is alone, or if addresses are given to it by hand.
async fn plan_of(operator: &Operator) -> Option<Shown> {
    let unknown = |why: String| Some(Shown::unknown(why));
    match timeout(STATUS_WAIT, operator.plan()).await {
        Err(_) => unknown(format!("nothing was heard of it for {STATUS_WAIT:?}")),
        Ok(Ok(done)) => match serde_json::from_value(done) {
            Ok(done) => Shown::of(done, true).map_or_else(unknown, Some),
            Err(error) => {
                unknown(format!("what the node says is not understood, it may be another version: {error}"))
            }
        },
        Ok(Err(AskError::Call(error))) => match error.kind() {
            CallErrorKind::Mismatch { .. } => None,
            CallErrorKind::Lost { why } => unknown(why.clone()),
            other => unknown(other.to_string()),
        },
        Ok(Err(error)) => unknown(TextChain::of(&error).joined()),
    }
}
