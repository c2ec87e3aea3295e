//! Nodes that do what their plan says, without a program: members of one store in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skybox_cloud::member::{Member, Terms};
use skybox_cloud::records::{OWN, Owns, Table, own_in};
use skybox_cloud::store::{Memory, Store, View};
use skybox_core::{Incarnation, InstanceId, ModuleKind, ModulePlan, NodeName, Plan, Replicas};
use skybox_node::capacity::{Capacity, Source};
use skybox_node::config::PlanConfig;
use skybox_node::control::{Control, DeclaredNeeds, Hello, ModuleDecl, Newcomer, Report};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::network::Network;

/// How long a node counts as alive here.
pub(crate) const LEASE: Duration = Duration::from_secs(1);
/// The longest any wait may take. Generous: it only ends tests that would fail anyway.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A store, and the modules of the program.
pub(crate) struct Stage {
    pub(crate) store: Memory,
    modules: Vec<ModuleDecl>,
    lives: AtomicU64,
    lease: Duration,
    pub(crate) network: Arc<Network>,
}

pub(crate) fn module(name: &str, kind: ModuleKind, replicas: Replicas) -> ModuleDecl {
    ModuleDecl {
        name: name.to_owned(),
        kind,
        replicas,
        cpu_milli: 0,
        needs: Default::default(),
        implementations: None,
    }
}

/// One that needs something.
pub(crate) fn needs(name: &str, replicas: Replicas, cpu_milli: u32, needs: DeclaredNeeds) -> ModuleDecl {
    ModuleDecl { cpu_milli, needs, ..module(name, ModuleKind::Replicated, replicas) }
}

impl Stage {
    pub(crate) fn new(modules: impl IntoIterator<Item = ModuleDecl>) -> Stage {
        let store = Memory::new(&Handle::current());
        let modules = modules.into_iter().collect();
        Stage { store, modules, lives: AtomicU64::new(1), lease: LEASE, network: Arc::default() }
    }

    /// One on which no node is ever taken for lost, however busy the machine is.
    pub(crate) fn calm(self) -> Stage {
        Stage { lease: 10 * PATIENCE, ..self }
    }

    /// Has a node join, and do what its plan says.
    pub(crate) async fn node(&self, name: &str) -> Node {
        self.node_that(name, |_| None).await
    }

    /// One on which modules do not start for which there is a cause.
    pub(crate) async fn node_that(
        &self,
        name: &str,
        fails: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Node {
        self.node_with(name, Machine::default(), fails).await
    }

    /// One on a machine of some kind.
    pub(crate) async fn node_on(&self, name: &str, machine: Machine) -> Node {
        self.node_with(name, machine, |_| None).await
    }

    async fn node_with(
        &self,
        name: &str,
        machine: Machine,
        fails: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Node {
        let life = Incarnation(self.lives.fetch_add(1, Ordering::Relaxed));
        let hello = Hello {
            node: NodeName::new(name),
            pid: std::process::id(),
            incarnation: life,
            program: "shop".to_owned(),
            address: format!("{name}:7600"),
            modules: self.modules.clone(),
            stop_wait_ms: 0,
        };
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let terms = Terms { lease: self.lease, jitter: || 0.5, has_parent: false };
        let labels = machine.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let newcomer = Newcomer {
            hello,
            build: "build".to_owned(),
            guest: false,
            labels: labels.chain([("host".to_owned(), format!("host-of-{name}"))]).collect(),
            capacity: Capacity {
                cpu_milli: machine.cpu_milli,
                cpu_from: Source::Machine,
                memory_bytes: machine.memory_bytes,
                memory_from: Source::Machine,
                gpu: 0,
            },
            resources: BTreeMap::new(),
            plan: PlanConfig {
                min_stay: Some(Duration::ZERO),
                settle: Some(Duration::from_secs(1)),
                shrink_after: Some(Duration::from_secs(2)),
                ..PlanConfig::default()
            },
        };
        let member = Member::join(&Handle::current(), store, newcomer, terms).await;
        let member = Arc::new(member.expect("the store is there"));
        let started = Arc::new(Mutex::new(BTreeSet::new()));
        self.network.joins(&member, NodeName::new(name), life, started.clone());
        let playing = tokio::spawn(play(member.clone(), NodeName::new(name), started, Box::new(fails)));
        Node { name: NodeName::new(name), life, member, playing, network: self.network.clone() }
    }

    /// Who owns how many shards of a module, if each of them has an owner that keeps it; and the highest epoch.
    pub(crate) async fn owners(&self, module: &str) -> (BTreeMap<String, usize>, u64) {
        let listed = self.store.list(OWN).await.expect("it is there");
        let mut owns = Table::<Owns>::default();
        owns.follow(&View::of(listed));
        let (mut owners, mut epoch) = (BTreeMap::new(), 0);
        let blocks = owns.iter().filter_map(|(key, row)| Some((own_in(key)?, &row.value)));
        let of_module = blocks.filter(|((of, _), _)| *of == module);
        for (_, own) in of_module.flat_map(|((_, block), owns)| owns.iter(block)) {
            let leaves = if own.releasing_to.is_some() { " leaves" } else { "" };
            *owners.entry(format!("{}{leaves}", own.owner.node)).or_default() += 1;
            epoch = epoch.max(own.epoch);
        }
        (owners, epoch)
    }
}

/// What a node runs on.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cpu_milli: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) labels: Vec<(&'static str, &'static str)>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { cpu_milli: 4_000, memory_bytes: 8 << 30, labels: Vec::new() }
    }
}

/// A node that does what its plan says. Dropped, it is gone without a word, as a process that is killed.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) life: Incarnation,
    pub(crate) member: Arc<Member>,
    playing: JoinHandle<()>,
    network: Arc<Network>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.network.leaves(&self.name, self.life);
        self.playing.abort();
    }
}

impl Node {
    /// Waits until the plan of this node is so.
    pub(crate) async fn sees(&self, what: &str, is_so: impl Fn(&Plan) -> bool) -> Arc<Plan> {
        let mut plans = self.member.plans();
        let seen = tokio::time::timeout(PATIENCE, plans.wait_for(|plan| is_so(plan))).await;
        match seen {
            Ok(plan) => plan.expect("the member is there").clone(),
            Err(_) => {
                panic!("{} waited {PATIENCE:?} for {what}: {:#?}", self.name, self.member.plans().borrow())
            }
        }
    }

    /// Waits until exactly these nodes serve a module, as this node sees it.
    pub(crate) async fn sees_serving(&self, module: &str, nodes: &[&str]) {
        let wanted: BTreeSet<_> = nodes.iter().copied().collect();
        self.sees(&format!("{module} on {nodes:?}"), |plan| serving(plan, module) == wanted).await;
    }

    /// Waits until each shard of a module has an owner, and these are all.
    pub(crate) async fn sees_owners(&self, module: &str, nodes: &[&str]) {
        let wanted: BTreeSet<_> = nodes.iter().copied().collect();
        self.sees(&format!("{module} owned by {nodes:?}"), |plan| {
            owning(plan, module) == Some(wanted.clone())
        })
        .await;
    }

    pub(crate) fn member_plan(&self) -> Arc<Plan> {
        self.member.plans().borrow().clone()
    }

    /// Has an order carried out, as it comes from a command line.
    pub(crate) async fn order_raw(&self, order: serde_json::Value) -> skybox_cloud::parent::Done {
        let done = self.member.order(order, "user ada").await.expect("the store is there");
        serde_json::from_value(done).expect("an answer")
    }

    pub(crate) fn instance(&self, count: u64) -> InstanceId {
        InstanceId { node: self.life, count }
    }
}

pub(crate) fn serving<'p>(plan: &'p Plan, module: &str) -> BTreeSet<&'p str> {
    match plan.modules.get(module) {
        Some(ModulePlan::Replicated { serving, .. }) => serving.iter().map(NodeName::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// The owners of a module's shards; `None` while one has nobody.
fn owning<'p>(plan: &'p Plan, module: &str) -> Option<BTreeSet<&'p str>> {
    let Some(ModulePlan::Keyed(shards)) = plan.modules.get(module) else { return None };
    let owner = |index: &u16| shards.nodes.get(usize::from(*index)).map(NodeName::as_str);
    shards.owner.iter().map(owner).collect()
}

type Fails = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

async fn play(member: Arc<Member>, me: NodeName, started: Arc<Mutex<BTreeSet<String>>>, fails: Fails) {
    member.report(Report::Ready);
    let mut plans = member.plans();
    let mut chances = BTreeMap::new();
    loop {
        let plan = plans.borrow_and_update().clone();
        for (module, planned) in &plan.modules {
            let mut started = started.lock().expect("nobody panics under it");
            match planned {
                ModulePlan::Keyed(_) => {
                    member.report(Report::Released { module: module.clone(), version: plan.version });
                }
                ModulePlan::Replicated { assigned, serving, chances: given, .. } => {
                    let wanted = assigned.contains(&me) || serving.contains(&me);
                    let chance = given.get(&me).copied();
                    if !wanted {
                        if started.remove(module) {
                            member.report(Report::Stopped { module: module.clone() });
                        }
                        chances.remove(module);
                    } else if chances.insert(module.clone(), chance) != Some(chance)
                        && !started.contains(module)
                    {
                        match fails(module) {
                            Some(cause) => {
                                let module = module.clone();
                                member.report(Report::GaveUp { module, cause, failed_starts: 6 });
                            }
                            None => {
                                started.insert(module.clone());
                                member.report(Report::Started { module: module.clone() });
                            }
                        }
                    }
                }
            }
        }
        if plans.changed().await.is_err() {
            return;
        }
    }
}
