//! The store by which the nodes of one machine agree, in the parent's memory; and what the parent does in it: it says which
//! nodes are to come, ends the lease of a node that it has seen die, and leads.
//!
//! It leads as any node of many machines would, by the same code: a node that is stopped or busy holds up no plan, and nobody
//! has to be elected. Each build of the program has a store of its own: nothing is left of the one before it but what people
//! have ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use skybox_core::{Incarnation, NodeName, Plan, TextChain};
use skybox_node::control::ModuleDecl;
use skybox_plan::place::Rules;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::serve::take_each;
use super::{Done, Order};
use crate::leader::Candidate;
use crate::leader::reports::Reports;
use crate::member::orders::Desk;
use crate::member::view::Sight;
use crate::records::{
    ASSIGN, CORDON, EXPECTED, Expected, FREEZE, HISTORY_NEXT, Leader, NODE, OWN, PARENT, PIN, Pin, ROUTE,
    SCALE, of_life, text,
};
use crate::store::{
    Followed, Memory, Op, PACE, Revision, Store, StoreError, Txn, any_changed, follow, serve,
};

/// The store of the program that runs, and what is seen in it.
#[derive(Debug)]
pub(super) struct Cloud {
    socket: PathBuf,
    /// Another one with each build.
    store: watch::Sender<Memory>,
    /// What the program has, as its first node has said.
    modules: watch::Sender<Arc<[ModuleDecl]>>,
    plans: Arc<watch::Sender<Arc<Plan>>>,
    /// What its nodes have told of themselves of late.
    reports: Arc<Reports>,
    /// Lives whose end was seen.
    over: Arc<Mutex<BTreeSet<Incarnation>>>,
    taking: AbortHandle,
    /// Of the store of the moment.
    tasks: Vec<AbortHandle>,
}

impl Cloud {
    /// Serves a store at that socket. `plans` is kept up with what the nodes decide.
    pub(super) fn begin(socket: PathBuf, plans: watch::Sender<Arc<Plan>>) -> std::io::Result<Cloud> {
        let listener = UnixListener::bind(&socket)?;
        let store = watch::Sender::new(Memory::new(&Handle::current()));
        let stores = store.subscribe();
        let take = move |stream| drop(tokio::spawn(answer(stream, stores.clone())));
        let taking = tokio::spawn(take_each(listener, take)).abort_handle();
        let (modules, plans) = (watch::Sender::new(Arc::default()), Arc::new(plans));
        let (over, reports) = (Arc::default(), Arc::default());
        let mut cloud = Cloud { socket, store, modules, plans, reports, over, taking, tasks: Vec::new() };
        cloud.look();
        Ok(cloud)
    }

    fn memory(&self) -> Memory {
        self.store.borrow().clone()
    }

    /// Where nodes find the store.
    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// What the program has.
    pub(super) fn modules(&self) -> Arc<[ModuleDecl]> {
        self.modules.borrow().clone()
    }

    /// The same, and what it has later.
    pub(super) fn watch_modules(&self) -> watch::Receiver<Arc<[ModuleDecl]>> {
        self.modules.subscribe()
    }

    /// A node has said what the program has: from now on there is something to be planned.
    pub(super) fn has(&mut self, modules: Vec<ModuleDecl>, rules: Rules) {
        let modules: Arc<[ModuleDecl]> = modules.into();
        self.modules.send_replace(modules.clone());
        let candidate = Candidate {
            store: Arc::new(self.memory()),
            me: Leader { name: NodeName::new("parent"), incarnation: PARENT },
            build: None,
            modules,
            rules,
            lease: watch::Sender::new(None).subscribe(),
            pace: PACE,
            brake: None,
            news: Arc::new(watch::Sender::new(None)),
            cut_off: watch::Sender::new(false).subscribe(),
            reports: self.reports.clone(),
        };
        self.tasks.push(tokio::spawn(candidate.rule()).abort_handle());
    }

    /// Another build takes the place of this one.
    pub(super) async fn begin_anew(&mut self) {
        let before = self.memory();
        let next = before.successor(&Handle::current());
        for prefix in [PIN, SCALE, CORDON, FREEZE, HISTORY_NEXT] {
            // Of the history it is the lines and their number.
            let ordered = before.list(prefix).await.map(|listed| listed.entries).unwrap_or_default();
            for entry in ordered {
                write(&next, [Op::put(entry.key, entry.value)]).await;
            }
        }
        lock(&self.over).clear();
        self.modules.send_replace(Arc::default());
        self.tasks.drain(..).for_each(|task| task.abort());
        let version = self.plans.borrow().version;
        self.plans.send_replace(Arc::new(Plan { version: version + 1, ..Plan::default() }));
        self.store.send_replace(next);
        self.look();
    }

    fn look(&mut self) {
        let looking = look(self.memory(), self.modules.subscribe(), self.plans.clone(), self.over.clone());
        self.tasks.push(tokio::spawn(looking).abort_handle());
    }

    /// Says which nodes there are or are to come.
    pub(super) async fn expect(&self, expected: &Expected) {
        write(&self.memory(), [Op::put(EXPECTED, text(expected))]).await;
    }

    /// Says where people want modules.
    pub(super) async fn pin(&self, pins: &BTreeMap<String, Vec<NodeName>>) {
        let store = self.memory();
        for (module, nodes) in pins {
            let pin = Pin { nodes: nodes.clone() };
            write(&store, [Op::put(format!("{PIN}{module}"), text(&pin))]).await;
        }
    }

    /// The process of that life is gone: nobody has to wait until its lease has ended. That may come into being only now,
    /// by what it has sent last.
    pub(super) async fn died(&self, life: Incarnation) {
        lock(&self.over).insert(life);
        end_lease(&self.memory(), life).await;
    }

    /// A node has said how it is.
    pub(super) fn reported(&self, node: &NodeName, life: Incarnation, report: serde_json::Value) {
        match serde_json::from_value(report) {
            Ok(report) => drop(self.reports.take(node, life, report)),
            Err(error) => tracing::debug!(%node, "what it says of itself is not understood: {error}"),
        }
    }

    /// Carries out what people order of the plan. `by`: who that is. `known`: nodes that there are, also between two lives.
    pub(super) fn order(
        &self,
        order: Order,
        by: String,
        known: BTreeSet<NodeName>,
        rules: Rules,
    ) -> impl Future<Output = Done> + Send + use<> {
        let desk = Desk {
            store: Arc::new(self.memory()),
            modules: self.modules(),
            build: None,
            rules,
            pace: PACE,
            at: "the parent".to_owned(),
            known,
            reports: self.reports.clone(),
        };
        async move { desk.carry_out(order, &by).await.unwrap_or_else(|error| refused(&error)) }
    }
}

fn refused(error: &StoreError) -> Done {
    Done::Refused(TextChain::of(error).joined())
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.taking.abort();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn lock<V>(value: &Mutex<V>) -> MutexGuard<'_, V> {
    value.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn end_lease(store: &Memory, life: Incarnation) {
    let listed = store.list(&of_life(NODE, life)).await;
    for lease in listed.map(|listed| listed.entries).unwrap_or_default().iter().filter_map(|e| e.lease) {
        if let Err(error) = store.revoke(lease).await {
            tracing::warn!("the lease of a node that died ends by itself: {error}");
        }
    }
}

async fn write(store: &Memory, ops: impl IntoIterator<Item = Op>) {
    if let Err(error) = store.commit(Txn::of(ops)).await {
        tracing::error!("the parent's own store does not take what it is told: {error}");
    }
}

/// Answers a connection. With another store, those to the one before are over.
async fn answer(stream: UnixStream, mut stores: watch::Receiver<Memory>) {
    let store = stores.borrow_and_update().clone();
    tokio::select! {
        ended = serve(Arc::new(store), stream) => {
            if let Err(error) = ended {
                tracing::debug!("a connection to the store ended: {error}");
            }
        }
        _ = stores.changed() => {}
    }
}

/// Keeps the plan up that people see, and ends leases of lives whose end was seen; for as long as it is awaited.
async fn look(
    store: Memory,
    mut modules: watch::Receiver<Arc<[ModuleDecl]>>,
    plans: Arc<watch::Sender<Arc<Plan>>>,
    over: Arc<Mutex<BTreeSet<Incarnation>>>,
) {
    let (runtime, shared) = (Handle::current(), Arc::new(store.clone()) as Arc<dyn Store>);
    let followed = [NODE, ASSIGN, ROUTE, OWN].map(|prefix| follow(&runtime, shared.clone(), prefix, PACE));
    for followed in &followed {
        followed.at(Revision::default()).await;
    }
    let mut changed = followed.each_ref().map(Followed::views);
    let mut sight = Sight::default();
    loop {
        sight.follow(&mut changed);
        let lives: Vec<_> = sight.nodes.iter().map(|(_, row)| row.value.incarnation).collect();
        for life in lives {
            let is_over = lock(&over).contains(&life);
            if is_over {
                end_lease(&store, life).await;
            }
        }
        let known = modules.borrow_and_update().clone();
        let version = plans.borrow().version;
        let next = Plan { version, ..sight.plan(None, &known) };
        if **plans.borrow() != next {
            plans.send_replace(Arc::new(Plan { version: version + 1, ..next }));
        }
        tokio::select! {
            () = any_changed(&mut changed) => {}
            more = modules.changed() => if more.is_err() { return },
        }
    }
}
