//! What code does with links.

use std::sync::Arc;

use skybox_core::{CallError, CallErrorKind, Callee};

use super::{End, Order};
use crate::app::AppInner;
use crate::between::Named;
use crate::call::{Handle, Target, To};
use crate::module::Spawns;
use crate::monitor::Monitor;

impl<T: Spawns> Handle<T> {
    /// Links two spawned instances, wherever they are and whoever owns them: when one of them ends otherwise than in
    /// order, the other is killed, and ends as [`Exit::Linked`](skybox_core::Exit::Linked).
    ///
    /// An end in order is [`Exit::Normal`](skybox_core::Exit::Normal) or [`Exit::Stopped`](skybox_core::Exit::Stopped);
    /// every other one takes the other along, and that one those that it is linked to. So does the loss of a node
    /// ([`Exit::NodeLost`](skybox_core::Exit::NodeLost)), and not a connection that breaks while both nodes live. Each ends
    /// once, also in a circle. One that has crashed while another call of it goes on takes the other along when that call
    /// has ended.
    ///
    /// Once it has answered, no such end is missed, also one that has come before; and no end in order that comes later is
    /// taken for another, however many its module has forgotten since. Linked to an instance that had crashed,
    /// one is killed at once, and so it is where nobody remembers how the other ended
    /// ([`Exit::NoSuchInstance`](skybox_core::Exit::NoSuchInstance)). An instance that is in its `start` is killed when that
    /// has ended. Two instances have one link, however often they are linked, in whichever order; the last word counts
    /// where [`link_trapping`](Handle::link_trapping) or [`unlink`](Handle::unlink) are used as well. An instance is not
    /// linked to itself, nor to a plain value ([`Handle::of`]): nothing happens.
    ///
    /// # Errors
    /// `Unreachable`, if the node of one of them is lost, or cannot reach the other one's: then they are not linked.
    /// `Lost`, if that happened meanwhile: they may be linked, or one of them to the other alone; linking again and
    /// [`unlink`](Handle::unlink) do no harm. `Overloaded`, if a node has to see to more than a million instances that fall
    /// with others; a link of two that live there counts twice. `Mismatch`, if a node is of a version without links.
    /// `Gone`, if this App has ended.
    ///
    /// # Cancel safety
    /// Dropped, they are linked or not, and never by halves.
    pub async fn link<U: Spawns>(this: &Handle<T>, other: &Handle<U>) -> Result<(), CallError> {
        tie(this, other, [true, true], "link").await
    }

    /// Links two spawned instances, of which this one hears of the other's end and lives on. When this one ends otherwise
    /// than in order, the other is killed as by [`link`](Handle::link).
    ///
    /// The [`Monitor`] tells of the other's end, whatever it is: once, also if it has come before. It is the caller's; to
    /// drop it does not undo the link. Every link is trapped by itself: that an instance traps one does not change what
    /// others make of theirs.
    ///
    /// # Errors
    /// As those of [`link`](Handle::link).
    ///
    /// # Cancel safety
    /// As that of [`link`](Handle::link).
    pub async fn link_trapping<U: Spawns>(this: &Handle<T>, other: &Handle<U>) -> Result<Monitor, CallError> {
        let monitor = Handle::monitor(other);
        tie(this, other, [false, true], "link").await?;
        Ok(monitor)
    }

    /// Takes the link of two instances back, however it was made. Once it has answered, an end of one that comes later does
    /// not end the other.
    ///
    /// # Errors
    /// As those of [`link`](Handle::link). Then one of them may still be killed by the end of the other, or by the loss of
    /// its node.
    ///
    /// # Cancel safety
    /// As that of [`link`](Handle::link).
    pub async fn unlink<U: Spawns>(this: &Handle<T>, other: &Handle<U>) -> Result<(), CallError> {
        tie(this, other, [false, false], "unlink").await
    }
}

/// Whether each falls with the other.
async fn tie<T: Spawns, U: Spawns>(
    this: &Handle<T>,
    other: &Handle<U>,
    [this_falls, other_falls]: [bool; 2],
    what: &'static str,
) -> Result<(), CallError> {
    let failed = |kind| CallError::new(Callee::new(T::descriptor().name, what), kind);
    let (Some(this_end), Some(other_end)) = (end(this), end(other)) else { return Ok(()) };
    if this_end.named.seat == other_end.named.seat {
        return Ok(());
    }
    let app: Arc<AppInner> =
        this.target().host.core.app.upgrade().ok_or_else(|| failed(CallErrorKind::Gone))?;
    let order = Order::new(this_end, other_end, this_falls, other_falls);
    super::order(&app, order).await.map_err(failed)
}

/// `None` for a plain value, which nobody ends.
fn end<T: Spawns>(handle: &Handle<T>) -> Option<End> {
    let Target { host, to, .. } = handle.target();
    let To::Seat(seat) = to else { return None };
    let node = seat.node.as_ref().map_or_else(|| host.core.home(), |peer| &peer.node).clone();
    let module = T::descriptor().name.to_owned();
    Some(End { node, named: Named { module, seat: seat.id } })
}
