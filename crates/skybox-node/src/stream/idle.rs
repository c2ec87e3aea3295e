//! How long a reader waits for one item.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use skybox_core::{CallErrorKind, Phase, WireError};
use tokio::time::Sleep;

use super::Event;

/// A limit, and the clock that runs while the reader waits.
pub(super) struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    pub(super) fn new(limit: Duration) -> Idle {
        Idle { limit, timer: None }
    }

    /// Resolves to the end of the stream when the reader has waited too long.
    pub(super) fn poll_expired<T, E: WireError>(&mut self, cx: &mut Context<'_>) -> Poll<Event<T, E>> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Event::Broken(CallErrorKind::Deadline { phase: Phase::Idle }))
    }

    /// An item has come.
    pub(super) fn reset(&mut self) {
        self.timer = None;
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Idle({:?})", self.limit)
    }
}
