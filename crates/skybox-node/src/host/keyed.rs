//! Keyed modules: one instance for each key, started by its first call, asleep again when idle, or when others need its
//! place.
//!
//! A key never has two instances in a node: a replacement starts only when the old one's last call has ended, and its
//! `stop`.

mod sleep;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use skybox_core::{CallErrorKind, Code, Exit, InstanceId, KeyHash, Shards};
use skybox_plan::restart::{Decision, End, History};
use tokio::sync::watch;

use super::releases::Releases;
use super::replicated::{policy, start};
use super::restart::{Restarted, answer_of};
use super::room::Place;
use super::stop;
use super::{CLOSE_WAIT, Failure, GivenUp, Head, Hold, Host, HostCore, Instance, Line, lock};
use crate::app::App;
use crate::control::Report;
use crate::module::Module;
use crate::status::{GIVEN_UP_MAX, InstanceStatus};

pub(super) use sleep::open;
use sleep::{Oldest, asleep_when_gone, make_room};

/// Independent locks over the keys.
const STRIPES: usize = 64;

/// Keys, with their instances.
type Slots<T> = HashMap<Bytes, Arc<Slot<T>>>;

pub(super) struct Keyed<T> {
    stripes: Box<[Mutex<Slots<T>>]>,
    /// Who makes room for the next.
    oldest: Mutex<Oldest>,
    /// The node is leaving: every key is refused.
    closed: AtomicBool,
    releases: Releases,
}

impl<T> Default for Keyed<T> {
    fn default() -> Keyed<T> {
        Keyed {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            oldest: Mutex::default(),
            closed: AtomicBool::new(false),
            releases: Releases::default(),
        }
    }
}

/// One key.
struct Slot<T> {
    state: Mutex<State<T>>,
    /// Counts changes of `state` for those who wait.
    changed: watch::Sender<u64>,
    /// Those who wait.
    line: Line,
}

struct State<T> {
    now: Now<T>,
    /// Kept from before the start until nothing is left of the instance.
    place: Option<Place>,
    last_call: Instant,
    /// Those of the instance that is awake.
    calls: u64,
    history: History,
    /// A call of this key has ended well.
    useful: bool,
    /// The key belongs to another node now, or to a newer slot: whoever still has this one looks again.
    gone: bool,
}

enum Now<T> {
    /// Nobody starts it: the next call does.
    Asleep,
    /// It is being started, or its crashed predecessor's last call is awaited.
    Starting,
    /// It falls asleep, or was killed: the end of its last call and its `stop` is awaited.
    Stopping,
    Live(Arc<Instance<T>>),
    /// Its start failed; it is not tried again before then.
    Failed {
        failure: Failure,
        again: Instant,
        /// Too often; a mere pause otherwise.
        given_up: bool,
    },
}

impl<T> State<T> {
    fn called(&mut self) {
        self.last_call = Instant::now();
        self.calls += 1;
    }

    /// How the end of an instance that has crashed counts for its successor; that of one that was killed does not.
    fn counts_as(&mut self, before: &Now<T>) -> Option<End> {
        let Now::Live(over) = before else { return None };
        self.useful |= over.useful();
        if over.is_killed() {
            return None;
        }
        Some(if self.useful { End::Crashed } else { End::Failed })
    }
}

impl<T> Slot<T> {
    /// Takes over how a start has ended; gives it back if the key has been handed over.
    fn settle(&self, now: Now<T>) -> Option<Now<T>> {
        let mut state = lock(&self.state);
        if state.gone {
            return Some(now);
        }
        let place = if matches!(now, Now::Live(_)) { None } else { state.place.take() };
        state.now = now;
        state.last_call = Instant::now();
        state.calls = 0;
        drop(state);
        // Outside the lock: it wakes others.
        drop(place);
        None
    }

    /// Nothing is left of its instance; gives the place back that this had.
    fn is_asleep(&self) -> Option<Place> {
        let mut state = lock(&self.state);
        state.now = Now::Asleep;
        state.place.take()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// The instance of a key, started if it sleeps.
pub(super) async fn find<T: Module>(
    host: &Arc<Host<T>>,
    key: &Bytes,
    deadline: Option<Instant>,
) -> Result<(Hold<T>, Head), CallErrorKind> {
    let core = &host.core;
    if !owned_here(host, key) {
        return Err(CallErrorKind::Moved);
    }
    let slot = slot(host, key);
    let mut changes = slot.changed.subscribe();
    let until = core.wait_end(deadline);
    let _place = core.queue_up()?;
    let waited_out = || core.waited_out(deadline, "its instance had not started");
    let head = slot.line.enter(until).await.ok_or_else(waited_out)?;
    let mut place = None;
    loop {
        changes.borrow_and_update();
        let needs_place = {
            let mut state = lock(&slot.state);
            match &state.now {
                _ if state.gone => return Err(CallErrorKind::Moved),
                Now::Live(instance) if !instance.is_over() => {
                    let instance = instance.clone();
                    state.called();
                    return Ok((Hold::counted(instance), head));
                }
                Now::Failed { failure, again, .. } if Instant::now() < *again => {
                    return Err(CallErrorKind::NotStarted { cause: failure.cause.clone() });
                }
                Now::Starting | Now::Stopping => false,
                // Asked with the slot in the table: a plan that says so later finds it there.
                _ if !owned_here(host, key) => return Err(CallErrorKind::Moved),
                _ if state.place.is_none() && place.is_none() => true,
                _ => {
                    state.place = state.place.take().or(place.take());
                    let before = std::mem::replace(&mut state.now, Now::Starting);
                    let end = state.counts_as(&before);
                    begin(host, key, &slot, before, end);
                    false
                }
            }
        };
        if needs_place {
            place = Some(core.room.place(core, deadline, until, |coming| make_room(host, coming)).await?);
            continue;
        }
        if !HostCore::changed_before(&mut changes, until).await {
            return Err(waited_out());
        }
        if let Now::Failed { failure, .. } = &lock(&slot.state).now {
            return Err(CallErrorKind::NotStarted { cause: failure.cause.clone() });
        }
    }
}

/// The live instance of a key, if nobody has to wait for it.
pub(super) fn peek<T: Module>(host: &Host<T>, key: &Bytes) -> Option<Arc<Instance<T>>> {
    let slot = lock(host.keyed.stripe(key)).get(key)?.clone();
    if !slot.line.is_empty() {
        return None;
    }
    let mut state = lock(&slot.state);
    match &state.now {
        Now::Live(instance) if !instance.is_over() => {
            let instance = instance.clone();
            state.called();
            Some(instance)
        }
        _ => None,
    }
}

pub(super) fn owned_here<T: Module>(host: &Host<T>, key: &Bytes) -> bool {
    host.core.owns(key) && !host.keyed.closed.load(Ordering::Acquire)
}

impl<T> Keyed<T> {
    fn stripe(&self, key: &Bytes) -> &Mutex<Slots<T>> {
        &self.stripes[(KeyHash::of(key).0 >> 48) as usize % STRIPES]
    }
}

fn slot<T: Module>(host: &Host<T>, key: &Bytes) -> Arc<Slot<T>> {
    let mut slots = lock(host.keyed.stripe(key));
    if let Some(slot) = slots.get(key) {
        return slot.clone();
    }
    let state = State {
        now: Now::Asleep,
        place: None,
        last_call: Instant::now(),
        calls: 0,
        history: History::default(),
        useful: false,
        gone: false,
    };
    let slot =
        Arc::new(Slot { state: Mutex::new(state), changed: watch::Sender::new(0), line: Line::default() });
    slots.insert(Bytes::copy_from_slice(key), slot.clone());
    slot
}

/// Starts a key's instance on a task of its own, so that a caller who gives up does not end it.
///
/// What was before has ended first, and counts as `end`.
fn begin<T: Module>(host: &Arc<Host<T>>, key: &Bytes, slot: &Arc<Slot<T>>, before: Now<T>, end: Option<End>) {
    let (host, key, slot) = (host.clone(), key.clone(), slot.clone());
    host.core.runtime.clone().spawn(async move {
        let core = &host.core;
        if let Now::Live(before) = before {
            gone(before).await;
        }
        let now = match pace(core, &slot, end).await {
            Err(given_up) => given_up,
            Ok(()) => match try_start(&host, &key).await {
                Ok(instance) => Now::Live(instance),
                Err(cause) => failed(core, &key, &slot, cause),
            },
        };
        if let Some(over) = slot.settle(now) {
            // Handed over in the meantime: what has started ends before anybody hears of it.
            if let Now::Live(instance) = over {
                gone(instance).await;
            }
            drop(slot.is_asleep());
        }
        slot.changed.send_modify(|count| *count += 1);
    });
}

/// Lets go of an instance; resolves when nothing of it is left.
fn gone<T>(instance: Arc<Instance<T>>) -> impl Future<Output = Exit> {
    let ended = instance.ended();
    drop(instance);
    ended.wait()
}

/// Has a key's instance started anew, if it has one or was given up. Resolves when it is, or with what keeps it from it.
///
/// The old one ends first: there are never two. Calls that come meanwhile wait for the new one.
pub(super) async fn restart<T: Module>(host: &Arc<Host<T>>, key: &Bytes) -> Result<Restarted, CallErrorKind> {
    if !owned_here(host, key) {
        return Ok(Restarted::Elsewhere);
    }
    let Some(slot) = lock(host.keyed.stripe(key)).get(key).cloned() else { return Ok(Restarted::Asleep) };
    let mut changes = slot.changed.subscribe();
    let until = host.core.wait_end(None);
    let (mut old, mut place) = (None, None);
    loop {
        {
            let mut state = lock(&slot.state);
            state.history.clear();
            match &state.now {
                _ if state.gone => return Ok(Restarted::Elsewhere),
                Now::Starting => break,
                Now::Asleep | Now::Stopping => return Ok(Restarted::Asleep),
                Now::Live(_) | Now::Failed { .. } if state.place.is_some() || place.is_some() => {
                    state.place = state.place.take().or(place.take());
                    let before = std::mem::replace(&mut state.now, Now::Starting);
                    if let Now::Live(live) = &before
                        && !live.is_over()
                    {
                        old = Some(live.id);
                        live.ended_by(Exit::Stopped);
                    }
                    begin(host, key, &slot, before, None);
                    break;
                }
                Now::Live(_) | Now::Failed { .. } => {}
            }
        }
        place = Some(host.core.room.place(&host.core, None, until, |coming| make_room(host, coming)).await?);
    }
    while HostCore::changed_before(&mut changes, until).await {
        let state = lock(&slot.state);
        match &state.now {
            _ if state.gone => return Ok(Restarted::Elsewhere),
            Now::Starting => {}
            Now::Asleep | Now::Stopping => return Ok(Restarted::Asleep),
            Now::Live(instance) => return Ok(answer_of(old, Ok(instance.id))),
            // The old one has ended already.
            Now::Failed { failure, .. } => return Ok(answer_of(None, Err(failure.cause.clone()))),
        }
    }
    Ok(Restarted::Waiting)
}

/// Waits as long as the end of its predecessor demands; an error says that there is to be no successor.
async fn pace<T>(core: &HostCore, slot: &Slot<T>, end: Option<End>) -> Result<(), Now<T>> {
    let Some(end) = end else { return Ok(()) };
    let decision = lock(&slot.state).history.decide(&policy(core), end, core.since_start());
    match decision {
        Decision::After(pause) if pause.is_zero() => {}
        // A keyed instance that crashed is started again by the next call, which waits the pause out.
        Decision::After(pause) => tokio::time::sleep(core.jittered(pause)).await,
        Decision::GiveUp => {
            let cause = format!("it crashed too often within {:?}", core.settings.within);
            tracing::error!(module = core.descriptor.name, code = %Code::NOT_STARTED, "given up: {cause}");
            return Err(stays_down(core, slot, cause, decision));
        }
    }
    Ok(())
}

async fn try_start<T: Module>(host: &Arc<Host<T>>, key: &Bytes) -> Result<Arc<Instance<T>>, String> {
    let core = &host.core;
    let app = core.app.upgrade().map(App::from_inner).ok_or("the App has ended")?;
    let owned = crate::call::decode_key::<T::Key>(key).map_err(|error| error.to_string())?;
    start::<T>(core, app, owned, core.next_instance_id(), Some(key)).await
}

fn failed<T>(core: &HostCore, key: &Bytes, slot: &Slot<T>, cause: String) -> Now<T> {
    tracing::error!(module = core.descriptor.name, code = %Code::NOT_STARTED, "a start failed: {cause}");
    core.endings.failed_start(Some(key), &cause);
    let decision = lock(&slot.state).history.decide(&policy(core), End::Failed, core.since_start());
    stays_down(core, slot, cause, decision)
}

/// A key that is not tried again for as long as it was decided.
fn stays_down<T>(core: &HostCore, slot: &Slot<T>, cause: String, decision: Decision) -> Now<T> {
    let (pause, given_up) = match decision {
        Decision::After(pause) => (core.jittered(pause), false),
        Decision::GiveUp => (core.settings.within, true),
    };
    let failure = Failure::new(cause, &lock(&slot.state).history, &policy(core));
    Now::Failed { failure, again: Instant::now() + pause, given_up }
}

/// The instance of that id, if it is live.
pub(super) fn live<T: Module>(host: &Host<T>, instance: InstanceId) -> Option<Arc<Instance<T>>> {
    host.keyed.stripes.iter().find_map(|stripe| {
        let slots: Vec<_> = lock(stripe).values().cloned().collect();
        slots.iter().find_map(|slot| match &lock(&slot.state).now {
            Now::Live(live) if live.id == instance => Some(live.clone()),
            _ => None,
        })
    })
}

/// Kills the instance of some key; says whether there is one of that name. The next call starts another, when the
/// calls of this one have ended.
pub(super) fn kill<T: Module>(host: &Arc<Host<T>>, instance: &str, by: &str) -> bool {
    for stripe in &host.keyed.stripes {
        let slots: Vec<_> = lock(stripe).values().cloned().collect();
        for slot in slots {
            let mut state = lock(&slot.state);
            match &state.now {
                Now::Live(live) if live.id.to_string() == instance => {}
                _ => continue,
            }
            let Now::Live(live) = std::mem::replace(&mut state.now, Now::Stopping) else {
                unreachable!("just seen")
            };
            state.useful |= live.useful();
            drop(state);
            let was_live = live.kill(by);
            asleep_when_gone(&host.core, slot, live);
            return was_live;
        }
    }
    false
}

/// Hands over the shards that the plan has given to others or wants back.
pub(super) fn follow<T: Module>(host: &Arc<Host<T>>, shards: &Shards) {
    let me = &host.core.node;
    let here = |key: &Bytes| shards.owner(KeyHash::of(key).shard()) == Some(me);
    let leaving = take_out(host, |key| !here(key));
    let (host, version) = (host.clone(), host.core.placement.load().version);
    let theirs = host.clone();
    let gone = host.keyed.releases.after_those_before(async move { all_ended(&theirs, leaving).await });
    host.core.runtime.clone().spawn(async move {
        gone.await;
        host.core.report(Report::Released { module: host.core.descriptor.name.into(), version });
    });
}

/// Puts every instance to sleep, once its calls have ended and its `stop`.
pub(super) async fn close<T: Module>(host: &Arc<Host<T>>) {
    host.keyed.closed.store(true, Ordering::Release);
    all_ended(host, take_out(host, |_| true)).await;
}

/// What a key that is handed over leaves behind.
enum Leaving<T> {
    /// An instance whose calls have to end.
    Live(Arc<Instance<T>>, Option<Place>),
    /// A start that is under way, or waits for the end of a crashed instance; or a `stop`.
    Busy(Arc<Slot<T>>),
}

impl<T> Leaving<T> {
    /// Lets go of it at once; resolves when nothing of it is left.
    fn ended(self) -> impl Future<Output = ()> {
        let (gone, busy) = match self {
            Leaving::Live(instance, place) => (Some((gone(instance), place)), None),
            Leaving::Busy(slot) => (None, Some(slot)),
        };
        async move {
            if let Some((gone, place)) = gone {
                gone.await;
                drop(place);
            }
            let Some(slot) = busy else { return };
            let mut changes = slot.changed.subscribe();
            while matches!(lock(&slot.state).now, Now::Starting | Now::Stopping) {
                // The sender lives in the slot.
                drop(changes.changed().await);
            }
        }
    }
}

fn take_out<T: Module>(host: &Host<T>, which: impl Fn(&Bytes) -> bool) -> Vec<Leaving<T>> {
    let mut leaving = Vec::new();
    for stripe in &host.keyed.stripes {
        lock(stripe).retain(|key, slot| {
            if !which(key) {
                return true;
            }
            let mut state = lock(&slot.state);
            state.gone = true;
            match std::mem::replace(&mut state.now, Now::Asleep) {
                Now::Live(instance) => leaving.push(Leaving::Live(instance, state.place.take())),
                busy @ (Now::Starting | Now::Stopping) => {
                    state.now = busy;
                    leaving.push(Leaving::Busy(slot.clone()));
                }
                Now::Asleep | Now::Failed { .. } => {}
            }
            // Those who wait for it look elsewhere.
            slot.changed.send_modify(|count| *count += 1);
            false
        });
    }
    leaving
}

async fn all_ended<T: Module>(host: &Host<T>, leaving: Vec<Leaving<T>>) {
    // Outside the locks: a `Drop` may take its time.
    let leaving: Vec<_> = leaving.into_iter().map(Leaving::ended).collect();
    let all = async {
        for one in leaving {
            one.await;
        }
    };
    let wait = CLOSE_WAIT + stop::wait(&host.core);
    if tokio::time::timeout(wait, all).await.is_err() {
        tracing::warn!(
            module = host.core.descriptor.name,
            "a last call has not ended {wait:?} after its instance was handed over"
        );
    }
}

/// The keys that were given up, until the time at which they may be tried again.
pub(super) fn given_up<T: Module>(host: &Host<T>) -> Vec<GivenUp> {
    let mut all = Vec::new();
    for stripe in &host.keyed.stripes {
        for (key, slot) in &*lock(stripe) {
            match &lock(&slot.state).now {
                Now::Failed { failure, again, given_up: true } if Instant::now() < *again => {
                    all.push(failure.status(Some(key)));
                }
                _ => {}
            }
            if all.len() == GIVEN_UP_MAX {
                return all;
            }
        }
    }
    all
}

pub(super) fn status<T: Module>(host: &Host<T>) -> Vec<InstanceStatus> {
    let mut status = Vec::new();
    for stripe in &host.keyed.stripes {
        for (key, slot) in &*lock(stripe) {
            let state = lock(&slot.state);
            if let Now::Live(instance) = &state.now {
                let calls = Some(state.calls);
                status.push(InstanceStatus { calls, ..host.core.instance_status(instance, Some(key)) });
            }
        }
    }
    status
}
