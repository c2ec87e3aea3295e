//! What a call inherits from the code that makes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::{Chain, TraceContext};

/// What travels with a call: until when it may take, which trace it belongs to, and who waits for it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The call must be over by then, unless it is lifted. It only ever shrinks on the way down.
    pub deadline: Option<Instant>,
    /// Set once the deadline has served its purpose: it covers the start of a call's streams, and they have begun.
    pub lifted: Option<Arc<AtomicBool>>,
    /// The trace, if there is one.
    pub trace: Option<TraceContext>,
    /// The calls under which this one is made.
    pub chain: Chain,
}

impl Context {
    /// No deadline, no trace, no call above.
    pub const fn none() -> Context {
        Context { deadline: None, lifted: None, trace: None, chain: Chain::none() }
    }

    /// When the call must be over, as long as that holds.
    pub fn deadline(&self) -> Option<Instant> {
        let is_lifted = self.lifted.as_ref().is_some_and(|lifted| lifted.load(Ordering::Acquire));
        self.deadline.filter(|_| !is_lifted)
    }

    /// Makes the deadline one's own: what lifts that of the call above has no effect on it any more.
    pub fn detach(&mut self) {
        self.deadline = self.deadline();
        self.lifted = None;
    }

    /// The earlier of the inherited deadline and one's own.
    pub fn shrink(&mut self, deadline: Option<Instant>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
