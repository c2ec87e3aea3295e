//! Keyed modules: one instance for each key, started by its first call, asleep again when idle, or when others need its
//! place.
//!
//! A key never has two instances in a node: a replacement starts only when the old one's last call has ended, and its
//! `stop`. One that does not start leaves nothing here but a line among the [`failed_keys`](super::failed_keys).

mod sleep;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use bytes::Bytes;
use skybox_core::{CallErrorKind, Code, Exit, InstanceId, KeyHash, Restart, Shards};
use skybox_plan::restart::{Decision, End};
use tokio::sync::watch;

use super::alive::Alive;
use super::failed_keys::{Past, Trying};
use super::releases::Releases;
use super::replicated::{policy, start};
use super::restart::{Restarted, answer_of};
use super::room::Place;
use super::stop;
use super::{
    CLOSE_WAIT, Ended, Failure, Fenced, Head, Hold, Host, HostCore, Instance, Line, Waiting, Which, lock,
};
use crate::app::App;
use crate::control::Report;
use crate::module::Module;
use crate::status::InstanceStatus;

pub(super) use sleep::open;
use sleep::{Oldest, asleep_when_gone, make_room};

/// How long what was killed may take to end, where nobody waits for it any longer.
const KILLED_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
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
    /// Of a module with a fence, all that may run.
    pub(super) alive: Alive<T>,
}

impl<T> Default for Keyed<T> {
    fn default() -> Keyed<T> {
        Keyed {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            oldest: Mutex::default(),
            closed: AtomicBool::new(false),
            releases: Releases::default(),
            alive: Alive::default(),
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
    past: Past,
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
    /// Its start failed, with this cause: the slot is gone, and those who wait are told.
    Failed(String),
}

/// What has become of a start that failed.
struct Down {
    failure: Failure,
    /// When it may be tried again; `None`: it was given up.
    again: Option<Instant>,
}

impl<T> State<T> {
    fn called(&mut self, counts: bool) {
        self.last_call = Instant::now();
        self.calls += u64::from(counts);
    }

    /// How the end of an instance that has crashed counts for its successor; that of one that was killed does not.
    fn counts_as(&mut self, before: &Now<T>) -> Option<End> {
        let Now::Live(over) = before else { return None };
        self.past.useful |= over.useful();
        if over.is_killed() {
            return None;
        }
        Some(if self.past.useful { End::Crashed } else { End::Failed })
    }
}

impl<T> Slot<T> {
    /// Takes over the instance that has started; gives it back if the key has been handed over.
    fn settle(&self, instance: Arc<Instance<T>>) -> Option<Arc<Instance<T>>> {
        let mut state = lock(&self.state);
        if state.gone {
            return Some(instance);
        }
        state.now = Now::Live(instance);
        state.last_call = Instant::now();
        state.calls = 0;
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
    queued: Option<Waiting<'_>>,
) -> Result<(Hold<T>, Head), CallErrorKind> {
    let core = &host.core;
    core.fenced()?;
    if !owned_here(host, key) {
        return Err(CallErrorKind::Moved);
    }
    // Before there is a slot: bad keys leave none behind.
    core.key_may_start(key)?;
    let slot = slot(host, key);
    let mut changes = slot.changed.subscribe();
    let until = core.wait_end(deadline);
    let _place = core.queue_up_once(queued)?;
    let waited_out = || core.waited_out(deadline, "its instance had not started");
    let head = slot.line.enter(until).await.ok_or_else(waited_out)?;
    let mut place = None;
    loop {
        changes.borrow_and_update();
        let needs_place = {
            let mut state = lock(&slot.state);
            core.key_may_start(key)?;
            match &state.now {
                Now::Failed(cause) => return Err(CallErrorKind::NotStarted { cause: cause.clone() }),
                _ if state.gone => return Err(CallErrorKind::Moved),
                Now::Live(instance) if !instance.is_over() => {
                    let instance = instance.clone();
                    state.called(true);
                    return Ok((Hold::counted(instance), head));
                }
                Now::Starting | Now::Stopping => false,
                // Asked with the slot in the table: a plan that says so later finds it there.
                _ if !owned_here(host, key) => return Err(CallErrorKind::Moved),
                _ if state.place.is_none() && place.is_none() => true,
                _ => {
                    state.place = state.place.take().or(place.take());
                    let before = std::mem::replace(&mut state.now, Now::Starting);
                    if let Some(past) = core.failed_keys.take_past(key) {
                        state.past = past;
                    }
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
    }
}

/// The live instance of a key, if nobody has to wait for it. A call that looks several times counts once.
pub(super) fn peek<T: Module>(host: &Host<T>, key: &Bytes, counts: bool) -> Option<Arc<Instance<T>>> {
    let slot = lock(host.keyed.stripe(key)).get(key)?.clone();
    if !slot.line.is_empty() || !host.core.may_begin() {
        return None;
    }
    let mut state = lock(&slot.state);
    match &state.now {
        Now::Live(instance) if !instance.is_over() => {
            let instance = instance.clone();
            state.called(counts);
            Some(instance)
        }
        _ => None,
    }
}

pub(super) fn owned_here<T: Module>(host: &Host<T>, key: &Bytes) -> bool {
    host.core.owns(key) && !host.keyed.closed.load(Ordering::Acquire)
}

impl<T> Keyed<T> {
    fn stripe(&self, key: &[u8]) -> &Mutex<Slots<T>> {
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
        past: Past::default(),
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
    let token = host.keyed.alive.starting();
    host.core.runtime.clone().spawn(async move {
        let core = &host.core;
        let _token = token;
        let starting = async {
            let exit = match before {
                Now::Live(before) => Some(gone(before).await),
                _ => None,
            };
            match pace(core, &slot, end, exit).await {
                Err(down) => Err(down),
                Ok(()) => try_start(&host, &key).await.map_err(|cause| failed(core, &key, &slot, cause)),
            }
        };
        let started = tokio::select! {
            biased;
            started = starting => started,
            // What was before is killed as all others are, and nobody starts anything.
            () = core.fence_passed() => {
                lock(&slot.state).gone = true;
                let mut slots = lock(host.keyed.stripe(&key));
                if slots.get(&key).is_some_and(|known| Arc::ptr_eq(known, &slot)) {
                    slots.remove(&key);
                }
                drop(slots);
                drop(slot.is_asleep());
                slot.changed.send_modify(|count| *count += 1);
                return;
            }
        };
        match started.map(|instance| slot.settle(instance)) {
            Ok(None) => {}
            Ok(Some(over)) => {
                // Handed over in the meantime: what has started ends before anybody hears of it.
                gone(over).await;
                drop(slot.is_asleep());
            }
            Err(down) => fell(&host, &key, &slot, down),
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
    let was_down = host.core.failed_keys.forget(key);
    let known = lock(host.keyed.stripe(key)).get(key).cloned();
    let slot = match known {
        Some(slot) => slot,
        None if was_down => slot(host, key),
        None => return Ok(Restarted::Asleep),
    };
    let mut changes = slot.changed.subscribe();
    let until = host.core.wait_end(None);
    let (mut old, mut place) = (None, None);
    loop {
        changes.borrow_and_update();
        let stops = {
            let mut state = lock(&slot.state);
            state.past.history.clear();
            match &state.now {
                Now::Failed(cause) => return Ok(answer_of(None, Err(cause.clone()))),
                // Asked with the slot in the table: a plan that says so later finds it there.
                _ if state.gone || !owned_here(host, key) => return Ok(Restarted::Elsewhere),
                Now::Starting => break,
                Now::Stopping if was_down => true,
                Now::Stopping => return Ok(Restarted::Asleep),
                Now::Asleep if !was_down => return Ok(Restarted::Asleep),
                Now::Live(_) | Now::Asleep if state.place.is_some() || place.is_some() => {
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
                Now::Live(_) | Now::Asleep => false,
            }
        };
        if stops {
            // Its last call goes on.
            if !HostCore::changed_before(&mut changes, until).await {
                return Ok(Restarted::Waiting);
            }
            continue;
        }
        place = Some(host.core.room.place(&host.core, None, until, |coming| make_room(host, coming)).await?);
    }
    while HostCore::changed_before(&mut changes, until).await {
        let state = lock(&slot.state);
        match &state.now {
            // The old one has ended already.
            Now::Failed(cause) => return Ok(answer_of(None, Err(cause.clone()))),
            _ if state.gone => return Ok(Restarted::Elsewhere),
            Now::Starting => {}
            Now::Asleep | Now::Stopping => return Ok(Restarted::Asleep),
            Now::Live(instance) => return Ok(answer_of(old, Ok(instance.id))),
        }
    }
    Ok(Restarted::Waiting)
}

/// Waits as long as the end of its predecessor demands; an error says that there is to be no successor.
async fn pace<T>(core: &HostCore, slot: &Slot<T>, end: Option<End>, exit: Option<Exit>) -> Result<(), Down> {
    let Some(end) = end else { return Ok(()) };
    let decision = lock(&slot.state).past.history.decide(&policy(core), end, core.since_start());
    match decision {
        Decision::After(pause) if pause.is_zero() => {}
        // A keyed instance that crashed is started again by the next call, which waits the pause out.
        Decision::After(pause) => tokio::time::sleep(core.jittered(pause)).await,
        Decision::GiveUp => {
            let cause = exit.map_or_else(String::new, |exit| exit.to_string());
            return Err(down(core, slot, cause, decision));
        }
    }
    Ok(())
}

async fn try_start<T: Module>(host: &Arc<Host<T>>, key: &Bytes) -> Result<Arc<Instance<T>>, String> {
    let core = &host.core;
    let fenced = || "the store was not reached in time".to_owned();
    if !core.may_begin() {
        return Err(fenced());
    }
    let app = core.app.upgrade().map(App::from_inner).ok_or("the App has ended")?;
    let owned = crate::call::decode_key::<T::Key>(key).map_err(|error| error.to_string())?;
    let mut starting = Box::pin(start::<T>(core, app, owned, core.next_instance_id(), Some(key)));
    let started = tokio::select! {
        biased;
        started = &mut starting => started?,
        () = core.fence_passed() => {
            // Its `Drop` may panic, which is nobody's here.
            drop(crate::call::catch(std::panic::AssertUnwindSafe(|| drop(starting))));
            return Err(fenced());
        }
    };
    if core.has_fence() {
        host.keyed.alive.started(key, &started);
    }
    Ok(started)
}

fn failed<T>(core: &HostCore, key: &Bytes, slot: &Slot<T>, cause: String) -> Down {
    tracing::error!(module = core.descriptor.name, code = %Code::NOT_STARTED, "a start failed: {cause}");
    core.endings.failed_start(Some(key), &cause);
    let decision = lock(&slot.state).past.history.decide(&policy(core), End::Failed, core.since_start());
    down(core, slot, cause, decision)
}

fn down<T>(core: &HostCore, slot: &Slot<T>, cause: String, decision: Decision) -> Down {
    let again = match decision {
        Decision::After(pause) => Some(Instant::now() + core.jittered(pause)),
        Decision::GiveUp => None,
    };
    Down { failure: Failure::new(cause, &lock(&slot.state).past.history, &policy(core)), again }
}

/// A start has failed: what is remembered of it is bounded, and slots are for those that start.
fn fell<T: Module>(host: &Host<T>, key: &Bytes, slot: &Slot<T>, down: Down) {
    let mut slots = lock(host.keyed.stripe(key));
    let mut state = lock(&slot.state);
    let place = state.place.take();
    let (failed_keys, mut given_up) = (&host.core.failed_keys, None);
    if state.gone {
        // Whoever has the key now finds out for itself.
        state.now = Now::Asleep;
    } else {
        state.gone = true;
        slots.remove(key);
        let Down { failure, again } = down;
        state.now = Now::Failed(failure.cause.clone());
        match again {
            Some(again) => {
                let past = std::mem::take(&mut state.past);
                failed_keys.tries_again(key, Trying { cause: failure.cause, again, past });
            }
            None => {
                failed_keys.gave_up(key, failure.clone());
                given_up = Some(failure);
            }
        }
    }
    drop((state, slots));
    // Outside the locks: it wakes others.
    drop(place);
    if let Some(failure) = given_up {
        host.core.tell_given_up(key, &failure);
    }
}

/// An instance has crashed that is not to be started again.
pub(super) fn crashed<T: Module>(host: &Host<T>, instance: InstanceId, key: &[u8], exit: &Exit) {
    let Some(slot) = lock(host.keyed.stripe(key)).get(key).cloned() else { return };
    let failure = never_again(&host.core, exit);
    let live = {
        let mut state = lock(&slot.state);
        match &state.now {
            Now::Live(live) if live.id == instance => {}
            // A call has seen it already, and waits for its end.
            _ => return,
        }
        let Now::Live(live) = std::mem::replace(&mut state.now, Now::Stopping) else {
            unreachable!("just seen")
        };
        host.core.failed_keys.gave_up(key, failure.clone());
        live
    };
    host.core.tell_given_up(key, &failure);
    // Those who wait are told now, and not once its last call has ended.
    slot.changed.send_modify(|count| *count += 1);
    asleep_when_gone(&host.core, slot, live);
}

/// What becomes of a key whose `restart` allows no other start.
fn never_again(core: &HostCore, exit: &Exit) -> Failure {
    Failure::new(exit.to_string(), &Default::default(), &policy(core))
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

/// Kills the instance of some key, if there is one of that name; what is given back resolves when nothing is left of it.
/// The next call starts another, when the calls of this one have ended.
pub(super) fn kill<T: Module>(host: &Arc<Host<T>>, instance: &str, by: &str) -> Option<Ended> {
    for stripe in &host.keyed.stripes {
        let slots: Vec<_> = lock(stripe).iter().map(|(key, slot)| (key.clone(), slot.clone())).collect();
        for (key, slot) in slots {
            let mut state = lock(&slot.state);
            match &state.now {
                Now::Live(live) if live.id.to_string() == instance => {}
                _ => continue,
            }
            let given_up = (host.core.settings.restart == Restart::Never)
                .then(|| never_again(&host.core, &Exit::Killed { by: by.to_owned() }));
            if let Some(failure) = &given_up {
                host.core.failed_keys.gave_up(&key, failure.clone());
            }
            let Now::Live(live) = std::mem::replace(&mut state.now, Now::Stopping) else {
                unreachable!("just seen")
            };
            state.past.useful |= live.useful();
            drop(state);
            if let Some(failure) = given_up {
                host.core.tell_given_up(&key, &failure);
            }
            let ended = live.ended();
            let was_live = live.kill(by);
            asleep_when_gone(&host.core, slot, live);
            return was_live.then_some(ended);
        }
    }
    None
}

/// Hands over the shards that the plan has given to others or wants back.
pub(super) fn follow<T: Module>(host: &Arc<Host<T>>, shards: &Shards) {
    let me = &host.core.node;
    let here = |key: &Bytes| shards.owner(KeyHash::of(key).shard()) == Some(me);
    let leaving = take_out(host, |key| !here(key));
    host.core.failed_keys.retain(|key| host.core.is_planned_here(key));
    // Also what was taken out before, and goes on: an instance that the fence has killed, the last call of one that crashed.
    let further = host.keyed.alive.ends(|key| !here(key));
    let (host, version) = (host.clone(), host.core.placement.load().version);
    let theirs = host.clone();
    let gone = host.keyed.releases.after_those_before(async move {
        all_ended(&theirs, leaving, true).await;
        for (_, ended) in further {
            ended.wait().await;
        }
    });
    host.core.runtime.clone().spawn(async move {
        gone.await;
        host.core.report(Report::Released { module: host.core.descriptor.name.into(), version });
    });
}

/// Kills every instance, also those that no table has any more.
pub(super) fn fence<T: Module>(host: &Host<T>) -> Fenced {
    let leaving = take_out(host, |_| true);
    let alive = host.keyed.alive.all();
    for instance in &alive {
        instance.kill_as(Exit::Killed { by: "the fence".to_owned() });
    }
    (alive.len(), Box::new((leaving, alive)))
}

/// Puts every instance to sleep, once its calls have ended and its `stop`.
pub(super) async fn close<T: Module>(host: &Arc<Host<T>>) {
    host.keyed.closed.store(true, Ordering::Release);
    // Others may own its keys once this node has let go of all: then not before it has.
    all_ended(host, take_out(host, |_| true), host.core.has_fence()).await;
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
                Now::Asleep | Now::Failed(_) => {}
            }
            // Those who wait for it look elsewhere.
            slot.changed.send_modify(|count| *count += 1);
            false
        });
    }
    leaving
}

/// Waits until nothing is left of them. What has not ended after a while is killed; code that holds its thread goes on all
/// the same, and is waited for if `all`.
async fn all_ended<T: Module>(host: &Host<T>, leaving: Vec<Leaving<T>>, all: bool) {
    let instances: Vec<_> = leaving
        .iter()
        .filter_map(|one| match one {
            Leaving::Live(instance, _) => Some(Arc::downgrade(instance)),
            Leaving::Busy(_) => None,
        })
        .collect();
    // Outside the locks: a `Drop` may take its time.
    let leaving: Vec<_> = leaving.into_iter().map(Leaving::ended).collect();
    let mut ended = Box::pin(async {
        for one in leaving {
            one.await;
        }
    });
    let wait = CLOSE_WAIT + stop::wait(&host.core);
    if tokio::time::timeout(wait, &mut ended).await.is_ok() {
        return;
    }
    tracing::warn!(
        module = host.core.descriptor.name,
        "a last call has not ended {wait:?} after its instance was handed over: it is killed"
    );
    for instance in instances.iter().filter_map(Weak::upgrade) {
        instance.kill_as(Exit::Killed { by: "its node, which has handed its key over".to_owned() });
    }
    match all {
        true => ended.await,
        false => drop(tokio::time::timeout(KILLED_WAIT, ended).await),
    }
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
    for which in host.core.tallies.noted() {
        if let Which::Key(key) = &which
            && !lock(host.keyed.stripe(key)).contains_key(key)
        {
            host.core.tallies.forget(&which);
        }
    }
    status
}
