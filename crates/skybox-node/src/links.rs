//! The other nodes: where each is, and the connection to it.

mod lost;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use skybox_core::{Incarnation, NodeEntry, NodeName};
use skybox_wire::handshake::Role;
use tokio::sync::watch;

use crate::app::AppInner;
use crate::conn::{self, Address, Conn};
use crate::host::lock;

/// Peers that are kept without asking whether anybody needs them. Handles can name nodes that there are not, and each
/// of them is a peer as long as somebody has such a handle.
const PEERS_KEPT: usize = 256;

/// The peers of a node, by name. A peer stays when its process is replaced; its connection does not.
#[derive(Default)]
pub(crate) struct Links {
    app: OnceLock<Weak<AppInner>>,
    peers: Mutex<HashMap<NodeName, Arc<Peer>>>,
    open: Mutex<Open>,
    /// Connections of others that are in their handshake.
    arriving: watch::Sender<u32>,
}

/// Every connection that is open, from before anything is read from it.
#[derive(Default)]
struct Open {
    conns: Vec<Weak<Conn>>,
    /// This node leaves: whoever connects still is told so first.
    leaving: bool,
    /// It has answered all that it took: nobody is taken any more.
    over: bool,
}

/// A connection of another one that is in its handshake.
pub(crate) struct Arriving<'l>(&'l Links);

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.arriving.send_modify(|count| *count -= 1);
    }
}

/// How long a node is waited for that the plan does not have yet.
const UNKNOWN_WAIT: Duration = Duration::from_secs(1);

/// One other node.
pub(crate) struct Peer {
    pub(crate) node: NodeName,
    entry: ArcSwapOption<NodeEntry>,
    conn: ArcSwapOption<Conn>,
    /// Held while dialling: callers that need the same connection wait for one attempt.
    dialling: tokio::sync::Mutex<()>,
    /// Counts changes of `entry`, and connections that the other node has opened.
    changes: watch::Sender<u64>,
}

impl Links {
    pub(crate) fn attach(&self, app: Weak<AppInner>) {
        self.app.set(app).expect("attached once, when the App is made");
    }

    /// The peer of that name.
    pub(crate) fn peer(&self, node: &NodeName) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(node) {
            return peer.clone();
        }
        if peers.len() >= PEERS_KEPT && peers.len().is_power_of_two() {
            // Who has one has it from here, under this lock: what nobody has, nobody gets meanwhile.
            peers.retain(|_, peer| Arc::strong_count(peer) > 1 || peer.is_known());
        }
        let peer = Arc::new(Peer {
            node: node.clone(),
            entry: ArcSwapOption::empty(),
            conn: ArcSwapOption::empty(),
            dialling: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
        });
        peers.insert(node.clone(), peer.clone());
        peer
    }

    /// Takes over which nodes live, and where.
    pub(crate) fn follow(&self, nodes: &BTreeMap<NodeName, NodeEntry>, me: &NodeName) {
        for (node, entry) in nodes.iter().filter(|(node, _)| *node != me) {
            let peer = self.peer(node);
            let other_life =
                peer.entry.load().as_ref().is_some_and(|before| before.incarnation != entry.incarnation);
            peer.entry.store(Some(Arc::new(entry.clone())));
            peer.changes.send_modify(|count| *count += 1);
            if other_life
                && let Some(conn) =
                    peer.conn.load_full().filter(|c| Some(c.peer().incarnation) != entry.incarnation)
            {
                conn.close(&format!("{node} was started anew"));
            }
        }
        let peers: Vec<_> = lock(&self.peers).values().cloned().collect();
        for peer in peers.iter().filter(|peer| !nodes.contains_key(&peer.node)) {
            let was_there = peer.entry.swap(None).is_some();
            peer.changes.send_modify(|count| *count += 1);
            if was_there && let Some(conn) = peer.conn.swap(None) {
                conn.close_at_its_end(&format!("{} died", peer.node));
            }
        }
    }

    /// A connection that another node opened.
    pub(crate) fn accepted(&self, conn: &Arc<Conn>) {
        let info = conn.peer();
        if info.role != Role::Node {
            return;
        }
        let peer = self.peer(&info.node);
        let known = peer.conn.load_full().is_some_and(|known| !known.is_closed());
        if !known {
            peer.conn.store(Some(conn.clone()));
            peer.changes.send_modify(|count| *count += 1);
            if let Some(app) = self.app.get().and_then(Weak::upgrade) {
                app.routes_changed();
            }
        }
    }

    /// Counts a connection among those that are open. Before it is read: no call may come over one that a drain does not
    /// know of.
    pub(crate) fn opened(&self, conn: &Arc<Conn>) {
        let mut open = lock(&self.open);
        open.conns.retain(|other| other.strong_count() > 0);
        open.conns.push(Arc::downgrade(conn));
        let leaving = open.leaving;
        drop(open);
        if leaving {
            conn.drain();
        }
    }

    /// Begins the handshake with whoever has connected; not once this node is over.
    pub(crate) fn arrives(&self) -> Option<Arriving<'_>> {
        let open = lock(&self.open);
        if open.over {
            return None;
        }
        self.arriving.send_modify(|count| *count += 1);
        Some(Arriving(self))
    }

    /// Takes nobody any more; resolves when everybody who was taken is among the open ones. Who comes later sees that before
    /// it can send a call, which is made elsewhere then.
    pub(crate) async fn take_nobody(&self) {
        lock(&self.open).over = true;
        let mut arriving = self.arriving.subscribe();
        // The sender lives in this very value.
        drop(arriving.wait_for(|count| *count == 0).await);
    }

    /// Every open connection.
    pub(crate) fn open(&self) -> Vec<Arc<Conn>> {
        let open = lock(&self.open);
        open.conns.iter().filter_map(Weak::upgrade).filter(|conn| !conn.is_closed()).collect()
    }

    /// Tells each peer, also those that connect from now on, which of its calls was the last that is taken here.
    pub(crate) fn drain(&self) {
        lock(&self.open).leaving = true;
        self.open().iter().for_each(|conn| conn.drain());
    }
}

impl Peer {
    /// Whether the plan has it, or it is connected.
    fn is_known(&self) -> bool {
        self.entry.load().is_some() || self.conn.load_full().is_some_and(|conn| !conn.is_closed())
    }

    /// Whether the plan has it in another life than this one.
    pub(crate) fn is_in_another_life(&self, life: Incarnation) -> bool {
        let entry = self.entry.load();
        entry.as_ref().and_then(|entry| entry.incarnation).is_some_and(|now| now != life)
    }

    /// Whether that life is over for certain: the plan has it in another one, or does not have it. Who is heard is believed
    /// more than the plan.
    pub(crate) fn is_over(&self, life: Incarnation) -> bool {
        let open = self.conn.load_full().filter(|conn| !conn.is_closed());
        let heard = open.is_some_and(|conn| conn.peer().incarnation == life);
        !heard && (self.is_in_another_life(life) || self.entry.load().is_none())
    }

    /// Waits until the plan has it, for a moment: whoever names a node may have heard of it before this one has.
    pub(crate) async fn comes_up(&self) {
        let mut changes = self.changes();
        // The peer is held, and with it the other end.
        let known = async { while !self.is_known() && changes.changed().await.is_ok() {} };
        drop(tokio::time::timeout(UNKNOWN_WAIT, known).await);
    }

    /// Tells of each change of the plan, and of each connection that the other node opens.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The connection, if calls may be sent over it now.
    #[inline]
    pub(crate) fn ready(&self) -> Option<Arc<Conn>> {
        self.conn.load().as_ref().filter(|conn| conn.is_ready()).cloned()
    }

    /// Whether there is a connection over which something was heard of late, also of a node that takes no more calls.
    pub(crate) fn is_heard(&self) -> bool {
        self.conn.load().as_ref().is_some_and(|conn| !conn.is_closed() && !conn.is_silent())
    }

    /// The connection, opened if there is none.
    pub(crate) async fn connect(&self, app: &Arc<AppInner>) -> Result<Arc<Conn>, String> {
        if let Some(conn) = self.ready() {
            return Ok(conn);
        }
        let _dialling = self.dialling.lock().await;
        if let Some(conn) = self.ready() {
            return Ok(conn);
        }
        if let Some(conn) = self.conn.load_full().filter(|conn| !conn.is_closed()) {
            return Err(if conn.is_draining() { "it is draining" } else { "it has been silent" }.to_owned());
        }
        let Some(entry) = self.entry.load_full() else { return Err("the plan does not have it".to_owned()) };
        let Ok(address) = entry.address.parse::<Address>();
        let expected = Some((self.node.clone(), entry.incarnation));
        let conn = conn::dial(app, &address, expected).await.map_err(|error| {
            let why = skybox_core::TextChain::of(&error).joined();
            // One that leaves closes without a word at its very end.
            let leaves = entry.draining && matches!(error, conn::DialError::Closed);
            if !leaves && !matches!(error, conn::DialError::Connect { .. }) {
                // Who is refused should find the reason at both ends.
                let line = format!("no connection to {} at {address}: {why}", self.node);
                crate::log_limit::warn(error.cause(), &line);
            }
            why
        })?;
        self.conn.store(Some(conn.clone()));
        Ok(conn)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(lock(&self.peers).keys()).finish()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_that_there_are_not_are_forgotten() {
        let links = Links::default();
        let held = links.peer(&NodeName::new("held"));
        for n in 0..PEERS_KEPT * 8 {
            drop(links.peer(&NodeName::new(format!("nowhere-{n}"))));
        }
        assert!(lock(&links.peers).len() <= PEERS_KEPT, "{}", lock(&links.peers).len());
        assert!(Arc::ptr_eq(&held, &links.peer(&NodeName::new("held"))), "somebody has this one");
    }
}
