//! What handles of a spawned instance name.

use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, OnceLock};

use skybox_core::{Incarnation, InstanceId, NodeName};

use crate::host::{Host, HostCore, Instance, Line, Near};
use crate::links::Peer;
use crate::module::Module;
use crate::monitor::Owned;
use crate::route::Route;

/// Nobody will sit here any more.
const OVER: u8 = 1;
/// What was to start here has started, or never will.
const SETTLED: u8 = 2;

/// Where calls find a spawned instance.
pub(crate) struct Seat<T> {
    /// The id of its instance.
    pub(crate) id: InstanceId,
    /// Where it is, if not in this process.
    pub(crate) node: Option<Arc<Peer>>,
    /// Its instance. Empty while that is being started, and for ever once the seat is over.
    pub(in crate::host) local: Route<Instance<T>>,
    /// [`OVER`] and [`SETTLED`], in one place: of the two that are said, each knows whether it came first.
    state: AtomicU8,
    /// Calls that wait for an instance, once there are any.
    pub(super) line: OnceLock<Line>,
}

impl<T: Send + 'static> Seat<T> {
    pub(super) fn new(id: InstanceId, node: Option<Arc<Peer>>, over: bool) -> Seat<T> {
        let state = AtomicU8::new(if over { OVER | SETTLED } else { 0 });
        Seat { id, node, local: Route::new(None), state, line: OnceLock::new() }
    }

    /// Whether nobody will sit here any more, as far as this process knows.
    pub(crate) fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) & OVER != 0
    }

    /// Whether nothing starts here any more. Asked before it is looked for what has started.
    pub(super) fn is_settled(&self) -> bool {
        self.state.load(Ordering::Acquire) & SETTLED != 0
    }

    /// Nothing starts here any more. Says whether it was over before.
    pub(super) fn settle(&self, core: &HostCore) -> bool {
        let before = self.state.fetch_or(SETTLED, Ordering::AcqRel);
        // Its pair is in `wants_word`.
        fence(Ordering::SeqCst);
        if self.line.get().is_some() {
            core.notify();
        }
        before & OVER != 0
    }

    /// Has whoever settles the seat tell of that, from now on: look after this whether that has happened.
    pub(super) fn wants_word(&self) -> &Line {
        let line = self.line.get_or_init(Line::default);
        fence(Ordering::SeqCst);
        line
    }

    /// It is over; of one in another node, this process has it ended there. Says whether it was settled before.
    pub(crate) fn is_no_more(&self) -> bool {
        self.state.fetch_or(OVER, Ordering::AcqRel) & SETTLED != 0
    }

    /// Which of the lines its calls wait in, while its node is not connected.
    pub(crate) fn line_of_calls(&self) -> u64 {
        self.id.node.0.rotate_left(32) ^ self.id.count
    }

    /// The instance, if it is here and nobody has to wait for it.
    #[inline(always)]
    pub(in crate::host) fn peek(&self) -> Option<Near<T>> {
        let near = Near::of(&self.local)?;
        let waits = near.hold.turn.is_some() && self.line.get().is_some_and(|line| !line.is_empty());
        (!waits).then_some(near)
    }

    /// Whether the instance that sat here is known to take no more calls. Of another node, and of a cell, that is known
    /// only if this process has ended it.
    pub(crate) fn has_ended(&self, host: &Host<T>) -> bool
    where
        T: Module,
    {
        self.is_over() || self.node.is_none() && host.core.cells.is_none() && self.local.is_empty()
    }

    /// As a handle writes it: the id, and the node as seen from this one.
    pub(crate) fn written(&self, here: &NodeName) -> Vec<u8> {
        let node = self.node.as_ref().map_or(here, |node| &node.node);
        [&seat_bytes(self.id)[..], node.as_str().as_bytes()].concat()
    }
}

impl<T: Send + 'static> Owned for Seat<T> {
    fn is_ended(&self) -> bool {
        self.is_over()
    }
}

/// What names a seat in a call.
pub(crate) const SEAT_BYTES: usize = 16;

/// How a call names a seat.
pub(crate) fn seat_bytes(id: InstanceId) -> [u8; SEAT_BYTES] {
    let mut bytes = [0; SEAT_BYTES];
    let (node, count) = bytes.split_at_mut(SEAT_BYTES / 2);
    node.copy_from_slice(&id.node.0.to_le_bytes());
    count.copy_from_slice(&id.count.to_le_bytes());
    bytes
}

pub(in crate::host) fn seat_id(bytes: &[u8]) -> Option<(InstanceId, &[u8])> {
    let (node, rest) = bytes.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (node, count) = (Incarnation(u64::from_le_bytes(*node)), u64::from_le_bytes(*count));
    Some((InstanceId { node, count }, rest))
}
