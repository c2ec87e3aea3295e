//! What a call inherits from the code that makes it.

use std::time::Instant;

use crate::{Chain, TraceContext};

/// What travels with a call: until when it may take, which trace it belongs to, and who waits for it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The call must be over by then. It only ever shrinks on the way down.
    pub deadline: Option<Instant>,
    /// The trace, if there is one.
    pub trace: Option<TraceContext>,
    /// The calls under which this one is made.
    pub chain: Chain,
}

impl Context {
    /// No deadline, no trace, no call above.
    pub const fn none() -> Context {
        Context { deadline: None, trace: None, chain: Chain::none() }
    }

    /// The earlier of the inherited deadline and one's own.
    pub fn shrink(&mut self, deadline: Option<Instant>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
