//! From what is in the store to what has to be written there, as a pure function.
//!
//! What is written is safe at every moment, whatever else has been written or read meanwhile:
//! - A module without keys moves in three steps: start there, switch, drain here. It is assigned to its new nodes; once all
//!   of them say that it has started, they alone are where it is called; the old ones drain theirs.
//! - A shard moves in two: its owner is told to whom it goes, lets go of it, and says so by writing the new owner itself.
//!   Of an owner that is gone, the leader writes the new one, provided that the old one's key is gone too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use skybox_core::{ModuleKind, NodeName};
use skybox_node::control::ModuleDecl;
use skybox_plan::place::{Decision, Facts, Move, Placed, Placement, Rules, place};

use super::brake::Held;
use super::facts::facts;
use super::reports::Figures;
use crate::records::{
    AGAIN, ASSIGN, Assign, Assigned, BLOCKS, BRAKE, CORDON, Cordon, EXPECTED, Expected, FAR, FREEZE, Far,
    GRAY, GaveUp, Gray, NODE, Node, OWN, Own, Owns, PIN, PLACE, Pin, Place, ROUTE, Route, SCALE, STATE,
    Scale, Seats, State, Table, UNPLACED, life_in, of_life, own, shards_in, text,
};
use crate::store::{Condition, Op, Revision, View};

/// What is in the store, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) nodes: Table<Node>,
    pub(crate) states: Table<State>,
    pub(crate) assigns: Table<Assign>,
    pub(crate) routes: Table<Route>,
    pub(crate) owns: Table<Owns>,
    pub(crate) places: Table<Seats>,
    pub(crate) far: Table<Far>,
    pub(crate) pins: Table<Pin>,
    pub(crate) scales: Table<Scale>,
    pub(crate) cordons: Table<Cordon>,
    pub(crate) grays: Table<Gray>,
    pub(crate) again: Table<serde_json::Value>,
    pub(crate) brake: Table<serde_json::Value>,
    pub(crate) freeze: Table<serde_json::Value>,
    pub(crate) unplaced: Table<BTreeMap<String, String>>,
    pub(crate) expected: Table<Expected>,
}

impl Seen {
    /// Takes over what there is under one of the prefixes.
    pub(crate) fn follow(&mut self, prefix: &str, view: &View) {
        match prefix {
            NODE => self.nodes.follow(view),
            STATE => self.states.follow(view),
            ASSIGN => self.assigns.follow(view),
            ROUTE => self.routes.follow(view),
            OWN => self.owns.follow(view),
            PLACE => self.places.follow(view),
            FAR => self.far.follow(view),
            PIN => self.pins.follow(view),
            SCALE => self.scales.follow(view),
            CORDON => self.cordons.follow(view),
            GRAY => self.grays.follow(view),
            AGAIN => self.again.follow(view),
            BRAKE => self.brake.follow(view),
            FREEZE => self.freeze.follow(view),
            UNPLACED => self.unplaced.follow(view),
            EXPECTED => self.expected.follow(view),
            other => unreachable!("`{other}` is looked at and not read"),
        };
    }

    /// Which nodes are there or come, where somebody knows that.
    pub(crate) fn expected(&self) -> Option<&Expected> {
        Some(&*self.expected.get(EXPECTED)?.value)
    }

    /// The node that goes on until all others have ended, when a program ends.
    pub(crate) fn last(&self) -> Option<&NodeName> {
        self.expected()?.last.as_ref()
    }

    /// Whether all of these are there.
    pub(crate) fn all_there<'n>(&self, mut names: impl Iterator<Item = &'n NodeName>) -> bool {
        names.all(|name| self.nodes.iter().any(|(_, row)| row.value.name == *name))
    }

    /// Whether nothing is to move that need not.
    pub(crate) fn is_frozen(&self) -> bool {
        self.freeze.get(FREEZE).is_some()
    }
}

/// What is to be written, and what must be so for it to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) when: Vec<Condition>,
    pub(crate) op: Op,
}

/// How a leader decides, beside what is in the store.
#[derive(Clone, Debug)]
pub(crate) struct Mind<'m> {
    pub(crate) modules: &'m [ModuleDecl],
    pub(crate) build: Option<&'m str>,
    pub(crate) rules: &'m Rules,
    /// Its last decision.
    pub(crate) remembered: &'m Placement,
    /// What nodes have told of how much there is to do.
    pub(crate) figures: &'m Figures,
    /// Milliseconds since 1970.
    pub(crate) now_ms: u64,
}

/// What has come of it.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) writes: Vec<Write>,
    pub(crate) placement: Placement,
    pub(crate) moves: Vec<Move>,
    /// Modules that nodes have given up, which are tried elsewhere.
    pub(crate) gave_up: BTreeSet<(String, NodeName)>,
    /// How many instances or shards of a module have no place, if any.
    pub(crate) unplaced: BTreeMap<String, u64>,
}

/// A node that counts.
#[derive(Clone, Debug)]
pub(crate) struct Life<'s> {
    pub(crate) node: &'s Node,
    /// It gets nothing more, and what it has goes elsewhere.
    pub(crate) draining: bool,
    /// That is so since most others do not reach it.
    pub(crate) is_gray: bool,
    /// When its record was last put.
    changed: Revision,
    /// What it says of itself; nothing of one whose loss is not believed yet.
    pub(crate) state: Option<&'s State>,
    /// It is gone from the store, and that is not believed yet.
    pub(crate) held: bool,
}

/// Decides. `held`: nodes that are gone from the store, and nothing of theirs is given to others yet.
pub(crate) fn decide(seen: &Seen, mind: &Mind<'_>, held: &Held) -> Decided {
    Deciding { seen, mind, held, lives: lives(seen, mind.build, held) }.all()
}

/// What is decided on.
pub(crate) fn facts_of(seen: &Seen, mind: &Mind<'_>, held: &Held) -> Facts {
    Deciding { seen, mind, held, lives: lives(seen, mind.build, held) }.facts()
}

/// The life of each node that counts: the newest, where an old one is still there.
pub(crate) fn lives<'s>(
    seen: &'s Seen,
    build: Option<&str>,
    held: &'s Held,
) -> BTreeMap<&'s NodeName, Life<'s>> {
    let mut lives: BTreeMap<&NodeName, (Revision, Life<'_>)> = BTreeMap::new();
    for (_, row) in seen.nodes.iter() {
        let state = seen.states.get(&of_life(STATE, row.value.incarnation)).map(|row| &*row.value);
        let is_gray = seen.grays.get(&of_life(GRAY, row.value.incarnation)).is_some();
        let leaves = row.value.draining || build.is_some_and(|build| row.value.build != build);
        let is_gray = is_gray && !leaves;
        let draining = leaves || is_gray;
        let life = Life { node: &row.value, draining, is_gray, changed: row.changed, state, held: false };
        match lives.get(&row.value.name) {
            Some((newest, _)) if *newest > row.created => {}
            _ => drop(lives.insert(&row.value.name, (row.created, life))),
        }
    }
    for node in held.values() {
        let changed = Revision::default();
        let life = Life { node, draining: false, is_gray: false, changed, state: None, held: true };
        lives.entry(&node.name).or_insert((changed, life));
    }
    lives.into_iter().map(|(name, (_, life))| (name, life)).collect()
}

struct Deciding<'s> {
    seen: &'s Seen,
    mind: &'s Mind<'s>,
    held: &'s Held,
    lives: BTreeMap<&'s NodeName, Life<'s>>,
}

impl<'s> Deciding<'s> {
    fn all(&self) -> Decided {
        let mut writes = self.second_chances();
        let facts = self.facts();
        let decision = place(&facts);
        let unplaced: BTreeMap<String, String> = decision
            .unplaced
            .iter()
            .map(|unplaced| (unplaced.module.clone(), unplaced.why.clone()))
            .collect();
        let mut assigns: BTreeMap<&NodeName, Assign> =
            self.lives.iter().map(|(name, life)| (*name, Assign::nothing(life.node))).collect();
        let none = Placed::default();
        for module in self.mind.modules {
            let placed = decision.placement.modules.get(&module.name).unwrap_or(&none);
            match module.kind {
                ModuleKind::Keyed => self.keyed(&module.name, placed, &mut writes),
                _ => {
                    let why = unplaced.get(&module.name).map(String::as_str);
                    self.replicated(&module.name, placed, why, &mut assigns, &mut writes);
                }
            }
            let scaled = placed.scaled.map(|scaled| scaled.replicas);
            let seats = Seats { seats: placed.seats.clone(), scaled };
            let key = format!("{PLACE}{}", module.name);
            put_if_changed(&self.seen.places, key, &seats, &mut writes);
        }
        self.assign(assigns, &mut writes);
        put_if_changed(&self.seen.unplaced, UNPLACED.to_owned(), &unplaced, &mut writes);
        let missing = decision.unplaced.iter();
        let unplaced = missing.map(|one| (one.module.clone(), u64::from(one.missing))).collect();
        let Decision { placement, moves, .. } = decision;
        Decided { writes, placement, moves, gave_up: facts.gave_up, unplaced }
    }

    fn facts(&self) -> Facts {
        let mut facts = facts(self.seen, &self.lives, self.mind);
        for life in self.lives.values() {
            for module in life.state.into_iter().flat_map(|state| state.gave_up.keys()) {
                if self.gave_up(life, module).is_some_and(|gave_up| gave_up.failed_starts > 0) {
                    facts.gave_up.insert((module.clone(), life.node.name.clone()));
                }
            }
        }
        // What nobody has any more but nodes that are gone is placed anew, whether that is believed or not.
        for (module, placed) in facts.before.modules.iter().filter(|(_, placed)| placed.owners.is_empty()) {
            let is_held = |name: &NodeName| self.lives.get(name).is_some_and(|life| life.held);
            if placed.nodes().all(is_held) {
                facts.gave_up.extend(placed.nodes().map(|name| (module.clone(), name.clone())));
            }
        }
        facts
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

    /// Where a node that leaves has what all others gave up, they are asked once more: it may have been long ago, and there
    /// is nobody else.
    fn second_chances(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        for module in self.mind.modules.iter().filter(|module| module.kind != ModuleKind::Keyed) {
            let mut others = self.lives.values().filter(|life| !life.draining && !life.node.guest).peekable();
            if others.peek().is_none() || others.any(|life| self.gave_up(life, &module.name).is_none()) {
                continue;
            }
            let leaves = |life: &&Life<'_>| life.draining && self.started(life, &module.name);
            let key = format!("{AGAIN}{}", module.name);
            let before = self.seen.again.get(&key);
            let since = before.map_or(Revision::default(), |row| row.changed);
            if let Some(life) = self.lives.values().filter(leaves).find(|life| life.changed > since) {
                let op = Op::put(key.clone(), text(&format!("{} leaves", life.node.name)));
                writes.push(Write { when: vec![unchanged(&self.seen.again, &key)], op });
            }
        }
        writes
    }

    fn replicated(
        &self,
        module: &str,
        placed: &Placed,
        unplaced: Option<&str>,
        assigns: &mut BTreeMap<&'s NodeName, Assign>,
        writes: &mut Vec<Write>,
    ) {
        let chance = self.chance(module);
        let at = |name: &NodeName| self.lives.get(name);
        let leaves = |name: &&NodeName| at(name).is_some_and(|life| life.draining);
        let started = |name: &NodeName| at(name).is_some_and(|life| self.started(life, module));
        // One that has no other place stays where it is, if it runs; but nobody keeps a node from leaving while others serve.
        let stay = placed.nodes().all(|name| leaves(&name));
        let stays = |name: &&NodeName| !leaves(name) || (stay && started(name));
        let assigned: Vec<_> = placed.nodes().filter(stays).cloned().collect();
        let gave_up = |name: &NodeName| at(name).is_some_and(|life| self.gave_up(life, module).is_some());
        let given_up = self.given_up(module, &assigned);
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
            // Calls wait for a node that is started again.
            true if assigned.is_empty() && self.some_come() => None,
            true if assigned.is_empty() => {
                Some(format!("unplaced: {}", unplaced.unwrap_or("no node takes it")))
            }
            true => given_up,
            false => None,
        };
        let serving = serving.into_iter().filter_map(|name| Some(Place::of(at(name)?.node))).collect();
        let route = Route { serving, assigned, failed };
        put_if_changed(&self.seen.routes, format!("{ROUTE}{module}"), &route, writes);
    }

    /// Whether a node is on its way that is not there.
    fn some_come(&self) -> bool {
        self.seen.expected().is_some_and(|expected| !self.seen.all_there(expected.nodes.iter()))
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
            if !life.held {
                put_if_changed(&self.seen.assigns, of_life(ASSIGN, life.node.incarnation), &assign, writes);
            }
        }
        for (key, row) in self.seen.assigns.iter() {
            let Some(life) = life_in(key, ASSIGN) else { continue };
            let node = of_life(NODE, life);
            let counts = self.lives.values().any(|current| current.node.incarnation == life);
            if !counts && self.seen.nodes.changed_at(&node).is_none() {
                let when = vec![Condition::ChangedAt(key.to_owned(), row.changed), Condition::Absent(node)];
                writes.push(Write { when, op: Op::Delete(key.to_owned()) });
            } else if !counts && !row.value.modules.is_empty() {
                // An old life of a node that has another one: it is to stop what it has.
                let when = vec![Condition::ChangedAt(key.to_owned(), row.changed)];
                writes.push(Write { when, op: Op::put(key, text(&Assign::nothing(&row.value.node))) });
            }
        }
    }

    fn keyed(&self, module: &str, placed: &Placed, writes: &mut Vec<Write>) {
        for block in 0..BLOCKS {
            let key = own(module, block);
            let before = self.seen.owns.get(&key).map(|row| &*row.value);
            if before.is_none() && self.seen.owns.changed_at(&key).is_some() {
                // Somebody else has written it, who may own the shards: nobody is given them.
                continue;
            }
            let mut when = vec![unchanged(&self.seen.owns, &key)];
            let mut owns = before.cloned().unwrap_or_default();
            // Most neighbours are alike, and need nothing.
            let mut alike: Option<(&NodeName, *const Own)> = None;
            for shard in shards_in(block) {
                let Some(name) = placed.owner(usize::from(shard.0)) else { continue };
                let own = before.and_then(|before| before.of(shard));
                let same = own.map(|own| (name, Arc::as_ptr(own)));
                if same.is_some() && alike == same {
                    continue;
                }
                // To nobody whose loss is not believed yet is anything given.
                let Some(target) = self.lives.get(name).filter(|life| !life.held) else { continue };
                let Some((next, gone)) = self.next_owner(own.map(|own| &**own), target.node) else {
                    alike = same;
                    continue;
                };
                if let Some(gone) = gone.map(Condition::Absent)
                    && !when.contains(&gone)
                {
                    when.push(gone);
                }
                owns.set(shard, next);
            }
            if before != Some(&owns) && owns != Owns::default() {
                writes.push(Write { when, op: Op::put(key, text(&owns)) });
            }
        }
    }

    /// What is to be written of a shard that belongs to that node, if anything; and the key that has to be gone for it.
    fn next_owner(&self, before: Option<&Own>, target: &Node) -> Option<(Own, Option<String>)> {
        let is_there = |place: &Place| place.incarnation == target.incarnation;
        let Some(before) = before else {
            return Some((Own { owner: Place::of(target), epoch: 1, releasing_to: None }, None));
        };
        let old = before.owner.incarnation;
        let node = of_life(NODE, old);
        if self.seen.nodes.changed_at(&node).is_some() {
            if before.releasing_to.as_ref().map_or(is_there(&before.owner), is_there) {
                return None;
            }
            // It may have let go of it already, and is the owner until it says so.
            let releasing_to = (!is_there(&before.owner)).then(|| Place::of(target));
            return Some((Own { releasing_to, ..before.clone() }, None));
        }
        if self.held.contains_key(&old) {
            return None;
        }
        Some((Own { owner: Place::of(target), epoch: before.epoch + 1, releasing_to: None }, Some(node)))
    }
}

fn put_if_changed<V: Serialize + PartialEq>(
    table: &Table<V>,
    key: String,
    value: &V,
    writes: &mut Vec<Write>,
) {
    let before = table.get(&key);
    if before.is_none_or(|row| *row.value != *value) {
        writes.push(Write { when: vec![unchanged(table, &key)], op: Op::put(key, text(value)) });
    }
}

/// What nobody has changed meanwhile is as this table has it, also where it cannot be read.
fn unchanged<V>(table: &Table<V>, key: &str) -> Condition {
    match table.changed_at(key) {
        Some(changed) => Condition::ChangedAt(key.to_owned(), changed),
        None => Condition::Absent(key.to_owned()),
    }
}
