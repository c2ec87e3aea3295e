//! What people order, carried out at whatever node they have reached, or by the parent of one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{ModuleKind, ModulePlan, NodeName};
use skybox_node::control::ModuleDecl;
use skybox_plan::place::{Explanation, Rules};
use tokio::time::Instant;

use super::view::Sight;
use crate::history::{self, Author, Line, Pen, What};
use crate::leader::is_range;
use crate::leader::reports::Reports;
use crate::parent::{Done, GaveUp as ShownGaveUp, Order};
use crate::records::{
    AGAIN, ASSIGN, Assign, BRAKE, CORDON, Cordon, DEGRADED, Degraded, FREEZE, GRAY, GaveUp, Gray, LEADER,
    Leader, NODE, OWN, PIN, Pin, ROUTE, Row, SCALE, STATE, Scale, State, Table, of_life, own_in, text,
};
use crate::store::{Followed, Op, Pace, Revision, Store, StoreError, Txn, View, any_changed, follow};

/// An order that is not done after this long is answered with what it waits for; it goes on.
const ORDER_WAIT: Duration = Duration::from_secs(60);

/// Whoever carries out orders.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) modules: Arc<[ModuleDecl]>,
    /// The build of the nodes that count where nobody leads; of all, if it is not said.
    pub(crate) build: Option<String>,
    pub(crate) rules: Rules,
    pub(crate) pace: Pace,
    /// Where they were given, for people.
    pub(crate) at: String,
    /// Nodes that there are although the store may not have them at the moment.
    pub(crate) known: BTreeSet<NodeName>,
    /// What nodes have told this one while it leads.
    pub(crate) reports: Arc<Reports>,
}

impl Desk {
    /// Carries out what somebody orders; resolves when it is done.
    pub(crate) async fn carry_out(&self, order: Order, by: &str) -> Result<Done, StoreError> {
        let author = Author { by, at: &self.at };
        match order {
            Order::Show => show(self).await,
            Order::Move { module, nodes } => move_to(self, &author, &module, nodes).await,
            Order::TryAgain { module } => match known(self, &module) {
                Err(why) => Ok(Done::Refused(why)),
                Ok(_) => put(self, format!("{AGAIN}{module}"), author.line(What::TryAgain, &module)).await,
            },
            Order::Scale { module, replicas } => scale(self, &author, &module, &replicas).await,
            Order::Cordon { node, on } => cordon(self, &author, &node, on).await,
            Order::Freeze { on } => freeze(self, &author, on).await,
            Order::Explain { module } => explain_module(self, &module).await,
            Order::GoOn => go_on(self, &author).await,
            Order::History {} => history::lines(&self.store).await.map(Done::Told),
            Order::Undo { number } => undo(self, &author, number).await,
            Order::TryOut { moves, scales, cordons } => try_out(self, moves, scales, cordons).await,
            Order::Drain { .. } | Order::Kill { .. } | Order::Stop => {
                let why = "that is for the node itself, or for whoever starts its process";
                Ok(Done::Refused(why.to_owned()))
            }
        }
    }

    /// Explains where a module is, as far as that is known here.
    pub(crate) async fn explain(&self, module: &str) -> Result<Option<Explanation>, StoreError> {
        let Desk { store, modules, build, rules, reports, .. } = self;
        crate::leader::explain(store, modules, build.as_deref(), rules, reports, module).await
    }

    /// The names of the nodes that there are.
    fn names(&self, mut sight: Sight) -> BTreeSet<NodeName> {
        sight.plan(None, &[]).nodes.into_keys().chain(self.known.iter().cloned()).collect()
    }
}

/// That there is no such node, if there is not.
fn unknown(names: &BTreeSet<NodeName>, node: &NodeName) -> Option<Done> {
    let all = || names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    (!names.contains(node)).then(|| Done::Refused(format!("there is no node `{node}`; there are {}", all())))
}

/// Writes a key of which it only matters that it was written.
async fn put(desk: &Desk, key: String, line: Line) -> Result<Done, StoreError> {
    let value = text(&format!("ordered by {}", line.by));
    Pen::default().commit(&desk.store, Txn::of([Op::put(key, value)]), &[line]).await?;
    Ok(Done::Ok)
}

async fn freeze(desk: &Desk, author: &Author<'_>, on: bool) -> Result<Done, StoreError> {
    let line = author.line(if on { What::Freeze } else { What::Unfreeze }, "");
    let value = on.then(|| text(&format!("ordered by {}", author.by)));
    history::change(&desk.store, line, FREEZE, value, &[]).await?;
    Ok(Done::Ok)
}

async fn go_on(desk: &Desk, author: &Author<'_>) -> Result<Done, StoreError> {
    let mut degraded = Table::<Degraded>::default();
    degraded.follow(&View::of(desk.store.list(DEGRADED).await?));
    let held = degraded.get(DEGRADED).map(|row| row.value.held.clone()).unwrap_or_default();
    let before = match joined(&held) {
        none if none.is_empty() => "nothing held back".to_owned(),
        held => format!("{held} held back"),
    };
    put(desk, BRAKE.to_owned(), Line { before, ..author.line(What::GoOn, "") }).await
}

/// What is to be written so that there are so many of a module; or why it cannot be.
fn scaled(desk: &Desk, module: &str, replicas: &str) -> Result<Option<String>, String> {
    if known(desk, module)? == ModuleKind::Keyed {
        return Err(format!("`{module}` is keyed: it has an instance for each key"));
    }
    if replicas.is_empty() {
        return Ok(None);
    }
    match replicas.parse() {
        Err(error) => Err(format!("`{replicas}`: {error}")),
        // How much there is to do is measured where the program says so.
        Ok(range)
            if is_range(range)
                && !desk.modules.iter().any(|decl| decl.name == module && is_range(decl.replicas)) =>
        {
            Err(format!(
                "`{module}` is no range in the program, so nobody measures how much it has to do: give a number, or declare \
                 it with `replicas = {replicas}`"
            ))
        }
        Ok(replicas) => Ok(Some(text(&Scale { replicas }))),
    }
}

async fn scale(desk: &Desk, author: &Author<'_>, module: &str, replicas: &str) -> Result<Done, StoreError> {
    let value = match scaled(desk, module, replicas) {
        Err(why) => return Ok(Done::Refused(why)),
        Ok(value) => value,
    };
    let line = author.line(What::Scale, module);
    history::change(&desk.store, line, &format!("{SCALE}{module}"), value, &[]).await?;
    Ok(Done::Ok)
}

async fn cordon(desk: &Desk, author: &Author<'_>, node: &NodeName, on: bool) -> Result<Done, StoreError> {
    if on && let Some(refused) = unknown(&desk.names(Whole::open(desk).await?.sight()), node) {
        return Ok(refused);
    }
    let line = author.line(if on { What::Cordon } else { What::Uncordon }, node.as_str());
    let value = on.then(|| text(&Cordon { by: author.by.to_owned() }));
    history::change(&desk.store, line, &format!("{CORDON}{node}"), value, &[]).await?;
    Ok(Done::Ok)
}

async fn undo(desk: &Desk, author: &Author<'_>, number: Option<u64>) -> Result<Done, StoreError> {
    let names = desk.names(Whole::open(desk).await?.sight());
    let may = |key: &str, value: Option<&str>| {
        let pin = value.and_then(|value| serde_json::from_str::<Pin>(value).ok());
        let Some((module, pin)) = key.strip_prefix(PIN).zip(pin) else { return Ok(()) };
        match pin.nodes.iter().any(|node| names.contains(node)) {
            true => Ok(()),
            false => Err(format!("`{module}` would belong on {} again, which is gone", joined(&pin.nodes))),
        }
    };
    Ok(match history::undo(&desk.store, author, number, &may).await? {
        Ok(line) => Done::Undone(Box::new(line)),
        Err(why) => Done::Refused(why),
    })
}

async fn try_out(
    desk: &Desk,
    moves: BTreeMap<String, Vec<NodeName>>,
    scales: BTreeMap<String, String>,
    cordons: Vec<NodeName>,
) -> Result<Done, StoreError> {
    let names = desk.names(Whole::open(desk).await?.sight());
    if let Some(refused) = moves.values().flatten().chain(&cordons).find_map(|node| unknown(&names, node)) {
        return Ok(refused);
    }
    let mut ops = Vec::new();
    for (module, nodes) in &moves {
        match known(desk, module) {
            Err(why) => return Ok(Done::Refused(why)),
            Ok(_) => ops.extend(pinned(module, nodes)),
        }
    }
    for (module, replicas) in &scales {
        match scaled(desk, module, replicas) {
            Err(why) => return Ok(Done::Refused(why)),
            Ok(value) => ops.push(value.map_or_else(
                || Op::Delete(format!("{SCALE}{module}")),
                |value| Op::put(format!("{SCALE}{module}"), value),
            )),
        }
    }
    ops.extend(cordons.iter().map(|node| Op::put(format!("{CORDON}{node}"), text(&Cordon::default()))));
    let Desk { store, modules, build, rules, reports, .. } = desk;
    crate::leader::foresee(store, modules, build.as_deref(), rules, reports, &ops)
        .await
        .map(|outlook| Done::Foreseen(Box::new(outlook)))
}

fn joined(nodes: &[NodeName]) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

async fn explain_module(desk: &Desk, module: &str) -> Result<Done, StoreError> {
    if let Err(why) = known(desk, module) {
        return Ok(Done::Refused(why));
    }
    Ok(match desk.explain(module).await? {
        Some(explanation) => Done::Explained(Box::new(explanation)),
        None => Done::Refused(format!("nothing is known of `{module}` yet")),
    })
}

fn known(desk: &Desk, module: &str) -> Result<ModuleKind, String> {
    match desk.modules.iter().find(|known| known.name == module) {
        Some(known) => Ok(known.kind),
        None => {
            let names: Vec<_> = desk.modules.iter().map(|known| known.name.as_str()).collect();
            Err(format!("there is no module `{module}`; there are {}", names.join(", ")))
        }
    }
}

/// All that is in the store of the plan, followed while an order is carried out.
struct Whole {
    followed: BTreeMap<&'static str, Followed>,
}

impl Whole {
    async fn open(desk: &Desk) -> Result<Whole, StoreError> {
        let runtime = tokio::runtime::Handle::current();
        let on = |prefix| (prefix, follow(&runtime, desk.store.clone(), prefix, desk.pace));
        let prefixes = [NODE, STATE, ASSIGN, ROUTE, OWN, PIN, AGAIN, LEADER, DEGRADED, GRAY];
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
        Sight::new(self.table(NODE), self.table(ASSIGN), self.table(ROUTE), self.table(OWN))
    }

    /// Who gave the module up and has had no chance since, in the order in which they did.
    fn gave_up(&self, module: &str) -> Vec<(NodeName, GaveUp)> {
        let (sight, states) = (self.sight(), self.table::<State>(STATE));
        let again = self.table::<serde_json::Value>(AGAIN);
        let chance = again.get(&format!("{AGAIN}{module}")).map_or(0, |row| row.changed.0);
        let nodes = sight.nodes.iter().map(|(_, row)| row.value.clone());
        let gave_up = nodes.filter_map(|node| {
            let state = states.get(&of_life(STATE, node.incarnation))?;
            let gave_up = state.value.gave_up.get(module).filter(|gave_up| gave_up.chance >= chance)?;
            Some((node.name.clone(), gave_up.clone()))
        });
        let mut gave_up: Vec<_> = gave_up.collect();
        gave_up.sort_by_key(|(_, gave_up)| gave_up.at_ms);
        gave_up
    }
}

async fn show(desk: &Desk) -> Result<Done, StoreError> {
    let whole = Whole::open(desk).await?;
    let plan = whole.sight().plan(None, &desk.modules);
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
    let gave_up = desk.modules.iter().map(|module| {
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
        unreached: whole.table::<Gray>(GRAY).iter().map(|(_, row)| row.value.node.clone()).collect(),
    })
}

/// What is written so that a module belongs there: whoever says so wants it tried there.
fn pinned(module: &str, nodes: &[NodeName]) -> [Op; 2] {
    let key = format!("{PIN}{module}");
    let pin = match pin_of(nodes) {
        None => Op::Delete(key),
        Some(pin) => Op::put(key, pin),
    };
    [Op::put(format!("{AGAIN}{module}"), text(&"moved")), pin]
}

fn pin_of(nodes: &[NodeName]) -> Option<String> {
    (!nodes.is_empty()).then(|| text(&Pin { nodes: nodes.to_vec() }))
}

async fn move_to(
    desk: &Desk,
    author: &Author<'_>,
    module: &str,
    nodes: Vec<NodeName>,
) -> Result<Done, StoreError> {
    if let Err(why) = known(desk, module) {
        return Ok(Done::Refused(why));
    }
    let whole = Whole::open(desk).await?;
    let names = desk.names(whole.sight());
    if let Some(refused) = nodes.iter().find_map(|node| unknown(&names, node)) {
        return Ok(refused);
    }
    let [again, _] = pinned(module, &nodes);
    let line = author.line(What::Move, module);
    let key = format!("{PIN}{module}");
    let told = history::change(&desk.store, line, &key, pin_of(&nodes), &[again]).await?;
    let wanted: BTreeSet<_> = nodes.into_iter().collect();
    let until = Instant::now() + ORDER_WAIT;
    loop {
        let mut views: Vec<_> = whole.followed.values().map(Followed::views).collect();
        views.iter_mut().for_each(tokio::sync::watch::Receiver::mark_unchanged);
        if let Some(done) = moved(&whole, desk, module, &wanted, told.revision) {
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
    desk: &Desk,
    module: &str,
    wanted: &BTreeSet<NodeName>,
    told: Revision,
) -> Option<Done> {
    let mut sight = whole.sight();
    let decl = desk.modules.iter().find(|decl| decl.name == module)?;
    if let ModulePlan::Keyed(shards) = sight.plan(None, std::slice::from_ref(decl)).modules.get(module)? {
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
    // The old ones are gone once their calls have ended.
    let states = whole.table::<State>(STATE);
    let mut old = sight.nodes.iter().filter(|(_, row)| !assigned.contains(&row.value.name));
    let goes_on = |life| {
        states
            .get(&of_life(STATE, life))
            .is_some_and(|state: &Row<State>| state.value.started.contains(module))
    };
    let some_go_on = old.any(|(_, row)| goes_on(row.value.incarnation));
    (serving == assigned && !some_go_on).then_some(Done::Ok)
}
