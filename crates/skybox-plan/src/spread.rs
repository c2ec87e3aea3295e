//! Which node runs what, on one machine: the fewest moves that give every module what it asks for.
//!
//! 1. Whoever is pinned (`skybox move`) goes where the pin says, as long as one of those nodes lives.
//! 2. What runs stays where it is, as long as its node lives and does not drain.
//! 3. What was given up on its node goes to one that has not given it up. If all have, it stays: nobody tries in circles.
//! 4. What is missing goes to the node with the least reserved, then with the fewest instances, then by name; never to
//!    one that has given it up.
//! 5. A shard stays with its owner; a shard without one goes where rendezvous hashing says.

use std::collections::{BTreeMap, BTreeSet};

use skybox_core::{KeyHash, ModuleKind, NodeName, Replicas, SHARD_COUNT};

/// A module, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFacts {
    /// Its name.
    pub name: String,
    /// Its form.
    pub kind: ModuleKind,
    /// How many instances.
    pub replicas: Replicas,
    /// Reserved cores for each, in thousandths.
    pub cpu_milli: u32,
}

/// What is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The program's modules.
    pub modules: Vec<ModuleFacts>,
    /// The nodes that live and do not drain.
    pub nodes: BTreeSet<NodeName>,
    /// Nodes that run only what is pinned to them.
    pub guests: BTreeSet<NodeName>,
    /// Where people have said that a module belongs.
    pub pins: BTreeMap<String, Vec<NodeName>>,
    /// Modules without keys that were tried on a node as often as they may be, and are not to be tried there again.
    pub gave_up: BTreeSet<(String, NodeName)>,
    /// The decision before this one.
    pub before: Spread,
}

/// The decision: for each module its nodes, or its shards' owners.
pub type Spread = BTreeMap<String, Assignment>;

/// Where one module belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Instances on these nodes; none if there is no node.
    Nodes(Vec<NodeName>),
    /// The owner of each shard; `None` if there is no node.
    Owners(Vec<Option<NodeName>>),
}

/// Decides. The same facts always give the same answer.
pub fn spread(facts: &Facts) -> Spread {
    let mut spread = Spread::new();
    let mut load: BTreeMap<&NodeName, (u64, usize)> = facts.nodes.iter().map(|node| (node, (0, 0))).collect();
    // Those that stay are counted first, so that newcomers see what is left.
    for module in &facts.modules {
        if let Some(stays) = staying(facts, module) {
            for node in &stays {
                add_load(&mut load, node, module);
            }
            spread.insert(module.name.clone(), Assignment::Nodes(stays));
        }
    }
    for module in &facts.modules {
        match module.kind {
            ModuleKind::Keyed => {
                spread.insert(module.name.clone(), Assignment::Owners(owners(facts, module)));
            }
            _ => {
                let Some(Assignment::Nodes(nodes)) = spread.get_mut(&module.name) else { continue };
                let missing = wanted(facts, module).saturating_sub(nodes.len());
                for _ in 0..missing {
                    let is_free = |node: &NodeName| !nodes.contains(node) && may_start(facts, module, node);
                    let free = load.iter().filter(|(node, _)| is_free(node));
                    let Some(least) = free.min_by_key(|(_, load)| **load).map(|(node, _)| (*node).clone())
                    else {
                        break;
                    };
                    add_load(&mut load, &least, module);
                    nodes.push(least);
                }
            }
        }
    }
    spread
}

fn add_load(load: &mut BTreeMap<&NodeName, (u64, usize)>, node: &NodeName, module: &ModuleFacts) {
    if let Some((cpu, count)) = load.get_mut(node) {
        *cpu += u64::from(module.cpu_milli);
        *count += 1;
    }
}

/// The nodes a pin leaves for a module: all if there is none, or if none of the pinned ones lives.
fn allowed<'f>(facts: &'f Facts, module: &ModuleFacts) -> (Vec<&'f NodeName>, bool) {
    let pinned = facts.pins.get(&module.name).into_iter().flatten();
    let living: Vec<_> =
        pinned.filter_map(|node| facts.nodes.get(node).or_else(|| facts.guests.get(node))).collect();
    if living.is_empty() { (facts.nodes.iter().collect(), false) } else { (living, true) }
}

/// Whether a node has not given a module up.
fn may_start(facts: &Facts, module: &ModuleFacts, node: &NodeName) -> bool {
    !facts.gave_up.contains(&(module.name.clone(), node.clone()))
}

/// How many instances there should be.
fn wanted(facts: &Facts, module: &ModuleFacts) -> usize {
    let (allowed, pinned) = allowed(facts, module);
    match module.replicas {
        _ if pinned => allowed.len(),
        Replicas::PerNode => allowed.len(),
        Replicas::Range { min, .. } => (min as usize).min(allowed.len()),
    }
}

/// The instances of a replicated module that stay; `None` for a keyed one.
fn staying(facts: &Facts, module: &ModuleFacts) -> Option<Vec<NodeName>> {
    if module.kind == ModuleKind::Keyed {
        return None;
    }
    let (allowed, pinned) = allowed(facts, module);
    if pinned {
        return Some(allowed.into_iter().cloned().collect());
    }
    let before = match facts.before.get(&module.name) {
        Some(Assignment::Nodes(nodes)) => nodes.as_slice(),
        _ => &[],
    };
    let wanted = wanted(facts, module);
    let may_start = |node: &&NodeName| may_start(facts, module, node);
    let there = || before.iter().filter(|node| allowed.contains(node));
    let mut stays: Vec<_> = there().filter(may_start).take(wanted).collect();
    // For each that was given up there may be another node, or none.
    let others = allowed.iter().copied().filter(may_start).filter(|node| !before.contains(node)).count();
    let stuck = wanted.saturating_sub(stays.len() + others);
    stays.extend(there().filter(|node| !may_start(node)).take(stuck));
    // In the order of before: the same nodes are the same decision.
    Some(there().filter(|node| stays.contains(node)).cloned().collect())
}

fn owners(facts: &Facts, module: &ModuleFacts) -> Vec<Option<NodeName>> {
    let (allowed, pinned) = allowed(facts, module);
    if let [only] = allowed[..] {
        // As on one node, and where a pin names one: nobody else has a claim that would have to be weighed.
        return vec![Some(only.clone()); usize::from(SHARD_COUNT)];
    }
    let before = match facts.before.get(&module.name) {
        Some(Assignment::Owners(owners)) => owners.as_slice(),
        _ => &[],
    };
    let owner = |shard: u16| {
        let stays =
            before.get(usize::from(shard)).and_then(Option::as_ref).filter(|node| allowed.contains(node));
        // A pin redistributes: its nodes share the shards evenly.
        if let (Some(node), false) = (stays, pinned) {
            return Some(node.clone());
        }
        allowed.iter().max_by_key(|node| rendezvous(&module.name, shard, node)).map(|node| (*node).clone())
    };
    (0..SHARD_COUNT).map(owner).collect()
}

/// A node's claim on a shard: the highest wins, and a node that goes changes nobody else's.
fn rendezvous(module: &str, shard: u16, node: &NodeName) -> u64 {
    KeyHash::of(format!("{module}/{shard}/{node}").as_bytes()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> NodeName {
        NodeName::new(format!("node-{n}"))
    }

    fn module(name: &str, kind: ModuleKind, replicas: Replicas) -> ModuleFacts {
        ModuleFacts { name: name.into(), kind, replicas, cpu_milli: 0 }
    }

    fn facts(nodes: &[u32], modules: &[ModuleFacts]) -> Facts {
        Facts {
            modules: modules.to_vec(),
            nodes: nodes.iter().map(|n| node(*n)).collect(),
            ..Facts::default()
        }
    }

    fn nodes(spread: &Spread, name: &str) -> String {
        match &spread[name] {
            Assignment::Nodes(nodes) => nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" "),
            Assignment::Owners(owners) => {
                let mut counts = BTreeMap::new();
                for owner in owners.iter().flatten() {
                    *counts.entry(owner.as_str()).or_insert(0) += 1;
                }
                format!("{counts:?}")
            }
        }
    }

    #[test]
    fn modules_spread_and_stay() {
        let modules = [
            module("a", ModuleKind::Task, Replicas::fixed(1)),
            module("b", ModuleKind::Replicated, Replicas::fixed(1)),
            module("c", ModuleKind::Replicated, Replicas::fixed(2)),
            module("d", ModuleKind::Replicated, Replicas::PerNode),
        ];
        let mut facts = facts(&[1, 2, 3], &modules);
        let first = spread(&facts);
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| nodes(&first, name)),
            ["node-1", "node-2", "node-3 node-1", "node-2 node-3 node-1"]
        );
        facts.before = first.clone();
        assert_eq!(spread(&facts), first, "what runs stays");
        facts.nodes.remove(&node(1));
        let second = spread(&facts);
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| nodes(&second, name)),
            ["node-2", "node-2", "node-3 node-2", "node-2 node-3"]
        );
        facts.before = second.clone();
        facts.nodes.insert(node(1));
        let third = spread(&facts);
        assert_eq!(nodes(&third, "a"), "node-2", "a node that comes back takes nothing away");
        assert_eq!(nodes(&third, "d"), "node-2 node-3 node-1", "but what belongs on each node is there too");
    }

    #[test]
    fn a_pin_holds_while_one_of_its_nodes_lives() {
        let mut facts = facts(&[1, 2, 3, 4], &[module("thumbnail", ModuleKind::Task, Replicas::fixed(1))]);
        facts.pins.insert("thumbnail".into(), vec![node(4)]);
        let pinned = spread(&facts);
        assert_eq!(nodes(&pinned, "thumbnail"), "node-4");
        facts.before = pinned;
        facts.nodes.remove(&node(4));
        let without = spread(&facts);
        assert_eq!(nodes(&without, "thumbnail"), "node-1");
        facts.before = without;
        facts.nodes.insert(node(4));
        assert_eq!(nodes(&spread(&facts), "thumbnail"), "node-4", "the pin is remembered");
        facts.guests.insert(node(9));
        facts.pins.insert("thumbnail".into(), vec![node(9)]);
        assert_eq!(nodes(&spread(&facts), "thumbnail"), "node-9", "a guest runs what is pinned to it");
        facts.pins.insert("thumbnail".into(), vec![node(1), node(2), node(3)]);
        assert_eq!(nodes(&spread(&facts), "thumbnail"), "node-1 node-2 node-3");
    }

    /// Decides time after time: each row is what happens before, and where the module is then.
    fn given_up_in_turn(facts: &mut Facts, rows: &[(&[u32], &[u32], &str)]) {
        for (gave_up, cleared, place) in rows {
            let record = |n: &u32| ("printer".to_owned(), node(*n));
            facts.gave_up.extend(gave_up.iter().map(record));
            facts.gave_up.retain(|gave_up| !cleared.iter().map(record).any(|record| record == *gave_up));
            let spread = spread(facts);
            assert_eq!(nodes(&spread, "printer"), *place, "after {gave_up:?} gave up, {cleared:?} did not");
            facts.before = spread;
            let again = super::spread(facts);
            assert_eq!(again, facts.before, "and there it stays");
        }
    }

    #[test]
    fn what_a_node_gave_up_is_tried_on_each_other_one_once() {
        for kind in [ModuleKind::Replicated, ModuleKind::Task] {
            let mut facts = facts(&[1, 2, 3], &[module("printer", kind, Replicas::fixed(1))]);
            let rows: [(&[u32], &[u32], &str); 7] = [
                (&[], &[], "node-1"),
                (&[1], &[], "node-2"),
                (&[2], &[], "node-3"),
                (&[3], &[], "node-3"),
                // The process of one has ended, and another begun.
                (&[], &[2], "node-2"),
                (&[2], &[], "node-2"),
                // A person has it tried again everywhere: what has no reason to move does not.
                (&[], &[1, 2, 3], "node-2"),
            ];
            given_up_in_turn(&mut facts, &rows);
        }
    }

    #[test]
    fn replicas_that_were_given_up_move_alone() {
        let two = [module("printer", ModuleKind::Replicated, Replicas::fixed(2))];
        let mut facts = facts(&[1, 2, 3], &two);
        let rows: [(&[u32], &[u32], &str); 5] = [
            (&[], &[], "node-1 node-2"),
            (&[1], &[], "node-2 node-3"),
            // There is no third node: it stays, and the other one serves.
            (&[3], &[], "node-2 node-3"),
            (&[], &[1], "node-2 node-1"),
            (&[1, 2], &[], "node-2 node-1"),
        ];
        given_up_in_turn(&mut facts, &rows);
        let each = [module("printer", ModuleKind::Replicated, Replicas::PerNode)];
        let mut facts = super::tests::facts(&[1, 2, 3], &each);
        given_up_in_turn(
            &mut facts,
            &[(&[], &[], "node-1 node-2 node-3"), (&[2], &[], "node-1 node-2 node-3")],
        );
    }

    #[test]
    fn a_node_that_gave_a_module_up_does_not_get_it_back_when_another_dies() {
        let mut facts = facts(&[1, 2], &[module("printer", ModuleKind::Replicated, Replicas::fixed(1))]);
        given_up_in_turn(&mut facts, &[(&[], &[], "node-1"), (&[1], &[], "node-2")]);
        facts.nodes.remove(&node(2));
        given_up_in_turn(&mut facts, &[(&[], &[], "")]);
        facts.nodes.insert(node(2));
        given_up_in_turn(&mut facts, &[(&[], &[], "node-2")]);
        facts.nodes.insert(node(3));
        given_up_in_turn(&mut facts, &[(&[], &[], "node-2"), (&[2], &[], "node-3")]);
    }

    #[test]
    fn a_pin_holds_where_its_node_gave_up() {
        let mut facts = facts(&[1, 2, 3], &[module("printer", ModuleKind::Replicated, Replicas::fixed(1))]);
        facts.pins.insert("printer".into(), vec![node(2)]);
        given_up_in_turn(&mut facts, &[(&[], &[], "node-2"), (&[2], &[], "node-2")]);
        facts.pins.clear();
        given_up_in_turn(&mut facts, &[(&[], &[], "node-1")]);
        facts.pins.insert("printer".into(), vec![node(1), node(2), node(3)]);
        given_up_in_turn(&mut facts, &[(&[1], &[], "node-1 node-2 node-3")]);
        // Of those that are too many, the one goes that is of no use.
        facts.pins.clear();
        given_up_in_turn(&mut facts, &[(&[], &[], "node-3")]);
    }

    #[test]
    fn keys_are_given_up_by_their_nodes_alone() {
        let mut facts = facts(&[1, 2], &[module("printer", ModuleKind::Keyed, Replicas::fixed(1))]);
        facts.before = spread(&facts);
        facts.gave_up.insert(("printer".to_owned(), node(1)));
        assert_eq!(spread(&facts), facts.before);
    }

    #[test]
    fn reserved_cores_are_spread_first() {
        let heavy =
            ModuleFacts { cpu_milli: 4000, ..module("heavy", ModuleKind::Replicated, Replicas::fixed(1)) };
        let light =
            |name| ModuleFacts { cpu_milli: 500, ..module(name, ModuleKind::Replicated, Replicas::fixed(1)) };
        let spread = spread(&facts(&[1, 2], &[heavy, light("x"), light("y"), light("z")]));
        assert_eq!(
            ["heavy", "x", "y", "z"].map(|name| nodes(&spread, name)),
            ["node-1", "node-2", "node-2", "node-2"]
        );
    }

    #[test]
    fn shards_move_only_when_their_owner_is_gone() {
        let mut facts = facts(&[1, 2, 3], &[module("limits", ModuleKind::Keyed, Replicas::fixed(1))]);
        let first = spread(&facts);
        let Assignment::Owners(before) = &first["limits"] else { panic!("keyed modules have owners") };
        for n in 1..=3 {
            let share = before.iter().filter(|owner| **owner == Some(node(n))).count();
            assert!((280..400).contains(&share), "node-{n} owns {share} of 1,024");
        }
        facts.before = first.clone();
        facts.nodes.remove(&node(2));
        let second = spread(&facts);
        let Assignment::Owners(after) = &second["limits"] else { panic!("keyed modules have owners") };
        for (shard, (before, after)) in before.iter().zip(after).enumerate() {
            if *before == Some(node(2)) {
                assert!(after.is_some() && *after != Some(node(2)), "shard {shard}");
            } else {
                assert_eq!(before, after, "shard {shard}");
            }
        }
        facts.before = second.clone();
        facts.nodes.insert(node(2));
        assert_eq!(spread(&facts), second, "a node that comes back takes no shard away");
        facts.nodes.clear();
        let Assignment::Owners(nobody) = &spread(&facts)["limits"] else {
            panic!("keyed modules have owners")
        };
        assert!(nobody.iter().all(Option::is_none));
    }
}
