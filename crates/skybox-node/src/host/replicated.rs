//! Tasks and replicated modules: one instance in each node the plan names, kept alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use skybox_core::{CallErrorKind, Code, Exit, InstanceId, ModuleKind};
use skybox_plan::restart::{Decision, End, History, Policy};
use tokio::sync::watch;

use super::restart::{Order, Ordered, Restarted, answer_of};
use super::stop::{self, OwnCode};
use super::{CLOSE_WAIT, Failure, Head, Hold, Host, HostCore, Instance, lock, nobody_starts};
use crate::app::App;
use crate::call::Panicked;
use crate::control::Report;
use crate::module::Module;

/// Starts the task that keeps the local instance as the plan wants it.
pub(super) fn open<T: Module>(host: &Arc<Host<T>>) {
    let Some(ordered) = lock(&host.core.ordered).take() else { return };
    host.core.runtime.clone().spawn(keep(host.clone(), ordered));
}

/// The local instance, waiting for it while it starts.
pub(super) async fn find<T: Module>(
    host: &Arc<Host<T>>,
    deadline: Option<Instant>,
) -> Result<(Hold<T>, Head), CallErrorKind> {
    let mut changes = host.core.changes();
    let until = host.core.wait_end(deadline);
    let _place = host.core.queue_up()?;
    let waited_out = || host.core.waited_out(deadline, "its instance had not started");
    let head = host.line.enter(until).await.ok_or_else(waited_out)?;
    loop {
        changes.borrow_and_update();
        if let Some(instance) = host.local.load() {
            return Ok((Hold::counted(instance), head));
        }
        if !*host.core.wanted.borrow() {
            return Err(CallErrorKind::Moved);
        }
        if let Some(kind) = nobody_starts(&host.core) {
            // Whether there is another cell, or another node, is known to the node of this one.
            return Err(if host.core.cell_of.is_some() { CallErrorKind::Moved } else { kind });
        }
        if !HostCore::changed_before(&mut changes, until).await {
            return Err(waited_out());
        }
    }
}

/// Takes the local instance out of the route and waits until its last call and its `stop` have ended.
pub(super) async fn close<T: Module>(host: &Arc<Host<T>>) {
    host.core.want(false);
    retire(host).await;
}

async fn retire<T: Module>(host: &Arc<Host<T>>) {
    let Some(instance) = host.local.swap(None) else { return };
    host.core.notify();
    let ended = instance.ended();
    drop(instance);
    let wait = CLOSE_WAIT + stop::wait(&host.core);
    if tokio::time::timeout(wait, ended.wait()).await.is_err() {
        tracing::warn!(
            module = host.core.descriptor.name,
            "its last call has not ended {wait:?} after its instance was retired"
        );
    }
}

/// Keeps an instance here as long as the plan wants one: starts it, starts it again when it crashed, and replaces it
/// when somebody orders that.
async fn keep<T: Module>(host: Arc<Host<T>>, mut ordered: Ordered) {
    let core = host.core.clone();
    let mut wanted = core.wanted.subscribe();
    let mut over = core.over.subscribe();
    let mut chances = core.chances.subscribe();
    let mut history = History::default();
    let born = Instant::now();
    // Given while nothing ran: the next start is the answer.
    let mut order: Option<Order> = None;
    loop {
        if !*wanted.borrow() {
            order.take().into_iter().for_each(|order| order.answer(Restarted::Elsewhere));
        }
        tokio::select! {
            biased;
            () = until(&mut wanted, |wanted| *wanted) => {}
            Some(order) = ordered.recv() => {
                order.answer(Restarted::Elsewhere);
                continue;
            }
        }
        let Some(app) = core.app.upgrade().map(App::from_inner) else { return };
        let outcome = tokio::select! {
            biased;
            () = until(&mut wanted, |wanted| !wanted) => continue,
            outcome = start::<T>(&core, app, <T::Key as UnitKey>::owned(), core.next_instance_id(), None) => outcome,
        };
        let started = outcome.as_ref().map(|instance| instance.id).map_err(String::clone);
        let end = match outcome {
            Ok(instance) => {
                publish(&host, instance);
                order.take().into_iter().for_each(|order| order.answer(answer_of(None, started.clone())));
                let Some(killed) = watch_over(&host, &mut wanted, &mut over, &mut ordered).await else {
                    retire(&host).await;
                    core.report(Report::Stopped { module: core.descriptor.name.into() });
                    continue;
                };
                // New calls wait for the next one; those in progress keep the old one until they end.
                host.local.store(None);
                core.notify();
                // Ten bad pictures in a row must not end thumbnails for everyone.
                match killed {
                    true => End::Killed,
                    false if core.useful.yet() && core.descriptor.kind == ModuleKind::Task => {
                        End::CrashedTask
                    }
                    false if core.useful.yet() => End::Crashed,
                    false => End::Failed,
                }
            }
            Err(cause) => {
                failed_start(&core, &cause);
                order.take().into_iter().for_each(|order| order.answer(answer_of(None, started.clone())));
                End::Failed
            }
        };
        let decision = history.decide(&policy(&core), end, born.elapsed());
        if decision == Decision::GiveUp {
            chances.mark_unchanged();
            give_up(&core, core.endings.last_cause(), history.failed_starts());
        }
        order = tokio::select! {
            biased;
            Some(order) = ordered.recv() => Some(order),
            () = pause(&core, decision, &mut wanted, &mut chances) => None,
        };
        if order.is_some() || decision == Decision::GiveUp {
            // What comes now is a beginning.
            history.clear();
            try_again(&core, order.is_some());
        }
    }
}

/// Waits as long as it was decided: for a while, or until the plan takes what was given up elsewhere, or has it tried
/// again here.
async fn pause(
    core: &HostCore,
    decision: Decision,
    wanted: &mut watch::Receiver<bool>,
    chances: &mut watch::Receiver<u64>,
) {
    match decision {
        Decision::After(pause) => tokio::time::sleep(core.jittered(pause)).await,
        Decision::GiveUp => tokio::select! {
            () = until(wanted, |wanted| !wanted) => {}
            () = chance(chances) => {}
        },
    }
}

/// Waits until the plan has what was given up tried again.
pub(super) async fn chance(chances: &mut watch::Receiver<u64>) {
    // The sender lives in the host of the waiting task.
    drop(chances.changed().await);
}

/// Waits for the end of the live instance, and replaces it whenever that is ordered. Says whether it was killed, or had
/// crashed; `None`: the plan does not want it here any more.
async fn watch_over<T: Module>(
    host: &Arc<Host<T>>,
    wanted: &mut watch::Receiver<bool>,
    over: &mut watch::Receiver<Option<(InstanceId, bool)>>,
    ordered: &mut Ordered,
) -> Option<bool> {
    let core = &host.core;
    loop {
        let live = core.live.load(Ordering::Acquire);
        let order = tokio::select! {
            biased;
            () = until(wanted, |wanted| !wanted) => return None,
            killed = end_of(over, live) => return Some(killed),
            Some(order) = ordered.recv() => order,
        };
        let app = core.app.upgrade().map(App::from_inner)?;
        // The old one takes the calls meanwhile.
        let outcome = tokio::select! {
            biased;
            () = until(wanted, |wanted| !wanted) => {
                order.answer(Restarted::Elsewhere);
                return None;
            }
            outcome = start::<T>(core, app, <T::Key as UnitKey>::owned(), core.next_instance_id(), None) => outcome,
        };
        let old = host.local.load();
        let started = outcome.as_ref().map(|instance| instance.id).map_err(String::clone);
        let answer = answer_of(old.as_ref().map(|old| old.id), started);
        match outcome {
            Ok(instance) => {
                publish(host, instance);
                if let Some(old) = old {
                    old.ended_by(Exit::Stopped);
                }
            }
            Err(cause) => failed_start(core, &cause),
        }
        order.answer(answer);
    }
}

/// Has the module started anew. Resolves when it is, or with what keeps it from it.
pub(super) async fn restart<T: Module>(host: &Arc<Host<T>>) -> Result<Restarted, CallErrorKind> {
    let answered = host.core.orders.give()?;
    match tokio::time::timeout(host.core.settings.start_wait, answered).await {
        Ok(Ok(restarted)) => Ok(restarted),
        Ok(Err(_)) => Err(CallErrorKind::Gone),
        Err(_) => Ok(Restarted::Waiting),
    }
}

/// Waits for the end of the instance that is the live one; says whether it was killed.
async fn end_of(over: &mut watch::Receiver<Option<(InstanceId, bool)>>, live: u64) -> bool {
    let mut killed = false;
    let ended = |over: &Option<(InstanceId, bool)>| {
        over.filter(|(ended, _)| ended.count == live).map(|(_, by_force)| killed = by_force).is_some()
    };
    until(over, ended).await;
    killed
}

/// Waits for a value of a watch whose sender the waiting task's own host holds.
async fn until<V>(watch: &mut watch::Receiver<V>, which: impl FnMut(&V) -> bool) {
    drop(watch.wait_for(which).await);
}

/// A key type that stands for "no key": `()`.
pub(crate) trait UnitKey: ToOwned {
    fn owned() -> Self::Owned;
}

impl<K: crate::module::Key + ?Sized> UnitKey for K {
    /// Decodes the key of a module without keys from nothing, which only `()` does.
    fn owned() -> K::Owned {
        skybox_wire::codec::decode(skybox_wire::codec::Form::Compact, &[])
            .expect("the key of a module without keys is ()")
    }
}

fn publish<T: Module>(host: &Arc<Host<T>>, instance: Arc<Instance<T>>) {
    *lock(&host.core.failed) = None;
    host.core.live.store(instance.id.count, Ordering::Release);
    host.local.store(Some(instance));
    host.core.notify();
    host.core.report(Report::Started { module: host.core.descriptor.name.into() });
}

pub(super) fn failed_start(core: &HostCore, cause: &str) {
    tracing::error!(module = core.descriptor.name, code = %Code::NOT_STARTED, "its start failed: {cause}");
    core.endings.failed_start(None, cause);
}

/// Gives it up after so many failed starts.
pub(super) fn give_up(core: &HostCore, cause: String, failed_starts: u32) {
    tracing::error!(module = core.descriptor.name, code = %Code::NOT_STARTED, "given up: {cause}");
    *lock(&core.failed) = Some(Failure::told(cause.clone(), failed_starts, core.settings.within));
    core.report(Report::GaveUp { module: core.descriptor.name.into(), cause, failed_starts });
    core.notify();
}

/// Forgets that it was given up: calls wait for it again.
pub(super) fn try_again(core: &HostCore, ordered: bool) {
    if lock(&core.failed).take().is_some() {
        // Without an order it was the plan that took it away from here, or gave it another chance.
        if ordered {
            core.report(Report::TriesAgain { module: core.descriptor.name.into() });
        }
        core.notify();
    }
}

pub(super) fn policy(core: &HostCore) -> Policy {
    let settings = &core.settings;
    Policy { restart: settings.restart, max_restarts: settings.max_restarts, within: settings.within }
}

/// Runs a module's `start` as code of that module; a panic is a failed start. `bytes` are those of a key.
pub(super) async fn start<T: Module>(
    core: &Arc<HostCore>,
    app: App,
    key: <T::Key as ToOwned>::Owned,
    id: InstanceId,
    bytes: Option<&[u8]>,
) -> Result<Arc<Instance<T>>, String> {
    let epoch = core.epoch(bytes);
    match OwnCode::of_start(core, (id, epoch), T::start(app, key)).await {
        Ok(Ok(value)) => {
            let (turn, host) = (core.turn(), Arc::downgrade(core));
            Ok(Instance::new(value, (id, epoch), turn, &host, bytes, stop::last_word::<T>(core)))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(Panicked { message, place }) => Err(format!("it panicked at {place}: {message}")),
    }
}

impl HostCore {
    /// [`AppInner::jittered`](crate::app::AppInner::jittered).
    pub(crate) fn jittered(&self, pause: Duration) -> Duration {
        self.app.upgrade().map_or(pause, |app| app.jittered(pause))
    }

    /// Tells whoever plans.
    pub(crate) fn report(&self, report: Report) {
        if let Some(app) = self.app.upgrade() {
            app.control.report(report);
        }
    }
}
