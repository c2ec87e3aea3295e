//! The instances of one other node, in one of its lives, that this one watches.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use skybox_core::{CallErrorKind, Exit, Incarnation, NodeName};
use tokio::sync::{Notify, oneshot};

use super::Watched;
use crate::app::AppInner;
use crate::between::{self, Named, Orphans};
use crate::cell::{Inside, Word};
use crate::host::lock;
use crate::links::Peer;
use crate::stream::{Stream, StreamSender};

/// Watched instances on their way to the other node before its connection takes them.
const AHEAD_MAX: usize = 256;
/// The pause after which the streams are opened again when they broke off.
const AGAIN: Duration = Duration::from_millis(20);

/// All of them, by the lives of other nodes.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    watches: Mutex<HashMap<Incarnation, Arc<Watches>>>,
    /// The number of the next one, among all: a life that counted as lost may be reached again, and it remembers those of
    /// before.
    next: Arc<AtomicU64>,
}

impl Monitors {
    /// Those of one life of a node.
    pub(crate) fn of(app: &Arc<AppInner>, peer: &Arc<Peer>, life: Incarnation) -> Arc<Watches> {
        let mut all = lock(&app.monitors.watches);
        let watches = all.entry(life).or_insert_with(|| {
            let (peer, next) = (peer.clone(), app.monitors.next.clone());
            let watches =
                Arc::new(Watches { peer, life, next, table: Mutex::default(), news: Notify::new() });
            match &app.inside {
                None => drop(app.runtime.spawn(watches.clone().keep(Arc::downgrade(app)))),
                Some(node) => drop(app.runtime.spawn(watches.clone().ask(app.home.clone(), node.clone()))),
            }
            watches
        });
        watches.clone()
    }

    /// In a cell, its node tells of an end.
    pub(crate) fn told(&self, life: Incarnation, number: u64, exit: Exit) {
        let watches = lock(&self.watches).get(&life).cloned();
        if let Some(watches) = watches {
            watches.tell(number, exit);
        }
    }
}

/// Those of one life of a node.
pub(crate) struct Watches {
    peer: Arc<Peer>,
    life: Incarnation,
    /// As in [`Monitors`].
    next: Arc<AtomicU64>,
    table: Mutex<Table>,
    /// There is something to be sent.
    news: Notify,
}

#[derive(Default)]
struct Table {
    /// Those that somebody waits for, by their numbers, which are those of a `Monitor` each.
    waiting: BTreeMap<u64, (Named, oneshot::Sender<Exit>)>,
    /// The other node was told to watch those with smaller numbers.
    begun: u64,
    /// Those beyond of which it hears otherwise, and perhaps before.
    announced: BTreeSet<u64>,
    /// What it was told to watch and need not any more.
    ended: VecDeque<u64>,
    /// The node's life is over, and so are these.
    lost: bool,
}

impl Table {
    /// What the other node is to be told next.
    fn unsent(&mut self) -> Option<Watched> {
        if let Some(number) = self.ended.pop_front() {
            return Some(Watched::End(number));
        }
        let (number, (named, _)) = self.waiting.range(self.begun..).next()?;
        self.begun = number + 1;
        self.announced.remove(number);
        Some(Watched::Begin(*number, named.clone()))
    }
}

impl Watches {
    /// Begins to watch an instance.
    pub(super) fn begin(&self, named: Named) -> (u64, oneshot::Receiver<Exit>) {
        let (tell, told) = oneshot::channel();
        let mut table = lock(&self.table);
        // Under the lock, so that the numbers of one table grow.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if table.lost {
            drop(tell.send(self.node_lost()));
            return (number, told);
        }
        table.waiting.insert(number, (named, tell));
        drop(table);
        self.news.notify_one();
        (number, told)
    }

    /// Nobody waits for the end of this one any more.
    pub(super) fn end(&self, number: u64) {
        let mut table = lock(&self.table);
        let waiting = table.waiting.remove(&number);
        // One that the other node has not heard of is none: what waits here is no more than what it watches.
        let tells = table.announced.remove(&number) || (waiting.is_some() && number < table.begun);
        if tells {
            table.ended.push_back(number);
        }
        // The sender is dropped after: it wakes who waits, if somebody does.
        drop(table);
        if tells {
            self.news.notify_one();
        }
    }

    /// The other node is about to hear of this one with an order.
    pub(super) fn announce(&self, number: u64) {
        let mut table = lock(&self.table);
        if number >= table.begun && table.waiting.contains_key(&number) {
            table.announced.insert(number);
        }
    }

    fn node_lost(&self) -> Exit {
        Exit::NodeLost { node: self.peer.node.to_string() }
    }

    /// Keeps the streams open as long as the node lives; then tells those who wait that it was lost.
    async fn keep(self: Arc<Self>, app: Weak<AppInner>) {
        let mut lost = pin!(self.peer.clone().lost(self.life, app.clone()));
        loop {
            tokio::select! {
                biased;
                // First, so that what the node has said before it went is heard before it counts as lost. Whatever
                // broke the streams off: if the node is lost, that is noticed.
                _ = self.exchange(&app) => {}
                () = &mut lost => break,
            }
            if tokio::time::timeout(AGAIN, &mut lost).await.is_ok() {
                break;
            }
        }
        let app = app.upgrade();
        if let Some(app) = &app {
            lock(&app.monitors.watches).remove(&self.life);
        }
        let waiting = {
            let mut table = lock(&self.table);
            table.lost = true;
            table.ended.clear();
            table.announced.clear();
            std::mem::take(&mut table.waiting)
        };
        if let Some(app) = &app {
            let lost = waiting.values().map(|(named, _)| named.clone());
            Orphans::are_lost(app, &self.peer, self.life, lost);
        }
        for (_, tell) in waiting.into_values() {
            drop(tell.send(self.node_lost()));
        }
    }

    /// In a cell: has its node watch.
    async fn ask(self: Arc<Self>, home: NodeName, node: Arc<Inside>) {
        let at = (self.peer.node != home).then(|| self.peer.node.clone());
        let life = self.life;
        loop {
            let news = self.news.notified();
            let unsent = lock(&self.table).unsent();
            let word = match unsent {
                Some(Watched::Begin(number, named)) => Word::Watch { life, number, node: at.clone(), named },
                Some(Watched::End(number)) => Word::Unwatch { life, number },
                None => {
                    news.await;
                    continue;
                }
            };
            if node.tell(&word).await.is_err() {
                // This process is about to end.
                return;
            }
        }
    }

    /// Opens the streams, and sends and takes until they break off.
    async fn exchange(&self, app: &Weak<AppInner>) -> Result<(), CallErrorKind> {
        {
            // All over again, and in the order of their numbers: what is not among them, that node takes for ended.
            let mut table = lock(&self.table);
            (table.begun, table.ended) = (0, VecDeque::new());
        }
        let (sender, watched) = Stream::channel(AHEAD_MAX);
        let mut told = {
            let Some(app) = app.upgrade() else { return Ok(()) };
            between::watch(&app, &self.peer, self.life, watched).await?
        };
        let mut sending = pin!(self.send(sender));
        loop {
            tokio::select! {
                biased;
                // First, and to its end: what was said counts also if nobody listens there any more.
                next = next(&mut told) => match next {
                    Some(Ok((number, exit))) => self.tell(number, exit),
                    _ => return Ok(()),
                },
                () = &mut sending => return Ok(()),
            }
        }
    }

    /// Sends what is to be sent, until nobody reads it any more.
    async fn send(&self, sender: StreamSender<Watched>) {
        loop {
            let news = self.news.notified();
            let unsent = lock(&self.table).unsent();
            match unsent {
                Some(watched) => {
                    if sender.send(watched).await.is_err() {
                        return;
                    }
                }
                None => news.await,
            }
        }
    }

    fn tell(&self, number: u64, exit: Exit) {
        let waiting = lock(&self.table).waiting.remove(&number);
        if let Some((_, tell)) = waiting {
            // Whoever has waited may have left this moment.
            drop(tell.send(exit));
        }
    }
}

/// The next item of a stream.
pub(super) fn next<T: Unpin>(stream: &mut Stream<T>) -> impl Future<Output = Option<skybox_core::Result<T>>> {
    use futures_core::Stream as _;
    std::future::poll_fn(move |cx| std::pin::Pin::new(&mut *stream).poll_next(cx))
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").field("node", &self.peer.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::{InstanceId, NodeName};

    use super::*;
    use crate::links::Links;

    fn named(count: u64) -> Named {
        Named { module: "room".to_owned(), seat: InstanceId { node: Incarnation(7), count } }
    }

    #[test]
    fn the_other_node_is_told_what_it_needs_to_know() {
        let peer = Links::default().peer(&NodeName::new("node-2"));
        let (next, table, news) = (Arc::default(), Mutex::default(), Notify::new());
        let watches = Watches { peer, life: Incarnation(7), next, table, news };
        let unsent = || {
            let mut table = lock(&watches.table);
            std::iter::from_fn(|| table.unsent()).collect::<Vec<_>>()
        };
        // Who leaves before the streams are open leaves nothing behind.
        for n in 0..1_000 {
            let (number, told) = watches.begin(named(n));
            drop(told);
            watches.end(number);
        }
        let (kept, _told) = watches.begin(named(1_000));
        let sent = unsent();
        assert!(matches!(sent[..], [Watched::Begin(number, _)] if number == kept), "{sent:?}");
        assert!(unsent().is_empty(), "each is told once");
        watches.end(kept);
        watches.end(kept);
        let sent = unsent();
        assert!(matches!(sent[..], [Watched::End(number)] if number == kept), "{sent:?}");
    }
}
