//! Nodes for tests, started from the test's own binary: no command line, no ports, no fixed names.
//!
//! ```no_run
//! # use skybox_cloud::testing::Nodes;
//! # #[tokio::test]
//! async fn a_node_dies() {
//!     let nodes = Nodes::of_this_test(2).pin("thumbnail", &["node-1"]).start(|builder| builder).await;
//!     // … call through `nodes.app()` …
//!     nodes.kill("node-1").await;
//!     nodes.stop().await;
//! }
//! ```
//!
//! The test's process starts itself again for each node, told to run this one test. There `start` makes the process
//! a node and never returns: what stands above it runs in every node, what stands below it in the test alone.

use std::collections::BTreeMap;

use skybox_core::{NodeName, Plan};
use skybox_node::config::Config;
use skybox_node::control::PARENT_ENV;
use skybox_node::{App, Builder};

use crate::parent::{Done, Launch, NODE_ADDRESS, Order, Output, Parent, ParentConfig};

/// The name of the test's own process among the nodes.
pub const TEST_NODE: &str = "test";

/// Nodes to be started.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct Nodes {
    count: u32,
    test: String,
    pins: BTreeMap<String, Vec<NodeName>>,
    environment: Vec<(String, String)>,
    config: Config,
    tcp: bool,
}

/// Running nodes, and the test's process as one more.
#[derive(Debug)]
pub struct RunningNodes {
    parent: Parent,
    app: App,
}

impl Nodes {
    /// So many nodes that run this test, as libtest and nextest name its thread.
    ///
    /// # Panics
    /// Outside of a test's own thread, where [`Nodes::of_test`] takes the name.
    pub fn of_this_test(count: u32) -> Nodes {
        let name = std::thread::current().name().map(str::to_owned);
        let name = name.filter(|name| name != "main").or_else(name_from_arguments);
        Nodes::of_test(
            &name.expect("a test runs on a thread of its name; elsewhere `of_test` takes it"),
            count,
        )
    }

    /// So many nodes that run the test of that name.
    pub fn of_test(name: &str, count: u32) -> Nodes {
        Nodes {
            count,
            test: name.to_owned(),
            pins: BTreeMap::new(),
            environment: Vec::new(),
            config: Config::default(),
            tcp: false,
        }
    }

    /// Puts a module on these nodes from the beginning; `test` is the test's own process.
    pub fn pin(mut self, module: &str, nodes: &[&str]) -> Nodes {
        self.pins.insert(module.to_owned(), nodes.iter().copied().map(NodeName::new).collect());
        self
    }

    /// Sets a variable in the nodes' environment, not in the test's.
    pub fn env(mut self, name: &str, value: &str) -> Nodes {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has them talk over TCP with TLS, with certificates that are made for this run.
    #[cfg(feature = "certs")]
    pub fn tls(mut self) -> Nodes {
        self.tcp = true;
        self
    }

    /// Starts them, and joins them. In a process that is one of them it runs as that and never returns.
    ///
    /// # Panics
    /// If they do not start: the test fails with the reason.
    pub async fn start(self, prepare: impl FnOnce(Builder) -> Builder) -> RunningNodes {
        if std::env::var_os(PARENT_ENV).is_some() {
            be_a_node(prepare(App::builder())).await;
        }
        let program = std::env::current_exe().expect("a test's own binary is known");
        let arguments =
            [self.test.as_str(), "--exact", "--nocapture", "--include-ignored", "--test-threads=1"];
        let launch = Launch { program, arguments: arguments.iter().map(Into::into).collect() };
        let mut config = ParentConfig::new(launch, self.count, self.config);
        config.output = Output::Untouched;
        config.pins = self.pins;
        config.environment = self.environment;
        config.guests = vec![NodeName::new(TEST_NODE)];
        config.tcp = self.tcp;
        let parent =
            Parent::start(config).await.unwrap_or_else(|error| panic!("the nodes did not start: {error:?}"));
        let test = NodeName::new(TEST_NODE);
        let mut builder = prepare(App::builder()).join(parent.socket(), test.clone());
        let files = parent.guest_tls(&test).unwrap_or_else(|error| panic!("no certificate: {error:?}"));
        if let Some(files) = files {
            builder = builder.node_address(NODE_ADDRESS).tls(files);
        }
        let app = builder.start().await;
        let app = app.unwrap_or_else(|error| {
            panic!("the test could not join its nodes: {}", skybox_core::TextChain::of(&error).joined())
        });
        RunningNodes { parent, app }
    }
}

/// libtest gives its name to the thread of a test, unless it runs a single one in the main thread.
fn name_from_arguments() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    arguments.find(|argument| !argument.starts_with('-'))
}

async fn be_a_node(builder: Builder) -> ! {
    let outcome = builder.start().await;
    match outcome {
        Ok(app) => {
            app.draining().await;
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("this node did not start: {}", skybox_core::TextChain::of(&error).joined());
            std::process::exit(1)
        }
    }
}

impl RunningNodes {
    /// The test's own process, as a node of the program.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The parent, to give further orders.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// SIGKILL for a node, and waits until the plan no longer has that life of it.
    ///
    /// # Panics
    /// If there is no such node.
    pub async fn kill(&self, node: &str) {
        let node = NodeName::new(node);
        let before = self.plan().nodes.get(&node).and_then(|entry| entry.incarnation);
        self.order(Order::Kill { node: node.clone() }).await;
        self.wait_plan(|plan| plan.nodes.get(&node).and_then(|entry| entry.incarnation) != before).await;
    }

    /// Moves a module; resolves when it serves there and its old instances are gone.
    ///
    /// # Panics
    /// If it cannot be done.
    pub async fn move_to(&self, module: &str, nodes: &[&str]) {
        let nodes = nodes.iter().copied().map(NodeName::new).collect();
        self.order(Order::Move { module: module.to_owned(), nodes }).await;
    }

    /// Has a node hand over what it has, and waits until its process has ended.
    ///
    /// # Panics
    /// If it cannot be done: nobody else is there to take over.
    pub async fn drain(&self, node: &str) {
        self.order(Order::Drain { node: NodeName::new(node) }).await;
    }

    async fn order(&self, order: Order) {
        if let Done::Refused(why) = self.parent.order(order.clone()).await {
            panic!("{order:?}: {why}");
        }
    }

    /// A connection over TLS to a node, as an operator who may do this.
    ///
    /// # Panics
    /// If there is none: nodes that talk over Unix sockets have no certificates.
    #[cfg(feature = "certs")]
    pub async fn operator(&self, node: &str, right: skybox_node::Right) -> skybox_node::Operator {
        let files = self.parent.operator_tls("ada", right).expect("a certificate is made");
        let files = files.expect("these nodes talk over TLS");
        let address = self.plan().nodes[&NodeName::new(node)].address.clone();
        let program = self.app.status().program;
        let connecting = skybox_node::Operator::connect_tls(&program, &address, files);
        connecting.await.unwrap_or_else(|error| panic!("{node} could not be asked: {error:?}"))
    }

    /// The plan of the moment.
    pub fn plan(&self) -> Plan {
        (**self.parent.plans().borrow()).clone()
    }

    /// Waits for a plan.
    pub async fn wait_plan(&self, which: impl Fn(&Plan) -> bool) {
        let mut plans = self.parent.plans();
        // The parent's task lives as long as this value.
        drop(plans.wait_for(|plan| which(plan)).await);
    }

    /// Ends the nodes, then the test's own App.
    pub async fn stop(self) {
        self.app.shutdown().await;
        drop(self.app);
        self.parent.stop().await;
        self.parent.ended().await;
    }
}
