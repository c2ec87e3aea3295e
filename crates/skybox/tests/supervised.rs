//! A supervisor in a module that is itself supervised, by the plan: when the module's instance goes, however it does, its
//! children stop, and the next `start` has new ones.

use std::time::Duration;

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, Child, ChildSpec, Error, Handle, Result, Supervisor};

/// What is waited for takes far less; beyond, it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the children live.
const ELSEWHERE: &str = "node-2";

/// A child.
struct Gauge;

#[skybox::module(spawned)]
impl Gauge {
    fn start(_: &App, _: ()) -> Gauge {
        Gauge
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn burst(&self) -> Result<u32> {
        panic!("too much pressure")
    }
}

/// Has two of them, one on another node.
struct Plant {
    _gauges: Supervisor,
    inlet: Child<Gauge>,
    outlet: Child<Gauge>,
}

#[skybox::module(within = "1ms")]
impl Plant {
    async fn start(app: &App) -> Result<Plant> {
        let mut gauges = Supervisor::one_for_one().max_restarts(1, PATIENCE);
        let inlet = gauges.add(ChildSpec::new("inlet", async |app: App| app.spawn::<Gauge>(()).await));
        let outlet =
            gauges.add(ChildSpec::new("outlet", async |app: App| app.spawn::<Gauge>(()).on(ELSEWHERE).await));
        Ok(Plant { _gauges: gauges.start(app).await?, inlet, outlet })
    }

    /// Its own process, and its children.
    pub(crate) async fn look(&self) -> Result<(u32, [Handle<Gauge>; 2])> {
        Ok((std::process::id(), [self.inlet.get().await?, self.outlet.get().await?]))
    }

    pub(crate) async fn suffer(&self, how: &str) -> Result<()> {
        match how {
            "abort" => std::process::abort(),
            _ => panic!("as told"),
        }
    }
}

/// Says what a node knows of a module.
#[derive(Default)]
struct Steady;

#[skybox::module(replicas = "per-node")]
impl Steady {
    pub(crate) async fn look(&self, module: &str) -> Result<String> {
        let status = App::current()?.status_with_cells().await;
        let module = status.modules.into_iter().find(|status| status.module == module);
        Ok(serde_json::to_string(&module)?)
    }
}

async fn start(isolate: Option<&str>) -> RunningNodes {
    let nodes = Nodes::of_this_test(2).pin("plant", &["node-1"]).pin("steady", &["node-1"]);
    let nodes = match isolate {
        Some(isolate) => nodes.env("SKYBOX_MODULES__PLANT__ISOLATE", isolate),
        None => nodes,
    };
    nodes.start(|builder| builder).await
}

async fn within<V>(what: &str, future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

fn kind(error: &Error) -> CallErrorKind {
    error.call_error().unwrap_or_else(|| panic!("{error}")).kind().clone()
}

/// Waits until an instance has ended, as its callers see it.
async fn is_over(gauge: &Handle<Gauge>) {
    let over = async {
        while !matches!(gauge.pid().await.map_err(|error| kind(&error)), Err(CallErrorKind::Gone)) {
            tokio::task::yield_now().await;
        }
    };
    within("the end of an old child", over).await;
}

/// Both of the plant's children, when they answer.
async fn children(nodes: &RunningNodes) -> (u32, [Handle<Gauge>; 2]) {
    let plant = nodes.app().get::<Plant>();
    let looking = async {
        loop {
            // Not the one that has just ended, and none that is just ending.
            if let Ok((pid, [inlet, outlet])) = plant.look().await
                && inlet.pid().await.is_ok()
                && outlet.pid().await.is_ok()
            {
                return (pid, [inlet, outlet]);
            }
            tokio::task::yield_now().await;
        }
    };
    within("children that answer", looking).await
}

/// The plant ends so, again and again; its children end with it, and new ones answer.
async fn ends(nodes: &RunningNodes, how: &str, is_right: impl Fn(&CallErrorKind) -> bool) {
    let plant = nodes.app().get::<Plant>();
    for _ in 0..5 {
        let (_, before) = children(nodes).await;
        let pids = (before[0].pid().await.unwrap(), before[1].pid().await.unwrap());
        assert_ne!(pids.0, pids.1, "one of them is elsewhere");
        let kind = kind(&plant.suffer(how).await.unwrap_err());
        assert!(is_right(&kind), "{how}: {kind:?}");
        within("a next one", plant.look()).await.unwrap();
        for gauge in &before {
            is_over(gauge).await;
        }
    }
    children(nodes).await;
}

/// A child that crashes more often than its supervisor bears crashes the plant, with that as the reason.
async fn gives_up(nodes: &RunningNodes) {
    let (_, [first, outlet]) = children(nodes).await;
    assert!(matches!(kind(&first.burst().await.unwrap_err()), CallErrorKind::Crashed { .. }));
    is_over(&first).await;
    let (_, [second, _]) = children(nodes).await;
    assert!(matches!(kind(&second.burst().await.unwrap_err()), CallErrorKind::Crashed { .. }));
    // The other child is of the plant that has crashed.
    is_over(&outlet).await;
    children(nodes).await;
    let said = nodes.app().get::<Steady>().look("plant").await.unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let last = said["endings"].as_array().unwrap().last().unwrap();
    let message = last["message"].as_str().unwrap_or_default();
    assert_eq!(last["reason"], "crashed", "{last}");
    assert!(message.starts_with("its supervisor gave up: ") && message.contains("`inlet`"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_go_with_a_module_that_crashes_and_its_start_has_new_ones() {
    let nodes = start(None).await;
    ends(&nodes, "panic", |kind| matches!(kind, CallErrorKind::Crashed { .. })).await;
    gives_up(&nodes).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_go_with_a_cell() {
    let nodes = start(Some("process")).await;
    let node = nodes.app().get::<Steady>();
    let (pid, _) = children(&nodes).await;
    ends(&nodes, "abort", |kind| matches!(kind, CallErrorKind::Lost { .. })).await;
    ends(&nodes, "panic", |kind| matches!(kind, CallErrorKind::Crashed { .. })).await;
    gives_up(&nodes).await;
    assert_ne!(pid, children(&nodes).await.0, "each abort had a process of its own");
    drop(node);
    nodes.stop().await;
}
