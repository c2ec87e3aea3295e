//! What nodes of a test reach each other over, and how much there is to do for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use skybox_cloud::member::Member;
use skybox_core::{Incarnation, NodeName};
use skybox_node::control::{Boxed, Control, Flow, Load, Vitals};

/// A network.
#[derive(Default)]
pub(crate) struct Network(Mutex<State>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeName, (Incarnation, Weak<Member>)>,
    cut: BTreeSet<NodeName>,
    /// What all instances of a module have to do together, in thousandths of what one can.
    loads: BTreeMap<String, u64>,
    /// For each module the nodes where it has started.
    live: BTreeMap<NodeName, Started>,
}

type Started = Arc<Mutex<BTreeSet<String>>>;

impl Network {
    /// From now on, there is so much to do for the instances of a module together.
    pub(crate) fn gives(&self, module: &str, load_milli: u64) {
        self.state().loads.insert(module.to_owned(), load_milli);
    }

    /// Nobody reaches this node, nor does it reach anybody; the store is there.
    pub(crate) fn cuts(&self, node: &NodeName) {
        self.state().cut.insert(node.clone());
    }

    /// It is reached again.
    pub(crate) fn heals(&self, node: &NodeName) {
        self.state().cut.remove(node);
    }

    pub(crate) fn joins(
        self: &Arc<Self>,
        member: &Arc<Member>,
        node: NodeName,
        life: Incarnation,
        live: Started,
    ) {
        {
            let mut state = self.state();
            state.nodes.insert(node.clone(), (life, Arc::downgrade(member)));
            state.live.insert(node.clone(), live);
        }
        member.begun(Arc::new(Seat { network: self.clone(), node }));
    }

    pub(crate) fn leaves(&self, node: &NodeName, life: Incarnation) {
        let mut state = self.state();
        if state.nodes.get(node).is_some_and(|(now, _)| *now == life) {
            state.nodes.remove(node);
            state.live.remove(node);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics under it")
    }
}

impl State {
    /// The other node, if the two reach each other.
    fn between(&self, from: &NodeName, to: &NodeName) -> Option<(Incarnation, Arc<Member>)> {
        let (life, member) =
            self.nodes.get(to).filter(|_| !self.cut.contains(from) && !self.cut.contains(to))?;
        Some((*life, member.upgrade()?))
    }
}

/// A node, in its network.
struct Seat {
    network: Arc<Network>,
    node: NodeName,
}

impl Vitals for Seat {
    fn look(&self) {}

    /// All nodes have an equal share of what there is to do.
    fn loads(&self) -> Vec<Load> {
        let state = self.network.state();
        let has = |node: &NodeName, module: &String| {
            state
                .live
                .get(node)
                .is_some_and(|live| live.lock().expect("nobody panics under it").contains(module))
        };
        let here = state.loads.iter().filter(|(module, _)| has(&self.node, module));
        let load = here.map(|(module, load_milli)| {
            let count = state.live.keys().filter(|node| has(node, module)).count() as u64;
            let load_milli = (load_milli / count).min(2_000);
            Load { module: module.clone(), load_milli, ..Load::default() }
        });
        load.collect()
    }

    fn flows(&self) -> Vec<Flow> {
        Vec::new()
    }

    fn reaches(&self, node: &NodeName) -> Boxed<'static, bool> {
        let reaches = self.network.state().between(&self.node, node).is_some();
        Box::pin(async move { reaches })
    }

    fn tell(
        &self,
        node: &NodeName,
        life: Incarnation,
        what: String,
    ) -> Boxed<'static, Result<String, String>> {
        let other = self.network.state().between(&self.node, node).filter(|(there, _)| *there == life);
        let state = self.network.state();
        let own = state.nodes.get(&self.node).map(|(life, _)| *life);
        let from = self.node.clone();
        Box::pin(async move {
            let (Some((_, other)), Some(life)) = (other, own) else {
                return Err("nobody hears it".to_owned());
            };
            other.heard(from, life, what).await
        })
    }
}
