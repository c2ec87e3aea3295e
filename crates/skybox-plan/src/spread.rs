//! Which node runs what, where nobody plans: each node works it out from the same names, and all come to the same.
//!
//! An instance goes to the node with the least reserved, then with the fewest instances, then by name; a shard where
//! rendezvous hashing says. Nothing moves afterwards: that takes a store, and whoever leads ([`place`](crate::place)).

use std::collections::{BTreeMap, BTreeSet};

use skybox_core::{KeyHash, ModuleKind, NodeName, Replicas, SHARD_COUNT};

/// A module, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFacts {
    /// Its name.
    pub name: String,
    /// Its form.
    pub kind: ModuleKind,
    /// How many instances. Of a range it is the smallest number: nobody measures load.
    pub replicas: Replicas,
    /// Reserved cores for each, in thousandths.
    pub cpu_milli: u32,
}

/// Where one module belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Instances on these nodes.
    Nodes(Vec<NodeName>),
    /// The owner of each shard; `None` if there is no node.
    Owners(Vec<Option<NodeName>>),
}

/// Decides for each module. The same facts always give the same answer.
pub fn spread(nodes: &BTreeSet<NodeName>, modules: &[ModuleFacts]) -> BTreeMap<String, Assignment> {
    let mut load: BTreeMap<&NodeName, (u64, usize)> = nodes.iter().map(|node| (node, (0, 0))).collect();
    let place = |module: &ModuleFacts| {
        let place = match module.kind {
            ModuleKind::Keyed => Assignment::Owners(owners(nodes, &module.name)),
            _ => Assignment::Nodes(least(&mut load, module)),
        };
        (module.name.clone(), place)
    };
    modules.iter().map(place).collect()
}

fn least(load: &mut BTreeMap<&NodeName, (u64, usize)>, module: &ModuleFacts) -> Vec<NodeName> {
    let count = match module.replicas {
        Replicas::PerNode => load.len(),
        Replicas::Range { min, .. } => min as usize,
    };
    let mut by_load: Vec<_> = load.iter().map(|(node, load)| (*load, *node)).collect();
    by_load.sort_unstable();
    let chosen: Vec<_> = by_load.into_iter().take(count).map(|(_, node)| node.clone()).collect();
    for node in &chosen {
        if let Some((cpu_milli, instances)) = load.get_mut(node) {
            *cpu_milli += u64::from(module.cpu_milli);
            *instances += 1;
        }
    }
    chosen
}

fn owners(nodes: &BTreeSet<NodeName>, module: &str) -> Vec<Option<NodeName>> {
    let owner = |shard: u16| nodes.iter().max_by_key(|node| rendezvous(module, shard, node)).cloned();
    (0..SHARD_COUNT).map(owner).collect()
}

/// A node's claim on a shard: the highest wins.
fn rendezvous(module: &str, shard: u16, node: &NodeName) -> u64 {
    KeyHash::of(format!("{module}/{shard}/{node}").as_bytes()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u32) -> BTreeSet<NodeName> {
        (1..=count).map(|n| NodeName::new(format!("node-{n}"))).collect()
    }

    fn module(name: &str, kind: ModuleKind, replicas: Replicas) -> ModuleFacts {
        ModuleFacts { name: name.into(), kind, replicas, cpu_milli: 0 }
    }

    fn places<const N: usize>(count: u32, modules: &[ModuleFacts], names: [&str; N]) -> [String; N] {
        let spread = spread(&nodes(count), modules);
        names.map(|name| match &spread[name] {
            Assignment::Nodes(nodes) => nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" "),
            Assignment::Owners(_) => panic!("{name} is keyed"),
        })
    }

    #[test]
    fn instances_go_where_there_are_the_fewest() {
        let modules = [
            module("a", ModuleKind::Task, Replicas::fixed(1)),
            module("b", ModuleKind::Replicated, Replicas::fixed(1)),
            module("c", ModuleKind::Replicated, Replicas::fixed(2)),
            module("d", ModuleKind::Replicated, Replicas::PerNode),
            module("e", ModuleKind::Replicated, Replicas::fixed(9)),
        ];
        assert_eq!(
            places(3, &modules, ["a", "b", "c", "d", "e"]),
            ["node-1", "node-2", "node-3 node-1", "node-2 node-3 node-1", "node-2 node-3 node-1"]
        );
        assert_eq!(places(0, &modules, ["a", "d"]), ["", ""]);
    }

    #[test]
    fn reserved_cores_are_spread_first() {
        let reserves = |name: &str, cpu_milli| ModuleFacts {
            cpu_milli,
            ..module(name, ModuleKind::Replicated, Replicas::fixed(1))
        };
        let modules = [reserves("heavy", 4_000), reserves("x", 500), reserves("y", 500), reserves("z", 500)];
        assert_eq!(places(2, &modules, ["heavy", "x", "y", "z"]), ["node-1", "node-2", "node-2", "node-2"]);
    }

    #[test]
    fn shards_are_shared_evenly_and_one_node_fewer_changes_nobody_elses() {
        let limits = [module("limits", ModuleKind::Keyed, Replicas::fixed(1))];
        let owners = |nodes: &BTreeSet<NodeName>| match spread(nodes, &limits).remove("limits") {
            Some(Assignment::Owners(owners)) => owners,
            other => panic!("keyed modules have owners: {other:?}"),
        };
        let three = nodes(3);
        let before = owners(&three);
        for node in &three {
            let share = before.iter().filter(|owner| owner.as_ref() == Some(node)).count();
            assert!((280..400).contains(&share), "{node} owns {share} of 1,024");
        }
        let gone = NodeName::new("node-2");
        let after = owners(&three.iter().filter(|node| **node != gone).cloned().collect());
        for (shard, (before, after)) in before.iter().zip(&after).enumerate() {
            match before.as_ref() == Some(&gone) {
                true => assert!(after.is_some() && after.as_ref() != Some(&gone), "shard {shard}"),
                false => assert_eq!(before, after, "shard {shard}"),
            }
        }
        assert!(owners(&nodes(0)).iter().all(Option::is_none));
    }
}
