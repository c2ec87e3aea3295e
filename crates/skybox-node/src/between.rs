//! What nodes ask of each other, beside calls: to make instances, to end them, and to hear of their ends.

mod orphans;
mod owners;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_core::{CallErrorKind, CallId, Callee, Error, Exit, Incarnation, InstanceId, NodeName};
use skybox_plan::names::{NameAnswer, NameAsk};
use skybox_wire::codec::{self, Form, Proof};
use skybox_wire::frame::{MethodNumber, PayloadOf};

pub(crate) use orphans::Orphans;
pub(crate) use owners::Owners;

use crate::app::AppInner;
use crate::call::{Reply, ReplyTo};
use crate::conn::{Conn, PeerInfo, PendingCall};
use crate::host::AnyHost;
use crate::links::Peer;
use crate::monitor::{self, Monitor, Observer, Observers, Told, Watched};
use crate::names::{Refusal, register_here};
use crate::operate::THE_NODE;
use crate::stream::{Landing, Passing, Stream, arriving, collecting};
use crate::tie;

/// The number of what a cell and its node ask of each other as nodes do; they have words of their own beside it.
pub(crate) const ASK: MethodNumber = MethodNumber(1);

/// The pause before a node that did not answer is asked again to end an instance.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Ends that wait to be told to a node that does not ask for them.
pub(crate) const TOLD_AHEAD_MAX: usize = 256;

/// A spawned instance, as nodes name it to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) module: String,
    pub(crate) seat: InstanceId,
}

/// What a node can be asked by another.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// Make an instance, which the asking node owns: when that is lost, it ends.
    Spawn { module: String, arguments: Bytes },
    /// The owner lets it go: it lives on by itself.
    Keep(Named),
    /// End it.
    End(Named),
    /// Stop it, killing after this time what goes on of it; or kill it at once. The answer is how it ended.
    Stop { named: Named, limit: Option<Duration> },
    /// Start an instance in this seat: a node asks its cell.
    Seat { named: Named, arguments: Bytes },
    /// Ask this of another node, in that life if it speaks of something that lives there: a cell asks its node.
    At { node: NodeName, life: Option<Incarnation>, ask: Bytes },
    /// Give it a name: it lives there, or in a cell of that node.
    Register { name: String, named: Named },
    /// Ask whoever keeps the names: a cell asks its node.
    Name(NameAsk),
    /// Link two instances, or take that back.
    Link(tie::Order),
    /// Have an instance here fall with another one, or not any more.
    Tie(tie::Half),
    /// Kill an instance, since another one has ended to which it is linked: a node asks its cell. The answer is whether
    /// there was one to kill.
    Fall { named: Named, exit: Exit },
    /// Tell of the ends of those that this stream names; the answer is a stream of [`Told`].
    Watch { watched: Passing<Watched, Error> },
    /// The asking node had taken this one for lost, and these with it: end those that it owns.
    Lost(orphans::Lost),
    /// Hear what whoever plans for the asking node has to say to whoever plans for this one. The answer is theirs.
    Hear { what: String },
}

/// The callee of what is asked, in errors.
const NODE: Callee = Callee::new("node", "ask");

/// Has another node make an instance.
///
/// # Errors
/// Those of [`Host::seat`](crate::host::Host::seat), and `Unreachable`; `Lost`, if the node or the connection died before
/// it answered: then the instance, if there is one, ends with this node's life.
///
/// # Cancel safety
/// Dropping the future has the other node stop its `start`. If that has ended already, the instance is ended.
pub(crate) async fn spawn(
    app: &Arc<AppInner>,
    peer: &Arc<Peer>,
    module: &'static str,
    arguments: Bytes,
) -> Result<InstanceId, CallErrorKind> {
    let pending = send(app, peer, None, &Ask::Spawn { module: module.to_owned(), arguments }).await?;
    let mut spawned = Unspawned { pending: Some(pending), peer, module, app };
    let pending = spawned.pending.as_mut().expect("it is taken when it is dropped");
    let answered = pending.await.and_then(|reply| read(&reply.payload));
    spawned.pending = None;
    answered
}

/// An instance that another node is making. Dropped before it is made, it is not wanted any more.
struct Unspawned<'s> {
    pending: Option<PendingCall>,
    app: &'s Arc<AppInner>,
    peer: &'s Arc<Peer>,
    module: &'static str,
}

impl Drop for Unspawned<'_> {
    fn drop(&mut self) {
        let Some(pending) = self.pending.take().and_then(PendingCall::take_back) else { return };
        let (app, peer, module) = (Arc::downgrade(self.app), self.peer.clone(), self.module);
        self.app.runtime.spawn(async move {
            let Ok(reply) = pending.await else { return };
            if let Ok(seat) = read::<InstanceId>(&reply.payload) {
                end_at_last(app, peer, Named { module: module.to_owned(), seat }).await;
            }
        });
    }
}

/// Has another node end an instance, as often as it takes, until that node is lost; and once more if it was not.
pub(crate) async fn end_at_last(app: Weak<AppInner>, peer: Arc<Peer>, named: Named) {
    // Polled beside all the rest: it may be the one that dials, and the others wait for it.
    let mut lost = pin!(peer.clone().lost(named.seat.node, app.clone()));
    let asking = async {
        while let Some(app) = app.upgrade() {
            if app.orphans.takes_over(&named) {
                return;
            }
            let ask = Ask::End(named.clone());
            if self::ask::<()>(&app, &peer, Some(named.seat.node), &ask).await.is_ok() {
                return;
            }
            drop(app);
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        () = &mut lost => {
            if let Some(app) = app.upgrade() {
                Orphans::is_dropped(&app, &peer, named.clone());
            }
        }
        () = asking => {}
    }
}

/// Has another node stop an instance, or kill it; gives how it ended.
///
/// # Errors
/// `Unreachable`, `Lost`: asking again does no harm.
pub(crate) async fn stop(
    app: &Arc<AppInner>,
    peer: &Peer,
    named: Named,
    limit: Option<Duration>,
) -> Result<Exit, CallErrorKind> {
    ask(app, peer, Some(named.seat.node), &Ask::Stop { named, limit }).await
}

/// Lets go of an instance that this node owns.
///
/// # Errors
/// As those of [`stop`].
pub(crate) async fn keep(app: &Arc<AppInner>, peer: &Peer, named: Named) -> Result<(), CallErrorKind> {
    ask(app, peer, Some(named.seat.node), &Ask::Keep(named)).await
}

/// Has the node of an instance give it a name.
///
/// # Errors
/// `Unreachable`; `Lost`, and then it may have been given. What was refused is no such error.
pub(crate) async fn register(
    app: &Arc<AppInner>,
    peer: &Peer,
    name: String,
    named: Named,
) -> Result<Result<(), Refusal>, CallErrorKind> {
    ask(app, peer, Some(named.seat.node), &Ask::Register { name, named }).await
}

/// In a cell: has its node ask whoever keeps the names.
///
/// # Errors
/// As those of [`register`].
pub(crate) async fn name(
    link: &Arc<Conn>,
    ask: NameAsk,
) -> Result<Result<NameAnswer, Refusal>, CallErrorKind> {
    let ask = write(&Ask::Name(ask))?.freeze();
    read(&link.send_when_room(ASK.0, ask).await?.await?.payload)
}

/// Has another node tell of the ends of the instances that a stream names.
///
/// # Errors
/// `Unreachable`, `Lost`, `Overloaded`; later, the stream breaks off.
pub(crate) async fn watch(
    app: &Arc<AppInner>,
    peer: &Peer,
    life: Incarnation,
    watched: Stream<Watched>,
) -> Result<Stream<Told>, CallErrorKind> {
    let ask = Ask::Watch { watched: Passing::argument(watched, NODE) };
    let mut pending = send(app, peer, Some(life), &ask).await?;
    let reply = (&mut pending).await?;
    let read = || read::<Passing<Told, Error>>(&reply.payload);
    let told = match pending.way().landing(NODE, app.id, None) {
        Some(landing) => arriving(landing, read)?,
        None => read()?,
    };
    Ok(told.into_stream())
}

/// Has the node of a link's first end carry an order out.
///
/// # Errors
/// Its own, and as those of [`ask_until_lost`].
pub(crate) async fn link(
    app: &Arc<AppInner>,
    peer: &Arc<Peer>,
    life: Incarnation,
    order: tie::Order,
) -> Result<(), CallErrorKind> {
    ask_until_lost(app, peer, life, &Ask::Link(order)).await
}

/// Tells whoever plans for a life of another node something; gives the answer.
///
/// # Errors
/// `Unreachable`; `Lost`, and then it may have been heard; `Mismatch` with what is wrong about it.
pub(crate) async fn tell(
    app: &Arc<AppInner>,
    peer: &Peer,
    life: Incarnation,
    what: String,
) -> Result<String, CallErrorKind> {
    ask(app, peer, Some(life), &Ask::Hear { what }).await
}

/// In a cell: has its node see to an order.
///
/// # Errors
/// As those of [`link`].
pub(crate) async fn link_at_home(app: &Arc<AppInner>, order: tie::Order) -> Result<(), CallErrorKind> {
    ask(app, &app.links.peer(&app.home), None, &Ask::Link(order)).await
}

/// Has another node change a tie; gives the number under which that watches the one here, if it does now.
///
/// # Errors
/// Its own, and as those of [`ask_until_lost`].
pub(crate) async fn tie(
    app: &Arc<AppInner>,
    peer: &Arc<Peer>,
    life: Incarnation,
    half: tie::Half,
) -> Result<Option<u64>, CallErrorKind> {
    ask_until_lost(app, peer, life, &Ask::Tie(half)).await
}

/// Asks what may be asked any number of times, until it is answered or that life of the node is lost.
///
/// # Errors
/// `Lost` if the node may have done it before it was lost, else `Unreachable`.
async fn ask_until_lost<A: DeserializeOwned>(
    app: &Arc<AppInner>,
    peer: &Arc<Peer>,
    life: Incarnation,
    ask: &Ask,
) -> Result<A, CallErrorKind> {
    let was_sent = AtomicBool::new(false);
    let mut lost = pin!(peer.clone().lost(life, Arc::downgrade(app)));
    let asking = async {
        loop {
            match self::ask::<A>(app, peer, Some(life), ask).await {
                Err(CallErrorKind::Unreachable { .. }) => {}
                Err(CallErrorKind::Lost { .. }) => was_sent.store(true, Ordering::Relaxed),
                answered => return answered,
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        () = &mut lost => {}
        answered = asking => return answered,
    }
    let why = format!("{} was lost", peer.node);
    Err(match was_sent.into_inner() {
        true => CallErrorKind::Lost { why },
        false => CallErrorKind::Unreachable { why },
    })
}

async fn ask<A: DeserializeOwned>(
    app: &Arc<AppInner>,
    peer: &Peer,
    life: Option<Incarnation>,
    ask: &Ask,
) -> Result<A, CallErrorKind> {
    read(&send(app, peer, life, ask).await?.await?.payload)
}

/// Sends what is asked: to this life of the node, if it speaks of something that lives there. A cell asks its node to.
async fn send(
    app: &Arc<AppInner>,
    peer: &Peer,
    life: Option<Incarnation>,
    ask: &Ask,
) -> Result<PendingCall, CallErrorKind> {
    if app.inside.is_some() && peer.node != app.home {
        let ask = write(ask)?.freeze();
        let at = Ask::At { node: peer.node.clone(), life, ask };
        return send_over(&reach(app, &app.links.peer(&app.home), None).await?, &at);
    }
    send_over(&reach(app, peer, life).await?, ask)
}

async fn reach(
    app: &Arc<AppInner>,
    peer: &Peer,
    life: Option<Incarnation>,
) -> Result<Arc<Conn>, CallErrorKind> {
    let unreachable = |why| CallErrorKind::Unreachable { why };
    let conn = peer.connect(app).await;
    let conn = conn.map_err(|why| unreachable(format!("{} could not be reached: {why}", peer.node)))?;
    if life.is_some_and(|life| life != conn.peer().incarnation) {
        return Err(unreachable(format!("{} has been started anew", peer.node)));
    }
    Ok(conn)
}

fn send_over(conn: &Arc<Conn>, ask: &Ask) -> Result<PendingCall, CallErrorKind> {
    let (payload, outlets) = collecting(|| write(ask));
    let method = if conn.is_link() { ASK.0 } else { 0 };
    conn.clone().send_to(THE_NODE, method, &payload?, &outlets)
}

/// Has a cell start an instance in a seat of this node. The reply is read with [`seated`].
///
/// # Errors
/// The cell has not been asked.
pub(crate) fn seat(link: &Arc<Conn>, named: Named, arguments: Bytes) -> Result<PendingCall, CallErrorKind> {
    send_over(link, &Ask::Seat { named, arguments })
}

/// What a cell has answered that was to start an instance.
///
/// # Errors
/// Those of its `start`: nothing is left of it. `Gone`: it has started and was to end, and the cell tells of its end.
/// `Lost`: the cell has ended.
pub(crate) fn seated(replied: Result<Reply, CallErrorKind>) -> Result<(), CallErrorKind> {
    read(&replied?.payload)
}

/// Has a cell end an instance. Sent at once, behind the calls that were sent before.
pub(crate) fn end_seated(link: &Arc<Conn>, named: Named) -> impl Future<Output = ()> + Send + use<> {
    let sent = write(&Ask::End(named)).map(|ask| link.send_when_room(ASK.0, ask.freeze()));
    async move {
        // An error means that the cell has ended, and the instance with it.
        if let Ok(sent) = sent
            && let Ok(pending) = sent.await
        {
            drop(pending.await);
        }
    }
}

/// Has a cell stop an instance, or kill it.
pub(crate) async fn stop_seated(
    link: &Arc<Conn>,
    named: Named,
    limit: Option<Duration>,
) -> Result<Exit, CallErrorKind> {
    let ask = write(&Ask::Stop { named, limit })?.freeze();
    read(&link.send_when_room(ASK.0, ask).await?.await?.payload)
}

/// Has a cell kill an instance, since another one has ended to which it is linked.
pub(crate) async fn fall_seated(link: &Arc<Conn>, named: Named, exit: Exit) -> Result<bool, CallErrorKind> {
    let ask = write(&Ask::Fall { named, exit })?.freeze();
    read(&link.send_when_room(ASK.0, ask).await?.await?.payload)
}

fn write<V: Serialize + DeserializeOwned>(value: &V) -> Result<BytesMut, CallErrorKind> {
    let named = Proof::new();
    named.use_names();
    let mut bytes = BytesMut::new();
    let written = codec::encode::<V, V>(value, &named, &mut bytes);
    written.map_err(|error| CallErrorKind::Mismatch { why: error.to_string() })?;
    Ok(bytes)
}

fn read<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, CallErrorKind> {
    codec::decode(Form::Named, bytes).map_err(|error| CallErrorKind::BadReply { why: error.to_string() })
}

/// Answers another node. Dropped, it stops where it is and says so.
pub(crate) fn answer(
    app: Arc<AppInner>,
    conn: Arc<Conn>,
    id: CallId,
    payload: Bytes,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let reply = Answer(Some(ReplyTo::Conn(conn.clone(), id)));
        let (streams, of) = (conn.streams.clone(), PayloadOf::Call);
        let landing = Landing { streams, of, call: id, callee: NODE, app: app.id, edge: None, marked: false };
        let answered = match arriving(landing, || codec::decode::<Ask>(Form::Named, &payload)) {
            Err(error) => Err(CallErrorKind::Mismatch { why: error.to_string() }),
            Ok(ask) => answer_to(&app, &conn, id, ask).await,
        };
        reply.give(answered);
    })
}

/// The duty to answer.
struct Answer(Option<ReplyTo>);

impl Answer {
    fn give(mut self, answered: Result<BytesMut, CallErrorKind>) {
        let Some(reply) = self.0.take() else { return };
        match answered {
            Ok(mut bytes) => reply.answer(false, Form::Named, &mut bytes),
            Err(kind) => reply.fail(kind),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply.fail(CallErrorKind::Cancelled);
        }
    }
}

async fn answer_to(
    app: &Arc<AppInner>,
    conn: &Arc<Conn>,
    id: CallId,
    ask: Ask,
) -> Result<BytesMut, CallErrorKind> {
    match ask {
        Ask::Spawn { module, arguments } => {
            // The code of a `start` may take its time: not on the reader's.
            tokio::task::yield_now().await;
            let host = host_of(app, &module)?.clone();
            let seat = host.clone().spawn(arguments).await?;
            if conn.is_closed() {
                // Nobody will ever hear of it.
                drop(host.end_seat(seat));
                return Err(CallErrorKind::Cancelled);
            }
            app.owners.owns(app, conn, Named { module, seat }, None);
            write(&seat)
        }
        Ask::Keep(named) => {
            app.owners.lets_go(conn.peer().incarnation, &named);
            write(&())
        }
        Ask::End(named) => {
            // What is dropped is a value of a user, whose code may take its time: not on the reader's.
            tokio::task::yield_now().await;
            app.owners.lets_go(conn.peer().incarnation, &named);
            // Its calls may go on for long, and nobody waits for them.
            drop(host_of(app, &named.module)?.end_seat(named.seat));
            write(&())
        }
        Ask::Stop { named, limit } => {
            let host = host_of(app, &named.module)?.clone();
            write(&host.stop_seat(named.seat, limit).await)
        }
        Ask::Seat { named, arguments } => {
            tokio::task::yield_now().await;
            write(&host_of(app, &named.module)?.clone().sit_down(named.seat, arguments).await?)
        }
        Ask::Register { name, named } => {
            let host = host_of(app, &named.module)?.clone();
            write(&register_here(app, host, name, named.seat).await)
        }
        // Whoever registers and frees names is the node of the instance, which takes note of it.
        Ask::Name(ask @ (NameAsk::Whereis { .. } | NameAsk::Unregister { .. })) => {
            write(&app.control.names(ask).await.map_err(Refusal::from))
        }
        Ask::Name(_) => Err(CallErrorKind::Mismatch { why: "a cell registers names at its node".to_owned() }),
        Ask::Link(order) => {
            tie::order(app, order).await?;
            write(&())
        }
        Ask::Tie(half) => write(&tie::change_for(app, &observer(app, conn), half)?),
        Ask::Fall { named, exit } => {
            let host = host_of(app, &named.module)?.clone();
            write(&host.kill_seat(named.seat, exit).await)
        }
        Ask::Lost(lost) => {
            tokio::task::yield_now().await;
            orphans::end(app, conn, lost);
            write(&())
        }
        Ask::Hear { what } => {
            let PeerInfo { node, incarnation, .. } = conn.peer();
            let heard = app.control.heard(node.clone(), *incarnation, what).await;
            write(&heard.map_err(|why| CallErrorKind::Mismatch { why })?)
        }
        Ask::At { node, life, ask } => answer_for(app, conn, &node, life, read(&ask)?).await,
        Ask::Watch { watched } => {
            let (sender, told) = Stream::channel(TOLD_AHEAD_MAX);
            let told = Passing::of(PayloadOf::Reply, told);
            let (payload, outlets) = collecting(|| write(&told));
            conn.streams.attach_sending(PayloadOf::Reply, id, &outlets, Form::Named, None)?;
            let observer = observer(app, conn);
            let watched = watched.into_stream();
            let serving = monitor::serve(Arc::downgrade(app), observer, watched, sender, app.closed());
            app.runtime.spawn(serving);
            payload
        }
    }
}

/// The other node of a connection, as one that waits for ends here.
fn observer(app: &Arc<AppInner>, conn: &Conn) -> Arc<Observer> {
    let PeerInfo { node, incarnation, .. } = conn.peer();
    Observers::of(app, &app.links.peer(node), *incarnation)
}

/// Asks another node in the place of a cell of this one, to which is answered what that says.
async fn answer_for(
    app: &Arc<AppInner>,
    cell: &Arc<Conn>,
    node: &NodeName,
    life: Option<Incarnation>,
    ask: Ask,
) -> Result<BytesMut, CallErrorKind> {
    let peer = app.links.peer(node);
    let owner = cell.peer().incarnation;
    match ask {
        Ask::Spawn { module, arguments } => {
            let module = host_of(app, &module)?.core().descriptor.name;
            let seat = spawn(app, &peer, module, arguments).await?;
            app.owners.owns(app, cell, Named { module: module.to_owned(), seat }, Some(peer));
            write(&seat)
        }
        Ask::Keep(named) => {
            keep(app, &peer, named.clone()).await?;
            app.owners.lets_go(owner, &named);
            write(&())
        }
        Ask::End(named) => {
            app.owners.lets_go(owner, &named);
            app.runtime.spawn(end_at_last(Arc::downgrade(app), peer, named));
            write(&())
        }
        Ask::Stop { named, limit } => {
            write(&self::ask::<Exit>(app, &peer, life, &Ask::Stop { named, limit }).await?)
        }
        Ask::Register { name, named } => write(&register(app, &peer, name, named).await?),
        Ask::Seat { .. }
        | Ask::At { .. }
        | Ask::Watch { .. }
        | Ask::Lost(_)
        | Ask::Name(_)
        | Ask::Link(_)
        | Ask::Tie(_)
        | Ask::Fall { .. }
        | Ask::Hear { .. } => {
            Err(CallErrorKind::Mismatch { why: "a node does not ask that of another".to_owned() })
        }
    }
}

/// A monitor of an instance in this node that another one names.
pub(crate) fn monitor(app: &AppInner, named: &Named) -> Monitor {
    match host_of(app, &named.module) {
        Ok(host) => host.clone().monitor(named.seat),
        Err(_) => Monitor::known(Exit::NoSuchInstance),
    }
}

pub(crate) fn host_of<'a>(app: &'a AppInner, module: &str) -> Result<&'a Arc<dyn AnyHost>, CallErrorKind> {
    let mut hosts = app.hosts.iter();
    let missing = || CallErrorKind::Mismatch { why: format!("{} does not have `{module}`", app.node) };
    hosts.find(|host| host.core().descriptor.name == module).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As [`Told`], of a version that knows more.
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "reason", rename_all = "kebab-case")]
    enum NewerExit {
        Evaporated { degrees: u32, words: Vec<String> },
        Stopped,
    }

    #[test]
    fn an_end_of_a_newer_version_breaks_no_stream_off() {
        let evaporated = NewerExit::Evaporated { degrees: 100, words: vec!["hot".into()] };
        let told = |exit: NewerExit| read::<Told>(&write(&(7u64, exit)).expect("it is data"));
        assert_eq!(told(evaporated), Ok((7, Exit::Unknown)));
        assert_eq!(told(NewerExit::Stopped), Ok((7, Exit::Stopped)));
        let own = (7u64, Exit::Unknown);
        assert_eq!(read::<Told>(&write(&own).expect("it is data")), Ok(own));
    }
}
