//! Keeps one cell after the other alive, as long as one is wanted. What [`replicated`](super::super::replicated) does for
//! an instance, by the same policy.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skybox_core::{Exit, ModuleKind};
use skybox_plan::restart::{Decision, End, History};
use tokio::sync::watch;

use super::super::replicated::{chance, failed_start, give_up, policy, try_again};
use super::super::restart::{Order, Ordered, Restarted};
use super::super::{CLOSE_WAIT, Failure, HostCore, lock, stop};
use super::{Slot, look_every, on_demand};
use crate::cell::{self, Cell, LEAVE_WAIT, NotBorn};
use crate::conn::Conn;
use crate::control::Report;

/// How the time of a cell came to its end.
enum Over {
    /// Nobody wants it any more, or its key sleeps.
    Unwanted,
    /// Its process has ended.
    Died(Exit),
    /// Its module does not start in it any more, after so many attempts.
    GaveUp { cause: String, failed_starts: u32 },
    /// Somebody wants another.
    Ordered(Order),
}

/// The task of one slot.
pub(super) async fn keep(core: Arc<HostCore>, slot: Arc<Slot>, ordered: Ordered) {
    Keeper {
        chances: core.chances.subscribe(),
        core,
        slot,
        history: History::default(),
        within_cell: None,
        useful: false,
        cause: String::new(),
        born: Instant::now(),
        ordered,
    }
    .run()
    .await;
}

struct Keeper {
    core: Arc<HostCore>,
    slot: Arc<Slot>,
    history: History,
    /// How many starts have failed in a cell that has given the module up.
    within_cell: Option<u32>,
    /// How often the plan has said that what was given up is to be tried again.
    chances: watch::Receiver<u64>,
    /// A call of this module, or key, has ended well in a cell.
    useful: bool,
    /// Why the last one ended, or did not start.
    cause: String,
    born: Instant,
    ordered: Ordered,
}

impl Keeper {
    fn is_on_demand(&self) -> bool {
        on_demand(self.core.descriptor.kind)
    }

    /// Whether this was the cell of one spawned instance, which is not made again.
    fn was_of_one(&self) -> bool {
        self.core.descriptor.kind == ModuleKind::Spawned && self.slot.key.is_some()
    }

    fn wanted(&self) -> watch::Receiver<bool> {
        if self.is_on_demand() { self.slot.wanted.subscribe() } else { self.core.wanted.subscribe() }
    }

    async fn run(mut self) {
        let mut wanted = self.wanted();
        // Given while nothing ran: the next start is the answer.
        let mut order: Option<Order> = None;
        loop {
            if !*wanted.borrow() {
                self.slot.give_back();
                order.take().into_iter().for_each(|order| order.answer(Restarted::Asleep));
            }
            if self.slot.gone.load(Ordering::Acquire) && self.slot.key.is_some() {
                return;
            }
            tokio::select! {
                biased;
                () = until(&mut wanted, |wanted| *wanted) => {}
                Some(order) = self.ordered.recv() => {
                    order.answer(if self.is_on_demand() { Restarted::Asleep } else { Restarted::Elsewhere });
                    continue;
                }
                _ = gone(&self.slot) => return,
            }
            let started = tokio::select! {
                biased;
                // Whoever sees a start that hangs asks for another.
                Some(given) = self.ordered.recv() => {
                    order.replace(given).into_iter().for_each(|order| order.answer(Restarted::Waiting));
                    continue;
                }
                started = start(&self.core, &self.slot, &mut wanted) => started,
            };
            let decision = match started {
                None => {
                    if self.core.app.strong_count() == 0 {
                        return;
                    }
                    continue;
                }
                Some(Err(not_born)) => {
                    let answer = Restarted::Failed { cause: not_born.cause.clone(), old: None };
                    order.take().into_iter().for_each(|order| order.answer(answer.clone()));
                    self.not_born(not_born)
                }
                Some(Ok(link)) => {
                    self.publish(&link);
                    let answer = Restarted::Started { new: name_of(&link) };
                    order.take().into_iter().for_each(|order| order.answer(answer.clone()));
                    match self.watch(&mut wanted).await {
                        Over::Unwanted => {
                            self.put_away().await;
                            self.slot.give_back();
                            if self.core.cells.as_ref().is_some_and(|cells| cells.forget(&self.slot)) {
                                return;
                            }
                            if !self.is_on_demand() {
                                self.core
                                    .report(Report::Stopped { module: self.core.descriptor.name.into() });
                            }
                            continue;
                        }
                        Over::Ordered(given) => {
                            self.put_away().await;
                            order = Some(given);
                            continue;
                        }
                        Over::Died(exit) => {
                            let decision = self.died(exit);
                            if self.was_of_one() {
                                return;
                            }
                            decision
                        }
                        Over::GaveUp { cause, failed_starts } => {
                            self.within_cell = Some(failed_starts);
                            self.cause = cause;
                            self.put_away().await;
                            Decision::GiveUp
                        }
                    }
                }
            };
            order = self.pause(decision, &mut wanted).await;
        }
    }

    fn publish(&self, link: &Arc<Conn>) {
        *lock(&self.slot.failed) = None;
        *lock(&self.core.failed) = None;
        self.slot.called();
        self.slot.link.store(Some(link.clone()));
        self.slot.notify(&self.core);
        if !self.is_on_demand() {
            self.core.report(Report::Started { module: self.core.descriptor.name.into() });
        }
    }

    /// Waits for the end of the cell that takes calls, and replaces it whenever that is ordered and can be done without
    /// a gap.
    async fn watch(&mut self, wanted: &mut watch::Receiver<bool>) -> Over {
        loop {
            let Some(link) = self.slot.link.load_full() else { return Over::Unwanted };
            let Some(cell) = link.cell().cloned() else { return Over::Unwanted };
            let order = tokio::select! {
                biased;
                exit = cell.ended() => {
                    self.useful |= cell.useful.yet();
                    return Over::Died(exit);
                }
                () = until(wanted, |wanted| !wanted) => return Over::Unwanted,
                (cause, failed_starts) = cell.gave_up() => return Over::GaveUp { cause, failed_starts },
                () = asleep(&self.slot, &link, self.core.settings.idle) => {
                    self.slot.wanted.send_replace(false);
                    return Over::Unwanted;
                }
                Some(order) = self.ordered.recv() => order,
            };
            if self.is_on_demand() {
                // There are never two of a key.
                return Over::Ordered(order);
            }
            // The old one takes the calls meanwhile.
            match start(&self.core, &self.slot, wanted).await {
                None => {
                    order.answer(Restarted::Elsewhere);
                    return Over::Unwanted;
                }
                Some(Err(not_born)) => {
                    failed_start(&self.core, &not_born.cause);
                    order.answer(Restarted::Failed { cause: not_born.cause, old: Some(name_of(&link)) });
                }
                Some(Ok(new)) => {
                    self.publish(&new);
                    order.answer(Restarted::Replaced { old: name_of(&link), new: name_of(&new) });
                    self.core.runtime.spawn(put_away(self.core.clone(), link, None));
                }
            }
        }
    }

    /// New calls wait for the next one, those in progress end, and then it does.
    async fn put_away(&self) {
        let Some(link) = self.slot.link.load_full() else { return };
        // A call that has just been sent over it is one of those in progress.
        link.take_no_more();
        self.slot.notify(&self.core);
        put_away(self.core.clone(), link, self.slot.key.clone()).await;
        self.slot.link.store(None);
        self.slot.notify(&self.core);
    }

    fn died(&mut self, exit: Exit) -> Decision {
        let module = self.core.descriptor.name;
        tracing::error!(module, code = %skybox_core::Code::LOST, "{exit}");
        self.cause = exit.to_string();
        if let Some(link) = self.slot.link.load_full()
            && let Some(cell) = link.cell()
        {
            let key = self.slot.key.as_deref().filter(|_| self.core.descriptor.kind == ModuleKind::Keyed);
            self.core.endings.cell_died(&cell.name, cell.started.elapsed(), key, exit.clone());
            if let Some(cells) = &self.core.cells {
                cells.fell(&self.core, &link, &exit);
            }
        }
        self.slot.link.store(None);
        self.slot.notify(&self.core);
        let end = match exit {
            Exit::Killed { .. } => End::Killed,
            _ if self.useful => End::Crashed,
            _ => End::Failed,
        };
        self.history.decide(&policy(&self.core), end, self.born.elapsed())
    }

    fn not_born(&mut self, not_born: NotBorn) -> Decision {
        let NotBorn { cause, exit, given_up } = not_born;
        self.cause.clone_from(&cause);
        match exit {
            _ if given_up.is_some() => {
                self.within_cell = given_up;
                return Decision::GiveUp;
            }
            Some(exit) => {
                let module = self.core.descriptor.name;
                tracing::error!(module, code = %skybox_core::Code::NOT_STARTED, "{cause}");
                self.core.endings.note(None, self.slot.key.as_deref(), exit);
            }
            None => failed_start(&self.core, &cause),
        }
        self.history.decide(&policy(&self.core), End::Failed, self.born.elapsed())
    }

    /// Waits as long as it was decided; an order ends the wait.
    async fn pause(&mut self, decision: Decision, wanted: &mut watch::Receiver<bool>) -> Option<Order> {
        let given_up = decision == Decision::GiveUp;
        if given_up
            && self.core.descriptor.kind == ModuleKind::Keyed
            && let Some(key) = self.slot.key.clone()
        {
            self.give_up_key(&key);
            return None;
        }
        if given_up && self.is_on_demand() {
            let cause = self.core.endings.last_cause();
            *lock(&self.slot.failed) = Some(Failure::new(cause, &self.history, &policy(&self.core)));
            self.slot.notify(&self.core);
        } else if given_up {
            // What a cell has given up it has told, before it was put away itself.
            let (cause, failed_starts) = match self.within_cell.take() {
                Some(failed_starts) => (self.cause.clone(), failed_starts),
                None => (self.core.endings.last_cause(), self.history.failed_starts()),
            };
            self.chances.mark_unchanged();
            give_up(&self.core, cause, failed_starts);
            self.slot.notify(&self.core);
        }
        let pause = match decision {
            Decision::After(pause) => Some(self.core.jittered(pause)),
            // Of a cell that several share nobody is told that it was given up but its callers, and these ask again. A key
            // with a cell of its own has gone another way.
            Decision::GiveUp => self.is_on_demand().then_some(self.core.settings.within),
        };
        let order = tokio::select! {
            biased;
            Some(order) = self.ordered.recv() => Some(order),
            () = sleep(pause) => None,
            () = until(wanted, |wanted| !wanted), if !self.is_on_demand() || pause.is_none() => None,
            () = chance(&mut self.chances), if given_up && !on_demand(self.core.descriptor.kind) => None,
            _ = gone(&self.slot) => None,
        };
        if order.is_some() || given_up {
            self.history.clear();
            *lock(&self.slot.failed) = None;
            try_again(&self.core, order.is_some());
            if self.is_on_demand() && order.is_none() {
                // The next call starts it.
                self.slot.wanted.send_replace(false);
            }
            self.slot.notify(&self.core);
        }
        order
    }
}

impl Keeper {
    /// The key of this slot is not started any more, which is remembered elsewhere: the slot goes, with this task.
    fn give_up_key(&mut self, key: &[u8]) {
        let failure = Failure::new(self.cause.clone(), &self.history, &policy(&self.core));
        self.core.failed_keys.gave_up(key, failure.clone());
        self.core.tell_given_up(key, &failure);
        self.history.clear();
        self.slot.wanted.send_replace(false);
        self.slot.notify(&self.core);
        self.slot.give_back();
        if let Some(cells) = &self.core.cells {
            // Unless calls wait there, the last of which does it.
            cells.forget(&self.slot);
        }
    }
}

/// A cell, unless none is wanted any more. Dropped, it kills what it has started.
async fn start(
    core: &Arc<HostCore>,
    slot: &Slot,
    wanted: &mut watch::Receiver<bool>,
) -> Option<Result<Arc<Conn>, NotBorn>> {
    let app = core.app.upgrade()?;
    let cells = core.cells.as_ref()?;
    slot.unborn_is_gone().await;
    let number = 1 + cells.count.fetch_add(1, Ordering::Relaxed);
    let outcome = tokio::select! {
        biased;
        () = until(wanted, |wanted| !wanted) => None,
        outcome = Cell::start(&app, core, number, &slot.unborn) => Some(outcome),
    };
    if let Some(Ok(_)) = &outcome {
        *lock(&slot.unborn) = Weak::new();
    }
    outcome
}

/// Resolves when a key has not been called for as long as it stays awake.
async fn asleep(slot: &Slot, link: &Arc<Conn>, idle: Duration) {
    if slot.key.is_none() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(look_every(idle)).await;
        if link.is_idle() && lock(&slot.last_call).elapsed() >= idle {
            return;
        }
    }
}

/// Resolves when the key has left this slot.
async fn gone(slot: &Slot) {
    let mut changes = slot.changed.subscribe();
    while slot.key.is_none() || !slot.gone.load(Ordering::Acquire) {
        // The sender lives in the slot.
        drop(changes.changed().await);
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Waits for a value of a watch whose sender the waiting task's own slot or host holds.
async fn until(watch: &mut watch::Receiver<bool>, which: impl FnMut(&bool) -> bool) {
    drop(watch.wait_for(which).await);
}

pub(super) fn name_of(link: &Conn) -> String {
    link.cell().map_or_else(String::new, |cell| cell.name.to_string())
}

/// Ends a cell that takes no new calls, once those in progress have ended.
async fn put_away(core: Arc<HostCore>, link: Arc<Conn>, key: Option<Bytes>) {
    let Some(cell) = link.cell().cloned() else { return };
    let over = async {
        let module = core.descriptor.name;
        if tokio::time::timeout(CLOSE_WAIT, link.idle()).await.is_err() {
            tracing::warn!(module, "its last call has not ended {CLOSE_WAIT:?} after its cell was retired");
        }
        let wait = LEAVE_WAIT + stop::wait(&core);
        let left = tokio::time::timeout(wait, Cell::order(&link, &cell::Order::Leave)).await;
        let has_left = matches!(left, Ok(Some(_)));
        if left.is_err() {
            tracing::warn!(module, "its cell has not left {wait:?} after it was told to: killed");
        }
        cell.kill();
        has_left
    };
    let has_left = tokio::select! {
        biased;
        // Its answer counts, also if its end is seen in the same moment.
        has_left = over => has_left,
        _ = cell.ended() => false,
    };
    let exit = cell.ended().await;
    let exit = if has_left { Exit::Stopped } else { exit };
    if let Some(cells) = &core.cells {
        cells.fell(&core, &link, &exit);
    }
    match core.descriptor.kind {
        // Its own instances have said how they ended.
        ModuleKind::Spawned if exit == Exit::Stopped => {}
        ModuleKind::Spawned => core.endings.cell_died(&cell.name, cell.started.elapsed(), None, exit),
        _ => core.endings.cell_died(&cell.name, cell.started.elapsed(), key.as_deref(), exit),
    }
}
