//! When an order is done, or cannot be.

use std::time::{Duration, Instant};

use skybox_core::NodeName;
use tokio::sync::oneshot;

use super::super::Done;
use super::{Node, State};

/// An order that is not done after this long is answered with what it waits for; it goes on.
pub(super) const ORDER_WAIT: Duration = Duration::from_secs(60);

/// What somebody has ordered and waits for.
#[derive(Debug)]
pub(super) enum Goal {
    /// The node has ended.
    Ended(NodeName),
    /// Every node runs the new build.
    Replaced,
}

/// Somebody who waits for an order to be done.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) goal: Goal,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Done>,
}

impl State {
    /// Answers those whose order is done, or has taken too long.
    pub(super) fn settle_waiters(&mut self) {
        let mut waiting = Vec::new();
        for waiter in std::mem::take(&mut self.waiters) {
            match self.outcome(&waiter) {
                // Whoever asked has gone.
                Some(done) => drop(waiter.reply.send(done)),
                None => waiting.push(waiter),
            }
        }
        self.waiters = waiting;
    }

    fn outcome(&self, waiter: &Waiter) -> Option<Done> {
        let done = match &waiter.goal {
            _ if self.stopping => Some(Done::Refused("the program ends".to_owned())),
            Goal::Replaced => self.replaced(),
            _ if self.replacing.is_some() => Some(Done::Refused("the program is being replaced".to_owned())),
            Goal::Ended(node) => {
                let ended = |node: &Node| node.pid.is_none() && node.life.is_none();
                self.nodes.get(node).is_none_or(ended).then_some(Done::Ok)
            }
        };
        let late = waiter.since.elapsed() >= ORDER_WAIT;
        let why =
            || Done::Refused(format!("it is still on its way after {ORDER_WAIT:?}: a call may not end"));
        done.or_else(|| late.then(why))
    }
}
