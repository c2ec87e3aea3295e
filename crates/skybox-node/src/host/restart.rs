//! Somebody orders a module, or one key of it, to be started anew.

use serde::{Deserialize, Serialize};
use skybox_core::{CallErrorKind, InstanceId};
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait for the end of a start. Whoever gives more has had no answer to these.
const ORDERS_MAX: usize = 8;

/// What became on one node of the order to start a module, or one key of it, anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Restarted {
    /// It ran: a new instance has taken over.
    Replaced {
        /// The one before, which ends when its calls have.
        old: String,
        /// The one that takes the calls.
        new: String,
    },
    /// It did not run, and does now.
    Started {
        /// The instance.
        new: String,
    },
    /// Its `start` failed.
    Failed {
        /// The error.
        cause: String,
        /// The instance that goes on, if it ran.
        old: Option<String>,
    },
    /// Its `start`, or a call of the one before that has to end first, goes on. It is not given up.
    Waiting,
    /// The key has no instance: its next call starts one.
    Asleep,
    /// Of a keyed module, without a key: those that were given up may be started by their next calls.
    Forgotten {
        /// How many they are.
        keys: u64,
    },
    /// It belongs on other nodes.
    Elsewhere,
}

/// One order.
#[derive(Debug)]
pub(super) struct Order(oneshot::Sender<Restarted>);

impl Order {
    pub(super) fn answer(self, restarted: Restarted) {
        // Whoever gave it has not waited.
        drop(self.0.send(restarted));
    }
}

/// Where orders for a replicated module are given.
#[derive(Debug)]
pub(super) struct Orders(mpsc::Sender<Order>);

/// Where they arrive.
pub(super) type Ordered = mpsc::Receiver<Order>;

impl Orders {
    pub(super) fn new() -> (Orders, Ordered) {
        let (give, take) = mpsc::channel(ORDERS_MAX);
        (Orders(give), take)
    }

    /// Gives one; what comes back tells what became of it.
    pub(super) fn give(&self) -> Result<oneshot::Receiver<Restarted>, CallErrorKind> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Order(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let what = format!("{ORDERS_MAX} orders wait for the end of its `start` already");
                CallErrorKind::Overloaded { what }
            }
            mpsc::error::TrySendError::Closed(_) => CallErrorKind::Gone,
        })?;
        Ok(answered)
    }
}

/// One answer to an order that a start follows; `old` is what ran before, and goes on if the start has failed.
pub(super) fn answer_of(old: Option<InstanceId>, started: Result<InstanceId, String>) -> Restarted {
    let old = old.map(|old| old.to_string());
    match (old, started) {
        (Some(old), Ok(new)) => Restarted::Replaced { old, new: new.to_string() },
        (None, Ok(new)) => Restarted::Started { new: new.to_string() },
        (old, Err(cause)) => Restarted::Failed { cause, old },
    }
}
