//! Other nodes that wait for ends of instances here.
//!
//! What one of them waits for is kept for its whole life, and not for that of a connection: between two that it opens,
//! an instance may end and be forgotten. How it ended is kept until that node has heard it.
//!
//! 1. Over each connection it names again all that it waits for, in the order of its numbers. So what has a smaller number
//!    than the one that it names, and was named over an earlier connection alone, it does not wait for any more.
//! 2. An end is told once over each connection over which it was asked for.
//! 3. The other node is never further behind than a stream may be ahead of its reader. So what was told longer ago than
//!    that ([`UNHEARD_MAX`]) it has heard, and it is forgotten here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use skybox_core::{Exit, Incarnation};
use skybox_wire::stream::WINDOW;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Monitor, Told};
use crate::app::AppInner;
use crate::between::{self, Named, TOLD_AHEAD_MAX};
use crate::host::lock;
use crate::links::Peer;

/// Ends that were told and may not have been heard: those that wait for the connection, those of the window that the other
/// node has asked for, and the one that it has in its hand.
const UNHEARD_MAX: usize = TOLD_AHEAD_MAX + WINDOW.items as usize + 1;
/// How long what a lost node waits for is kept: it may have been reached again a moment before it counted as lost.
const KEPT_AFTER_LOSS: Duration = Duration::from_secs(2);

/// All of them, by their lives.
#[derive(Debug, Default)]
pub(crate) struct Observers(Mutex<HashMap<Incarnation, Arc<Observer>>>);

/// One life of another node.
pub(crate) struct Observer(Mutex<Table>);

struct Table {
    /// The number of the connection over which it hears, among those that it has opened for this.
    connection: u64,
    /// Which of its instances it waits for, by its numbers for them.
    awaited: HashMap<u64, Awaited>,
    /// The same, of which it has not said over this connection that it does.
    unnamed: BTreeMap<u64, Awaited>,
    /// All with smaller numbers have been named, or never will be.
    named: u64,
    /// Those that have ended and are to be told over this connection, oldest first.
    untold: VecDeque<u64>,
    /// Those that were told over it and may not have been heard, oldest first.
    unheard: VecDeque<u64>,
    /// There is something to be told over this connection, or it is not the last one any more.
    news: Arc<Notify>,
}

enum Awaited {
    /// Who waits for its end.
    Lives {
        _waits: Waiting,
    },
    Ended(Exit),
}

/// The task that waits for an end; dropped, it waits no more.
struct Waiting(AbortHandle);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is to be said over one connection.
pub(super) enum Next {
    Tell(Told),
    Nothing,
    /// There is a younger one.
    Over,
}

impl Observers {
    /// That of one life of a node.
    pub(crate) fn of(app: &Arc<AppInner>, peer: &Arc<Peer>, life: Incarnation) -> Arc<Observer> {
        let mut all = lock(&app.observers.0);
        let observer = all.entry(life).or_insert_with(|| {
            let observer = Arc::new(Observer::new());
            app.runtime.spawn(forget_lost(
                Arc::downgrade(app),
                peer.clone(),
                life,
                Arc::downgrade(&observer),
            ));
            observer
        });
        observer.clone()
    }
}

/// Forgets one when its life is over.
async fn forget_lost(app: Weak<AppInner>, peer: Arc<Peer>, life: Incarnation, observer: Weak<Observer>) {
    let connections = || observer.upgrade().map(|observer| lock(&observer.0).connection);
    loop {
        let before = connections();
        peer.clone().lost(life, app.clone()).await;
        tokio::time::sleep(KEPT_AFTER_LOSS).await;
        let Some(app) = app.upgrade() else { return };
        if connections() == before {
            lock(&app.observers.0).remove(&life);
            return;
        }
    }
}

impl Observer {
    fn new() -> Observer {
        Observer(Mutex::new(Table {
            connection: 0,
            awaited: HashMap::new(),
            unnamed: BTreeMap::new(),
            named: 0,
            untold: VecDeque::new(),
            unheard: VecDeque::new(),
            news: Arc::default(),
        }))
    }

    /// It listens over a new connection, whose number is given: what it waits for, it names again.
    pub(super) fn connects(&self) -> (u64, Arc<Notify>) {
        let mut table = lock(&self.0);
        let table = &mut *table;
        // Whoever tells over the one before finds out.
        std::mem::take(&mut table.news).notify_one();
        table.connection += 1;
        table.unnamed.extend(table.awaited.drain());
        table.untold.clear();
        table.unheard.clear();
        (table.connection, table.news.clone())
    }

    /// It waits for the end of this one, and says so over its last connection.
    pub(super) fn begins(self: &Arc<Self>, app: &Arc<AppInner>, number: u64, named: &Named) {
        // Made outside the lock, as whatever asks of instances, and dropped there.
        let monitor = between::monitor(app, named);
        let mut gone = Vec::new();
        let mut table = lock(&self.0);
        let table = &mut *table;
        table.named = table.named.max(number + 1);
        while let Some(first) = table.unnamed.first_entry().filter(|first| *first.key() < number) {
            gone.push(first.remove());
        }
        let awaited = match table.unnamed.remove(&number) {
            Some(awaited) => awaited,
            None => self.wait(app, number, monitor),
        };
        if matches!(awaited, Awaited::Ended(_)) {
            table.untold.push_back(number);
            table.news.notify_one();
        }
        table.awaited.insert(number, awaited);
    }

    /// It will wait for the end of this one, and says so with an order before it does over a connection for this: from
    /// now on its end is kept.
    pub(crate) fn will_begin(self: &Arc<Self>, app: &Arc<AppInner>, number: u64, named: &Named) {
        let monitor = between::monitor(app, named);
        let mut table = lock(&self.0);
        // It may have said both since, and that it waits no more.
        if number >= table.named && !table.unnamed.contains_key(&number) {
            let awaited = self.wait(app, number, monitor);
            table.unnamed.insert(number, awaited);
        }
    }

    /// It does not wait for this one any more.
    pub(super) fn ends(&self, number: u64) {
        let mut table = lock(&self.0);
        table.named = table.named.max(number + 1);
        let gone = (table.awaited.remove(&number), table.unnamed.remove(&number));
        drop(table);
        drop(gone);
    }

    /// Under the lock, so that the end finds itself in the table.
    fn wait(self: &Arc<Self>, app: &Arc<AppInner>, number: u64, monitor: Monitor) -> Awaited {
        let observer = Arc::downgrade(self);
        let waiting = app.runtime.spawn(async move {
            let exit = monitor.await;
            if let Some(observer) = observer.upgrade() {
                observer.has_ended(number, exit);
            }
        });
        Awaited::Lives { _waits: Waiting(waiting.abort_handle()) }
    }

    fn has_ended(&self, number: u64, exit: Exit) {
        let mut table = lock(&self.0);
        let table = &mut *table;
        if let Some(awaited) = table.awaited.get_mut(&number) {
            *awaited = Awaited::Ended(exit);
            table.untold.push_back(number);
            table.news.notify_one();
        } else if let Some(awaited) = table.unnamed.get_mut(&number) {
            *awaited = Awaited::Ended(exit);
        }
    }

    /// What is to be told over this connection, which counts as told.
    pub(super) fn next(&self, connection: u64) -> Next {
        let mut table = lock(&self.0);
        let table = &mut *table;
        if table.connection != connection {
            return Next::Over;
        }
        while let Some(number) = table.untold.pop_front() {
            // It may not wait for this one any more.
            let Some(Awaited::Ended(exit)) = table.awaited.get(&number) else { continue };
            let told = (number, exit.clone());
            table.unheard.push_back(number);
            if table.unheard.len() > UNHEARD_MAX
                && let Some(heard) = table.unheard.pop_front()
            {
                table.awaited.remove(&heard);
            }
            return Next::Tell(told);
        }
        Next::Nothing
    }

    /// Whether nothing is to be told, and none lives that it waits for.
    pub(super) fn is_done(&self) -> bool {
        let table = lock(&self.0);
        table.untold.is_empty()
            && !table.awaited.values().any(|awaited| matches!(awaited, Awaited::Lives { .. }))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("awaited", &lock(&self.0).awaited.len()).finish_non_exhaustive()
    }
}
