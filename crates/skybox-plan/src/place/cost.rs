//! What a placement costs: time that instances spend waiting for the network, in nanoseconds each second.
//!
//! - An instance with `near` makes [`Rules::near_trips_per_s`](super::Rules) round trips a second. One to a module goes to
//!   its closest instance.
//! - A caller's calls are spread evenly over its instances; a call stays within the node if the callee has an instance
//!   there, and costs [`Rules::network_call_us`](super::Rules) otherwise.
//!
//! Everything is counted in whole numbers: sums come out the same in any order.

use super::board::Board;
use super::world::{Edge, Near, World};

impl World<'_> {
    /// What a round trip of so many microseconds costs whoever is near, in nanoseconds a second.
    pub(super) fn near_cost(&self, us: u64) -> u64 {
        us.saturating_mul(1_000).saturating_mul(self.facts.rules.near_trips_per_s)
    }

    /// What one of a caller's instances pays for calls that leave its node, in nanoseconds a second.
    pub(super) fn edge_cost(&self, caller: usize, edge: Edge, wanted: &[usize]) -> u64 {
        // Thousandths of a call, each of so many microseconds: that is nanoseconds.
        let calls_milli = edge.calls_per_s.saturating_mul(1_000) / (wanted[caller].max(1) as u64);
        calls_milli.saturating_mul(self.facts.rules.network_call_us)
    }
}

impl Board<'_> {
    /// The round trip that a module's `near` is about, from a node; `None` where it is unknown.
    pub(super) fn near_measured_us(&self, module: usize, node: usize) -> Option<u64> {
        let host = self.world.host_of(node);
        match self.world.modules[module].near? {
            Near::Resource(resource) => self.world.to_resource(resource, host),
            Near::Module(target) => {
                let ways = self.seats[target]
                    .iter()
                    .map(|seat| self.world.between(host, self.world.host_of(seat.node)));
                ways.flatten().min()
            }
        }
    }

    /// The same where a figure is needed. Unknown counts as far; nothing to be near to, as close.
    pub(super) fn near_us(&self, module: usize, node: usize) -> u64 {
        match self.world.modules[module].near {
            None => 0,
            Some(Near::Resource(resource)) => self.world.to_resource_us(resource, self.world.host_of(node)),
            Some(Near::Module(target)) if self.seats[target].is_empty() => 0,
            Some(Near::Module(_)) => {
                self.near_measured_us(module, node).unwrap_or(self.world.between_max_us())
            }
        }
    }

    /// The round trip from each host, for one who asks for many nodes.
    pub(super) fn near_by_host(&self, module: usize) -> Option<Vec<u64>> {
        let world = self.world;
        match world.modules[module].near? {
            Near::Resource(resource) => {
                Some((0..world.host_count).map(|host| world.to_resource_us(resource, host)).collect())
            }
            Near::Module(target) if self.seats[target].is_empty() => None,
            Near::Module(target) => {
                let mut by_host = vec![world.between_max_us(); world.host_count];
                for seat in &self.seats[target] {
                    let host = world.host_of(seat.node);
                    by_host[host] = 0;
                    for (other, us) in world.between_from(host) {
                        by_host[*other] = by_host[*other].min(*us);
                    }
                }
                Some(by_host)
            }
        }
    }

    /// What the traffic of an instance on this node costs, less what it spares others: nanoseconds a second.
    pub(super) fn traffic_cost(&self, module: usize, node: usize, wanted: &[usize]) -> i64 {
        let mut cost = 0_i64;
        for edge in &self.world.modules[module].edges {
            if edge.outgoing && !self.has(edge.other, node) {
                cost += self.world.edge_cost(module, *edge, wanted) as i64;
            }
            if !edge.outgoing && self.has(edge.other, node) {
                cost -= self.world.edge_cost(edge.other, *edge, wanted) as i64;
            }
        }
        cost
    }

    /// What everything costs. With `decided`, only what follows from those modules.
    pub(super) fn total_cost(&self, wanted: &[usize], decided: impl Fn(usize) -> bool) -> u64 {
        let mut cost = 0_u64;
        for (module, row) in self.world.modules.iter().enumerate().filter(|(module, _)| decided(*module)) {
            let near_is_decided = match row.near {
                Some(Near::Module(target)) => decided(target),
                Some(Near::Resource(_)) => true,
                None => false,
            };
            for seat in &self.seats[module] {
                if near_is_decided {
                    cost += self.world.near_cost(self.near_us(module, seat.node));
                }
                for edge in row.edges.iter().filter(|edge| edge.outgoing && decided(edge.other)) {
                    if !self.has(edge.other, seat.node) {
                        cost += self.world.edge_cost(module, *edge, wanted);
                    }
                }
            }
        }
        cost
    }
}
