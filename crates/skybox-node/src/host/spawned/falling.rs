//! A spawned instance is killed since another one has ended to which it is linked.

use std::sync::Arc;

use skybox_core::Exit;

use super::Seat;
use crate::host::Host;
use crate::module::Module;

impl<T: Module> Host<T> {
    /// Kills the instance in a seat that is here: if it is in its `start`, when that has ended. Says whether there was one
    /// to kill; what it has to say in its `stop` is not cut off.
    pub(in crate::host) async fn fall(self: &Arc<Self>, seat: &Arc<Seat<T>>, exit: Exit) -> bool {
        let mut changes = self.core.changes();
        if !seat.is_settled() {
            seat.wants_word();
        }
        loop {
            changes.borrow_and_update();
            // Not before: its `start` was in order, and whoever has spawned it is told so.
            let settled = seat.is_settled();
            if let Some(last) = self.last(seat).filter(|_| settled) {
                let calls = last.calls.upgrade();
                return calls.is_some_and(|instance| {
                    instance.kill_as(exit);
                    true
                });
            }
            // The sender lives in this very host.
            if settled || changes.changed().await.is_err() {
                return false;
            }
        }
    }
}
