//! Replacing the program by another build of it, or by the same one with another configuration; whole.
//!
//! 1. All nodes but one hand over what they have to that one and end; then it ends. Every request that has begun finds
//!    what it calls, and calls never meet a node of the other build.
//! 2. The nodes are started again, from the new file.
//!
//! The parent holds the listeners throughout: who connects in between waits in the kernel's queue, and is not refused.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::{Config, Done, Event, Expected, Goal, Node, State, end_wait};

/// A replacement that waits for the old nodes to end.
#[derive(Debug)]
pub(super) struct Replacing {
    program: PathBuf,
    config: Config,
    /// Which one: time that was given to an earlier one does not end this.
    round: u64,
}

impl State {
    /// Begins to replace the program; `reply` is answered when every node's `start` has returned.
    pub(super) fn replace(&mut self, program: PathBuf, config: Config, reply: oneshot::Sender<Done>) {
        if self.stopping {
            // Whoever asked has gone.
            drop(reply.send(Done::Refused("the program ends".to_owned())));
            return;
        }
        self.rounds += 1;
        self.replacing = Some(Replacing { program, config, round: self.rounds });
        self.have_all_leave();
        self.later(end_wait(self.stop_wait), Event::ReplaceDue { round: self.rounds });
        self.wait_for(Goal::Replaced, reply);
    }

    /// The old nodes have had their time.
    pub(super) fn replace_due(&mut self, round: u64) {
        if self.replacing.as_ref().is_some_and(|replacing| replacing.round == round) {
            let wait = end_wait(self.stop_wait);
            tracing::warn!("nodes of the old build have not ended within {wait:?}: killed");
            self.kill_all();
        }
    }

    /// Starts the new build, once nobody of the old one is left.
    pub(super) async fn begin_anew(&mut self) {
        let Some(Replacing { program, config, .. }) = self.replacing.take() else { return };
        self.config.launch.program = program;
        if let Some(secure) = self.secure.under(&config) {
            self.secure = std::sync::Arc::new(secure);
        }
        self.config.config = config;
        self.config.split = self.split;
        for node in self.nodes.values_mut().filter(|node| !node.guest) {
            *node = Node::new(node.number, false);
        }
        // Another build may have other modules, and does anew what is done once for each.
        self.cloud.begin_anew().await;
        self.expected = Expected::default();
        self.ends.send_replace(None);
        self.was_ready = false;
        self.start_failed = false;
        self.exit_code = 0;
        self.last = None;
        self.listeners.begin_anew();
        if let Err(error) = self.start_nodes().await {
            tracing::error!("{}", skybox_core::TextChain::of(&error).joined());
            self.start_failed = true;
        }
    }

    /// Whether the new build runs.
    pub(super) fn replaced(&self) -> Option<Done> {
        let mut own = self.nodes.values().filter(|node| !node.guest);
        if self.replacing.is_some() {
            None
        } else if self.start_failed {
            Some(Done::Refused("the program does not start".to_owned()))
        } else {
            own.all(|node| node.was_ready || node.over).then_some(Done::Ok)
        }
    }
}
