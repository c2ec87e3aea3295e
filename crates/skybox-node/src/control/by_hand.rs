//! Nodes on several machines whose addresses are given by hand: nobody plans, so every node works out the same plan
//! from the same names, once, when it starts.
//!
//! What that cannot do: nothing is placed anew when a node dies (its calls fail as unreachable until it is back), and
//! nothing moves. Every node must be given the same names: two that are not disagree on who owns a key.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;

use skybox_core::{InstanceId, ModulePlan, NodeEntry, NodeName, Plan, SHARD_COUNT, Shards};
use skybox_plan::names::{NameAnswer, NameAsk};
use skybox_plan::spread::{Assignment, ModuleFacts, spread};
use tokio::sync::watch;

use super::{Boxed, Control, ControlError, Leave, ModuleDecl, OnceTurn, Report};

/// Plans for nodes that know each other from their configuration.
pub(crate) struct ByHand {
    me: NodeName,
    plan: watch::Sender<Arc<Plan>>,
    leave: watch::Sender<Option<Leave>>,
}

impl ByHand {
    /// `peers`: the addresses of the others.
    pub(crate) fn new(me: &NodeName, peers: &BTreeMap<NodeName, String>, modules: &[ModuleDecl]) -> ByHand {
        let plan = plan(me, peers, modules);
        ByHand { me: me.clone(), plan: watch::Sender::new(Arc::new(plan)), leave: watch::Sender::new(None) }
    }
}

fn plan(me: &NodeName, peers: &BTreeMap<NodeName, String>, modules: &[ModuleDecl]) -> Plan {
    let nodes: BTreeSet<_> = peers.keys().chain([me]).cloned().collect();
    let modules: Vec<_> = modules.iter().map(facts).collect();
    let places = spread(&nodes, &modules).into_iter().map(|(module, assignment)| {
        let place = match assignment {
            // Whoever is called before it is ready has the call wait.
            Assignment::Nodes(nodes) => ModulePlan::replicated(nodes.clone(), nodes),
            Assignment::Owners(owners) => ModulePlan::Keyed(shards(&nodes, &owners)),
        };
        (module, place)
    });
    let entry = |address: &String| NodeEntry { incarnation: None, address: address.clone(), draining: false };
    Plan {
        version: 1,
        modules: places.collect(),
        nodes: peers.iter().map(|(name, address)| (name.clone(), entry(address))).collect(),
    }
}

fn facts(module: &ModuleDecl) -> ModuleFacts {
    ModuleFacts {
        name: module.name.clone(),
        kind: module.kind,
        replicas: module.replicas,
        cpu_milli: module.cpu_milli,
    }
}

fn shards(nodes: &BTreeSet<NodeName>, owners: &[Option<NodeName>]) -> Shards {
    debug_assert_eq!(owners.len(), usize::from(SHARD_COUNT));
    let nodes: Vec<_> = nodes.iter().cloned().collect();
    let index = |owner: &Option<NodeName>| {
        let at = owner.as_ref().and_then(|owner| nodes.binary_search(owner).ok());
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(Shards::NOBODY)
    };
    let owner = owners.iter().map(index).collect();
    Shards { nodes, owner, ..Shards::default() }
}

impl Control for ByHand {
    fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn leaving(&self) -> watch::Receiver<Option<Leave>> {
        self.leave.subscribe()
    }

    /// A module that does not start here is not called here any more; the others do not hear of it.
    fn report(&self, report: Report) {
        let (module, gave_up) = match report {
            Report::GaveUp { module, cause, .. } => (module, Some(cause)),
            Report::TriesAgain { module } => (module, None),
            _ => return,
        };
        self.plan.send_modify(|plan| {
            let plan = Arc::make_mut(plan);
            if let Some(ModulePlan::Replicated { serving, failed, .. }) = plan.modules.get_mut(&module) {
                serving.retain(|node| *node != self.me);
                match gave_up {
                    Some(cause) => *failed = serving.is_empty().then_some(cause),
                    None => {
                        serving.push(self.me.clone());
                        *failed = None;
                    }
                }
                plan.version += 1;
            }
        });
    }

    /// On each node: there is no store that would say whether another has done it.
    fn once(&self, name: &str) -> Boxed<'_, Result<OnceTurn, ControlError>> {
        tracing::warn!(
            "`once(\"{name}\")` runs on every node: nodes by hand have no store that says it is done"
        );
        Box::pin(async { Ok(OnceTurn::Run(Box::new(|_| Box::pin(async {})))) })
    }

    fn listener(&self, name: &str, address: &str) -> Boxed<'_, Result<Option<TcpListener>, ControlError>> {
        let (name, address) = (name.to_owned(), address.to_owned());
        Box::pin(async move { crate::listen::bind(&name, &address).map(Some) })
    }

    fn names(&self, _ask: NameAsk) -> Boxed<'_, Result<NameAnswer, ControlError>> {
        let why = "nodes whose addresses are given by hand have no store that keeps names of instances: hand handles on, or \
                   use a keyed module";
        Box::pin(async { Err(ControlError::Refused(why.to_owned())) })
    }

    /// None had a name.
    fn ended(&self, _instance: InstanceId) -> Boxed<'_, Result<(), ControlError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::ModuleKind;

    use super::*;

    #[test]
    fn every_node_works_out_the_same_plan() {
        let names = ["a", "b", "c"].map(NodeName::new);
        let address = |node: &NodeName| format!("{node}:7600");
        let decl = |name: &str, kind, replicas| ModuleDecl {
            name: name.to_owned(),
            kind,
            replicas,
            cpu_milli: 0,
            needs: Default::default(),
            implementations: None,
        };
        let modules = [
            decl("carts", ModuleKind::Keyed, skybox_core::Replicas::fixed(1)),
            decl("catalog", ModuleKind::Replicated, skybox_core::Replicas::fixed(2)),
            decl("resize", ModuleKind::Task, skybox_core::Replicas::PerNode),
        ];
        let plan_of = |me: &NodeName| {
            let peers = names.iter().filter(|node| *node != me);
            plan(me, &peers.map(|node| (node.clone(), address(node))).collect(), &modules)
        };
        let of_a = plan_of(&names[0]);
        assert!(names.iter().all(|me| plan_of(me).modules == of_a.modules));
        assert!(!of_a.nodes.contains_key(&names[0]) && of_a.nodes.len() == 2);
        let ModulePlan::Keyed(shards) = &of_a.modules["carts"] else { panic!("it is keyed") };
        assert!(shards.owner.iter().all(|owner| usize::from(*owner) < 3), "every shard has an owner");
        let ModulePlan::Replicated { serving, .. } = &of_a.modules["resize"] else { panic!("a task") };
        assert_eq!(serving.len(), 3);
    }

    #[tokio::test]
    async fn nobody_keeps_names_and_the_refusal_says_so() {
        let control = ByHand::new(&NodeName::new("a"), &BTreeMap::new(), &[]);
        let refused = control.names(NameAsk::Whereis { name: "lobby".to_owned() }).await;
        let error = refused.expect_err("there is no store").to_string();
        assert!(error.contains("given by hand") && error.contains("keyed module"), "{error}");
    }

    #[test]
    fn what_does_not_start_here_is_called_elsewhere() {
        let (me, peer) = (NodeName::new("a"), NodeName::new("b"));
        let module = ModuleDecl {
            name: "catalog".to_owned(),
            kind: ModuleKind::Replicated,
            replicas: skybox_core::Replicas::PerNode,
            cpu_milli: 0,
            needs: Default::default(),
            implementations: None,
        };
        let control = ByHand::new(&me, &BTreeMap::from([(peer.clone(), "b:1".to_owned())]), &[module]);
        control.report(Report::GaveUp {
            module: "catalog".to_owned(),
            cause: "no key".to_owned(),
            failed_starts: 6,
        });
        let plan = control.plans().borrow().clone();
        let ModulePlan::Replicated { serving, failed, .. } = &plan.modules["catalog"] else {
            panic!("it is replicated")
        };
        assert_eq!((serving.as_slice(), failed), (&[peer.clone()][..], &None));
        // An operator has it tried again.
        control.report(Report::TriesAgain { module: "catalog".to_owned() });
        let plan = control.plan.borrow();
        let ModulePlan::Replicated { serving, .. } = &plan.modules["catalog"] else {
            panic!("it is replicated");
        };
        assert_eq!((serving.len(), serving.contains(&peer)), (2, true), "{serving:?}");
        assert_eq!(plan.version, 3);
    }
}
