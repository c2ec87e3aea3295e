//! Modules that do not start on a node: they are tried on the others, each as often as they allow, and then on none.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skybox::cloud::parent::{Done, NodeName, Order};
use skybox::cloud::running::running;
use skybox::cloud::testing::{Nodes, RunningNodes, TEST_NODE};
use skybox::{App, CallErrorKind, Error, Result};
use skybox_core::ModulePlan;

/// Names the directory of a test in its nodes.
const DIRECTORY: &str = "ESCALATION_DIRECTORY";
/// Attempts on each node: the modules here have `max_restarts = 2`.
const ATTEMPTS: usize = 3;

/// The name of the node whose process, or cell, this is.
fn node() -> String {
    std::env::var("SKYBOX_NODE").unwrap_or_default()
}

fn directory() -> PathBuf {
    PathBuf::from(std::env::var_os(DIRECTORY).expect("the test has set it for its nodes"))
}

/// Whether this is the node that was the first to ask.
fn is_first(what: &str) -> bool {
    let file = directory().join(format!("first-{what}"));
    if let Ok(mut new) = OpenOptions::new().create_new(true).write(true).open(&file) {
        new.write_all(node().as_bytes()).expect("the file is new");
    }
    std::fs::read_to_string(file).expect("it is there") == node()
}

/// Notes an attempt. It fails on each node while there is the file `broken`, and on the node that tried it first while
/// there is the file `broken-on-first`.
fn begin(module: &str) -> Result<()> {
    let directory = directory();
    let mut starts = OpenOptions::new().create(true).append(true).open(directory.join("starts"))?;
    // One write: attempts of several nodes do not mix.
    starts.write_all(format!("{module} {}\n", node()).as_bytes())?;
    if directory.join("broken").exists() {
        return Err(Error::msg("the belt is torn"));
    }
    if directory.join("broken-on-first").exists() && is_first(module) {
        return Err(Error::msg("there is no power here"));
    }
    Ok(())
}

/// Says where it is.
struct Lathe;

#[skybox::module(max_restarts = 2, within = "1h")]
impl Lathe {
    async fn start(_app: &App) -> Result<Self> {
        begin("lathe")?;
        Ok(Lathe)
    }

    pub(crate) async fn turn(&self) -> Result<String> {
        Ok(node())
    }
}

/// The same, in a cell.
struct Saw;

#[skybox::module(max_restarts = 2, within = "1h", isolate = "process")]
impl Saw {
    async fn start(_app: &App) -> Result<Self> {
        begin("saw")?;
        Ok(Saw)
    }

    pub(crate) async fn turn(&self) -> Result<String> {
        Ok(node())
    }
}

/// Starts, and is of no use on the first node.
#[derive(Default)]
struct Fuse;

#[skybox::module(max_restarts = 2, within = "1h")]
impl Fuse {
    pub(crate) async fn light(&mut self) -> Result<String> {
        assert!(!is_first("fuse"), "it blows");
        Ok(node())
    }
}

/// The same, in a cell.
#[derive(Default)]
struct Lamp;

#[skybox::module(max_restarts = 2, within = "1h", isolate = "process")]
impl Lamp {
    pub(crate) async fn light(&mut self) -> Result<String> {
        assert!(!is_first("lamp"), "it blows");
        Ok(node())
    }
}

/// Not to be started a second time.
struct Match;

#[skybox::module(restart = "never")]
impl Match {
    async fn start(_app: &App) -> Result<Self> {
        begin("match")?;
        Ok(Match)
    }

    pub(crate) async fn turn(&self) -> Result<String> {
        Ok(node())
    }
}

/// Calls a module from the node on which this runs; what became of that, in words.
#[skybox::task]
async fn ask(module: &str) -> Result<String> {
    let app = App::current().expect("a task runs in one");
    Ok(call(&app, module).await)
}

async fn call(app: &App, module: &str) -> String {
    let called = match module {
        "lathe" => app.get::<Lathe>().turn().await,
        "saw" => app.get::<Saw>().turn().await,
        "fuse" => app.get::<Fuse>().light().await,
        "lamp" => app.get::<Lamp>().light().await,
        "match" => app.get::<Match>().turn().await,
        other => panic!("no module {other}"),
    };
    match called {
        Ok(node) => node,
        Err(error) => match error.call_error().map(|error| error.kind()) {
            Some(CallErrorKind::NotStarted { cause }) => format!("not started: {cause}"),
            Some(CallErrorKind::Crashed { .. }) => "crashed".to_owned(),
            _ => error.to_string(),
        },
    }
}

/// Three nodes, and the directory in which they look.
struct Workshop {
    directory: PathBuf,
    nodes: RunningNodes,
}

impl Workshop {
    async fn open(files: &[&str]) -> Workshop {
        let name = std::thread::current().name().expect("a test has a name").replace(':', "-");
        let directory = std::env::temp_dir().join(format!("skybox-{name}-{}", std::process::id()));
        // A node comes here as well, and goes no further.
        std::fs::create_dir_all(&directory).expect("the name is this process's own");
        files.iter().for_each(|file| std::fs::write(directory.join(file), "").expect("it is there"));
        let mut nodes = Nodes::of_this_test(3).env(DIRECTORY, directory.to_str().expect("it is text"));
        // A busy machine may be slow; whoever should hear `NotStarted` hears it long before.
        for module in ["lathe", "saw", "fuse", "lamp", "match"] {
            nodes = nodes.env(&format!("SKYBOX_MODULES__{}__START_WAIT", module.to_uppercase()), "5m");
        }
        let nodes = nodes.start(|builder| builder).await;
        Workshop { directory, nodes }
    }

    /// How often each node has tried to start a module.
    fn attempts(&self, module: &str) -> BTreeMap<String, usize> {
        let starts = std::fs::read_to_string(self.directory.join("starts")).unwrap_or_default();
        let mut attempts = BTreeMap::new();
        for node in starts.lines().filter_map(|line| line.strip_prefix(module)?.strip_prefix(' ')) {
            *attempts.entry(node.to_owned()).or_default() += 1;
        }
        attempts
    }

    fn mend(&self) {
        std::fs::remove_file(self.directory.join("broken")).expect("it was broken");
    }

    /// Where a module belongs, and why it does not start.
    fn place(&self, module: &str) -> (Vec<String>, Option<String>) {
        let plan = self.nodes.plan();
        let ModulePlan::Replicated { assigned, failed, .. } = &plan.modules[module] else {
            panic!("{module} has no keys")
        };
        (assigned.iter().map(NodeName::to_string).collect(), failed.clone())
    }

    async fn is_given_up(&self, module: &str) {
        let given_up = |plan: &ModulePlan| matches!(plan, ModulePlan::Replicated { failed: Some(_), .. });
        self.nodes.wait_plan(|plan| plan.modules.get(module).is_some_and(given_up)).await;
    }

    /// What a call of a module comes to, from each node.
    async fn seen_by_each_node(&self, module: &str) -> BTreeMap<String, String> {
        let mut heard = BTreeMap::new();
        for node in ["node-1", "node-2", "node-3", TEST_NODE] {
            self.nodes.move_to("ask", &[node]).await;
            heard.insert(node.to_owned(), ask(module).await.expect("the task itself runs"));
        }
        heard
    }

    async fn close(self) {
        self.nodes.stop().await;
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn everywhere<V: Clone>(value: V) -> BTreeMap<String, V> {
    ["node-1", "node-2", "node-3"].into_iter().map(|node| (node.to_owned(), value.clone())).collect()
}

/// What its callers hear, on each node and in the test's own process.
fn all_hear(what: &str) -> BTreeMap<String, String> {
    let mut heard = everywhere(what.to_owned());
    heard.insert(TEST_NODE.to_owned(), what.to_owned());
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_cannot_start_another_one_does_and_callers_wait() {
    let workshop = Workshop::open(&["broken-on-first"]).await;
    for module in ["lathe", "saw"] {
        // It may be tried on the first node still, or on its way to the next.
        let place = call(workshop.nodes.app(), module).await;
        let first = std::fs::read_to_string(workshop.directory.join(format!("first-{module}"))).unwrap();
        assert_ne!(place, first, "{module} does not start there");
        let attempts = BTreeMap::from([(first.clone(), ATTEMPTS), (place.clone(), 1)]);
        assert_eq!(workshop.attempts(module), attempts, "{module}");
        assert_eq!(workshop.place(module), (vec![place.clone()], None));
        assert_eq!(workshop.seen_by_each_node(module).await, all_hear(&place));
        // A person's wish counts: it is tried there again, as often as anew, and goes on elsewhere.
        let order = Order::Move { module: module.to_owned(), nodes: vec![NodeName::new(&first)] };
        let Done::Refused(why) = workshop.nodes.parent().order(order).await else {
            panic!("{module} does not start there");
        };
        assert_eq!(why, format!("it does not start on {first}: there is no power here"));
        let attempts = BTreeMap::from([(first.clone(), 2 * ATTEMPTS), (place.clone(), 1)]);
        assert_eq!(workshop.attempts(module), attempts, "{module}");
        assert_eq!(call(workshop.nodes.app(), module).await, place);
    }
    workshop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_can_start_is_tried_on_each_and_brought_back_by_hand() {
    let workshop = Workshop::open(&["broken"]).await;
    for module in ["lathe", "saw"] {
        workshop.is_given_up(module).await;
        assert_eq!(workshop.attempts(module), everywhere(ATTEMPTS), "{module}");
        let heard = workshop.seen_by_each_node(module).await;
        assert_eq!(heard, all_hear("not started: the belt is torn"), "{module}");
        assert_eq!(workshop.attempts(module), everywhere(ATTEMPTS), "and nobody tries by himself");
    }
    workshop.mend();
    let own = std::process::id();
    let program = running().into_iter().find(|program| program.pid == own).expect("this is the parent");
    for module in ["lathe", "saw"] {
        assert!(call(workshop.nodes.app(), module).await.contains("the belt is torn"), "{module}");
        let (place, _) = workshop.place(module);
        program.restart(module, None).await.expect("there is such a module");
        assert_eq!(workshop.seen_by_each_node(module).await, all_hear(&place[0]), "{module}");
        let mut attempts = everywhere(ATTEMPTS);
        attempts.insert(place[0].clone(), ATTEMPTS + 1);
        assert_eq!(workshop.attempts(module), attempts, "{module}");
    }
    workshop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gave_it_up_is_asked_again_when_nobody_else_is_left() {
    let workshop = Workshop::open(&["broken-on-first"]).await;
    let place = call(workshop.nodes.app(), "lathe").await;
    let first = std::fs::read_to_string(workshop.directory.join("first-lathe")).unwrap();
    let third = ["node-1", "node-2", "node-3"].into_iter().find(|node| *node != place && *node != first);
    workshop.nodes.drain(third.expect("there are three")).await;
    assert_eq!(call(workshop.nodes.app(), "lathe").await, place);
    assert_eq!(workshop.attempts("lathe"), BTreeMap::from([(first.clone(), ATTEMPTS), (place.clone(), 1)]));
    std::fs::remove_file(workshop.directory.join("broken-on-first")).expect("it was broken");
    workshop.nodes.drain(&place).await;
    for module in ["lathe", "saw"] {
        assert_eq!(call(workshop.nodes.app(), module).await, first, "{module}");
    }
    assert_eq!(workshop.attempts("lathe"), BTreeMap::from([(first, ATTEMPTS + 1), (place, 1)]));
    workshop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_is_a_new_chance() {
    let workshop = Workshop::open(&["broken"]).await;
    let mut attempts = everywhere(ATTEMPTS);
    for module in ["lathe", "saw"] {
        workshop.is_given_up(module).await;
    }
    let (place, _) = workshop.place("lathe");
    let other = ["node-1", "node-2", "node-3"].into_iter().find(|node| *node != place[0]).unwrap();
    workshop.nodes.kill(other).await;
    let tried_there = |plan: &ModulePlan| match plan {
        ModulePlan::Replicated { assigned, failed, .. } => {
            assigned[..] == [NodeName::new(other)] && failed.is_some()
        }
        ModulePlan::Keyed(_) => false,
    };
    workshop.nodes.wait_plan(|plan| plan.modules.get("lathe").is_some_and(tried_there)).await;
    attempts.insert(other.to_owned(), 2 * ATTEMPTS);
    assert_eq!(workshop.attempts("lathe"), attempts);
    workshop.mend();
    workshop.nodes.kill(other).await;
    workshop.nodes.wait_plan(|plan| plan.nodes.contains_key(&NodeName::new(other))).await;
    for module in ["lathe", "saw"] {
        assert_eq!(call(workshop.nodes.app(), module).await, other, "{module}");
    }
    workshop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_what_crashes_before_it_was_of_use_wait_for_the_next_node() {
    let workshop = Workshop::open(&[]).await;
    for module in ["fuse", "lamp"] {
        let crashes = Arc::new(AtomicUsize::new(0));
        let callers = (0..8).map(|_| {
            let (app, crashes) = (workshop.nodes.app().clone(), crashes.clone());
            tokio::spawn(async move {
                loop {
                    match call(&app, module).await.as_str() {
                        "crashed" => crashes.fetch_add(1, Ordering::Relaxed),
                        other => break other.to_owned(),
                    };
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        let first = |directory: &Path| std::fs::read_to_string(directory.join(format!("first-{module}")));
        for caller in callers {
            let place = caller.await.expect("it does not panic");
            let first = first(&workshop.directory).expect("it was called");
            assert!(place.starts_with("node-") && place != first, "{module}: {place}");
        }
        assert_eq!(crashes.load(Ordering::Relaxed), ATTEMPTS, "{module}: one call each");
        // What its first node has given it up for, which is not that its cell was put away.
        let Done::Shown { gave_up, .. } = workshop.nodes.parent().order(Order::Show).await else {
            panic!("that is what was asked")
        };
        let [gave_up] = &gave_up[module][..] else { panic!("one node: {gave_up:?}") };
        assert!(gave_up.cause.contains("it blows"), "{module}: {}", gave_up.cause);
    }
    workshop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_started_again_is_not_tried_elsewhere() {
    let workshop = Workshop::open(&["broken"]).await;
    workshop.is_given_up("match").await;
    // Others have been tried everywhere meanwhile.
    for module in ["lathe", "saw"] {
        workshop.is_given_up(module).await;
    }
    let (place, _) = workshop.place("match");
    assert_eq!(workshop.seen_by_each_node("match").await, all_hear("not started: the belt is torn"));
    assert_eq!(workshop.attempts("match"), BTreeMap::from([(place[0].clone(), 1)]));
    workshop.close().await;
}
