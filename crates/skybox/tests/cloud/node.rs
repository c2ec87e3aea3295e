//! A node in a process of its own: the side of the test that drives it, and the side that is driven.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skybox::App;
use skybox_core::ModulePlan;
use skybox_hosts::Host;
use skybox_node::{Address, Operator};

use crate::etcd::Etcd;
use crate::ledger::Ledger;
use crate::played::{PATIENCE, Process, be, orders, say};
use crate::ranges::Renderer;
use crate::runs::{self, RUNS};
use crate::{Cart, Catalog, Saved, double};

/// The program that every node here is of.
pub const PROGRAM: &str = "shop";
/// How long a node counts as alive here without a word from it.
pub const LEASE: &str = "3s";

/// Runs a test; in a process that is a node, runs that instead.
pub fn play(test: impl FnOnce()) {
    crate::played::play(|| be_a_node(), test);
}

/// A running node. Killed when dropped.
pub struct Node {
    pub name: String,
    process: Process,
    /// Where it runs, if that is another host than the test's.
    host: Option<Host>,
}

impl Node {
    /// Starts one; it is there when this returns, and its instances may start still.
    pub fn start(etcd: &Etcd, name: &str) -> Node {
        let mut node = Node::begin(etcd, name);
        node.is_there();
        node
    }

    /// Starts several beside one another.
    pub fn start_all(etcd: &Etcd, names: &[&str]) -> Vec<Node> {
        let mut nodes: Vec<_> = names.iter().map(|name| Node::begin(etcd, name)).collect();
        nodes.iter_mut().for_each(Node::is_there);
        nodes
    }

    fn begin(etcd: &Etcd, name: &str) -> Node {
        Node::begin_with(etcd, name, &[])
    }

    /// Begins to start one, with further variables of its environment.
    pub fn begin_with(etcd: &Etcd, name: &str, further: &[(String, String)]) -> Node {
        let mut command = Process::command();
        command.envs(further.iter().map(|(name, value)| (name, value)));
        Node::with(command, &etcd.address(), name, None)
    }

    /// Begins to start one on a host, with further variables of its environment.
    pub fn begin_on(host: &Host, store: &str, name: &str, further: &[(String, String)]) -> Node {
        let mut command = Process::command_as(|program| host.command(program));
        command.envs(further.iter().map(|(name, value)| (name, value)));
        Node::with(command, store, name, Some(host.clone()))
    }

    fn with(mut command: std::process::Command, store: &str, name: &str, host: Option<Host>) -> Node {
        command
            .env("SKYBOX_PROGRAM", PROGRAM)
            .env("SKYBOX_STORE", store)
            .env("SKYBOX_STORE__LEASE", LEASE)
            .env("SKYBOX_NODE__NAME", name)
            .env(RUNS, runs::file());
        Node { name: name.to_owned(), process: Process::start(command), host }
    }

    /// Waits until it is there.
    pub fn is_there(&mut self) {
        let said = self.answer();
        assert_eq!(said, "there", "{:#?}", self.log());
    }

    /// The plan of the whole program, as this node says it.
    pub fn plan(&self) -> skybox_core::Plan {
        serde_json::from_value(self.show()["shown"]["plan"].clone()).expect("a plan")
    }

    /// All that is shown of the whole program.
    pub fn show(&self) -> serde_json::Value {
        self.operate(async |operator| operator.plan().await.expect("it is a member of a cloud"))
    }

    /// Has an order for the whole program carried out.
    pub fn order(&self, order: serde_json::Value) -> serde_json::Value {
        self.operate(async move |operator| operator.order(order).await.expect("it is a member of a cloud"))
    }

    /// Speaks to it as an operator of its own machine.
    fn operate<V: Send>(&self, what: impl AsyncFnOnce(Operator) -> V + Send) -> V {
        let user = rustix::process::geteuid().as_raw();
        let address = Address::Abstract(format!("skybox/{user}/{PROGRAM}/{}", self.pid()));
        let asking = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a test has a thread").block_on(async {
                what(Operator::connect(PROGRAM, &address).await.expect("it listens")).await
            })
        };
        match &self.host {
            // Sockets without files are those of one network.
            Some(host) => host.inside(asking).expect("the host is there"),
            None => asking(),
        }
    }

    /// Waits until the plan is so.
    pub fn sees(&self, what: &str, is_so: impl Fn(&skybox_core::Plan) -> bool) {
        self.waits(what, || is_so(&self.plan()));
    }

    /// Waits until something is so.
    pub fn waits(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = std::time::Instant::now() + PATIENCE;
        while !is_so() {
            let late = std::time::Instant::now() >= until;
            assert!(
                !late,
                "{} waited {PATIENCE:?} for {what}: {:?} {:#?}",
                self.name,
                self.plan(),
                self.log()
            );
            // Sleeps because there is nothing to wait for but another answer.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all has a place, and these nodes have all that there is.
    pub fn sees_settled(&self, nodes: &[&str]) {
        self.sees(&format!("everything on {nodes:?}"), |plan| is_settled(plan, nodes));
    }

    /// What became of its calls.
    pub fn tally(&mut self) -> Tally {
        serde_json::from_str(&self.ask("tally")).expect("a tally")
    }

    /// Its payments since it was asked for the last time: when each had ended, and what it had taken, in microseconds.
    pub fn paid(&mut self) -> Vec<(u64, u64)> {
        serde_json::from_str(&self.ask("paid")).expect("numbers")
    }

    /// Calls without end, from this node.
    pub fn load(&mut self) {
        assert_eq!(self.ask("load"), "loading");
    }

    /// Waits until its calls of each kind have gone well so many times more.
    pub fn goes_on(&mut self, more: u64) {
        self.goes_on_with(&["page", "order", "double", "cart"], more);
    }

    /// The same of some kinds.
    pub fn goes_on_with(&mut self, kinds: &[&str], more: u64) {
        let before = self.tally();
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let tally = self.tally();
            if kinds.iter().all(|what| tally.well(what) >= before.well(what) + more) {
                return;
            }
            let late = std::time::Instant::now() >= until;
            assert!(!late, "{} is stuck: {before:#?} {tally:#?} {:#?}", self.name, self.log());
            // Sleeps because there is nothing to wait for but further calls.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("it runs"), signal).expect("it is a child of this process");
    }
}

impl Deref for Node {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn is_settled(plan: &skybox_core::Plan, nodes: &[&str]) -> bool {
    let serving = |module: &str| match plan.modules.get(module) {
        Some(ModulePlan::Replicated { serving, assigned, .. }) => {
            let mut names: Vec<_> = serving.iter().map(|node| node.as_str()).collect();
            names.sort_unstable();
            (names, assigned.len() == serving.len())
        }
        _ => (Vec::new(), false),
    };
    let shards = match plan.modules.get("cart") {
        Some(ModulePlan::Keyed(shards)) => shards.clone(),
        _ => return false,
    };
    let all_owned = shards.owner.iter().all(|owner| usize::from(*owner) < shards.nodes.len());
    let by_known = shards.nodes.iter().all(|node| nodes.contains(&node.as_str()));
    let (catalog, stays) = serving("catalog");
    let there = plan.nodes.len() == nodes.len() && serving("double").0 == nodes;
    there && all_owned && by_known && stays && catalog.len() == nodes.len().min(2)
}

/// What became of calls: by what was called, how many went well, and how many failed how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub well: BTreeMap<String, u64>,
    pub failed: BTreeMap<String, u64>,
    /// The first failures in full.
    pub first: Vec<String>,
}

impl Tally {
    pub fn well(&self, what: &str) -> u64 {
        self.well.get(what).copied().unwrap_or_default()
    }

    pub fn failed(&self, what: &str) -> u64 {
        let of = self.failed.iter().filter(|(how, _)| how.split(' ').next() == Some(what));
        of.map(|(_, count)| count).sum()
    }
}

/// Runs the node that this process is.
fn be_a_node() -> ! {
    be(async |app| {
        say("there");
        tokio::select! {
            () = obey(app.clone()) => {}
            () = app.draining() => say("drained"),
        }
    })
}

/// Does what its test says, line by line, until the test is gone.
async fn obey(app: App) {
    let load = Arc::new(Load {
        app,
        tally: Mutex::default(),
        pay_us: Mutex::default(),
        rests: AtomicBool::new(false),
    });
    let mut orders = orders();
    while let Some(line) = orders.recv().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("load", _) => {
                load.clone().begin();
                say("loading");
            }
            ("pay", _) => {
                load.clone().pay();
                say("paying");
            }
            ("render", _) => {
                load.clone().render();
                say("rendering");
            }
            ("rest", _) => {
                load.rests.store(true, Ordering::Relaxed);
                say("resting");
            }
            ("paid", _) => {
                let took = std::mem::take(&mut *load.pay_us.lock().expect("nobody panics under it"));
                say(&serde_json::to_string(&took).expect("plain data"));
            }
            ("tally", _) => {
                let tally = load.tally.lock().expect("nobody panics under it").clone();
                say(&serde_json::to_string(&tally).expect("plain data"));
            }
            ("add", user) => match load.app.at::<Cart>(user).add(1).await {
                Ok((total, node)) => say(&format!("{total} {node}")),
                Err(error) => say(&format!("failed: {error:#}")),
            },
            other => panic!("{other:?}?"),
        }
    }
}

/// Callers of each kind, and the pause of each between two calls: some 1,000 calls a second in all.
const CALLERS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(24);
/// Those who pay, and how often each does: 167 times a second in all.
const PAYERS: u64 = 16;
const PAY_EVERY: Duration = Duration::from_millis(96);
/// First failures that are told in full.
const FIRST: usize = 20;

/// Calls without end.
struct Load {
    app: App,
    tally: Mutex<Tally>,
    /// Payments since somebody asked for the last time: when each had ended, and what it had taken, in microseconds.
    pay_us: Mutex<Vec<(u64, u64)>>,
    /// Nothing is rendered any more.
    rests: AtomicBool,
}

impl Load {
    fn begin(self: Arc<Load>) {
        for n in 0..CALLERS {
            let load = self.clone();
            let catalog = load.app.get::<Catalog>();
            tokio::spawn(async move {
                loop {
                    load.count("page", catalog.page(n).await);
                    load.count("order", catalog.order(n).await);
                    load.count("double", load.app.enter(double(n)).await);
                    // Sleeps because that is how often it calls.
                    tokio::time::sleep(PAUSE).await;
                }
            });
            let load = self.clone();
            tokio::spawn(async move {
                for count in 0u64.. {
                    let user = format!("user-{}", (n + count * CALLERS) % 256);
                    load.count("cart", load.app.at::<Cart>(&user).add(1).await);
                    load.count("saved", load.app.at::<Saved>(&user).add(1).await);
                    // Sleeps because that is how often it calls.
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }

    /// Pays without end: a third of 500 payments a second, as long as each takes less than that takes.
    fn pay(self: Arc<Load>) {
        for _ in 0..PAYERS {
            let load = self.clone();
            let ledger = load.app.get::<Ledger>();
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(PAY_EVERY);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    let began = std::time::Instant::now();
                    load.count("pay", ledger.pay().await);
                    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    load.pay_us.lock().expect("nobody panics under it").push((runs::now_us(), took));
                }
            });
        }
    }

    /// Has pictures rendered, one after the other for each of some callers, until it is told to rest.
    fn render(self: Arc<Load>) {
        for n in 0..CALLERS {
            let load = self.clone();
            let renderer = load.app.get::<Renderer>();
            tokio::spawn(async move {
                while !load.rests.load(Ordering::Relaxed) {
                    load.count("render", renderer.render(n).await);
                }
            });
        }
    }

    fn count<V>(&self, what: &str, outcome: skybox::Result<V>) {
        let mut tally = self.tally.lock().expect("nobody panics under it");
        match outcome {
            Ok(_) => *tally.well.entry(what.to_owned()).or_default() += 1,
            Err(error) => {
                let how = match error.call_error() {
                    Some(call) => format!("{what} {} ran {:?}", call.code(), call.ran()),
                    None => format!("{what} otherwise"),
                };
                *tally.failed.entry(how).or_default() += 1;
                if tally.first.len() < FIRST {
                    tally.first.push(format!("{what}: {error:#}"));
                }
            }
        }
    }
}
