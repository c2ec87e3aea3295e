//! Spawned modules: instances that code makes while it runs.
//!
//! Each has a [`Seat`], which is what handles name. Its instance is made with it, and when that takes no more calls the
//! seat is over: nobody else will sit there.

mod falling;
mod leaving;
mod planted;
mod seat;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skybox_core::{CallErrorKind, Exit, Incarnation, InstanceId, NodeName};

use leaving::{Last, Leaving};
use planted::Planted;
pub(super) use planted::sit_down;
pub(super) use seat::seat_id;
pub(crate) use seat::{SEAT_BYTES, Seat, seat_bytes};

use super::instance::Ended;
use super::replicated::start;
use super::{CLOSE_WAIT, Head, Hold, Host, HostCore, Instance, Waiting, Which, lock};
use crate::app::{App, AppInner};
use crate::call::{crossed_key, encode_key, in_app};
use crate::links::Peer;
use crate::module::Module;
use crate::monitor::Monitor;
use crate::status::InstanceStatus;

/// Independent locks over the seats.
const STRIPES: usize = 64;
/// Spawned instances of one module in one node: beyond, spawning answers `Overloaded`. At their least size they fill
/// the memory of a large machine.
const SEATS_MAX: usize = 1 << 24;
/// Spawned instances of one module that a status tells of.
pub(crate) const SHOWN_MAX: usize = 100;

/// Who kills, where it is the program itself.
const BY_THE_PROGRAM: &str = "the program";
/// How long whoever has killed an instance waits for its calls to notice. Code that holds its thread does not.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// The seats of a module in one node, until they are over.
pub(super) struct Seats<T> {
    stripes: Box<[Mutex<Stripe<T>>]>,
    count: AtomicUsize,
    /// Those whose seat is over and of which something is left.
    pub(super) leaving: Leaving<T>,
    /// The node is leaving: nothing is spawned here any more.
    closed: AtomicBool,
    /// In debug builds: what instances are spawned with has been encoded and decoded.
    pub(super) tried: AtomicBool,
}

/// By the count in the id.
type Stripe<T> = HashMap<u64, Arc<Seat<T>>, BuildHasherDefault<Counted>>;

/// Spreads counts, which are unique, over a table.
#[derive(Default)]
struct Counted(u64);

impl Hasher for Counted {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    fn write_u64(&mut self, count: u64) {
        // The golden ratio's bits: neighbours land far from each other, in the high bits too, which tables look at.
        // And in the low ones, which those of one stripe have in common.
        self.0 = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

impl<T> Default for Seats<T> {
    fn default() -> Seats<T> {
        Seats {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            leaving: Leaving::default(),
            closed: AtomicBool::new(false),
            tried: AtomicBool::new(false),
        }
    }
}

impl<T> Seats<T> {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn stripe(&self, count: u64) -> &Mutex<Stripe<T>> {
        &self.stripes[count as usize % STRIPES]
    }

    fn get(&self, count: u64) -> Option<Arc<Seat<T>>> {
        lock(self.stripe(count)).get(&count).cloned()
    }
}

impl<T: Module> Host<T> {
    /// The seat that a call names. One that is not here is over: calls come to where their seat was, but for those of
    /// cells, which name another node then.
    pub(crate) fn seat_named(&self, bytes: &[u8]) -> Arc<Seat<T>> {
        let nowhere = InstanceId { node: Incarnation(0), count: 0 };
        match seat_id(bytes) {
            Some((id, [])) => self.seat_here(id),
            _ => self.seat_written(bytes).unwrap_or_else(|_| Arc::new(Seat::new(nowhere, None, true))),
        }
    }

    /// The seat that a handle names.
    pub(crate) fn seat_written(&self, bytes: &[u8]) -> Result<Arc<Seat<T>>, &'static str> {
        let app = self.core.app.upgrade().ok_or("the App has ended")?;
        let read = seat_id(bytes).and_then(|(id, node)| Some((id, std::str::from_utf8(node).ok()?)));
        let (id, node) = read.ok_or("a handle of a spawned instance is its id and its node")?;
        Ok(self.seat_at(&app, id, NodeName::new(node)))
    }

    /// The seat of this id on a node.
    pub(crate) fn seat_at(&self, app: &AppInner, id: InstanceId, node: NodeName) -> Arc<Seat<T>> {
        if id.node == app.incarnation {
            return self.seat_here(id);
        }
        if let Some(in_this_cell) = self.known_seat(id) {
            return in_this_cell;
        }
        if node == app.node {
            // In an earlier life.
            return Arc::new(Seat::new(id, None, true));
        }
        Arc::new(Seat::new(id, Some(app.links.peer(&node)), false))
    }

    pub(crate) fn seat_here(&self, id: InstanceId) -> Arc<Seat<T>> {
        if let Some(cells) = &self.core.cells {
            return Arc::new(Seat::new(id, None, !cells.is_seated(id)));
        }
        self.known_seat(id).unwrap_or_else(|| Arc::new(Seat::new(id, None, true)))
    }

    pub(super) fn known_seat(&self, id: InstanceId) -> Option<Arc<Seat<T>>> {
        self.spawned.get(id.count).filter(|seat| seat.id.node == id.node)
    }

    /// Makes a seat, and starts its instance.
    ///
    /// # Errors
    /// `NotStarted` with the cause, `Overloaded`, `Mismatch` if the arguments cannot cross, `Gone` once the node leaves.
    ///
    /// # Cancel safety
    /// Dropping the future drops `start` at its await, and nothing is left of the seat.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        arguments: <T::Key as ToOwned>::Owned,
    ) -> Result<Arc<Seat<T>>, CallErrorKind> {
        let core = &self.core;
        if let Some(cells) = &core.cells {
            let arguments = encoded_arguments::<T>(&arguments)?;
            return Ok(Arc::new(Seat::new(cells.seat(core, arguments).await?, None, false)));
        }
        let app = core.app.upgrade().map(App::from_inner).ok_or(CallErrorKind::Gone)?;
        let arguments = self.crossed(arguments)?;
        let planted = Planted::new(self, core.next_instance_id())?;
        let began = Instant::now();
        match start::<T>(core, app, arguments, planted.seat.id, None).await {
            Ok(instance) => planted.take(instance),
            Err(cause) => {
                // Whoever was given its handle by its `start` waits for its end.
                if planted.seat.line.get().is_some() {
                    let exit = Exit::FailedStart { cause: cause.clone() };
                    core.endings.ended(planted.seat.id, began.elapsed(), None, exit);
                }
                let id = planted.seat.id;
                drop(planted);
                // Whoever spawns it again may want the name that this one has given itself.
                core.free_names(id).await;
                Err(CallErrorKind::NotStarted { cause })
            }
        }
    }

    /// In strict mode, and in debug builds the first time: the arguments as they come out of the codec.
    fn crossed(
        &self,
        arguments: <T::Key as ToOwned>::Owned,
    ) -> Result<<T::Key as ToOwned>::Owned, CallErrorKind> {
        let proves = cfg!(debug_assertions) && !self.spawned.tried.swap(true, Ordering::Relaxed);
        if !self.core.strict && !proves {
            return Ok(arguments);
        }
        match in_app(self.core.app_id, || crossed_key::<T::Key>(&arguments)) {
            Ok(crossed) if self.core.strict => Ok(crossed),
            Ok(_) => Ok(arguments),
            Err(why) => {
                self.spawned.tried.store(false, Ordering::Relaxed);
                let why = format!("what it is spawned with cannot cross: {why}");
                Err(CallErrorKind::Mismatch { why })
            }
        }
    }

    /// A seat in another node.
    pub(crate) fn seat_elsewhere(&self, id: InstanceId, node: Arc<Peer>) -> Arc<Seat<T>> {
        Arc::new(Seat::new(id, Some(node), false))
    }

    /// Ends a seat: calls no longer find it. What is given back resolves when its instance is gone.
    pub(crate) fn end(&self, seat: &Seat<T>) -> Option<Ended> {
        if let Some(cells) = &self.core.cells {
            seat.is_no_more();
            return cells.end(&self.core, seat.id);
        }
        // Before calls stop finding it, so that it is always in one place or the other.
        let enter = || seat.local.load().map(|instance| self.spawned.leaving.enter(&instance));
        let entered = enter();
        if !seat.is_no_more() {
            // Whoever asks of it finds it until its `start` has ended, and `Planted` ends it then.
            if seat.line.get().is_some() {
                self.core.notify();
            }
            return entered;
        }
        let ended = entered.or_else(enter);
        self.forget(seat.id);
        let was_here = seat.local.swap(None);
        // Somebody may wait for one that never was.
        if was_here.is_some() || seat.line.get().is_some() {
            self.core.notify();
        }
        ended
    }

    /// Ends a seat whose owner is gone.
    pub(crate) fn end_abandoned(&self, mut seat: Arc<Seat<T>>) {
        // One that has a last word is not gone at once, and another node may ask of it.
        let is_simple = self.core.cells.is_none() && !self.core.stops;
        if is_simple && Arc::strong_count(&seat) <= 2 && !self.core.is_named(seat.id) {
            self.forget(seat.id);
            // Handles, calls and the table count the seat. Where none does, nobody here can reach the instance or wait for
            // it, and a million of them end without as many barriers.
            if let Some(alone) = Arc::get_mut(&mut seat) {
                // One that has crashed has left its seat before, and said why.
                if let Some(instance) = alone.local.take() {
                    if self.core.is_named(seat.id) {
                        // Since a moment ago: whoever finds it by that name hears of its end once it is free.
                        drop(self.spawned.leaving.enter(&instance));
                    } else {
                        self.spawned.leaving.remember(seat.id, Exit::Stopped);
                    }
                    drop(instance);
                }
                self.core.notify();
                return;
            }
        }
        drop(self.end(&seat));
    }

    /// Ends a seat that is here, and waits until nothing is left of its instance; whatever calls of it go on after
    /// `limit` are killed.
    pub(crate) async fn stop(self: &Arc<Self>, seat: &Arc<Seat<T>>, limit: Duration) -> Exit {
        if let Some(cells) = &self.core.cells {
            return cells.stop(&self.core, seat.id, Some(limit)).await;
        }
        let last = self.last(seat);
        drop(self.end(seat));
        let Some(Last { calls, ended, .. }) = last else { return self.not_started(seat, limit).await };
        let mut ended = pin!(ended.wait());
        if let Ok(exit) = tokio::time::timeout(limit, &mut ended).await {
            return exit;
        }
        // Without an instance it is its `stop` that goes on, which has a limit of its own.
        let Some(instance) = calls.upgrade() else { return ended.await };
        let by = format!("{BY_THE_PROGRAM}, {limit:?} after it was to stop");
        instance.kill(&by);
        drop(instance);
        tokio::time::timeout(KILL_WAIT, ended).await.unwrap_or(Exit::Killed { by })
    }

    /// Kills the instance in a seat that is here.
    pub(crate) async fn kill_seated(self: &Arc<Self>, seat: &Arc<Seat<T>>) -> Exit {
        if let Some(cells) = &self.core.cells {
            return cells.stop(&self.core, seat.id, None).await;
        }
        let Some(Last { calls, ended, .. }) = self.last(seat) else {
            drop(self.end(seat));
            return self.not_started(seat, Duration::ZERO).await;
        };
        if let Some(instance) = calls.upgrade() {
            instance.kill(BY_THE_PROGRAM);
        }
        let by = BY_THE_PROGRAM.to_owned();
        tokio::time::timeout(KILL_WAIT, ended.wait()).await.unwrap_or(Exit::Killed { by })
    }

    /// Waits for the end of what was in its `start` when it was to end: that is not cut short, and comes to nothing.
    async fn not_started(self: &Arc<Self>, seat: &Arc<Seat<T>>, limit: Duration) -> Exit {
        let by = || Exit::Killed { by: format!("{BY_THE_PROGRAM}, in its `start`") };
        tokio::time::timeout(limit + KILL_WAIT, self.watch(seat)).await.unwrap_or_else(|_| by())
    }

    /// Tells of the end of the instance in a seat that is here.
    pub(crate) fn watch(self: &Arc<Self>, seat: &Arc<Seat<T>>) -> Monitor {
        if let Some(cells) = &self.core.cells {
            return match cells.watch(seat.id) {
                Some(ended) => Monitor::here(ended.wait()),
                None => Monitor::known(cells.exit_of(&self.core, seat.id)),
            };
        }
        let settled = seat.is_settled();
        match self.last(seat) {
            Some(last) => Monitor::here(last.ended.wait()),
            None if settled => Monitor::known(self.how_it_ended(seat.id)),
            // Its `start` has given its handle away, or a name to it.
            None => {
                seat.wants_word();
                Monitor::here(watch_from_its_start(self.clone(), seat.clone()))
            }
        }
    }

    /// The instance in a seat that is here, or what is left of it.
    fn last(&self, seat: &Seat<T>) -> Option<Last<T>> {
        let sits = seat.local.load().map(|instance| Last::of(&instance));
        sits.or_else(|| self.spawned.leaving.get(seat.id))
    }

    fn how_it_ended(&self, id: InstanceId) -> Exit {
        let remembered = self.spawned.leaving.remembered(id);
        remembered.or_else(|| self.core.endings.of(id)).unwrap_or(Exit::NoSuchInstance)
    }

    fn forget(&self, id: InstanceId) {
        let removed = match lock(self.spawned.stripe(id.count)).entry(id.count) {
            // Counts are those of one life of this node, and others name those of an earlier one.
            Entry::Occupied(seat) if seat.get().id.node == id.node => Some(seat.remove()),
            _ => None,
        };
        // Outside the lock: it may be the last to hold a value of a user.
        if removed.is_some_and(|seat| seat.id == id) {
            self.spawned.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What an instance is made with, as it crosses.
pub(crate) fn encoded_arguments<T: Module>(
    arguments: &<T::Key as ToOwned>::Owned,
) -> Result<Bytes, CallErrorKind> {
    use std::borrow::Borrow;
    encode_key::<T::Key>(arguments.borrow()).map_err(|error| CallErrorKind::Mismatch {
        why: format!("what it is spawned with cannot cross: {error}"),
    })
}

/// The instance of a seat, waiting for it while it starts.
pub(super) async fn find<T: Module>(
    host: &Arc<Host<T>>,
    seat: &Seat<T>,
    deadline: Option<Instant>,
    queued: Option<Waiting<'_>>,
) -> Result<(Hold<T>, Head), CallErrorKind> {
    let core = &host.core;
    if seat.is_over() {
        return Err(CallErrorKind::Gone);
    }
    let mut changes = core.changes();
    let until = core.wait_end(deadline);
    let _place = core.queue_up_once(queued)?;
    let waited_out = || core.waited_out(deadline, "its instance had not started");
    let line = seat.wants_word();
    let head = line.enter(until).await.ok_or_else(waited_out)?;
    loop {
        changes.borrow_and_update();
        if let Some(instance) = seat.local.load() {
            return Ok((Hold::counted(instance), head));
        }
        if seat.is_over() {
            return Err(CallErrorKind::Gone);
        }
        if !HostCore::changed_before(&mut changes, until).await {
            return Err(waited_out());
        }
    }
}

/// Waits until an instance has started and ended.
async fn watch_from_its_start<T: Module>(host: Arc<Host<T>>, seat: Arc<Seat<T>>) -> Exit {
    let mut changes = host.core.changes();
    loop {
        changes.borrow_and_update();
        let settled = seat.is_settled();
        if let Some(last) = host.last(&seat) {
            return last.ended.wait().await;
        }
        // The sender lives in this very host.
        if settled || changes.changed().await.is_err() {
            return host.how_it_ended(seat.id);
        }
    }
}

/// Takes an instance that has crashed or was killed out of its seat.
pub(super) fn unroute<T: Module>(host: &Host<T>, instance: InstanceId) {
    if let Some(seat) = host.known_seat(instance) {
        drop(host.end(&seat));
    }
}

/// An instance says that it has come to its end.
pub(super) fn end_itself<T: Module>(host: &Host<T>, instance: InstanceId) -> bool {
    let seat = host.seat_here(instance);
    let Some(sits) = seat.local.load() else {
        // It has said so before, or was to end anyway.
        return host.spawned.leaving.get(instance).is_some();
    };
    sits.end_itself();
    drop(sits);
    drop(host.end(&seat));
    true
}

/// The instance of that id, if it is live.
pub(super) fn live<T: Module>(host: &Host<T>, instance: InstanceId) -> Option<Arc<Instance<T>>> {
    let sits = host.spawned.get(instance.count)?.local.load()?;
    (sits.id == instance).then_some(sits)
}

/// Kills the instance of some seat, if there is one of that name; what is given back resolves when nothing is left of it.
pub(super) fn kill<T: Module>(host: &Host<T>, instance: &str, by: &str) -> Option<Ended> {
    let count = instance.rsplit_once('.').and_then(|(_, count)| count.parse().ok())?;
    let sits = host.spawned.get(count).and_then(|seat| seat.local.load());
    let named = sits.or_else(|| host.spawned.leaving.calls_of(count));
    let named = named.filter(|named| named.id.to_string() == instance)?;
    let ended = named.ended();
    named.kill(by).then_some(ended)
}

/// Ends every instance, once its calls have ended.
pub(super) async fn close<T: Module>(host: &Arc<Host<T>>) {
    host.spawned.closed.store(true, Ordering::Release);
    let mut ended = Vec::new();
    for stripe in &host.spawned.stripes {
        let seats: Vec<_> = lock(stripe).values().cloned().collect();
        ended.extend(seats.into_iter().filter_map(|seat| host.end(&seat)));
    }
    let all = async {
        for one in ended {
            one.wait().await;
        }
    };
    if tokio::time::timeout(CLOSE_WAIT, all).await.is_err() {
        tracing::warn!(
            module = host.core.descriptor.name,
            "a call goes on {CLOSE_WAIT:?} after its instance was stopped"
        );
    }
}

/// Some of the instances: first those whose calls have failed, or were timed, most often.
pub(super) fn status<T: Module>(host: &Host<T>) -> Vec<InstanceStatus> {
    let (mut status, mut shown) = (Vec::new(), HashSet::new());
    let mut show = |seat: &Seat<T>| {
        if let Some(instance) = seat.local.load()
            && status.len() < SHOWN_MAX
            && shown.insert(seat.id.count)
        {
            status.push(host.core.instance_status(&instance, None));
        }
        status.len()
    };
    let mut count = 0;
    for which in host.core.tallies.noted() {
        let Which::Seat(seat) = which else { continue };
        match host.spawned.get(seat) {
            Some(seat) => count = show(&seat),
            None => host.core.tallies.forget(&which),
        }
    }
    for stripe in &host.spawned.stripes {
        if count == SHOWN_MAX {
            break;
        }
        // Looked at outside the lock: this may be the last to hold an instance.
        let seats: Vec<_> = lock(stripe).values().take(SHOWN_MAX).cloned().collect();
        seats.iter().for_each(|seat| count = show(seat));
    }
    status
}
