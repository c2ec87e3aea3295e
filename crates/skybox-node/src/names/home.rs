//! The names of the instances of one node, which registers them and frees them.
//!
//! An instance that ends while it is given a name must not keep it. Whoever gives it one notes that here first and looks
//! then whether it takes calls; whoever ends it has it take no more calls first and looks here then. One of the two sees
//! the other: either the name is refused, or the end waits for the name and frees it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skybox_core::{CallErrorKind, InstanceId, ModuleKind};
use skybox_plan::names::{Holder, NameAnswer, NameAsk};
use tokio::sync::Semaphore;

use super::{Refusal, not_done};
use crate::app::AppInner;
use crate::control::ControlError;
use crate::host::{AnyHost, HostCore, lock};

/// How long the end of an instance is kept back until its names are free. Whoever keeps them answers at once, or hangs:
/// once this has passed in vain, no other end is kept back until they answer.
const FREE_WAIT: Duration = Duration::from_secs(5);
/// How long the instance of a registration may be busy with others of its own.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// Registrations that a node carries out at once, for all who ask it: beyond, they are refused.
const REGISTERING_MAX: usize = 16 * 1024;

/// Which instances here have names, or are about to have one.
#[derive(Debug)]
pub(crate) struct HomeNames {
    records: Mutex<HashMap<InstanceId, Arc<Record>>>,
    /// How many those are: mostly none, and then an end costs a look at this.
    count: AtomicUsize,
    registering: Arc<Semaphore>,
    /// How many ends were told although whoever keeps the names had not answered in time that theirs are free, and has not
    /// since.
    late: AtomicUsize,
}

impl Default for HomeNames {
    fn default() -> HomeNames {
        HomeNames {
            records: Mutex::default(),
            count: AtomicUsize::new(0),
            registering: Arc::new(Semaphore::new(REGISTERING_MAX)),
            late: AtomicUsize::new(0),
        }
    }
}

/// One of them. Held while it is given a name and while its names are freed.
type Record = tokio::sync::Mutex<Standing>;

#[derive(Debug, Default)]
struct Standing {
    /// It has a name, or may have one.
    named: bool,
    /// It has ended: it gets none any more.
    over: bool,
}

impl HomeNames {
    /// Whether an instance has names, or is about to have one. Of one that takes no more calls the answer stands.
    pub(super) fn has(&self, instance: InstanceId) -> bool {
        // After what says that it takes no more calls; its pair is in `note`.
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) > 0 && lock(&self.records).contains_key(&instance)
    }

    /// Notes that one is about to have a name.
    fn note(&self, instance: InstanceId) -> Arc<Record> {
        let record = match lock(&self.records).entry(instance) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                new.insert(Arc::default()).clone()
            }
        };
        // Before the look whether it takes calls.
        fence(Ordering::SeqCst);
        record
    }

    /// Forgets what was noted of one that had ended before. Whoever ends it may have seen it meanwhile, and forgets it
    /// then.
    fn forget_unless_shared(&self, instance: InstanceId, record: Arc<Record>) {
        let mut records = lock(&self.records);
        // Who has it has it from here, under this lock: the table is one, and this is the other.
        let is_alone = Arc::strong_count(&record) == 2;
        if is_alone && records.get(&instance).is_some_and(|known| Arc::ptr_eq(known, &record)) {
            records.remove(&instance);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        // Under the lock as well: of two that do this at once, the second one is alone.
        drop(record);
    }

    fn forget(&self, instance: InstanceId) {
        if lock(&self.records).remove(&instance).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How long the end of an instance is kept back for its names.
    fn wait(&self) -> Duration {
        if self.late.load(Ordering::Relaxed) > 0 { Duration::ZERO } else { FREE_WAIT }
    }

    fn get(&self, instance: InstanceId) -> Option<Arc<Record>> {
        lock(&self.records).get(&instance).cloned()
    }
}

/// Gives an instance of this node a name. Goes on to its end also if nobody waits for it: what was given is noted.
pub(crate) async fn register(
    app: &Arc<AppInner>,
    host: Arc<dyn AnyHost>,
    name: String,
    instance: InstanceId,
) -> Result<(), Refusal> {
    let Ok(place) = app.names.registering.clone().try_acquire_owned() else {
        let what = format!("{REGISTERING_MAX} registrations of names wait on {} already", app.node);
        return Err(Refusal::Failed(CallErrorKind::Overloaded { what }));
    };
    let registering = register_to_the_end(app.clone(), host, name, instance);
    let registering = app.runtime.spawn(async {
        let registered = registering.await;
        drop(place);
        registered
    });
    // An error means that the runtime shuts down.
    registering.await.unwrap_or(Err(Refusal::Failed(CallErrorKind::Cancelled)))
}

async fn register_to_the_end(
    app: Arc<AppInner>,
    host: Arc<dyn AnyHost>,
    name: String,
    instance: InstanceId,
) -> Result<(), Refusal> {
    let record = app.names.note(instance);
    let Ok(mut standing) = tokio::time::timeout(TURN_WAIT, record.lock()).await else {
        let why = format!("other registrations of the same instance have not ended within {TURN_WAIT:?}");
        return Err(Refusal::Failed(CallErrorKind::Unreachable { why }));
    };
    if standing.over || !host.takes_calls(instance) {
        let named = standing.named;
        drop(standing);
        // Whoever frees the name that it has may be on the way here.
        if !named {
            app.names.forget_unless_shared(instance, record);
        }
        return Err(Refusal::Failed(CallErrorKind::Gone));
    }
    let module = host.core().descriptor.name.to_owned();
    let holder = Holder { instance, module, node: app.node.clone() };
    let answered = app.control.names(NameAsk::Register { name, holder }).await;
    // What was asked and not answered may have been done, or be done still.
    standing.named |= match &answered {
        Ok(answer) => *answer == NameAnswer::Done,
        Err(error) => matches!(error, ControlError::Store { asked: true, .. } | ControlError::Io { .. }),
    };
    match answered? {
        NameAnswer::Done => Ok(()),
        other => Err(not_done(other)),
    }
}

impl HostCore {
    /// Whether an instance that takes no more calls has names: its end is told once [`HostCore::free_names`] has ended.
    pub(crate) fn is_named(&self, instance: InstanceId) -> bool {
        self.descriptor.kind == ModuleKind::Spawned
            && self.app.upgrade().is_some_and(|app| app.names.has(instance))
    }

    /// Frees the names of an instance that takes no more calls. Whoever keeps them may hang: then the end of the instance
    /// goes on after [`FREE_WAIT`], those of others at once, and the names are free when that one goes on.
    pub(crate) async fn free_names(&self, instance: InstanceId) {
        let Some(app) = self.app.upgrade() else { return };
        let Some(record) = app.names.get(instance) else { return };
        // On a task of its own: they are freed, whoever is still there to wait for it.
        let standing = Arc::new(AtomicU8::new(FREEING));
        let freeing = self.runtime.spawn(free(app.clone(), record, instance, standing.clone()));
        let wait = app.names.wait();
        // An error of the task means that the runtime shuts down.
        if tokio::time::timeout(wait, freeing).await.is_ok() || wait.is_zero() {
            return;
        }
        let late = standing.compare_exchange(FREEING, LATE, Ordering::AcqRel, Ordering::Acquire);
        if late.is_ok() && app.names.late.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                %instance,
                "it has ended, and whoever keeps its names has not answered within {FREE_WAIT:?} that they are free: until \
                 that happens, ends are told although names are taken"
            );
        }
    }
}

/// The names of an instance are about to be free.
const FREEING: u8 = 0;
/// They are still, and its end has been told.
const LATE: u8 = 1;
/// They are free.
const FREE: u8 = 2;

async fn free(app: Arc<AppInner>, record: Arc<Record>, instance: InstanceId, how: Arc<AtomicU8>) {
    let mut standing = record.lock().await;
    standing.over = true;
    if standing.named {
        // An error means that whoever keeps them is gone, and they are too.
        drop(app.control.ended(instance).await);
        standing.named = false;
    }
    drop(standing);
    app.names.forget(instance);
    if how.swap(FREE, Ordering::AcqRel) == LATE {
        app.names.late.fetch_sub(1, Ordering::Relaxed);
    }
}
