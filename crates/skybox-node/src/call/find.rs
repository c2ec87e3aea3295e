//! The long way of a call to its instance: waiting while nothing is live, sending, and sending again what did not
//! run.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallErrorKind, KeyHash, Mode, NodeName};

use super::far::{self, Link, Sent, SentCall};
use super::turns::{refuse, turn};
use super::{Crossing, RESENDS_MAX, Relayed, Target, To};
use crate::conn::Conn;
use crate::host::{
    Entered, Head, Hold, HostCore, LINE_OF_MODULE, Near, Placement, Seat, Taken, Waiting, look_again,
    route_here,
};
use crate::links::Peer;
use crate::metrics::Edge;
use crate::module::{Method, Module};
use crate::stream::Outlets;
use crate::thread::Inherited;

/// Where a call goes.
pub(super) enum Place<T> {
    Here(Hold<T>, Option<Head>),
    Far(Link, Option<Head>),
}

/// What has been tried for one call so far.
#[derive(Default)]
pub(crate) struct Tries {
    resends: u32,
    /// Instances that crashed while the call waited for its turn on them.
    replaced: u32,
    /// Nodes that said no.
    refused: Vec<Refusal>,
    /// A refusal that is the answer if nobody else can be asked.
    last: Option<CallErrorKind>,
}

/// A node that said no. It is asked again under another plan, and also after a while: the plan that has just reached
/// this node may not have reached that one.
struct Refusal {
    node: NodeName,
    /// The plan's version, here.
    version: u64,
    until: Instant,
}

impl<T: Module> Target<T> {
    /// Finds the instance and takes its turn, or has the call answered elsewhere.
    pub(super) async fn find_turn<A, O, R, W>(
        &self,
        mode: Mode,
        method: &'static Method<O, R>,
        wire: W,
        mut inherited: Inherited,
        arguments: &A,
        mut tries: Tries,
    ) -> Found<Taken<T>, R>
    where
        A: Serialize + Sync,
        O: Serialize + DeserializeOwned + 'static,
        R: 'static,
        W: Crossing<R>,
    {
        loop {
            let replaced = tries.replaced;
            let ((hold, head), same) = match self.find(method, wire, inherited, arguments, tries).await {
                Found::Here(found, inherited) => (found, inherited),
                Found::Answered(result) => return Found::Answered(result),
            };
            inherited = same;
            let kind = match turn(&self.host.core, hold, head, mode, &inherited).await {
                Ok(Some(taken)) => return Found::Here(taken, inherited),
                Ok(None) if replaced < RESENDS_MAX => {
                    tries = Tries { replaced: replaced + 1, ..Tries::default() };
                    continue;
                }
                Ok(None) => CallErrorKind::Gone,
                Err(kind) => kind,
            };
            self.note_error();
            return Found::Answered(refuse(method, wire, self.edge(method, &inherited), kind));
        }
    }

    /// The instance, if it is here and live. `again` says that this call has looked for it before.
    fn route(&self, again: bool) -> Option<Hold<T>> {
        if self.host.core.strict {
            return None;
        }
        let near = if again { look_again(&self.host, &self.to) } else { route_here(&self.host, &self.to) };
        near.map(Near::into_hold)
    }

    pub(super) fn edge<O, R>(&self, method: &Method<O, R>, inherited: &Inherited) -> &Edge {
        self.host.core.edges.edge(inherited.caller(), method.index())
    }

    /// Finds the instance, or has the call answered elsewhere.
    async fn find<A, O, R, W>(
        &self,
        method: &'static Method<O, R>,
        wire: W,
        mut inherited: Inherited,
        arguments: &A,
        tries: Tries,
    ) -> Found<(Hold<T>, Option<Head>), R>
    where
        A: Serialize + Sync,
        O: Serialize + DeserializeOwned + 'static,
        R: 'static,
        W: Crossing<R>,
    {
        let HostCore { settings, plain, .. } = &*self.host.core;
        // As it was decided at its first poll.
        let again = *plain && !inherited.chain_full() && self.options.deadline.is_none();
        if let Some(limit) = self.options.deadline.into_iter().chain(settings.deadline).min() {
            inherited.context_mut().shrink(Some(tokio::time::Instant::now().into_std() + limit));
        }
        let found = match self.route(again).filter(|_| !inherited.chain_full()) {
            Some(hold) => Found::Here((hold, None), inherited),
            None => self.go(method, wire, inherited, arguments, tries).await,
        };
        if cfg!(debug_assertions)
            && let Found::Here(_, inherited) = &found
            && let Err(kind) = far::prove_arguments(method, arguments)
        {
            return Found::Answered(refuse(method, wire, self.edge(method, inherited), kind));
        }
        found
    }

    /// The long way: waits while nothing is live, sends, and sends again what did not run.
    async fn go<A, O, R, W>(
        &self,
        method: &'static Method<O, R>,
        wire: W,
        inherited: Inherited,
        arguments: &A,
        mut tries: Tries,
    ) -> Found<(Hold<T>, Option<Head>), R>
    where
        A: Serialize + Sync,
        O: Serialize + DeserializeOwned + 'static,
        R: 'static,
        W: Crossing<R>,
    {
        let edge = self.host.core.edges.edge(inherited.caller(), method.index());
        if inherited.chain_full() {
            let chain = format!("{} calls are waiting above it", skybox_core::CHAIN_LEN_MAX);
            return Found::Answered(refuse(method, wire, edge, CallErrorKind::Reentrant { chain }));
        }
        if let Some(kind) = tries.given_up(method) {
            return Found::Answered(refuse(method, wire, edge, kind));
        }
        loop {
            let (link, head) = match self.place(&inherited, &mut tries).await {
                Ok(Place::Here(hold, head)) => return Found::Here((hold, head), inherited),
                Ok(Place::Far(link, head)) => (link, head),
                Err(kind) => {
                    self.note_error();
                    return Found::Answered(refuse(method, wire, edge, kind));
                }
            };
            let node = link.node();
            match far::call(
                &self.host,
                &link,
                head,
                method,
                wire,
                &inherited,
                self.named().as_deref(),
                arguments,
                edge,
            )
            .await
            {
                Sent::Answered(result) => return Found::Answered(result),
                // In strict mode there is nobody else to ask, and whoever said no has waited already.
                Sent::Failed(kind) if node.is_none() => {
                    return Found::Answered(refuse(method, wire, edge, kind));
                }
                Sent::Failed(kind) => {
                    tries.failed(node, self.host.core.placement.load().version, kind);
                    if let Some(kind) = tries.given_up(method) {
                        return Found::Answered(refuse(method, wire, edge, kind));
                    }
                }
            }
        }
    }

    /// Sends the call, if the way is open: there is a connection, and nothing has to be waited for or shrunk.
    #[inline]
    pub(super) fn send_now<A, O, R>(
        &self,
        method: &'static Method<O, R>,
        inherited: &Inherited,
        arguments: &A,
    ) -> Option<SentCall>
    where
        A: Serialize,
        O: Serialize + DeserializeOwned,
    {
        let core = &self.host.core;
        let plain = !core.strict && !inherited.chain_full() && inherited.deadline().is_none();
        if !plain || self.options.deadline.is_some() || core.settings.deadline.is_some() {
            return None;
        }
        if core.keeps_order() && self.has_line() {
            return None;
        }
        let Look::Conn(conn) = self.look(&Tries::default()) else { return None };
        far::send(core, conn, method, inherited, self.named().as_deref(), arguments)
    }

    /// A call with arguments and result as JSON, from the command line.
    pub(crate) async fn relay(
        &self,
        method: u16,
        payload: Bytes,
        outlets: &Outlets,
    ) -> Result<Relayed, CallErrorKind> {
        let inherited = Inherited::nothing();
        let mut tries = Tries::default();
        loop {
            // The place in line is given up at once: the call, served here, would wait behind itself for it.
            let peer = match self.place(&inherited, &mut tries).await? {
                Place::Far(Link::Peer(conn), _) => Some(conn),
                Place::Here(..) | Place::Far(Link::Strict, _) => None,
            };
            let outcome = match peer {
                Some(conn) => {
                    let named = self.named();
                    far::relay(&self.host.core, &conn, method, named.as_deref(), &payload, outlets).await
                }
                None => {
                    let named = self.named().as_deref().map(Bytes::copy_from_slice);
                    far::relay_here(&self.host, method, named, payload.clone(), outlets).await
                }
            };
            let given = outlets.iter().any(|outlet| outlet.has_given());
            match outcome {
                Err(kind) if far::may_resend(&kind, false) && !given && tries.resends < RESENDS_MAX => {
                    tries.resends += 1
                }
                outcome => return outcome,
            }
        }
    }

    /// Where the call goes, waiting within bounds while it can go nowhere.
    pub(super) async fn place(
        &self,
        inherited: &Inherited,
        tries: &mut Tries,
    ) -> Result<Place<T>, CallErrorKind> {
        let core = &self.host.core;
        let deadline = inherited.deadline();
        let mut changes = core.changes();
        let (mut waiting, mut until, mut head) = (None, None, None);
        let mut has_passed = false;
        loop {
            changes.borrow_and_update();
            if core.strict {
                return Ok(Place::Far(Link::Strict, None));
            }
            // Calls that nobody has refused wait in line, where the order of calls means something.
            let queues = head.is_none() && core.keeps_order() && tries.refused.is_empty() && !has_passed;
            let here = head.as_ref().and_then(|_| self.host.local.load().map(Hold::counted));
            let look = here.map_or_else(|| self.look(tries), Look::Here);
            let why = match look {
                Look::Here(hold) => return Ok(Place::Here(hold, head)),
                Look::Never(kind) => return Err(kind),
                Look::Wake | Look::Conn(_) if queues && self.has_line() => {
                    "calls before it were still waiting".to_owned()
                }
                Look::Wake if core.cells.is_some() => {
                    let finding = self.find_cell(deadline, waiting.take());
                    match Head::waits_for(head.as_ref(), finding).await {
                        Err(CallErrorKind::Moved) => self.handed_over(),
                        found => return found.map(|(link, head)| Place::Far(Link::Peer(link), Some(head))),
                    }
                }
                Look::Wake => {
                    let finding = self.host.find_here(&self.to, deadline, waiting.take());
                    match Head::waits_for(head.as_ref(), finding).await {
                        // Between the look and here.
                        Err(CallErrorKind::Moved) => self.handed_over(),
                        found => return found.map(|(hold, head)| Place::Here(hold, Some(head))),
                    }
                }
                Look::Conn(conn) => return Ok(Place::Far(Link::Peer(conn), head)),
                Look::Dial(_) if queues => "its node was not connected".to_owned(),
                Look::Dial(peers) => match Head::waits_for(head.as_ref(), far::connect(core, &peers)).await {
                    Ok(link) => return Ok(Place::Far(link, head)),
                    Err(why) => why,
                },
                Look::Wait(why) => why,
            };
            if let Some(kind) = tries.last.take_if(|kind| matches!(kind, CallErrorKind::Overloaded { .. })) {
                return Err(kind);
            }
            if waiting.is_none() {
                waiting = Some(core.queue_up()?);
            }
            let until = *until.get_or_insert_with(|| core.wait_end(deadline));
            if queues {
                let may_pass = || !matches!(self.look(tries), Look::Wait(_));
                match core.lines.enter(self.line(), until, may_pass).await {
                    Entered::First(first) => head = Some(first),
                    Entered::Past => has_passed = true,
                    Entered::Late => return Err(core.waited_out(deadline, &why)),
                }
                continue;
            }
            if let Some(head) = &head {
                head.waits();
            }
            let now = tokio::time::Instant::now().into_std();
            if now >= until {
                return Err(core.waited_out(deadline, &why));
            }
            // A node that could not be reached is tried again after a moment, also without news from the plan.
            let retry = until.min(now + far::RECONNECT_PAUSE);
            HostCore::changed_before(&mut changes, retry).await;
            let version = core.placement.load().version;
            tries.refused.retain(|refusal| refusal.version == version);
        }
    }

    fn handed_over(&self) -> String {
        format!("{} had handed its key over and nobody had taken it", self.host.core.node)
    }

    /// Whether calls to the same instance wait that came before.
    #[inline]
    fn has_line(&self) -> bool {
        !self.host.core.lines.is_free(|| self.line())
    }

    /// Which of the lines its calls wait in.
    fn line(&self) -> u64 {
        match &self.to {
            To::Module => LINE_OF_MODULE,
            To::Key(key) => KeyHash::of(key).0,
            To::Seat(seat) => seat.line_of_calls(),
        }
    }

    /// The link to the cell that the call belongs in, once that is awake.
    async fn find_cell(
        &self,
        deadline: Option<Instant>,
        queued: Option<Waiting<'_>>,
    ) -> Result<(Arc<Conn>, Head), CallErrorKind> {
        let Some(cells) = &self.host.core.cells else { return Err(CallErrorKind::Moved) };
        cells.find(&self.host.core, self.named().as_deref(), deadline, queued).await
    }

    /// Looks once.
    fn look(&self, tries: &Tries) -> Look<T> {
        if let Some(hold) = self.route(true) {
            return Look::Here(hold);
        }
        let core = &self.host.core;
        if core.app.strong_count() == 0 {
            return Look::Never(CallErrorKind::Gone);
        }
        if let Some(cells) = &core.cells
            && !matches!(&self.to, To::Seat(seat) if seat.node.is_some())
            && let Some(link) = cells.ready(core, self.named().as_deref())
        {
            return Look::Conn(link);
        }
        let placement = core.placement.load();
        match &self.to {
            To::Module => {}
            To::Key(key) => return self.look_keyed(&placement, key, tries),
            To::Seat(seat) => return look_at(core, seat),
        }
        let peers = || placement.elsewhere.iter().filter(|peer| !tries.refused_by(peer, placement.version));
        if let Some(conn) = least_loaded(core, peers()) {
            return Look::Conn(conn);
        }
        let nodes: Vec<_> = peers().cloned().collect();
        if !nodes.is_empty() {
            return Look::Dial(nodes);
        }
        match crate::host::nobody_starts(core) {
            Some(kind) => Look::Never(kind),
            None => Look::Wait("no instance was ready".to_owned()),
        }
    }

    fn look_keyed(&self, placement: &Placement, key: &[u8], tries: &Tries) -> Look<T> {
        if let Some(node) = self.host.core.its_node() {
            // A cell has what its node has sent it, and only the node knows who owns which key.
            return node
                .ready()
                .map_or_else(|| Look::Wait("its node was not connected".to_owned()), Look::Conn);
        }
        // Its calls would be refused here one by one.
        let here = || match self.host.core.is_about_to_open() {
            true => Look::Wait(format!("{} was about to hear which keys are its own", self.host.core.node)),
            false => Look::Wake,
        };
        let Some(shards) = &placement.shards else { return here() };
        let index = usize::from(shards.owner[usize::from(KeyHash::of(key).shard().0)]);
        match placement.owners.get(index) {
            None => Look::Wait("nobody owned its key".to_owned()),
            Some(None) => here(),
            Some(Some(owner)) if tries.refused_by(owner, placement.version) => {
                Look::Wait(format!("{} had handed its key over and nobody had taken it", owner.node))
            }
            Some(Some(owner)) => match owner.ready() {
                Some(conn) => Look::Conn(conn),
                None => Look::Dial(vec![owner.clone()]),
            },
        }
    }
}

/// Looks where an instance is that code has made.
fn look_at<T: Module>(core: &HostCore, seat: &Seat<T>) -> Look<T> {
    // A cell has one way to all others.
    let its_node = core.its_node().filter(|_| seat.node.is_some());
    match its_node.as_ref().or(seat.node.as_ref()) {
        _ if seat.is_over() => Look::Never(CallErrorKind::Gone),
        None => Look::Wake,
        Some(node) => match node.ready() {
            // It knows best, whatever the plan has of it here.
            Some(conn) => Look::Conn(conn),
            None if node.is_in_another_life(seat.id.node) => Look::Never(CallErrorKind::Gone),
            None => Look::Dial(vec![node.clone()]),
        },
    }
}

impl Tries {
    /// A call failed once.
    pub(crate) fn failed(&mut self, node: Option<NodeName>, version: u64, kind: CallErrorKind) {
        self.resends += 1;
        // Twice as long each time: all tries together take as long as a call may wait for an instance.
        let until = tokio::time::Instant::now().into_std()
            + far::RECONNECT_PAUSE * (1 << (self.resends - 1).min(RESENDS_MAX));
        self.refused.extend(node.map(|node| Refusal { node, version, until }));
        self.last = Some(kind);
    }

    /// The last failure, if that is the answer.
    fn given_up<O, R>(&mut self, method: &Method<O, R>) -> Option<CallErrorKind> {
        let idempotent = method.descriptor().idempotent;
        let (resends, over) = (self.resends, |kind: &CallErrorKind| !far::may_resend(kind, idempotent));
        self.last.take_if(|kind| resends > RESENDS_MAX || over(kind))
    }

    /// Whether there is another try.
    pub(super) fn may_go_on(&self) -> bool {
        self.resends < RESENDS_MAX
    }

    fn refused_by(&self, peer: &Peer, version: u64) -> bool {
        let now = || tokio::time::Instant::now().into_std();
        self.refused.iter().any(|no| no.node == peer.node && no.version == version && now() < no.until)
    }
}

/// Of two replicas that can be called at once, the one with less to do; which two, chance decides.
fn least_loaded<'p>(
    core: &HostCore,
    peers: impl Iterator<Item = &'p Arc<Peer>> + Clone,
) -> Option<Arc<Conn>> {
    let mut ready = peers.filter_map(|peer| peer.ready());
    let first = ready.next()?;
    let Some(second) = ready.next() else { return Some(first) };
    let mut all: Vec<Arc<Conn>> = [first, second].into_iter().chain(ready).collect();
    let app = core.app.upgrade()?;
    let one = all.swap_remove(app.random.below(all.len() as u64) as usize);
    let other = all.swap_remove(app.random.below(all.len() as u64) as usize);
    Some(if one.load() <= other.load() { one } else { other })
}

/// What one look at the route says.
enum Look<T> {
    Here(Hold<T>),
    /// It belongs here, and has to be woken or waited for.
    Wake,
    /// Over this connection.
    Conn(Arc<Conn>),
    /// On one of these, once there is a connection.
    Dial(Vec<Arc<Peer>>),
    Never(CallErrorKind),
    Wait(String),
}

/// The outcome of the long way.
pub(super) enum Found<G, R> {
    /// With the instance held.
    Here(G, Inherited),
    /// The call is over.
    Answered(R),
}
