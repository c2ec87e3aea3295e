//! A node as one of a cloud: what it says of itself in the store, and what it reads there.
//!
//! All of it runs on a thread of its own (`member/thread.rs`): a lease is renewed although the program's runtime is busy.

mod far;
mod gauges;
mod lease;
mod names;
mod once;
pub(crate) mod orders;
mod standing;
mod telling;
mod thread;
mod tick;
pub(crate) mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use skybox_core::{Incarnation, InstanceId, NodeName, Plan, TextChain};
use skybox_node::Fence;
use skybox_node::capacity::{Capacity, Source};
use skybox_node::control::{
    Boxed, Control, ControlError, Joining, Leave, ModuleDecl, Newcomer, OnceTurn, ParentLink, PlanFigures,
    Report, Through, Unanswered, Vitals,
};
use skybox_plan::names::{NameAnswer, NameAsk};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::leader::reports::Reports;
use crate::leader::{Candidate, rules};
use crate::parent::{Done, Order};
use crate::records::{Leader, Node};
use crate::reports::{Answer, Told};
use crate::store::{Embedded, LeaseId, PACE, Pace, Store, StoreError};
use gauges::Gauges;
use names::Names;
use orders::Desk;
use standing::{Standing, sayings};
use thread::StoreThread;

/// A node that begins waits so long for the leader to say what it is to run, and then goes on without.
const FIRST_WORD_WAIT: Duration = Duration::from_secs(20);
/// How a node is a member.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long it counts as alive without a word from it.
    pub lease: Duration,
    /// Numbers from 0 to 1 that differ from node to node.
    pub jitter: fn() -> f64,
    /// Whether the store is that of a parent on this machine, which leads and sees nodes die.
    pub has_parent: bool,
}

/// How long a node of one machine counts as alive without a word from it. Its parent sees it die; this is for one that is
/// stopped, and longer than its peers wait for it.
const LOCAL_LEASE: Duration = Duration::from_secs(60);
/// How long the parent's store may take to answer.
const LOCAL_STORE_WAIT: Duration = Duration::from_secs(10);

/// A node of a cloud.
pub struct Member {
    shared: Arc<Shared>,
    names: Arc<Names>,
    plan: watch::Receiver<Arc<Plan>>,
    /// The leader has said what this node is to run.
    heard: watch::Receiver<bool>,
    tasks: Vec<AbortHandle>,
    runtime: Handle,
    parent: Option<Arc<ParentLink>>,
    /// Ends with this, after the lease was given back.
    thread: Option<StoreThread>,
}

/// What the tasks of a member share.
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    node: Node,
    modules: Arc<[ModuleDecl]>,
    standing: Mutex<Standing>,
    /// What it says of itself has changed.
    said: Notify,
    lease: watch::Sender<Option<LeaseId>>,
    /// The lease on which its record is: while that lasts, nobody takes anything from it.
    present: watch::Sender<Option<LeaseId>>,
    /// It has left: it gets no other lease.
    left: watch::Sender<bool>,
    leave: watch::Sender<Option<Leave>>,
    /// It leads no more.
    resigned: watch::Sender<bool>,
    pace: Pace,
    /// Until when keyed instances may be called here.
    fence: Arc<Fence>,
    lease_known: Mutex<LeaseKnown>,
    /// Whoever ends leases is the parent, and may be stopped.
    parent_ends_leases: bool,
    /// Where people give orders.
    desk: Desk,
    gauges: Gauges,
    /// How the node is, and its way to others, once it has begun.
    vitals: watch::Sender<Option<Arc<dyn Vitals>>>,
    /// It reaches few others.
    cut_off: watch::Sender<bool>,
    /// What others tell it while it leads.
    reports: Arc<Reports>,
}

/// What has to be known before keyed instances may be called under a lease.
#[derive(Debug, Default)]
struct LeaseKnown {
    /// The lease, when the last renewal of it was sent that was answered, by the clock of the fence, and how long it lasts.
    renewed: Option<(LeaseId, u64, Duration)>,
    /// The lease under which it was read who owns what, and the version of the plan that says so.
    read: Option<(LeaseId, u64)>,
}

/// Of four parts of a lease, so many are used: in the last one, others may think already that it has ended.
const FENCE_PARTS: u32 = 3;
/// The part of a lease for which what is killed may go on: until then, nobody can have taken over.
const GRACE_PARTS: u32 = 6;

impl Shared {
    /// The lease was renewed by what was sent at that moment.
    fn renewed(&self, lease: LeaseId, sent_ms: u64, ttl: Duration) {
        let mut known = self.known();
        known.renewed = Some((lease, sent_ms, ttl));
        self.extend(&known);
    }

    /// Under this lease it was read who owns what, and this version of the plan says so.
    fn has_read(&self, lease: LeaseId, version: u64) {
        let mut known = self.known();
        known.read = Some((lease, version));
        self.extend(&known);
    }

    /// The lease has ended.
    fn lapsed(&self) {
        *self.known() = LeaseKnown::default();
        self.present.send_replace(None);
        self.fence.close();
    }

    fn known(&self) -> MutexGuard<'_, LeaseKnown> {
        self.lease_known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn extend(&self, known: &LeaseKnown) {
        if let (Some((lease, sent_ms, ttl)), Some((read_under, version))) = (known.renewed, known.read)
            && lease == read_under
        {
            let lasts = ttl * FENCE_PARTS / (FENCE_PARTS + 1);
            self.fence.extend(sent_ms + lasts.as_millis() as u64, version);
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The lease, as soon as there is one.
    async fn lease(&self) -> LeaseId {
        let mut lease = self.lease.subscribe();
        let lease = lease.wait_for(Option::is_some).await;
        lease.ok().and_then(|lease| *lease).expect("the sender lives in this very value")
    }

    /// From now on it hands over what it has, and leads no more.
    fn hands_over(&self) {
        self.standing().draining = true;
        self.said.notify_one();
        self.resigned.send_replace(true);
    }

    /// The pause after so many failures in a row.
    async fn pause(&self, failures: u32) {
        let pause = self.pace.first.saturating_mul(1 << failures.min(10)).min(self.pace.longest);
        tokio::time::sleep(pause.mul_f64(0.5 + (self.pace.jitter)().clamp(0.0, 1.0) / 2.0)).await;
    }
}

impl Member {
    /// Joins through the store that `[store]` names, or through that of the parent. `jitter`: numbers from 0 to 1 that
    /// differ from node to node.
    ///
    /// # Errors
    /// [`ControlError::Store`] if the store cannot be reached or refuses this program.
    pub async fn enter(joining: Joining, jitter: fn() -> f64) -> Result<Member, ControlError> {
        let thread = StoreThread::begin().map_err(|error| {
            no_store(&StoreError::Unreachable {
                why: format!("no thread to speak to it: {error}"),
                may_have_run: false,
            })
        })?;
        let runtime = thread.runtime().clone();
        let Joining { mut newcomer, through } = joining;
        let node = newcomer.hello.node.clone();
        // A process that joins by itself, as a test does, is nobody's to end.
        let is_node = !newcomer.guest;
        let mut member = match through {
            Through::Store(config) => {
                let terms = Terms { lease: config.lease(), jitter, has_parent: false };
                let program = newcomer.hello.program.clone();
                let connecting = runtime.spawn(thread::connect((*config).clone(), program));
                let store = connecting.await.unwrap_or_else(|error| {
                    Err(StoreError::Unreachable { why: error.to_string(), may_have_run: false })
                });
                let store = store.map_err(|error| ControlError::Store {
                    why: format!(
                        "the store at {config} is not there for this program: {}",
                        TextChain::of(&error).joined()
                    ),
                    asked: false,
                })?;
                Member::join(&runtime, store, newcomer, terms).await?
            }
            Through::Parent(parent) => {
                let terms = Terms { lease: LOCAL_LEASE, jitter, has_parent: true };
                let store = Arc::new(Embedded::at(parent.store(), LOCAL_STORE_WAIT));
                newcomer.capacity = unlimited(newcomer.capacity);
                let mut member = Member::join(&runtime, store, newcomer, terms).await?;
                member.obey(parent);
                member
            }
        };
        if is_node {
            let (tick, counting) = tick::count(&Handle::current());
            member.tasks.push(counting.abort_handle());
            member.tasks.push(runtime.spawn(tick::watch(node, tick, counting)).abort_handle());
        }
        member.thread = Some(thread);
        Ok(member)
    }

    /// Leaves when the parent says so.
    fn obey(&mut self, parent: ParentLink) {
        let mut leaving = parent.leaving();
        let parent = Arc::new(parent);
        self.parent = Some(parent.clone());
        let shared = self.shared.clone();
        let telling = self.runtime.spawn(telling::run_under(shared.clone(), parent));
        self.tasks.push(telling.abort_handle());
        let obeying = self.runtime.spawn(async move {
            loop {
                let Ok(leave) = leaving.wait_for(Option::is_some).await.map(|leave| *leave) else { return };
                if leave == Some(Leave::HandOver) {
                    shared.hands_over();
                }
                shared.leave.send_replace(leave);
                // The parent may be gone before all is handed over.
                if leaving.changed().await.is_err() {
                    return;
                }
            }
        });
        self.tasks.push(obeying.abort_handle());
    }

    /// Joins the cloud whose store this is; its tasks run on that runtime.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn join(
        runtime: &Handle,
        store: Arc<dyn Store>,
        newcomer: Newcomer,
        terms: Terms,
    ) -> Result<Member, ControlError> {
        let Newcomer { hello, build, guest, labels, capacity, resources, plan: how } = newcomer;
        let node = Node {
            account: account(&hello.node, &labels, &capacity),
            name: hello.node,
            incarnation: hello.incarnation,
            address: hello.address,
            build,
            draining: false,
            guest,
            host: host_in(&labels),
            labels,
            cpu_milli: capacity.cpu_milli.into(),
            memory_bytes: capacity.memory_bytes,
            gpu: capacity.gpu.into(),
            capacity_from: capacity.to_string(),
        };
        let modules: Arc<[ModuleDecl]> = hello.modules.into();
        let reports = Arc::<Reports>::default();
        let shared = Arc::new(Shared {
            store: store.clone(),
            node: node.clone(),
            modules: modules.clone(),
            standing: Mutex::default(),
            said: Notify::new(),
            lease: watch::Sender::new(None),
            present: watch::Sender::new(None),
            left: watch::Sender::new(false),
            leave: watch::Sender::new(None),
            resigned: watch::Sender::new(false),
            pace: Pace { jitter: terms.jitter, ..PACE },
            fence: Arc::new(match terms.has_parent {
                true => Fence::of_this_machine(terms.lease / GRACE_PARTS),
                false => Fence::new(terms.lease / GRACE_PARTS),
            }),
            parent_ends_leases: terms.has_parent,
            lease_known: Mutex::default(),
            desk: Desk {
                store: store.clone(),
                modules: modules.clone(),
                build: Some(node.build.clone()),
                rules: rules(&how),
                pace: Pace { jitter: terms.jitter, ..PACE },
                at: node.name.to_string(),
                known: BTreeSet::new(),
                reports: reports.clone(),
            },
            gauges: Gauges::new(),
            vitals: watch::Sender::new(None),
            cut_off: watch::Sender::new(false),
            reports,
        });
        let (plans, plan) = watch::channel(Arc::default());
        let (heard, first_word) = watch::channel(false);
        let names = Arc::new(Names::new(shared.clone()));
        let mut tasks = vec![
            runtime.spawn(lease::keep(shared.clone(), terms.lease)),
            runtime.spawn(standing::say(shared.clone())),
            runtime.spawn(names.clone().keep()),
            runtime.spawn(view::watch(shared.clone(), plans, heard)),
            runtime.spawn(far::measure(shared.clone(), far::wanted(&modules, &resources))),
        ];
        if !terms.has_parent {
            let candidate = Candidate {
                store,
                me: Leader { name: node.name.clone(), incarnation: node.incarnation },
                build: Some(node.build.clone()),
                modules: modules.clone(),
                rules: rules(&how),
                lease: shared.lease.subscribe(),
                pace: shared.pace,
                brake: Some(terms.lease),
                news: shared.gauges.leads.clone(),
                cut_off: shared.cut_off.subscribe(),
                reports: shared.reports.clone(),
            };
            tasks.push(runtime.spawn(candidate.run(shared.resigned.subscribe())));
            tasks.push(runtime.spawn(telling::run(shared.clone(), plan.clone())));
        }
        let tasks = tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        let mut heard = first_word.clone();
        let runtime = runtime.clone();
        let member =
            Member { shared, names, plan, heard: first_word, tasks, runtime, parent: None, thread: None };
        let heard = heard.wait_for(|heard| *heard);
        if tokio::time::timeout(FIRST_WORD_WAIT, heard).await.is_err() {
            tracing::warn!(
                "nobody has said within {FIRST_WORD_WAIT:?} what this node is to run: it goes on, and calls wait"
            );
        }
        Ok(member)
    }
}

fn host_in(labels: &BTreeMap<String, String>) -> String {
    labels.get("host").cloned().unwrap_or_default()
}

/// Whatever says how much a node may use. Nodes of one machine share that, but for those that have a part of their own.
fn account(node: &NodeName, labels: &BTreeMap<String, String>, capacity: &Capacity) -> String {
    let host = host_in(labels);
    match &capacity.cpu_from {
        Source::Configuration(_) => format!("{host}/{node}"),
        Source::Cgroup { group, .. } => format!("{host}{group}"),
        _ => host,
    }
}

/// What a node of one machine says that it may use, if nobody has said how much that is: what is reserved on a laptop is
/// not there on the machines for which it was written down, and runs all the same.
fn unlimited(capacity: Capacity) -> Capacity {
    match capacity.cpu_from {
        Source::Configuration(_) => capacity,
        _ => Capacity { cpu_milli: u32::MAX, memory_bytes: u64::MAX, gpu: u32::MAX, ..capacity },
    }
}

fn no_store(error: &StoreError) -> ControlError {
    let asked = matches!(error, StoreError::Unreachable { may_have_run: true, .. });
    ControlError::Store { why: TextChain::of(error).joined(), asked }
}

impl Control for Member {
    fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.clone()
    }

    fn fence(&self) -> Option<Arc<Fence>> {
        Some(self.shared.fence.clone())
    }

    fn told(&self) -> Boxed<'static, ()> {
        let mut heard = self.heard.clone();
        Box::pin(async move {
            if heard.wait_for(|heard| *heard).await.is_err() {
                // Nobody says anything any more.
                std::future::pending().await
            }
        })
    }

    fn figures(&self) -> Option<PlanFigures> {
        Some(self.shared.gauges.figures())
    }

    fn leaving(&self) -> watch::Receiver<Option<Leave>> {
        self.shared.leave.subscribe()
    }

    fn places_anew(&self) -> bool {
        true
    }

    fn begun(&self, vitals: Arc<dyn Vitals>) {
        self.shared.vitals.send_replace(Some(vitals));
    }

    fn heard(&self, from: NodeName, life: Incarnation, what: String) -> Boxed<'_, Result<String, String>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let answer = match serde_json::from_str(&what).map_err(|error| error.to_string())? {
                Told::Report(report) => match shared.reports.take(&from, life, report) {
                    true => Answer::Heard,
                    false => Answer::NotLeader,
                },
                Told::Explain(_) if !shared.reports.is_heard() => Answer::NotLeader,
                Told::Explain(module) => match shared.desk.explain(&module).await {
                    Ok(explained) => Answer::Explained(Box::new(explained)),
                    Err(_) => Answer::NotLeader,
                },
            };
            serde_json::to_string(&answer).map_err(|error| error.to_string())
        })
    }

    fn report(&self, report: Report) {
        if let (Report::Ready, Some(parent)) = (&report, &self.parent) {
            parent.ready();
        }
        let leaves = report == Report::Drained;
        if sayings(&mut self.shared.standing(), report) {
            self.shared.said.notify_one();
        }
        if leaves {
            // Others need not wait for its lease to end.
            self.runtime.spawn(lease::give_back(self.shared.clone()));
        }
    }

    fn leaves_by_itself(&self) -> Leave {
        let plan = self.plan.borrow().clone();
        let mut others =
            plan.nodes.iter().filter(|(name, entry)| **name != self.shared.node.name && !entry.draining);
        if others.next().is_none() {
            return Leave::End;
        }
        self.shared.hands_over();
        Leave::HandOver
    }

    fn once(&self, name: &str) -> Boxed<'_, Result<OnceTurn, ControlError>> {
        let name = name.to_owned();
        let (shared, runtime) = (self.shared.clone(), self.runtime.clone());
        Box::pin(async move { once::turn(&runtime, shared, &name).await.map_err(|error| no_store(&error)) })
    }

    fn listener(&self, name: &str, address: &str) -> Boxed<'_, Result<Option<TcpListener>, ControlError>> {
        let (name, address) = (name.to_owned(), address.to_owned());
        let parent = self.parent.clone();
        Box::pin(async move {
            match parent {
                Some(parent) => parent.listener(&name, &address).await,
                None => skybox_node::bind_listener(&name, &address).map(Some),
            }
        })
    }

    fn names(&self, ask: NameAsk) -> Boxed<'_, Result<NameAnswer, ControlError>> {
        let names = self.names.clone();
        Box::pin(async move { names.answer(ask).await.map_err(|error| no_store(&error)) })
    }

    fn ended(&self, instance: InstanceId) -> Boxed<'_, Result<(), ControlError>> {
        let names = self.names.clone();
        Box::pin(async move {
            names.free(instance).await;
            Ok(())
        })
    }

    fn order(&self, order: serde_json::Value, by: &str) -> Boxed<'_, Result<serde_json::Value, Unanswered>> {
        let (shared, by) = (self.shared.clone(), by.to_owned());
        Box::pin(async move {
            let order: Order =
                serde_json::from_value(order).map_err(|error| Unanswered::Refused(error.to_string()))?;
            // Who leads was told how much there is to do.
            let by_leader = match &order {
                Order::Explain { module } => telling::explained_by_leader(&shared, module).await,
                _ => None,
            };
            let done = match by_leader {
                Some(explanation) => Ok(Done::Explained(Box::new(explanation))),
                None => shared.desk.carry_out(order, &by).await,
            };
            let done = done.map_err(|error| Unanswered::Unreachable(error.to_string()))?;
            serde_json::to_value(done).map_err(|error| Unanswered::Refused(error.to_string()))
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(thread) = self.thread.take() {
            thread.end_after(lease::give_back(self.shared.clone()));
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("node", &self.shared.node).finish_non_exhaustive()
    }
}
