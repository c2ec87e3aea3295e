//! Who waits for the end of instances.
//!
//! For those of another node there is one pair of streams between the two, opened by the first who waits: which
//! instances are watched goes one way, and how they ended the other. So a hundred thousand of them take no call each.
//! Streams break off with their connection, and are opened again while both nodes live: see [`observers`].

mod observers;
mod serve;
mod watches;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use skybox_core::Exit;
use tokio::sync::oneshot;

pub(crate) use observers::{Observer, Observers};
pub(crate) use serve::serve;
pub(crate) use watches::{Monitors, Watches};

use crate::between::Named;

/// What one node tells another of the instances that it watches there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Watched {
    /// It wants to know of the end of this one, under this number.
    Begin(u64, Named),
    /// It does not any more.
    End(u64),
}

/// How an instance ended that was watched under this number.
pub(crate) type Told = (u64, Exit);

/// Resolves when an instance has ended, once, with the reason: [`Handle::monitor`](crate::Handle::monitor).
///
/// # Cancel safety
/// It can be polled in any number of places, one after the other. Dropped, nobody waits for it any more.
#[must_use = "a monitor tells whoever awaits it"]
pub struct Monitor(Waiting);

enum Waiting {
    /// For what is known already; `None` once it was told.
    Known(Option<Exit>),
    Here(Pin<Box<dyn Future<Output = Exit> + Send + Sync>>),
    Elsewhere {
        told: oneshot::Receiver<Exit>,
        watches: Arc<Watches>,
        number: u64,
        seat: Arc<dyn Owned>,
    },
}

/// Something that this process may have ended itself.
pub(crate) trait Owned: Send + Sync {
    /// Whether it has.
    fn is_ended(&self) -> bool;
}

/// What somebody else owns.
pub(crate) struct Unowned;

impl Owned for Unowned {
    fn is_ended(&self) -> bool {
        false
    }
}

impl Monitor {
    /// Of an instance that has ended.
    pub(crate) fn known(exit: Exit) -> Monitor {
        Monitor(Waiting::Known(Some(exit)))
    }

    /// Of one in this node.
    pub(crate) fn here(ended: impl Future<Output = Exit> + Send + Sync + 'static) -> Monitor {
        Monitor(Waiting::Here(Box::pin(ended)))
    }

    /// Of one in another node.
    pub(crate) fn elsewhere(watches: Arc<Watches>, named: Named, seat: Arc<dyn Owned>) -> Monitor {
        let (number, told) = watches.begin(named);
        Monitor(Waiting::Elsewhere { told, watches, number, seat })
    }

    /// Of one in another node, the number by which that hears of this monitor. Whoever tells it that first, with an
    /// order, need not wait until it has come the usual way.
    pub(crate) fn announced(&self) -> Option<u64> {
        let Waiting::Elsewhere { watches, number, .. } = &self.0 else { return None };
        watches.announce(*number);
        Some(*number)
    }
}

impl Future for Monitor {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        let exit = match &mut self.0 {
            Waiting::Known(exit) => exit.take().expect("a monitor is polled only until it tells"),
            Waiting::Here(ended) => ready!(ended.as_mut().poll(cx)),
            Waiting::Elsewhere { told, seat, .. } => match ready!(Pin::new(told).poll(cx)) {
                // The word that stopped it was faster than the one that asks for its end; both are from here.
                Ok(Exit::NoSuchInstance) if seat.is_ended() => Exit::Stopped,
                Ok(exit) => exit,
                // Only the end of the App has nobody tell.
                Err(_) => Exit::NoSuchInstance,
            },
        };
        self.0 = Waiting::Known(None);
        Poll::Ready(exit)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Waiting::Elsewhere { watches, number, .. } = &self.0 {
            watches.end(*number);
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Monitor")
    }
}
