//! When an order is done, or cannot be.

use std::time::{Duration, Instant};

use skybox_core::{ModulePlan, NodeName};
use tokio::sync::oneshot;

use super::super::Done;
use super::{Node, State};

/// An order that is not done after this long is answered with what it waits for; it goes on.
pub(super) const ORDER_WAIT: Duration = Duration::from_secs(60);

/// What somebody has ordered and waits for.
#[derive(Debug)]
pub(super) enum Goal {
    /// The module is where it belongs, and nowhere else.
    Moved(String),
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
            Goal::Moved(module) => self.moved(module),
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

    fn moved(&self, module: &str) -> Option<Done> {
        match self.plan.modules.get(module)? {
            ModulePlan::Replicated { assigned, serving, failed, .. } => {
                // Where it was given up the old ones may go on, and nothing has failed.
                if let Some(cause) = failed.clone().or_else(|| self.given_up(module, assigned)) {
                    return Some(Done::Refused(format!("it does not start there: {cause}")));
                }
                let old_gone = self.nodes.iter().all(|(name, node)| {
                    assigned.contains(name)
                        || node.life.as_ref().is_none_or(|life| !life.started.contains(module))
                });
                let failed: Vec<_> =
                    assigned.iter().filter(|node| self.record(node, module).is_some()).collect();
                let settled = |node: &&NodeName| serving.contains(node) || failed.contains(node);
                if !failed.is_empty() && assigned.iter().all(|node| settled(&node)) {
                    let cause = self.last_cause(module, failed.iter().copied()).unwrap_or_default();
                    let nodes: Vec<_> = failed.iter().map(|node| node.as_str()).collect();
                    return Some(Done::Refused(format!(
                        "it does not start on {}: {cause}",
                        nodes.join(", ")
                    )));
                }
                let there = assigned.iter().all(|node| serving.contains(node));
                (there && old_gone).then_some(Done::Ok)
            }
            ModulePlan::Keyed(_) => {
                let keyed = self.keyed.get(module)?;
                (keyed.leaving.is_empty() && keyed.owners.iter().all(Option::is_some)).then_some(Done::Ok)
            }
        }
    }
}
