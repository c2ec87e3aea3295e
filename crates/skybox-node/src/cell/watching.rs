//! The ends of instances elsewhere that code in a cell waits for: its node waits in its place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use skybox_core::{Incarnation, NodeName};
use tokio::task::AbortHandle;

use super::{Cell, Order};
use crate::between::Named;
use crate::host::{HostCore, lock};
use crate::monitor::{Monitor, Monitors, Unowned};

/// Which one: the life of the instance's node, and the number among those of that life.
type Number = (Incarnation, u64);

/// What a node waits for in the place of one of its cells.
#[derive(Debug, Default)]
pub(super) struct Watching(Mutex<HashMap<Number, AbortHandle>>);

impl Watching {
    pub(super) fn begin(
        &self,
        host: &HostCore,
        cell: &Arc<Cell>,
        number: Number,
        node: Option<NodeName>,
        named: Named,
    ) {
        let Some(app) = host.app.upgrade() else { return };
        let monitor = match node {
            None => crate::between::monitor(&app, &named),
            Some(node) => {
                let watches = Monitors::of(&app, &app.links.peer(&node), number.0);
                Monitor::elsewhere(watches, named, Arc::new(Unowned))
            }
        };
        let asker = cell.clone();
        let waiting = async move {
            let exit = tokio::select! {
                biased;
                // Nobody is there who could be told.
                _ = asker.ended() => return,
                exit = monitor => exit,
            };
            lock(&asker.watching.0).remove(&number);
            if let Some(link) = asker.link.get().and_then(std::sync::Weak::upgrade) {
                drop(Cell::order(&link, &Order::Told { life: number.0, number: number.1, exit }).await);
            }
        };
        // Under the lock, so that its end finds itself in the table.
        let mut all = lock(&self.0);
        all.insert(number, app.runtime.spawn(waiting).abort_handle());
    }

    pub(super) fn end(&self, number: Number) {
        let handle = lock(&self.0).remove(&number);
        handle.inspect(AbortHandle::abort);
    }
}
