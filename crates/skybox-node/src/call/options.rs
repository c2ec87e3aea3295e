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
    ///
    /// The callee stops the call when time is up and says how far it had come, which decides whether it may be called
    /// again. A caller elsewhere waits for that verdict, at most a tenth of a second past the deadline; a callee that
    /// says nothing by then is answered for with [`Phase::Sent`](skybox_core::Phase::Sent): it may have run.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> CallOptions {
        self.deadline = Some(deadline);
        self
    }
}
