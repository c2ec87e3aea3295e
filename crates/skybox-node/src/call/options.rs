//! What one handle asks for, beside what its module says.

use std::time::Duration;

/// Options for the calls of one handle: `catalog.with(CallOptions::new().deadline(…)).get(id)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallOptions {
    pub(crate) deadline: Option<Duration>,
}

impl CallOptions {
    /// None of them.
    pub const fn new() -> CallOptions {
        CallOptions { deadline: None }
    }

    /// The longest each call may take, counted from its first poll. A deadline that the caller itself is under
    /// still counts: the earlier of the two holds.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> CallOptions {
        self.deadline = Some(deadline);
        self
    }
}
