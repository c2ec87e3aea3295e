//! What people order, carried out at whatever node they have reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{ModuleKind, ModulePlan, NodeName};
use skybox_node::control::Unanswered;
use tokio::time::Instant;

use super::Shared;
use super::view::Sight;
use crate::parent::{Done, GaveUp as ShownGaveUp, Order};
use crate::records::{
    AGAIN, ASSIGN, Assign, BRAKE, CORDON, Cordon, DEGRADED, Degraded, FREEZE, GaveUp, LEADER, Leader, NODE,
    OWN, PIN, Pin, ROUTE, SCALE, STATE, Scale, State, Table, own_in, text,
};
use crate::store::{Followed, Op, Revision, StoreError, Txn, any_changed, follow};

/// An order that is not done after this long is answered with what it waits for; it goes on.
const ORDER_WAIT: Duration = Duration::from_secs(60);

/// Carries an order out; resolves when it is done.
pub(super) async fn carry_out(
    shared: &Arc<Shared>,
    order: serde_json::Value,
) -> Result<serde_json::Value, Unanswered> {
    let order: Order =
        serde_json::from_value(order).map_err(|error| Unanswered::Refused(error.to_string()))?;
    let done = match order {
        Order::Show => show(shared).await,
        Order::Move { module, nodes } => move_to(shared, &module, nodes).await,
        Order::TryAgain { module } => match known(shared, &module) {
            Err(why) => Ok(Done::Refused(why)),
            Ok(_) => put(shared, format!("{AGAIN}{module}"), "ordered").await,
        },
        Order::Scale { module, replicas } => scale(shared, &module, &replicas).await,
        Order::Cordon { node, on } => cordon(shared, &node, on).await,
        Order::Freeze { on: true } => put(shared, FREEZE.to_owned(), "frozen").await,
        Order::Freeze { on: false } => delete(shared, FREEZE.to_owned()).await,
        Order::Explain { module } => explain_module(shared, &module).await,
        Order::GoOn => put(shared, BRAKE.to_owned(), "go on").await,
        Order::Drain { .. } | Order::Kill { .. } | Order::Stop => {
            Ok(Done::Refused("that is for the node itself, or for whoever starts its process".to_owned()))
        }
    };
    let done = done.map_err(|error| Unanswered::Unreachable(error.to_string()))?;
    serde_json::to_value(done).map_err(|error| Unanswered::Refused(error.to_string()))
}

async fn put(shared: &Shared, key: String, why: &str) -> Result<Done, StoreError> {
    let value = text(&format!("{why} at {}", shared.node.name));
    shared.store.commit(Txn::of([Op::put(key, value)])).await?;
    Ok(Done::Ok)
}

async fn delete(shared: &Shared, key: String) -> Result<Done, StoreError> {
    shared.store.commit(Txn::of([Op::Delete(key)])).await?;
    Ok(Done::Ok)
}

async fn scale(shared: &Shared, module: &str, replicas: &str) -> Result<Done, StoreError> {
    match known(shared, module) {
        Err(why) => return Ok(Done::Refused(why)),
        Ok(ModuleKind::Keyed) => {
            return Ok(Done::Refused(format!("`{module}` is keyed: it has an instance for each key")));
        }
        Ok(_) => {}
    }
    let key = format!("{SCALE}{module}");
    if replicas.is_empty() {
        return delete(shared, key).await;
    }
    match replicas.parse() {
        Err(error) => Ok(Done::Refused(format!("`{replicas}`: {error}"))),
        Ok(replicas) => {
            shared.store.commit(Txn::of([Op::put(key, text(&Scale { replicas }))])).await?;
            Ok(Done::Ok)
        }
    }
}

async fn cordon(shared: &Shared, node: &NodeName, on: bool) -> Result<Done, StoreError> {
    let key = format!("{CORDON}{node}");
    if !on {
        return delete(shared, key).await;
    }
    let names = Whole::open(shared).await?.sight().plan(None, &[]).nodes;
    if !names.contains_key(node) {
        let names: Vec<_> = names.keys().map(NodeName::as_str).collect();
        return Ok(Done::Refused(format!("there is no node `{node}`; there are {}", names.join(", "))));
    }
    let cordon = Cordon { by: format!("ordered at {}", shared.node.name) };
    shared.store.commit(Txn::of([Op::put(key, text(&cordon))])).await?;
    Ok(Done::Ok)
}

async fn explain_module(shared: &Shared, module: &str) -> Result<Done, StoreError> {
    if let Err(why) = known(shared, module) {
        return Ok(Done::Refused(why));
    }
    let explained =
        crate::leader::explain(&shared.store, &shared.modules, &shared.node.build, &shared.rules, module);
    Ok(match explained.await? {
        Some(explanation) => Done::Explained(Box::new(explanation)),
        None => Done::Refused(format!("nothing is known of `{module}` yet")),
    })
}

fn known(shared: &Shared, module: &str) -> Result<ModuleKind, String> {
    match shared.modules.iter().find(|known| known.name == module) {
        Some(known) => Ok(known.kind),
        None => {
            let names: Vec<_> = shared.modules.iter().map(|known| known.name.as_str()).collect();
            Err(format!("there is no module `{module}`; there are {}", names.join(", ")))
        }
    }
}

/// All that is in the store of the plan, followed while an order is carried out.
struct Whole {
    followed: BTreeMap<&'static str, Followed>,
}

impl Whole {
    async fn open(shared: &Shared) -> Result<Whole, StoreError> {
        let runtime = tokio::runtime::Handle::current();
        let on = |prefix| (prefix, follow(&runtime, shared.store.clone(), prefix, shared.pace));
        let prefixes = [NODE, STATE, ASSIGN, ROUTE, OWN, PIN, LEADER, DEGRADED];
        let whole = Whole { followed: prefixes.map(on).into_iter().collect() };
        for followed in whole.followed.values() {
            tokio::select! {
                _ = followed.at(Revision::default()) => {}
                error = followed.in_trouble() => return Err(error),
            }
        }
        Ok(whole)
    }

    fn table<V: serde::de::DeserializeOwned>(&self, prefix: &str) -> Table<V> {
        let mut table = Table::default();
        table.follow(&self.followed[prefix].views().borrow().clone());
        table
    }

    fn sight(&self) -> Sight {
        Sight {
            nodes: self.table(NODE),
            assigns: self.table(ASSIGN),
            routes: self.table(ROUTE),
            owns: self.table(OWN),
        }
    }

    /// Who gave the module up, in the order in which they did.
    fn gave_up(&self, module: &str) -> Vec<(NodeName, GaveUp)> {
        let (sight, states) = (self.sight(), self.table::<State>(STATE));
        let nodes = sight.nodes.iter().map(|(_, row)| row.value.clone());
        let gave_up = nodes.filter_map(|node| {
            let state = states.get(&crate::records::of_life(STATE, node.incarnation))?;
            Some((node.name.clone(), state.value.gave_up.get(module)?.clone()))
        });
        let mut gave_up: Vec<_> = gave_up.collect();
        gave_up.sort_by_key(|(_, gave_up)| gave_up.at_ms);
        gave_up
    }
}

async fn show(shared: &Shared) -> Result<Done, StoreError> {
    let whole = Whole::open(shared).await?;
    let plan = whole.sight().plan(None, &shared.modules);
    let pins = whole.table::<Pin>(PIN);
    let pins = pins
        .iter()
        .filter_map(|(key, row)| Some((key.strip_prefix(PIN)?.to_owned(), row.value.nodes.clone())));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let shown = |(node, gave_up): (NodeName, GaveUp)| ShownGaveUp {
        node,
        cause: gave_up.cause,
        failed_starts: gave_up.failed_starts,
        ago_ms: (now.as_millis() as u64).saturating_sub(gave_up.at_ms),
    };
    let gave_up = shared.modules.iter().map(|module| {
        (module.name.clone(), whole.gave_up(&module.name).into_iter().map(shown).collect::<Vec<_>>())
    });
    Ok(Done::Shown {
        pins: pins.filter(|(_, nodes)| !nodes.is_empty()).collect(),
        gave_up: gave_up.filter(|(_, gave_up)| !gave_up.is_empty()).collect(),
        plan,
        processes: BTreeMap::new(),
        listeners: BTreeMap::new(),
        leader: whole.table::<Leader>(LEADER).get(LEADER).map(|row| row.value.name.clone()),
        degraded: whole
            .table::<Degraded>(DEGRADED)
            .get(DEGRADED)
            .map(|row| row.value.held.clone())
            .unwrap_or_default(),
    })
}

async fn move_to(shared: &Shared, module: &str, nodes: Vec<NodeName>) -> Result<Done, StoreError> {
    if let Err(why) = known(shared, module) {
        return Ok(Done::Refused(why));
    }
    let whole = Whole::open(shared).await?;
    let names = whole.sight().plan(None, &[]).nodes;
    if let Some(unknown) = nodes.iter().find(|node| !names.contains_key(node)) {
        let names: Vec<_> = names.keys().map(NodeName::as_str).collect();
        return Ok(Done::Refused(format!("there is no node `{unknown}`; there are {}", names.join(", "))));
    }
    let pin = match nodes.is_empty() {
        true => Op::Delete(format!("{PIN}{module}")),
        false => Op::put(format!("{PIN}{module}"), text(&Pin { nodes: nodes.clone() })),
    };
    // Whoever says where it belongs wants it tried there.
    let again = Op::put(format!("{AGAIN}{module}"), text(&"moved"));
    let told = shared.store.commit(Txn::of([again, pin])).await?;
    let wanted: BTreeSet<_> = nodes.into_iter().collect();
    let until = Instant::now() + ORDER_WAIT;
    loop {
        let mut views: Vec<_> = whole.followed.values().map(Followed::views).collect();
        views.iter_mut().for_each(tokio::sync::watch::Receiver::mark_unchanged);
        if let Some(done) = moved(&whole, shared, module, &wanted, told.revision) {
            return Ok(done);
        }
        if tokio::time::timeout_at(until, any_changed(&mut views)).await.is_err() {
            let why = format!("it is still on its way after {ORDER_WAIT:?}: a call may not end");
            return Ok(Done::Refused(why));
        }
    }
}

/// What came of a move that was ordered at that revision.
fn moved(
    whole: &Whole,
    shared: &Shared,
    module: &str,
    wanted: &BTreeSet<NodeName>,
    told: Revision,
) -> Option<Done> {
    let sight = whole.sight();
    if let ModulePlan::Keyed(shards) = sight.plan(None, &shared.modules).modules.get(module)? {
        let settled = shards.owner.iter().all(|owner| *owner != skybox_core::Shards::NOBODY);
        let owners: BTreeSet<_> = shards.nodes.iter().cloned().collect();
        let there = wanted.is_empty() || owners == *wanted;
        let blocks = sight.owns.iter().filter_map(|(key, row)| Some((own_in(key)?, &row.value)));
        let mut own = blocks.filter(|((of, _), _)| *of == module).flat_map(|((_, at), owns)| owns.iter(at));
        let none_leaves = own.all(|(_, own)| own.releasing_to.is_none());
        return (settled && there && none_leaves).then_some(Done::Ok);
    }
    let route = sight.routes.get(&format!("{ROUTE}{module}"))?;
    let assigned: BTreeSet<_> = route.value.assigned.iter().cloned().collect();
    let chance = |assign: &Assign| assign.modules.get(module).map(|assigned| assigned.chance);
    let decided = sight.assigns.iter().any(|(_, row)| chance(&row.value) >= Some(told.0));
    if !decided || (!wanted.is_empty() && assigned != *wanted) {
        return None;
    }
    let gave_up = whole.gave_up(module);
    let gave_up: Vec<_> = gave_up
        .iter()
        .filter(|(node, gave_up)| assigned.contains(node) && gave_up.chance >= told.0)
        .collect();
    let serving: BTreeSet<_> = route.value.serving.iter().map(|place| place.node.clone()).collect();
    let failed = |node: &NodeName| gave_up.iter().any(|(failed, _)| failed == node);
    if !gave_up.is_empty() && assigned.iter().all(|node| serving.contains(node) || failed(node)) {
        let nodes: Vec<_> = gave_up.iter().map(|(node, _)| node.as_str()).collect();
        let cause = gave_up.last().map(|(_, gave_up)| gave_up.cause.as_str()).unwrap_or_default();
        return Some(Done::Refused(format!("it does not start on {}: {cause}", nodes.join(", "))));
    }
    let leaving =
        sight.assigns.iter().any(|(_, row)| row.value.modules.get(module).is_some_and(|a| a.leaving));
    (serving == assigned && !leaving).then_some(Done::Ok)
}
