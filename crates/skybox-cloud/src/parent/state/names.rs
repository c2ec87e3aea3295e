//! Names of instances, which nodes ask for.

use skybox_core::{Incarnation, NodeName};
use skybox_node::control::FromParent;
use skybox_plan::names::NameAsk;

use super::State;

impl State {
    /// A life of a node asks.
    pub(super) fn name(&mut self, node: &NodeName, incarnation: Incarnation, number: u64, ask: NameAsk) {
        // The last words of one that is over may come after its end: its names are free, and stay so.
        let life = self.nodes.get(node).and_then(|node| node.life.as_ref());
        let Some(life) = life.filter(|life| life.incarnation == incarnation) else { return };
        let answer = match ask.check(node, incarnation) {
            Ok(()) => self.names.answer(ask),
            Err(refused) => {
                tracing::debug!(%node, "a question about names was refused: {refused:?}");
                refused
            }
        };
        // A node that does not read is dying: its connection says so.
        drop(life.to_node.try_send(FromParent::Name { number, answer }));
    }
}
