//! What a case plays on: an App, started as its mode says, and a view of what ran on the callees' side.

use std::fmt::Debug;
use std::future::Future;
use std::ops::AsyncFn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{
    App, CallError, CallErrorKind, CallOptions, Callable, Handle, KeyOf, Module, Phase, Ran, Spawned,
    Spawning, Spawns,
};
use skybox_core::{ModulePlan, Plan};

use crate::ledger::Ledger;
use crate::modules::{self, Booth, Opening, Probe};

/// How the calls of a case travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As plain calls in one process.
    Inline,
    /// In one process, each encoded, decoded and run on another task.
    Strict,
    /// To another process, over a Unix socket.
    Split,
    /// To another process, over TCP with TLS.
    Tls,
    /// To another process, and on to a cell of it.
    Cells,
}

impl Mode {
    /// Whether the callees are in other processes.
    pub fn is_split(self) -> bool {
        matches!(self, Mode::Split | Mode::Tls | Mode::Cells)
    }
}

/// The node that has the callees, in split mode.
pub const CALLEES: &str = "node-1";
/// The node that has [`modules::Relay`]: a third process, so that chains cross three.
pub const RELAYS: &str = "node-2";

/// The longest any wait for a condition may take. Generous: it only ends tests that would fail anyway.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same for a case that waits for a bound of the runtime; the longest is a drain, whose parts are 50 s together.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// A deadline that a call meets only if nothing holds it up.
pub const SOON: Duration = Duration::from_millis(50);
/// A deadline that leaves a call the time to arrive and begin, on a busy machine too.
pub const LATER: Duration = Duration::from_secs(1);

/// A case's App, and what its mode can do.
#[derive(Clone)]
pub struct Stage {
    pub mode: Mode,
    app: App,
    probe: Handle<Probe>,
    nodes: Option<Arc<RunningNodes>>,
}

/// A case, as the table of modes runs it.
pub type Case = fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>;

/// Runs a case in a mode, on a runtime as a program has one.
pub fn run(mode: Mode, case: Case) {
    run_within(PATIENCE, mode, case);
}

/// Runs a case that waits for one of the runtime's own bounds to pass, which are in real time where there are several
/// processes.
pub fn run_long(mode: Mode, case: Case) {
    run_within(LONG_PATIENCE, mode, case);
}

fn run_within(patience: Duration, mode: Mode, case: Case) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("the operating system gives a test two threads").block_on(play(patience, mode, case));
}

/// Runs a case whose clock stands still while there is something to do, and jumps when there is not.
pub fn run_paused(mode: Mode, case: Case) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime on this thread").block_on(play(PATIENCE, mode, case));
}

async fn play(patience: Duration, mode: Mode, case: Case) {
    let (app, nodes) = match mode {
        Mode::Inline | Mode::Strict => {
            let builder = App::builder().aside().strict(mode == Mode::Strict).provide(Ledger::default());
            (builder.start().await.expect("an App that nothing keeps from starting"), None)
        }
        Mode::Split | Mode::Tls | Mode::Cells => {
            let ledger = if mode == Mode::Cells { Ledger::of_all_processes() } else { Ledger::default() };
            let nodes = Nodes::of_this_test(2).env("SKYBOX_MODULES__CRAMPED__QUEUE", "1");
            let nodes = modules::CALLEES.iter().fold(nodes, |nodes, module| nodes.pin(module, &[CALLEES]));
            let nodes = nodes.pin("relay", &[RELAYS]).pin("conduit", &[RELAYS]).pin("fair", &[RELAYS]);
            let nodes = match mode {
                Mode::Tls => nodes.tls(),
                Mode::Cells => modules::in_cells().fold(ledger.shared_with(nodes), |nodes, module| {
                    nodes.env(&format!("SKYBOX_MODULES__{}__ISOLATE", module.to_uppercase()), "process")
                }),
                _ => nodes,
            };
            let nodes = nodes.start(|builder| builder.provide(ledger)).await;
            if mode == Mode::Cells {
                nodes.wait_plan(are_born).await;
            }
            (nodes.app().clone(), Some(Arc::new(nodes)))
        }
    };
    let stage = Stage { mode, probe: app.get(), app: app.clone(), nodes };
    stage.within(patience, "the case ends", app.enter(case(stage.clone()))).await;
    let Stage { nodes, probe, app: same, .. } = stage;
    drop((probe, same));
    match nodes {
        None => app.shutdown().await,
        Some(nodes) => {
            drop(app);
            Arc::into_inner(nodes).expect("a case leaves nothing behind that holds its stage").stop().await;
        }
    }
}

/// Whether the cells have started that a case does not wait for itself: its deadlines are for calls, not for those.
fn are_born(plan: &Plan) -> bool {
    let mut theirs =
        plan.modules.iter().filter(|(module, _)| modules::in_cells().any(|name| name == *module));
    theirs.all(|(module, place)| match place {
        // Its start waits for the case.
        ModulePlan::Replicated { .. } if module == "latecomer" => true,
        ModulePlan::Replicated { serving, failed, .. } => !serving.is_empty() || failed.is_some(),
        ModulePlan::Keyed(_) => true,
    })
}

impl Stage {
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The nodes of the modes that have some.
    pub fn nodes(&self) -> &RunningNodes {
        self.nodes.as_deref().expect("only cases that are split ask for nodes")
    }

    pub fn get<T: Callable + ?Sized>(&self) -> Handle<T> {
        self.app.get()
    }

    pub fn at<T: Callable + ?Sized>(&self, key: &KeyOf<T>) -> Handle<T> {
        self.app.at(key)
    }

    /// Makes an instance on the callees' side.
    pub fn spawn<T: Spawns>(&self, arguments: <KeyOf<T> as ToOwned>::Owned) -> Spawning<T> {
        let spawning = self.app.spawn::<T>(arguments);
        if self.mode.is_split() { spawning.on(CALLEES) } else { spawning }
    }

    /// Opens a booth on the callees' side.
    pub async fn booth(&self, name: &str, stock: u32) -> Spawned<Booth> {
        self.spawn::<Booth>(Opening::of(name, stock)).await.expect("a booth opens")
    }

    /// Whether calls are made into bytes.
    pub fn crosses(&self) -> bool {
        self.mode != Mode::Inline
    }

    /// Lets those pass who wait at a gate, and those who will.
    pub async fn open(&self, gate: &str) {
        self.probe.note(&format!("{gate} open")).await.expect("the probe answers");
    }

    /// Lets the callees' side notice what it was told: that a call was dropped, that its time is up.
    pub async fn settle(&self) {
        self.probe.settle().await.expect("the probe answers");
    }

    /// How often something happened on the callees' side.
    pub async fn count(&self, what: &str) -> u64 {
        self.probe.count(what).await.expect("the probe answers")
    }

    /// Waits until something has happened so often.
    pub async fn reached(&self, what: &str, count: u64) {
        self.until(&format!("`{what}` happens {count} times"), async || self.count(what).await >= count)
            .await;
    }

    /// Waits until so many calls wait for their turn on a module.
    pub async fn waiting<T: Callable + ?Sized>(&self, count: u64) {
        let module = T::Module::descriptor().name;
        let enough = async || self.probe.waiting(module).await.expect("the probe answers") == count;
        self.until(&format!("{count} calls wait for `{module}`"), enough).await;
    }

    /// Waits until so many calls hold a module.
    pub async fn holding<T: Callable + ?Sized>(&self, count: u64) {
        let module = T::Module::descriptor().name;
        let enough = async || self.probe.holding(module).await.expect("the probe answers") == count;
        self.until(&format!("{count} calls hold `{module}`"), enough).await;
    }

    /// Makes a call whose time is up behind a gate, and gives its error. A machine may be so busy that the time is up
    /// before the call is there, or before the connection that it takes is open: then it is made with more time.
    pub async fn once_begun<E>(&self, gate: &str, call: impl AsyncFn(CallOptions) -> E) -> E {
        let began = format!("{gate} began");
        for times in [1, 4, 16] {
            let error = call(CallOptions::new().deadline(LATER * times)).await;
            if self.count(&began).await > 0 {
                return error;
            }
        }
        panic!("no call reaches the gate `{gate}` within {:?}", LATER * 16)
    }

    /// Asks until it is so.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let asking = async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        };
        self.patiently(what, asking).await;
    }

    /// Awaits what must come, and says what had happened if it does not.
    pub async fn patiently<F: Future>(&self, what: &str, future: F) -> F::Output {
        self.within(PATIENCE, what, future).await
    }

    async fn within<F: Future>(&self, patience: Duration, what: &str, future: F) -> F::Output {
        match tokio::time::timeout(patience, future).await {
            Ok(output) => output,
            Err(_) => {
                panic!("waited {patience:?} until {what}; the callees noted {:#?}", self.probe.all().await)
            }
        }
    }

    /// Checks that time was up in this phase. A machine may be too busy to carry the verdict of one callee in time:
    /// where a call crosses, its caller may know only that it was sent.
    #[track_caller]
    pub fn assert_phase(&self, error: &CallError, phase: Phase) {
        let known = *error.kind() == CallErrorKind::Deadline { phase };
        let unheard = self.crosses() && *error.kind() == CallErrorKind::Deadline { phase: Phase::Sent };
        assert!(known || unheard, "time was up while {phase:?}: {error:?}");
        let ran = if known && phase != Phase::Running { Ran::No } else { Ran::Maybe };
        assert_eq!(error.ran(), ran, "{error:?}");
    }
}

/// The failure of one's own call.
#[track_caller]
pub fn failure<T: Debug>(outcome: skybox::Result<T>) -> CallError {
    let error = outcome.expect_err("the call fails");
    error.call_error().unwrap_or_else(|| panic!("the call itself fails: {error:?}")).clone()
}

/// The failure of one's own call, which must be of a kind and say whether the call ran.
#[track_caller]
pub fn fails<T: Debug>(outcome: skybox::Result<T>, kind: &str, ran: Ran) -> CallError {
    let error = failure(outcome);
    assert_eq!((error.kind().name(), error.ran()), (kind, ran), "{error:?}");
    error
}
