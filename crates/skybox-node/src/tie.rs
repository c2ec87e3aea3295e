//! Links between spawned instances.
//!
//! A link is two ties, one for each of its ends: *this one falls when that one has fallen*. A tie is kept by the node that
//! has the seat of the one that falls. That node watches the other one as any [`Monitor`] does, so a tie acts once, also
//! when the node of the other is lost.
//!
//! Both ties change together:
//! 1. Whoever wants that tells the node of the end with the smaller id, which carries out the orders for one pair one
//!    after another, and numbers them.
//! 2. That node has the other node change its tie, asking until it is answered or the other node is lost.
//! 3. Then it changes its own, which cannot fail but for want of room.
//!
//! Whoever is told that a link is made may have the end of one be forgotten the next moment. So each node has the end of its
//! own one kept for the other before that: its monitor there is announced with step 2, and the other way round with the
//! answer to it ([`Observer::will_begin`]). It is kept until it was heard, also while the two have no connection.

mod linking;
mod table;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};
use skybox_core::{CallErrorKind, Exit, InstanceId, NodeName};
use tokio::sync::OwnedMutexGuard;
use tokio::task::AbortHandle;

use table::{Full, Pair, TIES_MAX, Table};

use crate::app::AppInner;
use crate::between::{self, Named};
use crate::host::lock;
use crate::monitor::{Monitor, Monitors, Observer, Observers, Unowned};

/// One end of a link: an instance, and the node that has its seat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    node: NodeName,
    named: Named,
}

/// What is to become of the two ties of a pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The end with the smaller id, whose node carries it out.
    first: End,
    second: End,
    /// Whether the first is to fall with the second.
    first_falls: bool,
    /// Whether the second is to fall with the first.
    second_falls: bool,
}

/// What is to become of one tie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Half {
    near: End,
    far: End,
    /// Whether the near one is to fall with the far one.
    falls: bool,
    number: u64,
    /// Under which number the node of the far one watches the near one, if it does.
    watched_as: Option<u64>,
}

/// The ties whose nearer ends have their seats in this node.
#[derive(Debug)]
pub(crate) struct Ties {
    table: Mutex<Table<Keeper>>,
    /// Counts the orders that this node has carried out.
    orders: AtomicU64,
    /// The pairs for which an order is being carried out.
    busy: Mutex<HashMap<Pair, Arc<tokio::sync::Mutex<()>>>>,
}

impl Default for Ties {
    fn default() -> Ties {
        let table = Mutex::new(Table::new(TIES_MAX));
        Ties { table, orders: AtomicU64::new(0), busy: Mutex::default() }
    }
}

impl Order {
    fn new(this: End, other: End, this_falls: bool, other_falls: bool) -> Order {
        if this.named.seat <= other.named.seat {
            return Order { first: this, second: other, first_falls: this_falls, second_falls: other_falls };
        }
        Order { first: other, second: this, first_falls: other_falls, second_falls: this_falls }
    }
}

/// Has an order carried out by whose turn it is.
///
/// # Errors
/// `Unreachable` or `Lost`, if a node that has to know of it was lost; `Overloaded`.
pub(crate) async fn order(app: &Arc<AppInner>, order: Order) -> Result<(), CallErrorKind> {
    if app.inside.is_some() {
        return between::link_at_home(app, order).await;
    }
    if order.first.node != app.node {
        let (peer, life) = (app.links.peer(&order.first.node), order.first.named.seat.node);
        return between::link(app, &peer, life, order).await;
    }
    // Entered before there is a task: orders come in turn as they were asked for, and whoever leaves before has asked nothing.
    let gate = Gate::enter(app, order.pair()).await;
    if order.second.node == app.node {
        return carry_out_here(app, order);
    }
    // On a task of its own: whoever has asked may leave, and no half of a link may stay.
    let carrying_out = carry_out(app.clone(), order, gate);
    app.runtime.spawn(carrying_out).await.unwrap_or(Err(CallErrorKind::Gone))
}

/// Both ends are here.
fn carry_out_here(app: &Arc<AppInner>, order: Order) -> Result<(), CallErrorKind> {
    let (second, first) = order.halves(app.ties.orders.fetch_add(1, Ordering::Relaxed));
    let taken_back = Half { falls: false, ..second.clone() };
    change(app, second)?;
    match change(app, first) {
        Ok(_) => Ok(()),
        Err(kind) => {
            // It cannot fail: nothing is to be kept.
            drop(change(app, taken_back));
            Err(kind)
        }
    }
}

/// The second one is elsewhere.
async fn carry_out(app: Arc<AppInner>, order: Order, _gate: Gate) -> Result<(), CallErrorKind> {
    let (mut second, first) = order.halves(app.ties.orders.fetch_add(1, Ordering::Relaxed));
    let (peer, life) = (app.links.peer(&second.near.node), second.near.named.seat.node);
    let far_ends = first.falls.then(|| monitor(&app, &first.far));
    if !first.falls {
        // Nothing can go wrong with that, and it holds whatever becomes of the rest.
        change(&app, first.clone())?;
    }
    second.watched_as = far_ends.as_ref().and_then(Monitor::announced);
    let watched_as = between::tie(&app, &peer, life, second.clone()).await?;
    if let Some(number) = watched_as {
        Observers::of(&app, &peer, life).will_begin(&app, number, &first.near.named);
    }
    let Some(far_ends) = far_ends else { return Ok(()) };
    let changed = keep(&app, first, far_ends);
    if changed.is_err() && second.falls {
        let taken_back = Half { falls: false, watched_as: None, ..second };
        // In vain only if that node is lost.
        drop(between::tie(&app, &peer, life, taken_back).await);
    }
    changed.map(drop)
}

impl Order {
    /// The pair, as the node has it that carries the order out.
    fn pair(&self) -> Pair {
        Pair { near: self.first.named.seat, far: self.second.named.seat }
    }

    /// That of the second, and that of the first.
    fn halves(self, number: u64) -> (Half, Half) {
        let Order { first, second, first_falls, second_falls } = self;
        let half = |near, far, falls| Half { near, far, falls, number, watched_as: None };
        (half(second.clone(), first.clone(), second_falls), half(first, second, first_falls))
    }
}

impl Half {
    fn pair(&self) -> Pair {
        Pair { near: self.near.named.seat, far: self.far.named.seat }
    }
}

/// For the node of the far one, changes a tie whose nearer end has its seat here.
///
/// # Errors
/// As those of [`change`].
pub(crate) fn change_for(
    app: &Arc<AppInner>,
    node_of_far: &Arc<Observer>,
    half: Half,
) -> Result<Option<u64>, CallErrorKind> {
    if let Some(number) = half.watched_as {
        node_of_far.will_begin(app, number, &half.near.named);
    }
    change(app, half)
}

/// Changes a tie whose nearer end has its seat here. Gives the number under which the farther one is watched, if that is
/// elsewhere and takes the nearer one along.
///
/// # Errors
/// `Overloaded`.
fn change(app: &Arc<AppInner>, half: Half) -> Result<Option<u64>, CallErrorKind> {
    if half.falls {
        let far_ends = monitor(app, &half.far);
        return keep(app, half, far_ends);
    }
    let keeper = lock(&app.ties.table).end(half.pair(), half.number);
    // Outside the lock: what it keeps goes with it.
    keeper.inspect(|keeper| keeper.task.abort());
    Ok(None)
}

/// Has the nearer end fall when the farther one has.
fn keep(app: &Arc<AppInner>, half: Half, far_ends: Monitor) -> Result<Option<u64>, CallErrorKind> {
    let pair = half.pair();
    let Half { near, far, number, .. } = half;
    // Made and dropped outside the lock: they may be the last to hold an instance.
    let mut ends = Some((between::monitor(app, &near.named), far_ends));
    let keep = |made| {
        let (near_ends, far_ends) = ends.take().expect("one keeper is asked for at most");
        let watched_as = far_ends.announced();
        let tie = Tie { app: Arc::downgrade(app), pair, made };
        // Under the lock, so that its end finds itself in the table.
        let task = app.runtime.spawn(tie.keep(near.named, near_ends, far.named, far_ends)).abort_handle();
        Keeper { task, watched_as }
    };
    let mut table = lock(&app.ties.table);
    let begun = table.begin(pair, number, keep);
    let watched_as = begun.map(|keeper| keeper.and_then(|keeper| keeper.watched_as));
    drop(table);
    watched_as.map_err(|Full| CallErrorKind::Overloaded {
        what: format!("there are {TIES_MAX} links of instances of {} already", app.node),
    })
}

fn monitor(app: &Arc<AppInner>, of: &End) -> Monitor {
    if of.node == app.node {
        return between::monitor(app, &of.named);
    }
    let watches = Monitors::of(app, &app.links.peer(&of.node), of.named.seat.node);
    Monitor::elsewhere(watches, of.named.clone(), Arc::new(Unowned))
}

impl Ties {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// With how many others each of these falls.
    pub(crate) fn of_each(&self, of: &HashSet<InstanceId>) -> HashMap<InstanceId, u64> {
        lock(&self.table).of_each(of)
    }
}

/// Who sees to a tie.
#[derive(Debug)]
struct Keeper {
    task: AbortHandle,
    /// Under which number the farther one is watched, if it is elsewhere.
    watched_as: Option<u64>,
}

/// One that is kept.
struct Tie {
    app: Weak<AppInner>,
    pair: Pair,
    made: u64,
}

impl Tie {
    /// Waits for the end of either; has the near one fall where that of the far one takes it along.
    async fn keep(self, near: Named, near_ends: Monitor, far: Named, far_ends: Monitor) {
        let exit = tokio::select! {
            biased;
            // Nobody is left to fall.
            _ = near_ends => None,
            exit = far_ends => Some(exit),
        };
        let Some(app) = self.app.upgrade() else { return };
        // From here on it is not taken back: an order that comes now is too late, and a kill is carried out to its end.
        if !lock(&app.ties.table).is_over(self.pair, self.made) {
            return;
        }
        let host = between::host_of(&app, &near.module).ok().cloned();
        drop(app);
        if let (Some(exit), Some(host)) = (exit.filter(Exit::takes_along), host) {
            host.kill_seat(near.seat, Exit::linked(&far.module, far.seat, exit)).await;
        }
    }
}

/// The turn of one order for a pair: the next one for the same waits for its end. What they wait for goes with the last.
struct Gate {
    app: Arc<AppInner>,
    pair: Pair,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Gate {
    async fn enter(app: &Arc<AppInner>, pair: Pair) -> Gate {
        let turn = lock(&app.ties.busy).entry(pair).or_default().clone();
        // Here before it waits, so that it leaves nothing behind where nobody waits for it to the end.
        let mut gate = Gate { app: app.clone(), pair, turn: None };
        gate.turn = Some(turn.lock_owned().await);
        gate
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut busy = lock(&self.app.ties.busy);
        // Under the lock, as whoever enters: what the table alone has nobody waits for.
        drop(self.turn.take());
        if busy.get(&self.pair).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            busy.remove(&self.pair);
        }
    }
}
