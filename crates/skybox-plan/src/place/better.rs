//! Since when another place has been better: a figure that jumps moves nothing.

use std::collections::BTreeMap;

use skybox_core::NodeName;

use super::board::Taken;
use super::scale;
use super::world::World;

/// For seats for which another place is better now, since when that has been so in each decision.
#[derive(Debug)]
pub(super) struct Better {
    since_ms: Vec<BTreeMap<NodeName, u64>>,
}

impl Better {
    pub(super) fn new(world: &World<'_>) -> Better {
        Better { since_ms: vec![BTreeMap::new(); world.modules.len()] }
    }

    /// Notes that another place is better; whether it has been for long enough, and the instance here for long enough.
    pub(super) fn pays(&mut self, world: &World<'_>, module: usize, taken: &Taken) -> bool {
        let facts = world.facts;
        let name = &world.nodes[taken.node].node.name;
        let before = facts.before.modules.get(&world.modules[module].module.name);
        let since_ms = before.and_then(|placed| placed.better_since_ms.get(name)).copied();
        let since_ms = since_ms.unwrap_or(facts.now_ms);
        self.since_ms[module].insert(name.clone(), since_ms);
        facts.now_ms.saturating_sub(since_ms) >= facts.rules.settle_ms
            && scale::has_stayed(facts, taken.since_ms)
    }

    /// What the next decision is told of a module: that of seats which are still there.
    pub(super) fn take(&mut self, module: usize, nodes: &[&NodeName]) -> BTreeMap<NodeName, u64> {
        let mut since_ms = std::mem::take(&mut self.since_ms[module]);
        since_ms.retain(|name, _| nodes.contains(&name));
        since_ms
    }
}
