//! From what is in the store to what has to be written there, as a pure function: whoever leads next goes on with the same.
//!
//! What is written is safe at every moment, whatever else has been written or read meanwhile:
//! - A module without keys moves in three steps: start there, switch, drain here. It is assigned to its new nodes; once all
//!   of them say that it has started, they alone are where it is called; the old ones drain theirs.
//! - A shard moves in two: its owner is told to whom it goes, lets go of it, and says so by writing the new owner itself.
//!   Of an owner that is gone, the leader writes the new one, provided that the old one's key is gone too.

use std::collections::{BTreeMap, BTreeSet};

use skybox_core::{ModuleKind, NodeName, SHARD_COUNT, Shard};
use skybox_node::control::ModuleDecl;
use skybox_plan::spread::{Assignment, Facts, ModuleFacts, Spread, spread};

use super::brake::Held;
use crate::records::{
    AGAIN, ASSIGN, Assign, Assigned, GaveUp, NODE, Node, Own, PIN, Pin, Place, ROUTE, Route, Row, STATE,
    State, Table, life_in, of_life, own, text,
};
use crate::store::{Condition, Op, Revision};

/// What is in the store, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) nodes: Table<Node>,
    pub(crate) states: Table<State>,
    pub(crate) assigns: Table<Assign>,
    pub(crate) routes: Table<Route>,
    pub(crate) owns: Table<Own>,
    pub(crate) pins: Table<Pin>,
    pub(crate) again: Table<serde_json::Value>,
    pub(crate) brake: Table<serde_json::Value>,
}

/// What is to be written, and what must be so for it to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) when: Vec<Condition>,
    pub(crate) op: Op,
}

/// A node that counts.
#[derive(Clone, Debug)]
struct Life<'s> {
    place: Place,
    /// It gets nothing more.
    draining: bool,
    /// When its record was last put.
    changed: Revision,
    /// What it says of itself; nothing of one whose loss is not believed yet.
    state: Option<&'s State>,
    /// It is gone from the store, and that is not believed yet.
    held: bool,
}

/// Decides. `held`: nodes that are gone from the store, and nothing of theirs is given to others yet.
pub(crate) fn decide(seen: &Seen, modules: &[ModuleDecl], build: &str, held: &Held) -> Vec<Write> {
    let deciding = Deciding { seen, modules, held, lives: lives(seen, build, held) };
    deciding.all()
}

/// The life of each node that counts: the newest, where an old one is still there.
fn lives<'s>(seen: &'s Seen, build: &str, held: &'s Held) -> BTreeMap<&'s NodeName, Life<'s>> {
    let mut lives: BTreeMap<&NodeName, (Revision, Life<'_>)> = BTreeMap::new();
    for (_, row) in seen.nodes.iter() {
        let state = seen.states.get(&of_life(STATE, row.value.incarnation)).map(|row| &*row.value);
        let draining = row.value.draining || row.value.build != build;
        let life = Life { place: Place::of(&row.value), draining, changed: row.changed, state, held: false };
        match lives.get(&row.value.name) {
            Some((newest, _)) if *newest > row.created => {}
            _ => drop(lives.insert(&row.value.name, (row.created, life))),
        }
    }
    for place in held.values() {
        let changed = Revision::default();
        let life = Life { place: place.clone(), draining: false, changed, state: None, held: true };
        lives.entry(&place.node).or_insert((changed, life));
    }
    lives.into_iter().map(|(name, (_, life))| (name, life)).collect()
}

struct Deciding<'s> {
    seen: &'s Seen,
    modules: &'s [ModuleDecl],
    held: &'s Held,
    lives: BTreeMap<&'s NodeName, Life<'s>>,
}

impl<'s> Deciding<'s> {
    fn all(&self) -> Vec<Write> {
        let mut writes = self.second_chances();
        let facts = self.facts();
        let spread = spread(&facts);
        let mut assigns: BTreeMap<&NodeName, Assign> =
            self.lives.iter().map(|(name, life)| (*name, Assign::nothing(&life.place))).collect();
        for module in self.modules {
            match spread.get(&module.name) {
                Some(Assignment::Nodes(nodes)) => {
                    self.replicated(&module.name, nodes, &mut assigns, &mut writes);
                }
                Some(Assignment::Owners(owners)) => self.keyed(&module.name, owners, &mut writes),
                None => {}
            }
        }
        self.assign(assigns, &mut writes);
        writes
    }

    /// Grows when a module is to be tried where it was given up.
    fn chance(&self, module: &str) -> u64 {
        self.seen.again.get(&format!("{AGAIN}{module}")).map_or(0, |row| row.changed.0)
    }

    /// That a node gave a module up, and has had no chance since.
    fn gave_up(&self, life: &Life<'s>, module: &str) -> Option<&'s GaveUp> {
        life.state?.gave_up.get(module).filter(|gave_up| gave_up.chance >= self.chance(module))
    }

    fn started(&self, life: &Life<'_>, module: &str) -> bool {
        life.state.is_some_and(|state| state.started.contains(module))
    }

    fn facts(&self) -> Facts {
        let nodes = self.lives.values().filter(|life| !life.draining).map(|life| life.place.node.clone());
        let pins = self
            .seen
            .pins
            .iter()
            .filter_map(|(key, row)| Some((key.strip_prefix(PIN)?.to_owned(), row.value.nodes.clone())));
        let mut gave_up = BTreeSet::new();
        for life in self.lives.values() {
            for module in life.state.into_iter().flat_map(|state| state.gave_up.keys()) {
                if self.gave_up(life, module).is_some_and(|gave_up| gave_up.failed_starts > 0) {
                    gave_up.insert((module.clone(), life.place.node.clone()));
                }
            }
        }
        let before = self.before();
        // What nobody has any more but nodes that are gone is placed anew, whether that is believed or not.
        for (module, assignment) in &before {
            let Assignment::Nodes(nodes) = assignment else { continue };
            let is_held = |name: &NodeName| self.lives.get(name).is_some_and(|life| life.held);
            if nodes.iter().all(is_held) {
                gave_up.extend(nodes.iter().map(|name| (module.clone(), name.clone())));
            }
        }
        Facts {
            modules: self.modules.iter().map(module_facts).collect(),
            nodes: nodes.collect(),
            guests: BTreeSet::new(),
            pins: pins.filter(|(_, nodes)| !nodes.is_empty()).collect(),
            gave_up,
            before,
        }
    }

    /// The decision that stands in the store.
    fn before(&self) -> Spread {
        let mut before = Spread::new();
        for module in self.modules {
            let assignment = match module.kind {
                ModuleKind::Keyed => {
                    let owner = |shard| {
                        let row = self.seen.owns.get(&own(&module.name, Shard(shard)))?;
                        let to = row.value.releasing_to.as_ref().filter(|to| self.is_current(to));
                        Some(to.unwrap_or(&row.value.owner).node.clone())
                    };
                    Assignment::Owners((0..SHARD_COUNT).map(owner).collect())
                }
                _ => Assignment::Nodes(self.assigned_before(&module.name)),
            };
            before.insert(module.name.clone(), assignment);
        }
        before
    }

    /// In the order in which the route has them: it stays as it is.
    fn assigned_before(&self, module: &str) -> Vec<NodeName> {
        let has_it = |name: &NodeName| {
            let Some(life) = self.lives.get(name) else { return false };
            let row = self.seen.assigns.get(&of_life(ASSIGN, life.place.incarnation));
            // Another life of a node has to be given it anew, and is given it.
            row.is_some_and(|row| row.value.modules.get(module).is_some_and(|assigned| !assigned.leaving))
        };
        let route = self.seen.routes.get(&format!("{ROUTE}{module}"));
        let known: Vec<_> = route.into_iter().flat_map(|row| row.value.assigned.iter().cloned()).collect();
        let further = self.lives.keys().map(|name| (*name).clone()).filter(|name| !known.contains(name));
        let all = known.iter().cloned().chain(further.collect::<Vec<_>>());
        let lived_on = |name: &NodeName| known.contains(name) && self.lives.contains_key(name);
        all.filter(|name| has_it(name) || lived_on(name)).collect()
    }

    fn is_current(&self, place: &Place) -> bool {
        self.lives.get(&place.node).is_some_and(|life| life.place.incarnation == place.incarnation)
    }

    /// Where a node that leaves has what all others gave up, they are asked once more: it may have been long ago, and there
    /// is nobody else.
    fn second_chances(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        for module in self.modules.iter().filter(|module| module.kind != ModuleKind::Keyed) {
            let mut others = self.lives.values().filter(|life| !life.draining).peekable();
            if others.peek().is_none() || others.any(|life| self.gave_up(life, &module.name).is_none()) {
                continue;
            }
            let leaves = |life: &&Life<'_>| life.draining && self.started(life, &module.name);
            let key = format!("{AGAIN}{}", module.name);
            let before = self.seen.again.get(&key);
            let since = before.map_or(Revision::default(), |row| row.changed);
            if let Some(life) = self.lives.values().filter(leaves).find(|life| life.changed > since) {
                let op = Op::put(key.clone(), text(&format!("{} leaves", life.place.node)));
                writes.push(Write { when: vec![unchanged(&key, before)], op });
            }
        }
        writes
    }

    fn replicated(
        &self,
        module: &str,
        assigned: &[NodeName],
        assigns: &mut BTreeMap<&'s NodeName, Assign>,
        writes: &mut Vec<Write>,
    ) {
        let chance = self.chance(module);
        let at = |name: &NodeName| self.lives.get(name);
        let started = |name: &NodeName| at(name).is_some_and(|life| self.started(life, module));
        let gave_up = |name: &NodeName| at(name).is_some_and(|life| self.gave_up(life, module).is_some());
        let given_up = self.given_up(module, assigned);
        let mut serving: Vec<_> = assigned.iter().filter(|name| started(name)).collect();
        // Start there, switch, drain here: the old ones go on until every new one is ready or has given up. If all have,
        // they go on as long as they can; a node that leaves does not wait for what does not come.
        let settled = assigned.iter().all(|name| started(name) || gave_up(name));
        let mut leaving = Vec::new();
        if !settled || serving.is_empty() {
            let goes_on = |life: &Life<'_>| given_up.is_none() || !life.draining;
            for (name, life) in &self.lives {
                if !assigned.contains(name) && goes_on(life) && self.started(life, module) {
                    leaving.push(*name);
                }
            }
        }
        serving.extend(&leaving);
        let nodes = assigned.iter().map(|name| (name, false)).chain(leaving.iter().map(|name| (*name, true)));
        for (name, leaving) in nodes {
            if let Some(assign) = assigns.get_mut(name) {
                assign.modules.insert(module.to_owned(), Assigned { leaving, chance });
            }
        }
        let failed = match serving.is_empty() {
            true if assigned.is_empty() => Some("unplaced: no node takes it".to_owned()),
            true => given_up,
            false => None,
        };
        let serving = serving.into_iter().filter_map(|name| Some(at(name)?.place.clone())).collect();
        let route = Route { serving, assigned: assigned.to_vec(), failed };
        let key = format!("{ROUTE}{module}");
        let before = self.seen.routes.get(&key);
        if before.is_none_or(|row| *row.value != route) {
            writes.push(Write { when: vec![unchanged(&key, before)], op: Op::put(key, text(&route)) });
        }
    }

    /// Why a module was given up by all nodes where it belongs, if it was.
    fn given_up(&self, module: &str, assigned: &[NodeName]) -> Option<String> {
        let records: Option<Vec<&GaveUp>> =
            assigned.iter().map(|name| self.gave_up(self.lives.get(name)?, module)).collect();
        records?.into_iter().max_by_key(|gave_up| gave_up.at_ms).map(|gave_up| gave_up.cause.clone())
    }

    fn assign(&self, assigns: BTreeMap<&NodeName, Assign>, writes: &mut Vec<Write>) {
        for (name, assign) in assigns {
            let life = &self.lives[name];
            if life.held {
                continue;
            }
            let key = of_life(ASSIGN, life.place.incarnation);
            let before = self.seen.assigns.get(&key);
            if before.is_none_or(|row| *row.value != assign) {
                writes.push(Write { when: vec![unchanged(&key, before)], op: Op::put(key, text(&assign)) });
            }
        }
        for (key, row) in self.seen.assigns.iter() {
            let Some(life) = life_in(key, ASSIGN) else { continue };
            let node = of_life(NODE, life);
            let counts = self.lives.values().any(|current| current.place.incarnation == life);
            if !counts && self.seen.nodes.get(&node).is_none() {
                let when = vec![Condition::ChangedAt(key.to_owned(), row.changed), Condition::Absent(node)];
                writes.push(Write { when, op: Op::Delete(key.to_owned()) });
            } else if !counts && !row.value.modules.is_empty() {
                // An old life of a node that has another one: it is to stop what it has.
                let when = vec![Condition::ChangedAt(key.to_owned(), row.changed)];
                writes.push(Write { when, op: Op::put(key, text(&Assign::nothing(&row.value.node))) });
            }
        }
    }

    fn keyed(&self, module: &str, owners: &[Option<NodeName>], writes: &mut Vec<Write>) {
        for (shard, target) in (0..SHARD_COUNT).zip(owners) {
            let Some(target) = target.as_ref().and_then(|name| self.lives.get(name)) else { continue };
            // To nobody whose loss is not believed yet is anything given.
            let to = target.place.clone();
            let key = own(module, Shard(shard));
            let before = self.seen.owns.get(&key);
            let mut when = vec![unchanged(&key, before)];
            let next = match before.map(|row| &*row.value) {
                _ if target.held => continue,
                None => Own { owner: to, epoch: 1, releasing_to: None },
                Some(before) => {
                    let old = before.owner.incarnation;
                    let node = of_life(NODE, old);
                    if self.seen.nodes.get(&node).is_some() {
                        // It may have let go of it already, and is the owner until it says so.
                        let releasing_to = (old != to.incarnation).then_some(to);
                        Own { releasing_to, ..before.clone() }
                    } else if self.held.contains_key(&old) {
                        continue;
                    } else {
                        when.push(Condition::Absent(node));
                        Own { owner: to, epoch: before.epoch + 1, releasing_to: None }
                    }
                }
            };
            if before.is_some_and(|row| *row.value == next) {
                continue;
            }
            writes.push(Write { when, op: Op::put(key, text(&next)) });
        }
    }
}

fn unchanged<V>(key: &str, before: Option<&Row<V>>) -> Condition {
    match before {
        Some(row) => Condition::ChangedAt(key.to_owned(), row.changed),
        None => Condition::Absent(key.to_owned()),
    }
}

fn module_facts(module: &ModuleDecl) -> ModuleFacts {
    ModuleFacts {
        name: module.name.clone(),
        kind: module.kind,
        replicas: module.replicas,
        cpu_milli: module.cpu_milli,
    }
}
