//! Spawned instances in cells: the node has their seats, and a cell of it has their values.
//!
//! 1. The node gives a seat its id, and has a cell start an instance of that id.
//! 2. A call to the seat goes over the link of that cell, and of no other: its successor knows nothing of it.
//! 3. The cell says when nothing is left of the instance. When the cell ends, so does whatever sat in it. Until one of
//!    the two, the seat is there and has its names, also if whoever spawned it does not wait any more ([`planted`]).

mod planted;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use planted::Planted;
use skybox_core::{CallErrorKind, Exit, InstanceId};
use tokio::sync::{SetOnce, watch};

use super::super::instance::Ended;
use super::super::spawned::{seat_bytes, seat_id};
use super::super::{Head, HostCore, Waiting, lock, stop};
use super::{Cells, Slot};
use crate::between::{self, Named};
use crate::conn::Conn;

/// Cells of one spawned module in one node that is `process`, beyond which spawning answers `Overloaded`: each costs its
/// node three descriptors, of which a process has 1,024 where nobody says otherwise.
const CELLS_MAX: usize = 256;
/// Spawned instances of one module in the cells of one node: beyond, spawning answers `Overloaded`.
const SEATS_MAX: usize = 1 << 20;
/// Seats that have ended of which it is remembered how: so many that whoever asks a moment too late for the
/// ends of ten thousand that went together is told. What they share is kept once.
const FALLEN_MAX: usize = 1 << 14;
/// How long whoever kills an instance waits for its cell to do it, before the process itself is killed.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// The seats of one spawned module whose instances are in cells of this node.
#[derive(Default)]
pub(super) struct Seats(Mutex<Table>);

#[derive(Default)]
struct Table {
    seated: HashMap<InstanceId, Arc<Seated>>,
    /// How the last ended.
    fallen: HashMap<InstanceId, Arc<Exit>>,
    /// The same, oldest first.
    order: VecDeque<InstanceId>,
}

impl Table {
    fn remember(&mut self, id: InstanceId, exit: &Arc<Exit>) {
        if self.order.len() == FALLEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.fallen.remove(&oldest);
        }
        self.order.push_back(id);
        self.fallen.insert(id, exit.clone());
    }
}

/// One of them, until nothing is left of its instance.
pub(super) struct Seated {
    id: InstanceId,
    pub(super) slot: Arc<Slot>,
    /// Its cell, once there is one.
    link: OnceLock<Arc<Conn>>,
    /// Its `start` has ended well.
    started: SetOnce<()>,
    /// It takes no calls any more.
    over: AtomicBool,
    /// Why it ended, once nothing is left of its instance.
    last: OnceLock<Exit>,
    /// The same, once its names are free.
    exit: watch::Sender<Option<Exit>>,
}

impl Seated {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The link of its cell, if a call may be sent over it now.
    pub(super) fn ready(&self) -> Option<Arc<Conn>> {
        self.link.get().filter(|link| !self.is_over() && link.is_ready()).cloned()
    }

    /// It takes no more calls.
    pub(super) fn is_no_more(&self) {
        self.over.store(true, Ordering::Release);
        // Whoever waits with a call to it looks again.
        self.slot.changed.send_modify(|count| *count += 1);
    }

    /// Resolves once its `start` has ended well.
    pub(super) async fn started(&self) {
        self.started.wait().await;
    }

    /// Nothing is left of its instance, which may have names still. The first who says why is believed.
    fn fell(&self, exit: &Exit) {
        self.last.get_or_init(|| exit.clone());
        self.is_no_more();
    }

    fn has_ended(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    /// The link of its cell, once there is one.
    pub(super) fn link(&self) -> Option<Arc<Conn>> {
        self.link.get().cloned()
    }

    /// Whether nobody else lives in its cell.
    pub(super) fn has_own_cell(&self) -> bool {
        self.slot.key.is_some()
    }

    pub(super) fn ended(&self) -> Ended {
        Ended::told_by(self.exit.subscribe())
    }
}

impl Seats {
    /// How many are taken.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).seated.len()
    }

    pub(super) fn get(&self, id: InstanceId) -> Option<Arc<Seated>> {
        lock(&self.0).seated.get(&id).cloned()
    }

    /// Whether a seat may take another instance.
    fn insert(&self, seated: &Arc<Seated>, has_own: bool) -> Result<(), CallErrorKind> {
        let mut table = lock(&self.0);
        let count = table.seated.len();
        let full = |what: String| Err(CallErrorKind::Overloaded { what });
        if has_own && count >= CELLS_MAX {
            return full(format!(
                "{CELLS_MAX} instances of it have cells of their own in this node: `isolate = \"process:shared\"` has \
                 them share one"
            ));
        }
        if count >= SEATS_MAX {
            return full(format!("{SEATS_MAX} instances of it live in cells of this node already"));
        }
        table.seated.insert(seated.id, seated.clone());
        Ok(())
    }

    fn remove(&self, id: InstanceId, exit: &Exit) -> Option<Arc<Seated>> {
        let mut table = lock(&self.0);
        let removed = table.seated.remove(&id);
        if removed.is_some() {
            table.remember(id, &Arc::new(exit.clone()));
        }
        removed
    }

    /// How one ended, if that is remembered.
    fn fallen(&self, id: InstanceId) -> Option<Exit> {
        lock(&self.0).fallen.get(&id).map(|exit| (**exit).clone())
    }
}

impl Cells {
    /// The seat that a call names.
    pub(super) fn seated(&self, named: &[u8]) -> Option<Arc<Seated>> {
        self.seats.get(seat_id(named)?.0)
    }

    /// Whether calls to a seat may find its instance.
    pub(crate) fn is_seated(&self, id: InstanceId) -> bool {
        self.seats.get(id).is_some_and(|seated| !seated.is_over())
    }

    /// Makes an instance in a cell, with encoded arguments.
    ///
    /// # Errors
    /// `NotStarted` with the cause, also if its cell did not start or has ended meanwhile; `Overloaded`; `Gone` once the
    /// node leaves.
    ///
    /// # Cancel safety
    /// Dropping the future drops its `start` at its await, or ends the instance. Its seat and its names are there until its
    /// cell says that nothing is left of it.
    pub(crate) async fn seat(
        &self,
        core: &Arc<HostCore>,
        arguments: Bytes,
    ) -> Result<InstanceId, CallErrorKind> {
        let id = core.next_instance_id();
        // Nothing is lost by a slot whose seat is refused: its cell is started when it is waited for.
        let seated = Arc::new(Seated {
            id,
            slot: self.slot(core, Some(&seat_bytes(id))),
            link: OnceLock::new(),
            started: SetOnce::new(),
            over: AtomicBool::new(false),
            last: OnceLock::new(),
            exit: watch::Sender::new(None),
        });
        if let Err(kind) = self.seats.insert(&seated, self.by_key.is_some()) {
            self.put_down(&seated.slot);
            return Err(kind);
        }
        let mut planted = Planted::new(core, self, seated);
        // Asked with the seat in the table: whoever closes it later finds it there.
        if self.closed.load(Ordering::Acquire) {
            return Err(CallErrorKind::Gone);
        }
        let (link, head) = self.cell_of_seat(core, &planted.seated.slot).await?;
        drop(head);
        planted.start(&link, arguments).await?;
        planted.take();
        Ok(id)
    }

    /// A cell for one more instance.
    async fn cell_of_seat(
        &self,
        core: &Arc<HostCore>,
        slot: &Arc<Slot>,
    ) -> Result<(Arc<Conn>, Head), CallErrorKind> {
        let gone = || slot.gone.load(Ordering::Acquire) || self.closed.load(Ordering::Acquire);
        self.wait_for(core, slot, None, None, || {
            if gone() { Err(CallErrorKind::Gone) } else { Ok(slot.ready()) }
        })
        .await
    }

    /// Its link, for a call to an instance.
    pub(super) async fn find_seated(
        &self,
        core: &Arc<HostCore>,
        named: &[u8],
        deadline: Option<Instant>,
        queued: Option<Waiting<'_>>,
    ) -> Result<(Arc<Conn>, Head), CallErrorKind> {
        let seated = self.seated(named).ok_or(CallErrorKind::Gone)?;
        let look = || if seated.is_over() { Err(CallErrorKind::Gone) } else { Ok(seated.ready()) };
        self.wait_for(core, &seated.slot, deadline, queued, look).await
    }

    /// Ends an instance once the calls that it has taken have ended; new ones find it no more.
    pub(crate) fn end(&self, core: &Arc<HostCore>, id: InstanceId) -> Option<Ended> {
        let seated = self.seats.get(id)?;
        seated.is_no_more();
        let ended = seated.ended();
        let named = Named { module: core.descriptor.name.to_owned(), seat: id };
        if let Some(link) = seated.link.get().cloned() {
            // Sent at once, behind those calls. In vain only if its cell has ended, and it with that.
            core.runtime.spawn(between::end_seated(&link, named));
        }
        Some(ended)
    }

    /// Stops an instance, and kills after `limit` what goes on of it; without one it is killed at once. What its cell
    /// cannot kill ends with the cell, if that is its own.
    pub(crate) async fn stop(&self, core: &HostCore, id: InstanceId, limit: Option<Duration>) -> Exit {
        let Some(seated) = self.seats.get(id) else { return self.exit_of(core, id) };
        seated.over.store(true, Ordering::Release);
        let mut ended = pin!(seated.ended().wait());
        let Some(link) = seated.link.get().cloned() else { return ended.await };
        let named = Named { module: core.descriptor.name.to_owned(), seat: id };
        let asking = between::stop_seated(&link, named, limit);
        let wait = limit.unwrap_or_default() + stop::wait(core) + KILL_WAIT;
        let said = tokio::select! {
            biased;
            exit = &mut ended => return exit,
            said = tokio::time::timeout(wait, asking) => said,
        };
        if let Ok(Err(CallErrorKind::Lost { .. } | CallErrorKind::Unreachable { .. })) = said {
            // Its cell has ended, and that tells how.
            return ended.await;
        }
        let said = said.ok().and_then(Result::ok);
        let answers = said.is_some();
        let exit = said.unwrap_or_else(|| Exit::Killed { by: "the program".to_owned() });
        let cell = link.cell().filter(|_| seated.slot.key.is_some());
        // Others live in a shared one. There, what holds a thread goes on.
        let waits = answers && (cell.is_some() || core.is_named(id));
        // Of one that has ended its names may have to be freed.
        let told = if waits { tokio::time::timeout(KILL_WAIT, &mut ended).await.ok() } else { None };
        match (told, cell) {
            (Some(told), _) => told,
            (None, None) => exit,
            (None, Some(cell)) => {
                cell.sentenced(exit);
                ended.await
            }
        }
    }

    /// Tells of the end of an instance; `None` if there is none any more.
    pub(crate) fn watch(&self, id: InstanceId) -> Option<Ended> {
        self.seats.get(id).map(|seated| seated.ended())
    }

    /// How an instance ended of which nothing is left.
    pub(crate) fn exit_of(&self, core: &HostCore, id: InstanceId) -> Exit {
        self.seats.fallen(id).or_else(|| core.endings.of(id)).unwrap_or(Exit::NoSuchInstance)
    }

    /// Nothing is left of an instance in a cell that goes on.
    pub(crate) fn seat_is_gone(&self, core: &Arc<HostCore>, id: InstanceId, exit: Exit) {
        let Some(seated) = self.seats.get(id) else { return };
        seated.fell(&exit);
        if core.is_named(id) {
            tell_once_unnamed(core.clone(), seated);
            return;
        }
        self.tell_end(&seated);
    }

    /// Whoever waits for the end of an instance is told of it.
    fn tell_end(&self, seated: &Seated) {
        let exit = seated.last.get().cloned().unwrap_or(Exit::Stopped);
        if self.seats.remove(seated.id, &exit).is_some() {
            seated.has_ended(exit);
            self.put_down(&seated.slot);
        }
    }

    /// Ends the slot of an instance that was the only one there.
    fn put_down(&self, slot: &Slot) {
        if slot.key.is_some() {
            self.forget_seat(slot);
            slot.let_go();
        }
    }

    /// A cell has ended, and whatever sat in it.
    pub(super) fn fell(&self, core: &Arc<HostCore>, link: &Arc<Conn>, exit: &Exit) {
        let of_it = |seated: &Seated| seated.link.get().is_some_and(|its| Arc::ptr_eq(its, link));
        let of_it: Vec<_> = {
            let table = lock(&self.seats.0);
            table.seated.values().filter(|seated| of_it(seated)).cloned().collect()
        };
        of_it.iter().for_each(|seated| seated.fell(exit));
        let (named, fallen): (Vec<_>, Vec<_>) =
            of_it.into_iter().partition(|seated| core.is_named(seated.id));
        let fallen: Vec<_> = {
            let mut table = lock(&self.seats.0);
            let exit = Arc::new(exit.clone());
            let mut is_there = |seated: &Arc<Seated>| {
                let removed = table.seated.remove(&seated.id).is_some();
                if removed {
                    table.remember(seated.id, &exit);
                }
                removed
            };
            fallen.into_iter().filter(|seated| is_there(seated)).collect()
        };
        fallen.into_iter().for_each(|seated| {
            seated.has_ended(exit.clone());
            self.forget_seat(&seated.slot);
        });
        named.into_iter().for_each(|seated| tell_once_unnamed(core.clone(), seated));
    }
}

/// Frees the names of an instance of which nothing else is left, and tells of its end then.
fn tell_once_unnamed(core: Arc<HostCore>, seated: Arc<Seated>) {
    core.runtime.clone().spawn(async move {
        core.free_names(seated.id).await;
        if let Some(cells) = &core.cells {
            cells.tell_end(&seated);
        }
    });
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;

    use super::*;

    fn seated(count: usize) -> Arc<Seated> {
        let (slot, _) = Slot::new(None);
        let id = InstanceId { node: Incarnation(1), count: count as u64 };
        let (over, exit) = (AtomicBool::new(false), watch::Sender::new(None));
        let (link, started, last) = (OnceLock::new(), SetOnce::new(), OnceLock::new());
        Arc::new(Seated { id, slot, link, started, over, last, exit })
    }

    #[test]
    fn cells_of_their_own_are_bounded_and_the_refusal_says_what_to_do() {
        let seats = Seats::default();
        for count in 0..CELLS_MAX {
            assert_eq!(seats.insert(&seated(count), true), Ok(()));
        }
        let refused = seats.insert(&seated(CELLS_MAX), true);
        let Err(CallErrorKind::Overloaded { what }) = refused else { panic!("{refused:?}") };
        assert!(what.contains("256 instances") && what.contains("process:shared"), "{what}");
        // One that shares needs no cell, and the next may come when one has gone.
        assert_eq!(seats.insert(&seated(CELLS_MAX), false), Ok(()));
        for count in [CELLS_MAX, 0] {
            assert!(seats.remove(seated(count).id, &Exit::Stopped).is_some());
        }
        assert_eq!(seats.insert(&seated(CELLS_MAX), true), Ok(()));
    }
}
