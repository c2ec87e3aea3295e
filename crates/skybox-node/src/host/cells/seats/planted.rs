//! Seats whose instances are in their `start`, in a cell.

use std::sync::Arc;

use bytes::Bytes;
use skybox_core::{CallErrorKind, Exit};

use super::{KILL_WAIT, Seated};
use crate::between::{self, Named};
use crate::conn::{Conn, PendingCall};
use crate::host::HostCore;
use crate::host::cells::Cells;

/// A seat whose instance has not started. Dropped it is over, and gone once nothing is left in its cell.
pub(super) struct Planted<'c> {
    core: &'c Arc<HostCore>,
    cells: &'c Cells,
    pub(super) seated: Arc<Seated>,
    /// Somebody else sees to it from here on.
    taken: bool,
    left: Left,
    /// What whoever was given its name by its `start` is told.
    exit: Exit,
}

/// What there may be of an instance in its cell.
enum Left {
    /// Nothing: it was not asked for, or its `start` has come to nothing.
    Nothing,
    /// The cell was asked to start it, and has not answered.
    Asked(PendingCall),
    /// Nothing, as soon as the cell has ended: its link is broken.
    Dying(Arc<Conn>),
    /// It has started. The cell says when nothing is left of it, or its end does.
    Told,
}

impl Left {
    /// What there is after its cell has answered.
    fn after(answered: &Result<(), CallErrorKind>, link: &Arc<Conn>) -> Left {
        match answered {
            // It had to end while it started, and has its last word; or the cell leaves, and tells of all that it has.
            Ok(()) | Err(CallErrorKind::Gone) => Left::Told,
            Err(CallErrorKind::Lost { .. }) => Left::Dying(link.clone()),
            Err(_) => Left::Nothing,
        }
    }
}

impl<'c> Planted<'c> {
    pub(super) fn new(core: &'c Arc<HostCore>, cells: &'c Cells, seated: Arc<Seated>) -> Planted<'c> {
        Planted { core, cells, seated, taken: false, left: Left::Nothing, exit: Exit::Stopped }
    }

    /// Has its cell start the instance.
    ///
    /// # Errors
    /// As those of [`Cells::seat`]. Its names are free then, but for `Gone`: what has started has its last word first.
    pub(super) async fn start(&mut self, link: &Arc<Conn>, arguments: Bytes) -> Result<(), CallErrorKind> {
        drop(self.seated.link.set(link.clone()));
        let named = Named { module: self.core.descriptor.name.to_owned(), seat: self.seated.id };
        let answered = match between::seat(link, named, arguments) {
            Ok(pending) => {
                self.left = Left::Asked(pending);
                let answered = self.answer().await;
                self.left = Left::after(&answered, link);
                answered
            }
            // It has not left this node.
            Err(kind) => Err(kind),
        };
        let kind = match answered {
            Ok(()) => return Ok(()),
            // The cell has ended, and that tells why.
            Err(CallErrorKind::Lost { why } | CallErrorKind::Unreachable { why }) => {
                CallErrorKind::NotStarted { cause: why }
            }
            Err(kind) => kind,
        };
        if let CallErrorKind::NotStarted { cause } = &kind {
            self.exit = Exit::FailedStart { cause: cause.clone() };
        }
        let ended = self.seated.ended();
        self.let_go();
        if kind != CallErrorKind::Gone {
            // Whoever spawns it again may want the name that this one has given itself.
            ended.wait().await;
        }
        Err(kind)
    }

    /// What the cell answers, which is asked all the while.
    async fn answer(&mut self) -> Result<(), CallErrorKind> {
        match &mut self.left {
            Left::Asked(pending) => between::seated(pending.await),
            _ => Ok(()),
        }
    }

    /// It has started, and belongs to whoever has spawned it.
    pub(super) fn take(mut self) {
        self.taken = true;
        // Said once: this is the only place, and each seat is made once.
        drop(self.seated.started.set(()));
    }

    /// It is over, and gone once nothing is left of it in its cell.
    fn let_go(&mut self) {
        self.taken = true;
        self.seated.is_no_more();
        let exit = std::mem::replace(&mut self.exit, Exit::Stopped);
        let left = match std::mem::replace(&mut self.left, Left::Told) {
            // Its `start` is dropped at its await. What has not left never starts.
            Left::Asked(pending) => pending.take_back().map_or(Left::Nothing, Left::Asked),
            left => left,
        };
        if let Left::Asked(_) = &left {
            // It may have started this moment.
            drop(self.cells.end(self.core, self.seated.id));
        }
        match left {
            Left::Nothing => self.cells.seat_is_gone(self.core, self.seated.id, exit),
            Left::Told => {}
            left => drop(self.core.runtime.spawn(follow(self.core.clone(), self.seated.clone(), left, exit))),
        }
    }
}

impl Drop for Planted<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.let_go();
        }
    }
}

/// Waits until nothing is left of an instance whose start nobody waits for, or until that is told by others.
async fn follow(core: Arc<HostCore>, seated: Arc<Seated>, mut left: Left, exit: Exit) {
    if let Left::Asked(pending) = left {
        let Some(link) = seated.link() else { return };
        left = answer_or_kill(&seated, link, pending).await;
    }
    if let Left::Dying(link) = &left
        && let Some(cell) = link.cell()
    {
        // Its seat may have got this link when the end of the cell had been told to all that had it.
        cell.ended().await;
    }
    if let (Left::Nothing | Left::Dying(_), Some(cells)) = (left, &core.cells) {
        cells.seat_is_gone(&core, seated.id, exit);
    }
}

/// Waits until a `start` that is not wanted has come to its end. One that holds its thread cannot be dropped: it ends with
/// its cell, if that is its own.
async fn answer_or_kill(seated: &Seated, link: Arc<Conn>, mut pending: PendingCall) -> Left {
    let Some(cell) = link.cell().filter(|_| seated.has_own_cell()) else {
        return Left::after(&between::seated(pending.await), &link);
    };
    match tokio::time::timeout(KILL_WAIT, &mut pending).await {
        Ok(replied) => Left::after(&between::seated(replied), &link),
        Err(_) => {
            cell.sentenced(Exit::Killed { by: "the program, in its `start`".to_owned() });
            Left::Dying(link)
        }
    }
}
