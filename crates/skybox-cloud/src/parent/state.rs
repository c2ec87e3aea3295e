//! All that the parent knows, owned by one task: the processes of the nodes, and what they were told.
//!
//! The program ends in two steps: all nodes but one hand over what they have to that one and end; then it ends as well. A
//! request that one node has begun may need an instance of another: if all ended at once, it would fail.

mod goals;
mod replace;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skybox_core::{Code, Incarnation, NodeName};
use skybox_node::control::{FromParent, Hello, Leave};
use skybox_plan::restart::{Decision, End, History, Policy};
use tokio::sync::{mpsc, oneshot, watch};

use goals::{Goal, ORDER_WAIT, Waiter};
use replace::Replacing;

use super::cloud::Cloud;
use super::listeners::{Answer, Listeners, Outcome};
use super::secure::Secure;
use super::{Config, Done, Order, ParentConfig, ParentError, SPLIT_NODES_MAX, process};
use crate::leader::rules;
use crate::records::Expected;

/// A program that ends is given this long before it is killed, beside what the `stop` of its modules takes.
const END_WAIT: Duration = Duration::from_secs(30);
/// When a program does not start, its other nodes have this long to say why themselves.
const START_FAILED_WAIT: Duration = Duration::from_secs(2);
/// So many of the things that have happened are looked at together.
const EVENTS_AT_ONCE: usize = 64;
/// The exit code of a program that was killed because its people did not want to wait: as a shell counts SIGINT.
const KILLED_CODE: i32 = 130;
/// How often a node that dies before it was ever ready is started again.
const POLICY: Policy =
    Policy { restart: skybox_core::Restart::Always, max_restarts: 3, within: Duration::from_secs(60) };

/// How long the end of a program may take whose last words take so long: all nodes but one say theirs beside one another,
/// and then that one does.
fn end_wait(stop_wait: Duration) -> Duration {
    END_WAIT.saturating_add(stop_wait.saturating_mul(2))
}

/// What happens to the parent.
#[derive(Debug)]
pub(super) enum Event {
    Hello { hello: Box<Hello>, to_node: mpsc::Sender<FromParent> },
    Ready { node: NodeName, incarnation: Incarnation },
    Report { node: NodeName, incarnation: Incarnation, report: serde_json::Value },
    Gone { node: NodeName, incarnation: Incarnation },
    Exited { node: NodeName, pid: u32, status: Option<ExitStatus> },
    StartAgain { node: NodeName },
    Listener { node: NodeName, name: String, address: String, reply: oneshot::Sender<Answer> },
    Bound { name: String, outcome: Outcome },
    Order { order: Order, by: String, reply: oneshot::Sender<Done> },
    Stop,
    Replace { program: PathBuf, config: Box<Config>, reply: oneshot::Sender<Done> },
    ReplaceDue { round: u64 },
    StartFailed,
    OrderDue,
    EndWaitOver,
}

/// A node, living or between two lives.
#[derive(Debug)]
struct Node {
    number: usize,
    guest: bool,
    pid: Option<u32>,
    life: Option<Life>,
    /// The one whose connection has ended, of a process that has not yet.
    last_life: Option<Incarnation>,
    /// It is to end, and is not started again.
    leaving: bool,
    /// It has ended for good.
    over: bool,
    history: History,
    /// Its `start` has returned, in this life.
    was_ready: bool,
    /// It was refused a listener, in this life.
    refused: bool,
}

impl Node {
    fn new(number: usize, guest: bool) -> Node {
        Node {
            number,
            guest,
            pid: None,
            life: None,
            last_life: None,
            leaving: false,
            over: false,
            history: History::default(),
            was_ready: false,
            refused: false,
        }
    }
}

/// A node's connection.
#[derive(Debug)]
struct Life {
    incarnation: Incarnation,
    to_node: mpsc::Sender<FromParent>,
}

/// What others can watch.
#[derive(Debug)]
pub(super) struct News {
    /// Where each listener is bound.
    pub(super) listeners: watch::Sender<BTreeMap<String, SocketAddr>>,
    /// The exit code, once everything has ended.
    pub(super) ends: watch::Sender<Option<i32>>,
}

pub(super) struct State {
    config: ParentConfig,
    socket: PathBuf,
    secure: Arc<Secure>,
    events: mpsc::Sender<Event>,
    nodes: BTreeMap<NodeName, Node>,
    cloud: Cloud,
    /// The nodes that the others were told of, whether they are there or come.
    expected: Expected,
    /// Lives that are over, of which the others do not know yet.
    dead: Vec<Incarnation>,
    /// Those that have said hello, and were not told yet that they are welcome.
    newcomers: Vec<(mpsc::Sender<FromParent>, FromParent)>,
    /// How long the slowest `stop` of a module may take.
    stop_wait: Duration,
    news: News,
    listeners: Listeners,
    waiters: Vec<Waiter>,
    born: Instant,
    /// Some node's `start` has returned, ever: what fails later is not a program that does not start.
    was_ready: bool,
    /// It does not start: nothing is started again.
    start_failed: bool,
    stopping: bool,
    /// Another build takes the place of this one.
    replacing: Option<Replacing>,
    /// Replacements so far.
    rounds: u64,
    /// As many nodes as modules, whatever build it is.
    split: bool,
    /// The node that goes on until the others have ended, while the program ends.
    last: Option<NodeName>,
    exit_code: i32,
    /// Why these nodes end, if they do: whoever waits for something else hears that.
    ends: watch::Sender<Option<&'static str>>,
}

impl State {
    pub(super) fn new(
        config: ParentConfig,
        socket: PathBuf,
        secure: Arc<Secure>,
        events: mpsc::Sender<Event>,
        cloud: Cloud,
        news: News,
    ) -> State {
        let names = config.names();
        let nodes = names.into_iter().enumerate().map(|(number, name)| {
            let node = Node::new(number, config.guests.contains(&name));
            (name, node)
        });
        State {
            nodes: nodes.collect(),
            split: config.split,
            config,
            socket,
            secure,
            events,
            cloud,
            expected: Expected::default(),
            dead: Vec::new(),
            newcomers: Vec::new(),
            stop_wait: Duration::ZERO,
            news,
            listeners: Listeners::default(),
            waiters: Vec::new(),
            born: Instant::now(),
            was_ready: false,
            start_failed: false,
            stopping: false,
            replacing: None,
            rounds: 0,
            last: None,
            exit_code: 0,
            ends: watch::Sender::new(None),
        }
    }

    /// Starts every node that is this parent's own.
    pub(super) async fn start_nodes(&mut self) -> Result<(), ParentError> {
        self.tell().await;
        let names: Vec<_> =
            self.nodes.iter().filter(|(_, node)| !node.guest).map(|(name, _)| name.clone()).collect();
        for name in names {
            let program = self.config.launch.program.clone();
            self.start_node(&name).map_err(|source| ParentError::Spawn { program, source })?;
        }
        Ok(())
    }

    /// Says what has happened to those who have to know.
    async fn tell(&mut self) {
        let come = self.nodes.iter().filter(|(_, node)| !node.over && !node.leaving);
        let (guests, nodes): (Vec<_>, Vec<_>) = come.partition(|(_, node)| node.guest);
        let names =
            |nodes: Vec<(&NodeName, &Node)>| nodes.into_iter().map(|(name, _)| name.clone()).collect();
        let last = self.last.clone().or_else(|| self.expected.last.clone());
        let expected = Expected { nodes: names(nodes), guests: names(guests), last };
        if expected != self.expected {
            self.cloud.expect(&expected).await;
            self.expected = expected;
        }
        for life in std::mem::take(&mut self.dead) {
            self.cloud.died(life).await;
        }
        for (to_node, welcome) in self.newcomers.drain(..) {
            // A node that has died meanwhile: its connection says so.
            drop(to_node.try_send(welcome));
        }
        self.settle_waiters();
    }

    fn start_node(&mut self, name: &NodeName) -> std::io::Result<()> {
        let Some(node) = self.nodes.get_mut(name) else { return Ok(()) };
        let secure = self.secure.environment(name).map_err(std::io::Error::other)?;
        let started = process::start(&self.config, &self.socket, (name, node.number), secure, &self.events);
        node.pid = Some(started?);
        Ok(())
    }

    fn later(&self, pause: Duration, event: Event) {
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(events.send(event).await);
        });
    }

    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Event>) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        while waiting.recv_many(&mut events, EVENTS_AT_ONCE).await > 0 {
            for event in events.drain(..) {
                self.take(event);
            }
            self.tell().await;
            let nobody = |guests| {
                let nodes = self.nodes.values().filter(|node| guests || !node.guest);
                nodes.into_iter().all(|node| node.pid.is_none() && node.life.is_none())
            };
            if self.stopping && nobody(true) {
                break;
            }
            if self.replacing.is_some() && nobody(false) {
                self.begin_anew().await;
            }
        }
        self.news.ends.send_replace(Some(self.exit_code));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Hello { hello, to_node } => self.hello(*hello, to_node),
            Event::Gone { node, incarnation } => self.gone(&node, incarnation),
            Event::Ready { node, incarnation } => self.ready(&node, incarnation),
            Event::Report { node, incarnation, report } => self.reported(&node, incarnation, report),
            Event::Exited { node, pid, status } => self.exited(&node, pid, status),
            Event::StartAgain { node } => self.start_again(&node),
            Event::Listener { node, name, address, reply } => self.listener(node, &name, address, reply),
            Event::Bound { name, outcome } => {
                for node in self.listeners.bound(name, outcome) {
                    self.refused(&node);
                }
                self.news.listeners.send_replace(self.listeners.addresses());
            }
            Event::Order { order, by, reply } => self.order(order, by, reply),
            Event::Stop => self.stop(),
            Event::Replace { program, config, reply } => self.replace(program, *config, reply),
            Event::ReplaceDue { round } => self.replace_due(round),
            Event::StartFailed if !self.stopping => self.stop(),
            Event::StartFailed => {}
            Event::EndWaitOver => self.kill_all(),
            // Those who wait are looked at after every event.
            Event::OrderDue => {}
        }
    }

    fn hello(&mut self, mut hello: Hello, to_node: mpsc::Sender<FromParent>) {
        self.stop_wait = self.stop_wait.max(Duration::from_millis(hello.stop_wait_ms));
        if self.cloud.modules().is_empty() {
            self.cloud.has(std::mem::take(&mut hello.modules), rules(self.config.config.plan()));
            self.check_pins();
            if std::mem::take(&mut self.config.split) {
                self.split();
            }
        }
        let Some(node) = self.nodes.get_mut(&hello.node) else {
            let why = format!("this program has no node `{}`", hello.node);
            // A node that does not read will see the end of the connection.
            drop(to_node.try_send(FromParent::Refused(why)));
            return;
        };
        node.pid = node.pid.or(node.guest.then_some(hello.pid));
        let welcome = FromParent::Welcome { store: self.cloud.socket(), guest: node.guest };
        self.newcomers.push((to_node.clone(), welcome));
        let life = Life { incarnation: hello.incarnation, to_node };
        self.dead.extend(node.life.replace(life).map(|before| before.incarnation));
    }

    fn ready(&mut self, name: &NodeName, incarnation: Incarnation) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.life.as_ref().is_some_and(|life| life.incarnation == incarnation) {
            node.was_ready = true;
            self.was_ready = true;
        }
    }

    /// A node has said how it is.
    fn reported(&self, name: &NodeName, incarnation: Incarnation, report: serde_json::Value) {
        let life = self.nodes.get(name).and_then(|node| node.life.as_ref());
        if life.is_some_and(|life| life.incarnation == incarnation) {
            self.cloud.reported(name, incarnation, report);
        }
    }

    /// Starts a node for each further module.
    fn split(&mut self) {
        let wanted = u32::try_from(self.cloud.modules().len()).unwrap_or(u32::MAX).min(SPLIT_NODES_MAX);
        for n in self.config.nodes + 1..=wanted {
            let name = NodeName::new(format!("node-{n}"));
            self.nodes.insert(name.clone(), Node::new(n as usize - 1, false));
            self.config.nodes = n;
            if let Err(error) = self.start_node(&name) {
                tracing::error!(code = %Code::NODE_NO_PROCESS, "{name} cannot be started: {error}");
                self.nodes.remove(&name);
            }
        }
    }

    fn start_again(&mut self, name: &NodeName) {
        if self.ends() || self.start_failed {
            return;
        }
        self.listeners.forget_failures();
        if let Err(error) = self.start_node(name) {
            tracing::error!(code = %Code::NODE_NO_PROCESS, "{name} cannot be started again: {error}");
            if let Some(node) = self.nodes.get_mut(name) {
                node.over = true;
            }
            self.exit_code = 1;
            self.end_if_nobody_is_left();
        }
    }

    fn check_pins(&self) {
        let modules = self.cloud.modules();
        for module in self.config.pins.keys() {
            if !modules.iter().any(|known| known.name == *module) {
                tracing::warn!("there is no module `{module}` to place");
            }
        }
    }

    /// A node's connection ended: its process is dead or dying, and its `exited` follows if it is ours.
    fn gone(&mut self, name: &NodeName, incarnation: Incarnation) {
        // Also if it has another life by now, or its process was seen to end before.
        self.dead.push(incarnation);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.life.as_ref().is_some_and(|life| life.incarnation == incarnation) {
            node.life = None;
            node.last_life = Some(incarnation);
            if node.guest {
                node.pid = None;
                node.over = true;
            }
        }
    }

    fn exited(&mut self, name: &NodeName, pid: u32, status: Option<ExitStatus>) {
        let now = self.born.elapsed();
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.pid == Some(pid)) else { return };
        node.pid = None;
        // Once more: what it has sent last may have been read only after its connection was seen to end.
        self.dead.extend(node.last_life.take());
        self.dead.extend(node.life.take().map(|life| life.incarnation));
        let refused = std::mem::take(&mut node.refused);
        let text = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        if self.stopping
            || self.replacing.is_some()
            || node.leaving
            || status.is_some_and(|status| status.success())
        {
            tracing::info!("{name} ended ({text})");
            node.over = true;
            self.end_if_nobody_is_left();
            self.end_last();
            return;
        }
        // What a program says of itself at its start, it would say again: only what was killed is tried again.
        if let Some(code) = status.and_then(|status| status.code()).filter(|_| refused || !self.was_ready) {
            node.over = true;
            self.start_failed(name, &text, code);
            return;
        }
        let end = if std::mem::take(&mut node.was_ready) { End::Crashed } else { End::Failed };
        match node.history.decide(&POLICY, end, now) {
            Decision::After(pause) => {
                tracing::warn!(code = %Code::NODE_DIED, "{name} died ({text}); it is started again");
                self.later(pause, Event::StartAgain { node: name.clone() });
            }
            Decision::GiveUp => {
                let times = POLICY.max_restarts + 1;
                tracing::error!(
                    code = %Code::NODE_GIVEN_UP,
                    "{name} ended {times} times before it was ready, the last time with {text}: given up"
                );
                node.over = true;
                self.exit_code = 1;
                self.end_if_nobody_is_left();
            }
        }
    }

    fn start_failed(&mut self, name: &NodeName, text: &str, code: i32) {
        if !std::mem::replace(&mut self.start_failed, true) {
            tracing::error!(
                code = %Code::NODE_NOT_READY,
                "{name} ended ({text}) before it was ready: the program does not start"
            );
            self.exit_code = code;
            if !self.config.watched {
                self.later(START_FAILED_WAIT, Event::StartFailed);
            }
        }
        self.end_if_nobody_is_left();
    }

    /// Whether these nodes are to end, for good or for another build.
    fn ends(&self) -> bool {
        self.stopping || self.replacing.is_some()
    }

    /// The program is over when its last node has ended for good, and nobody is to bring another build.
    fn end_if_nobody_is_left(&mut self) {
        if self.config.watched || self.replacing.is_some() {
            return;
        }
        if self.nodes.values().filter(|node| !node.guest).all(|node| node.over) && self.config.nodes > 0 {
            self.stopping = true;
        }
    }

    fn listener(&mut self, node: NodeName, name: &str, asked: String, reply: oneshot::Sender<Answer>) {
        let configured = self.config.config.listener(name);
        let number = self.nodes.get(&node).map_or(usize::MAX, |node| node.number);
        if configured.nodes.is_some_and(|nodes| number >= nodes as usize) {
            // The node died while it asked.
            drop(reply.send(Ok(None)));
            return;
        }
        let address = configured.address.unwrap_or(asked);
        if self.listeners.ask(name, address, node.clone(), reply, &self.events) {
            self.refused(&node);
        }
    }

    fn refused(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.refused = true;
        }
    }

    fn order(&mut self, order: Order, by: String, reply: oneshot::Sender<Done>) {
        let answer = match order {
            Order::GoOn => Done::Refused("nothing is held back: the parent sees nodes die".to_owned()),
            Order::Kill { node } => self.kill(&node),
            Order::Drain { node } => match self.drain(&node) {
                Err(why) => Done::Refused(why),
                Ok(()) => return self.wait_for(Goal::Ended(node), reply),
            },
            Order::Stop => {
                self.stop();
                let within = end_wait(self.stop_wait);
                Done::Ending { within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) }
            }
            order => return self.order_of_the_plan(order, by, reply),
        };
        // Whoever asked has gone.
        drop(reply.send(answer));
    }

    /// What the nodes decide by, or have decided.
    fn order_of_the_plan(&mut self, order: Order, by: String, reply: oneshot::Sender<Done>) {
        let stays = self.nodes.iter().filter(|(_, node)| !node.over && !node.leaving);
        let known = stays.map(|(name, _)| name.clone()).collect();
        let rules = rules(self.config.config.plan());
        let carried_out = self.cloud.order(order, by, known, rules);
        let mut ends = self.ends.subscribe();
        let here: BTreeMap<_, _> =
            self.nodes.iter().filter_map(|(name, node)| Some((name.clone(), node.pid?))).collect();
        let bound = self.listeners.addresses();
        tokio::spawn(async move {
            let mut done = tokio::select! {
                done = carried_out => done,
                why = ends.wait_for(Option::is_some) => {
                    let why = why.ok().and_then(|why| *why).unwrap_or("the program has ended");
                    Done::Refused(why.to_owned())
                }
            };
            if let Done::Shown { processes, listeners, leader, .. } = &mut done {
                (*processes, *listeners, *leader) = (here, bound, None);
            }
            drop(reply.send(done));
        });
    }

    fn wait_for(&mut self, goal: Goal, reply: oneshot::Sender<Done>) {
        self.waiters.push(Waiter { goal, since: Instant::now(), reply });
        // An order that is not done is answered even if nothing else happens.
        self.later(ORDER_WAIT, Event::OrderDue);
    }

    fn drain(&mut self, name: &NodeName) -> Result<(), String> {
        let others = self
            .nodes
            .iter()
            .any(|(other, node)| other != name && !node.guest && !node.leaving && !node.over);
        let Some(node) = self.nodes.get_mut(name) else {
            let names: Vec<_> = self.nodes.keys().map(NodeName::as_str).collect();
            return Err(format!("there is no node `{name}`; there are {}", names.join(", ")));
        };
        if !others {
            return Err(format!("{name} is the only node: nobody would take over; `stop` ends the program"));
        }
        node.leaving = true;
        match &node.life {
            Some(life) => say(&mut self.newcomers, &life.to_node, FromParent::Leave(Leave::HandOver)),
            None if node.pid.is_none() => node.over = true,
            None => {}
        }
        Ok(())
    }

    fn kill(&mut self, name: &NodeName) -> Done {
        let pid = self.nodes.get(name).and_then(|node| node.pid);
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        match pid {
            None => Done::Refused(format!("there is no process of a node `{name}`")),
            Some(pid) => match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                Ok(()) => Done::Ok,
                Err(error) => Done::Refused(format!("{name} could not be killed: {error}")),
            },
        }
    }

    fn stop(&mut self) {
        if self.stopping {
            self.kill_all();
            self.exit_code = KILLED_CODE;
            return;
        }
        self.stopping = true;
        self.replacing = None;
        self.have_all_leave();
        self.later(end_wait(self.stop_wait), Event::EndWaitOver);
    }

    /// Has all nodes leave, the last one after the others.
    fn have_all_leave(&mut self) {
        debug_assert!(self.ends(), "nodes leave for a reason");
        let why = if self.stopping { "the program ends" } else { "the program is being replaced" };
        self.ends.send_replace(Some(why));
        let ready = self.nodes.iter().filter(|(_, node)| !node.guest && !node.leaving && node.was_ready);
        // The first one serves every listener.
        self.last = ready.min_by_key(|(_, node)| node.number).map(|(name, _)| name.clone());
        for (name, node) in &mut self.nodes {
            // A guest is of no build.
            if self.last.as_ref() == Some(name) || (node.guest && !self.stopping) {
                continue;
            }
            node.leaving = true;
            let leave = if node.guest { Leave::End } else { Leave::HandOver };
            if let Some(life) = &node.life {
                say(&mut self.newcomers, &life.to_node, FromParent::Leave(leave));
            }
            // Inside its `start` or before, it hears nobody and has nothing to hand over.
            let deaf = node.pid.filter(|_| !node.guest && !node.was_ready);
            if let Some(pid) = deaf.and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
                // An error says that it has just ended of itself.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        self.end_last();
    }

    /// Ends the last node when it is the only one left of a program that ends.
    fn end_last(&mut self) {
        let last = self.last.as_ref();
        if self.nodes.iter().any(|(name, node)| Some(name) != last && !node.guest && node.pid.is_some()) {
            return;
        }
        let node = self.last.take().and_then(|name| self.nodes.get_mut(&name));
        if let Some(node) = node {
            node.leaving = true;
            if let Some(life) = &node.life {
                say(&mut self.newcomers, &life.to_node, FromParent::Leave(Leave::End));
            }
        }
    }

    fn kill_all(&mut self) {
        let names: Vec<_> =
            self.nodes.iter().filter(|(_, node)| !node.guest).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.kill(&name);
        }
    }
}

/// Says something to a node, after that it is welcome.
fn say(
    newcomers: &mut Vec<(mpsc::Sender<FromParent>, FromParent)>,
    to: &mpsc::Sender<FromParent>,
    word: FromParent,
) {
    if newcomers.iter().any(|(newcomer, _)| newcomer.same_channel(to)) {
        newcomers.push((to.clone(), word));
    } else {
        // A node that does not read is dying: its connection says so.
        drop(to.try_send(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_is_given_the_time_of_its_last_words() {
        assert_eq!(end_wait(Duration::ZERO), END_WAIT);
        assert_eq!(end_wait(Duration::from_secs(60)), END_WAIT + Duration::from_secs(120));
        assert_eq!(end_wait(Duration::MAX), Duration::MAX, "no setting makes it overflow");
    }
}
