//! The cells of a module in one node: where calls find them, and what keeps them alive.
//!
//! A replicated module has one, and so has a keyed or spawned one that is `process:shared`; one that is `process` has one
//! for each key that is awake, or for each spawned instance ([`seats`]). Each has a [`Slot`], and a task that keeps it
//! ([`keep`]).

mod falling;
mod keep;
mod seats;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use skybox_core::{
    CallErrorKind, Incarnation, InstanceId, Isolate, ModuleKind, ModulePlan, SHARD_COUNT, Settings, Shard,
    Shards,
};
use tokio::sync::watch;

use super::releases::Releases;
use super::restart::{Ordered, Orders, Restarted};
use super::room::{Coming, Place};
use super::{Failure, GivenUp, Head, HostCore, Line, Waiting, failed_here, lock, nobody_starts};
use crate::cell::{Cell, Order};
use crate::conn::Conn;
use crate::control::Report;
use crate::status::{GIVEN_UP_MAX, InstanceStatus};

/// How long a cell may take to forget that it has given keys up. One that takes longer is stuck, and answers no call either.
const FORGET_WAIT: Duration = Duration::from_millis(250);

/// The cells of one module.
pub(crate) struct Cells {
    /// Of a replicated module, or of all keys.
    one: Arc<Slot>,
    /// Where each key, or each spawned instance, has its own.
    by_key: Option<Mutex<HashMap<Bytes, Arc<Slot>>>>,
    /// Several keys, or spawned instances, live in one.
    is_shared: bool,
    /// The spawned instances that live in them.
    seats: seats::Seats,
    /// Counts the lives of cells.
    count: AtomicU64,
    /// The node is leaving.
    closed: AtomicBool,
    releases: Releases,
}

/// One cell after the other.
pub(super) struct Slot {
    /// Whose it is, if it is one key's.
    key: Option<Bytes>,
    /// The link to the one that takes calls.
    link: ArcSwapOption<Conn>,
    /// Calls that wait for it.
    line: Line,
    /// Counts changes of all this, for those who wait.
    changed: watch::Sender<u64>,
    /// Whether there is to be one; of a replicated module the plan says so, in the host.
    wanted: watch::Sender<bool>,
    /// Why there is none for a while.
    failed: Mutex<Option<Failure>>,
    /// Its key belongs elsewhere, or to another slot: whoever still has this one looks again.
    gone: AtomicBool,
    /// The cell that was started last, while it does not take calls.
    unborn: Mutex<Weak<Cell>>,
    last_call: Mutex<Instant>,
    /// Of a key's: kept from before it is wanted until its last cell has ended.
    place: Mutex<Option<Place>>,
    orders: Orders,
}

/// The slot of a call that looks for a cell. A key for which there was no place is forgotten by the last who wanted it.
struct Sought<'c> {
    cells: &'c Cells,
    slot: Arc<Slot>,
}

impl Drop for Sought<'_> {
    fn drop(&mut self) {
        if !*self.slot.wanted.borrow() {
            self.cells.forget(&self.slot);
        }
    }
}

/// Whether there is to be a cell.
enum Wanted {
    Now,
    /// When the one before has ended.
    Later,
    /// When there is a place.
    NoPlace,
}

impl Slot {
    fn new(key: Option<Bytes>) -> (Arc<Slot>, Ordered) {
        let (orders, ordered) = Orders::new();
        let slot = Slot {
            key,
            link: ArcSwapOption::empty(),
            line: Line::default(),
            changed: watch::Sender::new(0),
            wanted: watch::Sender::new(false),
            failed: Mutex::default(),
            gone: AtomicBool::new(false),
            unborn: Mutex::default(),
            last_call: Mutex::new(Instant::now()),
            place: Mutex::default(),
            orders,
        };
        (Arc::new(slot), ordered)
    }

    /// The link, if a call may be sent over it now.
    fn ready(&self) -> Option<Arc<Conn>> {
        self.link.load().as_ref().filter(|link| link.is_ready()).cloned()
    }

    fn called(&self) {
        *lock(&self.last_call) = Instant::now();
    }

    /// There is to be a cell of a key, which takes the place. Says whether there need be one for that first.
    fn want(&self, place: &mut Option<Place>) -> Wanted {
        let mut own = lock(&self.place);
        let is_wanted = *self.wanted.borrow();
        if !is_wanted && self.key.is_some() {
            if own.is_some() || self.gone.load(Ordering::Acquire) {
                // It falls asleep: whoever put it to sleep gets its place. Or it is forgotten.
                return Wanted::Later;
            }
            if place.is_none() {
                return Wanted::NoPlace;
            }
            *own = place.take();
        }
        self.wanted.send_replace(true);
        Wanted::Now
    }

    /// Nobody wanted its cell, and nothing is left of it: another key may have its place, unless it is wanted again.
    fn give_back(&self) {
        let mut own = lock(&self.place);
        let place = if *self.wanted.borrow() { None } else { own.take() };
        drop(own);
        if place.is_some() {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// When it was last called, if it has a cell without calls, not even the one that has woken it and comes in a moment.
    fn idle_since(&self) -> Option<Instant> {
        let link = self.link.load();
        link.as_ref().filter(|link| link.is_ready() && link.is_idle() && self.line.is_empty())?;
        Some(*lock(&self.last_call)).filter(|_| *self.wanted.borrow())
    }

    fn notify(&self, core: &HostCore) {
        self.changed.send_modify(|count| *count += 1);
        core.notify();
    }
}

/// Resolves when nothing is left of them.
async fn left(slots: Vec<Arc<Slot>>) {
    for slot in slots {
        slot.left().await;
    }
}

impl Cells {
    /// Those of a module, if its instances live in cells.
    pub(super) fn of(
        settings: &Settings,
        kind: ModuleKind,
        may_have_cells: bool,
    ) -> Option<(Cells, Ordered)> {
        let isolate = settings.isolate.filter(|_| may_have_cells)?;
        let (one, ordered) = Slot::new(None);
        let each = on_demand(kind) && isolate == Isolate::Process;
        let cells = Cells {
            one,
            by_key: each.then(Mutex::default),
            is_shared: on_demand(kind) && !each,
            seats: seats::Seats::default(),
            count: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            releases: Releases::default(),
        };
        Some((cells, ordered))
    }

    /// The link over which a call goes, if nobody has to wait for it.
    pub(crate) fn ready(&self, core: &HostCore, key: Option<&[u8]>) -> Option<Arc<Conn>> {
        if core.descriptor.kind == ModuleKind::Spawned {
            return self.seated(key?)?.ready();
        }
        // The keys of other nodes are in theirs, and some are not started any more.
        if key.is_some_and(|key| !core.owns(key) || core.key_may_start(key).is_err()) {
            return None;
        }
        let slot = match (&self.by_key, key) {
            (Some(slots), Some(key)) => {
                let slot = lock(slots).get(key)?.clone();
                slot.called();
                slot
            }
            _ => self.one.clone(),
        };
        if !slot.line.is_empty() { None } else { slot.ready() }
    }

    /// The link of a call that belongs here, once there is a cell; with the call's place before those who came later,
    /// to be kept until it is sent.
    ///
    /// # Errors
    /// `Moved` if it belongs elsewhere, `Gone` if it was spawned and has ended, `NotStarted`, `Overloaded`, `Unreachable`,
    /// `Deadline`.
    pub(crate) async fn find(
        &self,
        core: &Arc<HostCore>,
        key: Option<&[u8]>,
        deadline: Option<Instant>,
        queued: Option<Waiting<'_>>,
    ) -> Result<(Arc<Conn>, Head), CallErrorKind> {
        if core.descriptor.kind == ModuleKind::Spawned {
            return self.find_seated(core, key.unwrap_or_default(), deadline, queued).await;
        }
        let belongs = || match key {
            Some(key) => !self.closed.load(Ordering::Acquire) && core.owns(key),
            None => *core.wanted.borrow(),
        };
        if !belongs() {
            return Err(CallErrorKind::Moved);
        }
        // Before there is a slot: bad keys leave none behind.
        key.map_or(Ok(()), |key| core.key_may_start(key))?;
        let sought = Sought { cells: self, slot: self.slot(core, key) };
        let slot = &sought.slot;
        let look = || {
            if slot.gone.load(Ordering::Acquire) || !belongs() {
                return Err(CallErrorKind::Moved);
            }
            let ready = slot.ready();
            if ready.is_some() {
                slot.called();
            }
            Ok(ready)
        };
        self.wait_for(core, slot, deadline, queued, look).await
    }

    /// Waits at a slot, in line, until a look finds a link. Has a cell started, if there is none.
    async fn wait_for(
        &self,
        core: &Arc<HostCore>,
        slot: &Arc<Slot>,
        deadline: Option<Instant>,
        queued: Option<Waiting<'_>>,
        look: impl Fn() -> Result<Option<Arc<Conn>>, CallErrorKind>,
    ) -> Result<(Arc<Conn>, Head), CallErrorKind> {
        let mut changes = slot.changed.subscribe();
        let until = core.wait_end(deadline);
        let _place = core.queue_up_once(queued)?;
        let waited_out = || core.waited_out(deadline, "its cell was not ready");
        let head = slot.line.enter(until).await.ok_or_else(waited_out)?;
        let mut place = None;
        loop {
            changes.borrow_and_update();
            if let Some(key) = &slot.key {
                core.key_may_start(key)?;
            }
            if let Some(link) = look()? {
                return Ok((link, head));
            }
            let failed = if on_demand(core.descriptor.kind) {
                let failed = lock(&slot.failed);
                failed.as_ref().map(|failure| CallErrorKind::NotStarted { cause: failure.cause.clone() })
            } else {
                nobody_starts(core)
            };
            if let Some(kind) = failed {
                return Err(kind);
            }
            if core.descriptor.kind == ModuleKind::Spawned {
                // How many there may be is seen to where they are seated.
                slot.wanted.send_replace(true);
            } else if let Wanted::NoPlace = slot.want(&mut place) {
                place = Some(core.room.place(core, deadline, until, |coming| self.make_room(coming)).await?);
                continue;
            }
            if !HostCore::changed_before(&mut changes, until).await {
                return Err(waited_out());
            }
        }
    }

    fn slot(&self, core: &Arc<HostCore>, key: Option<&[u8]>) -> Arc<Slot> {
        let (Some(slots), Some(key)) = (&self.by_key, key) else { return self.one.clone() };
        let mut slots = lock(slots);
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        let (slot, ordered) = Slot::new(Some(Bytes::copy_from_slice(key)));
        slots.insert(Bytes::copy_from_slice(key), slot.clone());
        core.runtime.spawn(keep::keep(core.clone(), slot.clone(), ordered));
        slot
    }

    /// Puts the key to sleep that was not called for longest, if there is one without calls. There are few cells beside
    /// what one costs: all are looked at.
    fn make_room(&self, coming: Coming) {
        let slots = self.slots();
        let idle = slots.iter().filter_map(|slot| Some((slot.idle_since()?, slot)));
        let Some((_, oldest)) = idle.min_by_key(|(since, _)| *since) else { return };
        let mut place = lock(&oldest.place);
        if oldest.wanted.send_if_modified(|wanted| std::mem::replace(wanted, false))
            && let Some(place) = &mut *place
        {
            place.comes(coming);
        }
    }

    /// Nobody finds the slot of a spawned instance any more.
    fn forget_seat(&self, slot: &Slot) {
        if let (Some(slots), Some(key)) = (&self.by_key, &slot.key) {
            lock(slots).remove(key);
        }
    }

    /// Forgets a key that sleeps and that nobody waits for; says whether it has.
    fn forget(&self, slot: &Arc<Slot>) -> bool {
        let (Some(slots), Some(key)) = (&self.by_key, &slot.key) else { return false };
        let mut slots = lock(slots);
        // Nobody begins to want it meanwhile: see `Slot::want`.
        let place = lock(&slot.place);
        let sleeps = !slot.gone.load(Ordering::Acquire)
            && !*slot.wanted.borrow()
            && place.is_none()
            && slot.line.is_empty();
        if sleeps {
            // Whoever has just looked it up looks again.
            slot.gone.store(true, Ordering::Release);
            slots.remove(key);
            slot.changed.send_modify(|count| *count += 1);
        }
        sleeps
    }

    /// Starts what keeps its cells alive.
    pub(super) fn open(&self, core: &Arc<HostCore>) {
        let Some(ordered) = lock(&core.ordered).take() else { return };
        core.runtime.spawn(keep::keep(core.clone(), self.one.clone(), ordered));
    }

    /// Hands over the keys that the plan has given to others.
    pub(super) fn follow(&self, core: &Arc<HostCore>, version: u64) {
        let (leaving, core) = (self.releases.after_those_before(self.give_up_keys(core)), core.clone());
        let shared = if self.by_key.is_none() { self.one.link.load_full() } else { None };
        core.runtime.clone().spawn(async move {
            leaving.await;
            if let Some(link) = shared {
                // What a cell had that has ended has ended too.
                Cell::order(&link, &Order::Follow(of_cell(&core, &link))).await;
            }
            core.report(Report::Released { module: core.descriptor.name.into(), version });
        });
    }

    /// A cell has given a key up: where it has no other, there is no more to do in it.
    pub(crate) fn key_gave_up(&self, key: &[u8]) {
        let slot = self.by_key.as_ref().and_then(|slots| lock(slots).get(key).cloned());
        if let Some(slot) = slot {
            slot.wanted.send_replace(false);
        }
    }

    /// The plan has changed: whoever waits looks whether it waits at the right place.
    pub(super) fn changed(&self) {
        self.one.changed.send_modify(|count| *count += 1);
    }

    /// Ends the cells of keys that belong elsewhere now. What is returned resolves when they are gone.
    pub(super) fn give_up_keys(&self, core: &HostCore) -> impl Future<Output = ()> + Send + use<> {
        let closed = self.closed.load(Ordering::Acquire);
        left(self.take_out(core, |key| closed || !core.is_planned_here(key)))
    }

    /// Takes the cells of such keys out of the table, and tells them to go.
    fn take_out(&self, core: &HostCore, which: impl Fn(&[u8]) -> bool) -> Vec<Arc<Slot>> {
        let mut leaving = Vec::new();
        if let Some(slots) = &self.by_key {
            lock(slots).retain(|key, slot| {
                let stays = !which(key);
                if !stays {
                    leaving.push(slot.clone());
                }
                stays
            });
        }
        // All are told before any is waited for: each may take as long as its last call and its `stop`.
        leaving.iter().for_each(|slot| slot.let_go());
        core.failed_keys.retain(|key| core.is_planned_here(key));
        leaving
    }

    /// Kills all cells of the module, and gives up their keys; says how many there are.
    pub(super) fn fence(&self, core: &Arc<HostCore>) -> usize {
        let Some(app) = core.app.upgrade() else { return 0 };
        let cells = app.family.of(core);
        for cell in &cells {
            cell.sentenced(skybox_core::Exit::Killed { by: "the fence".to_owned() });
        }
        // They are told to go; that they have is seen by their processes.
        self.take_out(core, |_| true);
        cells.len()
    }

    /// Ends them all, once their calls have ended.
    pub(super) async fn close(&self, core: &HostCore) {
        self.closed.store(true, Ordering::Release);
        core.want(false);
        self.one.let_go();
        self.give_up_keys(core).await;
        self.one.left().await;
    }

    /// Whether what the plan wants here is ready, or given up.
    pub(super) fn is_settled(&self, core: &HostCore) -> bool {
        on_demand(core.descriptor.kind)
            || !*core.wanted.borrow()
            || self.one.ready().is_some()
            || failed_here(core).is_some()
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        let by_key = self.by_key.iter().flat_map(|slots| lock(slots).values().cloned().collect::<Vec<_>>());
        by_key.chain([self.one.clone()]).collect()
    }

    /// The links of the cells that live.
    pub(crate) fn links(&self) -> Vec<Arc<Conn>> {
        self.slots().iter().filter_map(|slot| slot.link.load_full()).collect()
    }

    /// The link of the cell that is called so, or in which an instance of that name would live.
    pub(crate) fn home_of(&self, core: &HostCore, instance: &str) -> Option<Arc<Conn>> {
        let named = |node: Incarnation| {
            let count = instance.rsplit_once('.').and_then(|(_, count)| count.parse().ok());
            count.map(|count| InstanceId { node, count }).filter(|id| id.to_string() == instance)
        };
        // Of spawned ones it is the node that gives them their names.
        let seat = core.app.upgrade().and_then(|app| named(app.incarnation));
        if let Some(seated) = seat.and_then(|seat| self.seats.get(seat)) {
            return seated.link();
        }
        let is_home = |link: &Arc<Conn>| {
            link.cell().is_some_and(|cell| cell.name.as_str() == instance)
                || named(link.peer().incarnation).is_some()
        };
        self.links().into_iter().find(is_home)
    }

    /// Whether others may live in the cell of an instance.
    pub(crate) fn has_neighbours(&self) -> bool {
        self.is_shared
    }

    /// Has a cell started anew, or the keys that were given up when they are called.
    pub(super) async fn restart(
        &self,
        core: &Arc<HostCore>,
        key: Option<&[u8]>,
    ) -> Result<Restarted, CallErrorKind> {
        let is_keyed = core.descriptor.kind == ModuleKind::Keyed;
        let forgotten = if is_keyed { core.forget_failed(key) } else { 0 };
        match key {
            None if is_keyed && lock(&self.one.failed).is_none() => {
                self.forget_failed(core, None).await;
                return Ok(Restarted::Forgotten { keys: forgotten });
            }
            Some(key) if forgotten > 0 && self.by_key.is_none() => {
                // The cell is that of others too.
                self.forget_failed(core, Some(key)).await;
                return Ok(Restarted::Asleep);
            }
            Some(_) if forgotten > 0 => {
                return match self.find(core, key, None, None).await {
                    Ok((link, _)) => Ok(Restarted::Started { new: keep::name_of(&link) }),
                    Err(CallErrorKind::NotStarted { cause }) => Ok(Restarted::Failed { cause, old: None }),
                    Err(CallErrorKind::Moved) => Ok(Restarted::Elsewhere),
                    Err(kind) => Err(kind),
                };
            }
            _ => {}
        }
        let slot = match (&self.by_key, key) {
            (Some(slots), Some(key)) => match lock(slots).get(key).cloned() {
                Some(slot) => slot,
                None => return Ok(Restarted::Asleep),
            },
            _ => self.one.clone(),
        };
        let answered =
            if on_demand(core.descriptor.kind) { slot.orders.give()? } else { core.orders.give()? };
        match tokio::time::timeout(core.settings.start_wait, answered).await {
            Ok(Ok(restarted)) => Ok(restarted),
            Ok(Err(_)) => Err(CallErrorKind::Gone),
            Err(_) => Ok(Restarted::Waiting),
        }
    }

    /// What the cells themselves remember of keys that were given up is forgotten too.
    async fn forget_failed(&self, core: &HostCore, key: Option<&[u8]>) {
        let orders = self.links().into_iter().map(|link| {
            let order = Order::ForgetFailed { key: key.map(<[u8]>::to_vec) };
            core.runtime.spawn(async move {
                drop(tokio::time::timeout(FORGET_WAIT, Cell::order(&link, &order)).await);
            })
        });
        for ordered in orders.collect::<Vec<_>>() {
            drop(ordered.await);
        }
    }

    /// How many instances live in its cells because code has spawned them.
    pub(super) fn seated_count(&self) -> usize {
        self.seats.count()
    }

    /// What lives here, as far as the node knows without asking.
    pub(super) fn status(&self, core: &HostCore) -> Vec<InstanceStatus> {
        let status = |slot: &Arc<Slot>| {
            let link = slot.link.load_full()?;
            let cell = link.cell()?;
            Some(InstanceStatus {
                module: core.descriptor.name.to_owned(),
                kind: core.descriptor.kind,
                node: core.node.clone(),
                instance: cell.name.to_string(),
                key: slot.key.as_deref().map(crate::call::key_text),
                up_ms: cell.started.elapsed().as_millis() as u64,
                holding: None,
                waiting: None,
                waits: Vec::new(),
                holders: Vec::new(),
                cell: Some(cell.status()),
                calls: None,
                errors: None,
                latency: Vec::new(),
                restarts: None,
                spawned_by: None,
                names: Vec::new(),
                falls_with: 0,
            })
        };
        self.slots().iter().filter_map(status).collect()
    }

    /// What has no cell for a while, and keys that are not started any more.
    pub(super) fn given_up(&self, core: &HostCore) -> Vec<GivenUp> {
        let slots = self.slots();
        let given_up = slots.iter().filter_map(|slot| {
            let failed = lock(&slot.failed);
            failed.as_ref().map(|failure| failure.status(slot.key.as_deref()))
        });
        given_up.chain(core.failed_keys.given_up()).take(GIVEN_UP_MAX).collect()
    }
}

/// Whether it is calls, or code that spawns, for which cells are started: not the plan.
pub(crate) fn on_demand(kind: ModuleKind) -> bool {
    matches!(kind, ModuleKind::Keyed | ModuleKind::Spawned)
}

/// The keys of a cell that has all of its node's.
fn of_cell(core: &HostCore, link: &Conn) -> ModulePlan {
    let here = |shard| core.owns_shard(Shard(shard));
    ModulePlan::Keyed(Shards {
        nodes: vec![link.peer().node.clone(), core.node.clone()],
        owner: (0..SHARD_COUNT).map(|shard| u16::from(!here(shard))).collect(),
        ..core.epochs()
    })
}

impl Slot {
    /// Nobody calls it any more.
    fn let_go(&self) {
        self.gone.store(true, Ordering::Release);
        self.wanted.send_replace(false);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Resolves when the cell of one that was let go of is gone.
    async fn left(&self) {
        let mut changes = self.changed.subscribe();
        while self.link.load().is_some() {
            // The sender lives in the slot.
            drop(changes.changed().await);
        }
        self.unborn_is_gone().await;
    }

    /// Resolves when a cell that was started and is not to be has ended: there are never two.
    async fn unborn_is_gone(&self) {
        let unborn = lock(&self.unborn).upgrade();
        if let Some(unborn) = unborn {
            unborn.ended().await;
        }
    }
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cells")
    }
}

/// How often a cell of a key is looked at whether it sleeps.
fn look_every(idle: Duration) -> Duration {
    (idle / 4).max(Duration::from_millis(20))
}
