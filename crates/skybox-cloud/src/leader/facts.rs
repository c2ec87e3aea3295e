//! What the plan is decided on, from what is in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skybox_core::{ModuleKind, NodeName, Replicas, SHARD_COUNT, Shard};
use skybox_node::config::PlanConfig;
use skybox_node::control::ModuleDecl;
use skybox_plan::place::{Facts, Host, Module, NodeState, Placed, Placement, Reason, Rules, Scaled, Seat};

use super::decide::{Life, Mind, Seen};
use crate::records::{BLOCKS, CORDON, Node, PIN, PLACE, SCALE, block_of, own};

/// How much a move has to be worth, as the configuration says.
pub(crate) fn rules(config: &PlanConfig) -> Rules {
    let usual = Rules::default();
    let ms = |said: Option<Duration>, usual: u64| said.map_or(usual, |said| said.as_millis() as u64);
    Rules {
        stay_ms: ms(config.min_stay, usual.stay_ms),
        settle_ms: ms(config.settle, usual.settle_ms),
        auto_place: config.auto_place,
        low_for_ms: ms(config.shrink_after, usual.low_for_ms),
        moves_max: config.moves.map_or(usual.moves_max, |moves| moves as usize),
        ..usual
    }
}

/// A module as the plan has to know it. `scaled`: how many instances people want.
pub(crate) fn module(decl: &ModuleDecl, scaled: Option<Replicas>) -> Module {
    Module {
        cpu_milli: decl.cpu_milli.into(),
        memory_bytes: decl.needs.memory_bytes,
        gpu: decl.needs.gpu.into(),
        near: decl.needs.near.clone(),
        with: decl.needs.with.clone(),
        apart: decl.needs.apart.clone(),
        spread: decl.needs.spread.clone(),
        on: decl.needs.on.clone(),
        ..Module::new(decl.name.clone(), decl.kind, scaled.unwrap_or(decl.replicas))
    }
}

fn without_needs(decl: &ModuleDecl) -> Module {
    Module::new(decl.name.clone(), decl.kind, Replicas::fixed(1))
}

/// Whatever says how much a node may use; one that does not say that is of its machine.
fn account(node: &Node) -> &str {
    if node.account.is_empty() { &node.host } else { &node.account }
}

/// All but what was given up.
pub(crate) fn facts(seen: &Seen, lives: &BTreeMap<&NodeName, Life<'_>>, mind: &Mind<'_>) -> Facts {
    let Mind { modules, rules, remembered, figures, now_ms, .. } = *mind;
    let named = |prefix: &str, module: &str| format!("{prefix}{module}");
    let scaled = |module: &str| seen.scales.get(&named(SCALE, module)).map(|row| row.value.replicas);
    let mut hosts: BTreeMap<&str, Host> = BTreeMap::new();
    let mut accounts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for life in lives.values() {
        accounts.entry(&life.node.host).or_default().insert(account(life.node));
        // Nodes of one account share what it has; if they do not agree on it, the one that sees most of it is believed.
        let named = || Host { name: account(life.node).to_owned(), ..Host::default() };
        let host = hosts.entry(account(life.node)).or_insert_with(named);
        host.cpu_milli = host.cpu_milli.max(life.node.cpu_milli);
        host.memory_bytes = host.memory_bytes.max(life.node.memory_bytes);
        host.gpu = host.gpu.max(life.node.gpu);
    }
    let nodes = lives.values().map(|life| {
        let cordoned = seen.cordons.get(&named(CORDON, life.node.name.as_str())).is_some()
            && seen.last() != Some(&life.node.name);
        skybox_plan::place::Node {
            name: life.node.name.clone(),
            host: account(life.node).to_owned(),
            labels: life.node.labels.clone(),
            state: match life.draining {
                true if life.is_gray => NodeState::Unreached,
                true => NodeState::Draining,
                false if life.node.guest => NodeState::Guest,
                false if life.held || cordoned => NodeState::Cordoned,
                false => NodeState::Open,
            },
        }
    });
    let pins = seen
        .pins
        .iter()
        .filter_map(|(key, row)| Some((key.strip_prefix(PIN)?.to_owned(), row.value.nodes.clone())));
    let mut to_resources = BTreeMap::new();
    for (_, row) in seen.far.iter() {
        for (resource, far) in &row.value.round_trips {
            for account in accounts.get(row.value.host.as_str()).into_iter().flatten() {
                // Of two nodes that have measured, the one does it that comes first; what the other has said is older.
                to_resources.entry(((*account).to_owned(), resource.clone())).or_insert(far.round_trip_us);
            }
        }
    }
    Facts {
        now_ms,
        rules: rules.clone(),
        frozen: seen.is_frozen(),
        modules: match seen.last() {
            None => modules
                .iter()
                .map(|decl| {
                    let work = figures.loads.get(&decl.name);
                    Module {
                        load_milli: work.map(|work| work.milli),
                        load_is_partial: work.is_some_and(|work| work.is_partial),
                        ..module(decl, scaled(&decl.name))
                    }
                })
                .collect(),
            // Nothing has another place to be.
            Some(_) => modules.iter().map(without_needs).collect(),
        },
        traffic: figures.traffic.clone(),
        hosts: hosts.into_values().collect(),
        nodes: nodes.collect(),
        to_resources,
        pins: pins.filter(|(_, nodes)| !nodes.is_empty() && seen.last().is_none()).collect(),
        before: before(seen, lives, modules, remembered),
        ..Facts::default()
    }
}

/// The decision that stands in the store, with what the leader remembers of it.
fn before(
    seen: &Seen,
    lives: &BTreeMap<&NodeName, Life<'_>>,
    modules: &[ModuleDecl],
    remembered: &Placement,
) -> Placement {
    let mut before = Placement { modules: BTreeMap::new(), spent_ms: remembered.spent_ms.clone() };
    for module in modules {
        let row = seen.places.get(&format!("{PLACE}{}", module.name));
        let mut placed =
            Placed { seats: row.map(|row| row.value.seats.clone()).unwrap_or_default(), ..Placed::default() };
        // How many a range has come to is in the store, and since when that is too few is not.
        let replicas = row.and_then(|row| row.value.scaled);
        placed.scaled = replicas.map(|replicas| Scaled { replicas, beyond: None });
        if let Some(known) = remembered.modules.get(&module.name) {
            placed.better_since_ms.clone_from(&known.better_since_ms);
            if known.scaled.map(|scaled| scaled.replicas) == replicas {
                placed.scaled = known.scaled;
            }
        }
        if module.kind == ModuleKind::Keyed {
            placed.owners = owners(seen, lives, &module.name, &mut placed.seats);
        }
        if row.is_some() || !placed.seats.is_empty() {
            before.modules.insert(module.name.clone(), placed);
        }
    }
    before
}

/// For each shard its owner among the seats, or who is to become that.
fn owners(
    seen: &Seen,
    lives: &BTreeMap<&NodeName, Life<'_>>,
    module: &str,
    seats: &mut Vec<Seat>,
) -> Vec<Option<u32>> {
    let blocks: Vec<_> =
        (0..BLOCKS).map(|block| seen.owns.get(&own(module, block)).map(|row| &*row.value)).collect();
    let mut owner = |shard| {
        let block = blocks[usize::from(block_of(shard))]?;
        let own = block.of(shard)?;
        let is_current = |place: &&crate::records::Place| {
            lives.get(&place.node).is_some_and(|life| life.node.incarnation == place.incarnation)
        };
        let owner = own.releasing_to.as_ref().filter(is_current).unwrap_or(&own.owner);
        let at = seats.iter().position(|seat| seat.node == owner.node).unwrap_or_else(|| {
            seats.push(Seat { node: owner.node.clone(), since_ms: 0, why: Reason::New });
            seats.len() - 1
        });
        u32::try_from(at).ok()
    };
    (0..SHARD_COUNT).map(Shard).map(&mut owner).collect()
}
