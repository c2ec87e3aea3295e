//! Connections between a cell and its node: their links.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use skybox_core::CallErrorKind;
use tokio::net::UnixStream;

use super::dial::DialError;
use super::open::Opening;
use super::proof::Proof;
use super::socket::WriteHalf;
use super::{Conn, PendingCall};
use crate::app::AppInner;
use crate::cell::{Cell, Inside};
use crate::host::lock;
use crate::operate::THE_NODE;
use crate::stream::Outlets;

/// Whether a cell is at one end of a connection.
#[derive(Debug)]
pub(crate) enum Kin {
    /// No: another node, or an operator.
    Peer,
    /// A cell of this node is at the other end.
    Cell(Arc<Cell>),
    /// This process is a cell, and its node is at the other end.
    Node(Arc<Inside>),
}

/// How often a link is looked at whether its last call has ended: each cell is put away once.
const IDLE_PAUSE: Duration = Duration::from_millis(2);
/// The pause before a word is sent again for which a link had no room.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Shakes hands over a link, which both ends have from the moment the cell began: there is nobody to be refused.
pub(crate) async fn shake_link(
    app: &Arc<AppInner>,
    stream: UnixStream,
    kin: Kin,
) -> Result<Arc<Conn>, DialError> {
    let (read, write) = stream.into_split();
    let opening = Opening { kin, ..Opening::of(app) };
    opening.shake(Proof::SameUser, read, WriteHalf::Unix(write)).await
}

impl Conn {
    /// The cell at its other end.
    pub(crate) fn cell(&self) -> Option<&Arc<Cell>> {
        match &self.kin {
            Kin::Cell(cell) => Some(cell),
            Kin::Peer | Kin::Node(_) => None,
        }
    }

    /// Whether a cell and its node are at its ends.
    pub(crate) fn is_link(&self) -> bool {
        !matches!(self.kin, Kin::Peer)
    }

    /// Sends a word over a link: at once, or when there is room for it. Words must not be lost as calls may.
    ///
    /// # Errors
    /// As those of [`send_to`](Conn::send_to), but that the link is full.
    pub(crate) fn send_when_room(
        self: &Arc<Conn>,
        method: u16,
        payload: Bytes,
    ) -> impl Future<Output = Result<PendingCall, CallErrorKind>> + Send + use<> {
        let link = self.clone();
        let send = move || link.clone().send_to(THE_NODE, method, &payload, &Outlets::new());
        let (mut sent, link) = (send(), self.clone());
        async move {
            while matches!(sent, Err(CallErrorKind::Overloaded { .. })) && !link.is_closed() {
                tokio::time::sleep(FULL_PAUSE).await;
                sent = send();
            }
            sent
        }
    }

    /// Nobody sends calls over it any more.
    pub(crate) fn take_no_more(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether no call over it, either way, is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.pending).len() == 0 && self.serving.load(Ordering::Acquire) == 0 && self.streams.are_over()
    }

    /// Resolves when no call over it is in progress.
    pub(crate) async fn idle(&self) {
        while !self.is_closed() && !self.is_idle() {
            tokio::time::sleep(IDLE_PAUSE).await;
        }
    }

    /// Why it is broken: that of a cell's end, which says more than that of a socket.
    pub(super) async fn why_broken(&self, seen: String) -> String {
        let Kin::Cell(cell) = &self.kin else { return seen };
        self.take_no_more();
        cell.why_its_link_broke(seen).await
    }
}
