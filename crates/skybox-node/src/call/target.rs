//! Handles, and how the call of a proxy finds its instance.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallErrorKind, KeyHash, Mode, NodeName};

use super::far::{self, Link, Sent, SentCall};
use super::turns::{finish, refuse, run_detached, run_exclusive, turn_exclusive, turn_shared};
use super::{CallOptions, Crossing, RESENDS_MAX, Reply, here};
use crate::conn::Conn;
use crate::host::Placement;
use crate::host::{Exclusive, Head, Hold, Host, HostCore, Shared, route_here};
use crate::links::Peer;
use crate::metrics::Edge;
use crate::module::{Callable, Method, Module};
use crate::thread::Inherited;

/// A reference to a module: call its methods on it.
///
/// Cheap to clone; an argument and a result like any other value. It stays valid when instances are replaced or
/// move: it names the module (and the key), not an instance. The only method it has of its own is
/// [`with`](Handle::with); everything else is an associated function, so that it shadows none of yours.
pub struct Handle<T: Callable + ?Sized> {
    proxy: <T::Module as Module>::Proxy,
}

impl<T: Module> Handle<T> {
    /// Wraps a plain value, for unit tests of code that takes handles: no App, no supervision; a call that
    /// panics leaves the value as it is.
    ///
    /// # Panics
    /// Outside of a tokio runtime: calls need one.
    pub fn of(value: T) -> Handle<T> {
        Handle::alone(value)
    }
}

impl<T: Callable + ?Sized> Handle<T> {
    pub(crate) fn new(target: Target<T::Module>) -> Handle<T> {
        Handle { proxy: T::Module::proxy(target) }
    }

    pub(crate) fn alone(value: T::Module) -> Handle<T> {
        Handle::new(Target { host: Host::alone(value), key: None, options: CallOptions::new() })
    }

    /// The same handle with options for its calls.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Handle<T> {
        Handle::new(Target { options, ..self.target().clone() })
    }

    fn target(&self) -> &Target<T::Module> {
        T::Module::target(&self.proxy)
    }
}

impl<T: Callable + ?Sized> Deref for Handle<T> {
    type Target = <T::Module as Module>::Proxy;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.proxy
    }
}

impl<T: Callable + ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Handle<T> {
        Handle::new(self.target().clone())
    }
}

impl<T: Callable + ?Sized> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", T::Module::descriptor().name)
    }
}

/// A handle crosses as the module's name and the key.
impl<T: Callable + ?Sized> Serialize for Handle<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = self.target().key.as_deref().map(<[u8]>::to_vec);
        (T::Module::descriptor().name, key).serialize(serializer)
    }
}

impl<'de, T: Callable + ?Sized> serde::Deserialize<'de> for Handle<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Handle<T>, D::Error> {
        use serde::de::Error;
        let (name, key) = <(String, Option<Vec<u8>>)>::deserialize(deserializer)?;
        let app = crate::app::App::current().map_err(D::Error::custom)?;
        let own = T::Module::descriptor().name;
        if name != own {
            return Err(D::Error::custom(format!("a handle of `{name}` is not one of `{own}`")));
        }
        let host = app.host::<T::Module>().map_err(D::Error::custom)?;
        Ok(Handle::new(Target { host, key: key.map(Bytes::from), options: CallOptions::new() }))
    }
}

/// What a proxy holds: which module, which key, which options.
pub struct Target<T: Module> {
    pub(crate) host: Arc<Host<T>>,
    pub(crate) key: Option<Bytes>,
    pub(crate) options: CallOptions,
}

impl<T: Module> Clone for Target<T> {
    fn clone(&self) -> Target<T> {
        Target { host: self.host.clone(), key: self.key.clone(), options: self.options }
    }
}

impl<T: Module> fmt::Debug for Target<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", T::descriptor().name)
    }
}

/// Where a call goes.
enum Place<T> {
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
    /// A call of a `&self` method that may borrow its arguments.
    #[inline]
    pub fn shared<'c, A, O, R, W, F, Fut>(
        &'c self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, A) -> Fut + Send + 'c,
        Fut: Future<Output = R> + Send + 'c,
    {
        self.shared_with(Inherited::here(), method, wire, arguments, run)
    }

    /// [`Target::shared`] with a context that was captured before.
    #[inline]
    #[expect(
        clippy::manual_async_fn,
        reason = "that it is `Send` is promised here, not found out by each caller"
    )]
    pub(crate) fn shared_with<'c, A, O, R, W, F, Fut>(
        &'c self,
        inherited: Inherited,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, A) -> Fut + Send + 'c,
        Fut: Future<Output = R> + Send + 'c,
    {
        async move {
            let (shared, inherited) = match self.take_shared(method, &inherited, &arguments) {
                Some(shared) => (shared, inherited),
                None => {
                    let tries = match self.send_now(method, &inherited, &arguments) {
                        None => Tries::default(),
                        Some(sent) => match sent.answer(&self.host.core, method, wire).await {
                            Ok(result) => return result,
                            Err(tries) => tries,
                        },
                    };
                    match Box::pin(self.find_shared(method, wire, inherited, &arguments, tries)).await {
                        Found::Here(shared, inherited) => (shared, inherited),
                        Found::Answered(result) => return result,
                    }
                }
            };
            let core = &*self.host.core;
            let edge = core.edges.edge(inherited.caller(), method.index());
            let sampled = edge.count_local().then(Instant::now);
            let frame = here::frame(core, shared.instance(), Mode::Shared, method.index(), inherited);
            let outcome = here::run(core, frame, run(shared, arguments)).await;
            finish(method, wire, edge, sampled, outcome)
        }
    }

    /// A call of a `&self` method that may leave its caller: sync ones, which run on the module's own threads if
    /// it has any, `#[compute]` and `#[to_completion]` ones. Its arguments are made owned first.
    pub fn detached<'c, A, O, R, W, F, Fut>(
        &'c self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        own: impl FnOnce(A) -> O + Send + 'c,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.detached_with(Inherited::here(), method, wire, arguments, own, run)
    }

    /// [`Target::detached`] with a context that was captured before.
    #[expect(
        clippy::manual_async_fn,
        reason = "that it is `Send` is promised here, not found out by each caller"
    )]
    pub(crate) fn detached_with<'c, A, O, R, W, F, Fut>(
        &'c self,
        inherited: Inherited,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        own: impl FnOnce(A) -> O + Send + 'c,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        async move {
            let (shared, inherited) = match self.take_shared(method, &inherited, &arguments) {
                Some(shared) => (shared, inherited),
                None => {
                    let tries = match self.send_now(method, &inherited, &arguments) {
                        None => Tries::default(),
                        Some(sent) => match sent.answer(&self.host.core, method, wire).await {
                            Ok(result) => return result,
                            Err(tries) => tries,
                        },
                    };
                    match Box::pin(self.find_shared(method, wire, inherited, &arguments, tries)).await {
                        Found::Here(shared, inherited) => (shared, inherited),
                        Found::Answered(result) => return result,
                    }
                }
            };
            let core = &self.host.core;
            let edge = core.edges.edge(inherited.caller(), method.index());
            let sampled = edge.count_local().then(Instant::now);
            let outcome = run_detached(core, method, inherited, shared, own(arguments), run).await;
            finish(method, wire, edge, sampled, outcome)
        }
    }

    /// A call of a `&mut self` method: it waits for its turn here, with its arguments still the caller's; then
    /// they become owned, since a started call runs to its end even if the caller goes.
    pub fn exclusive<'c, A, O, R, W, F, Fut>(
        &'c self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        own: impl FnOnce(A) -> O + Send + 'c,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Exclusive<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let inherited = Inherited::here();
        async move {
            let (exclusive, inherited) = match self.take_exclusive(method, &inherited, &arguments) {
                Some(exclusive) => (exclusive, inherited),
                None => {
                    let tries = match self.send_now(method, &inherited, &arguments) {
                        None => Tries::default(),
                        Some(sent) => match sent.answer(&self.host.core, method, wire).await {
                            Ok(result) => return result,
                            Err(tries) => tries,
                        },
                    };
                    match Box::pin(self.find_exclusive(method, wire, inherited, &arguments, tries)).await {
                        Found::Here(exclusive, inherited) => (exclusive, inherited),
                        Found::Answered(result) => return result,
                    }
                }
            };
            let core = &self.host.core;
            let edge = core.edges.edge(inherited.caller(), method.index());
            let sampled = edge.count_local().then(Instant::now);
            let outcome = run_exclusive(core, method, inherited, exclusive, own(arguments), run).await;
            finish(method, wire, edge, sampled, outcome)
        }
    }

    /// The way of most calls: the instance is here, it is nobody else's turn, and nothing has to be waited for,
    /// allocated or shrunk. Whatever is not so goes the long way.
    #[inline(always)]
    fn take_shared<A: Serialize, O: Serialize + DeserializeOwned, R>(
        &self,
        method: &'static Method<O, R>,
        inherited: &Inherited,
        arguments: &A,
    ) -> Option<Shared<T>> {
        let hold = self.quick(method, inherited, arguments)?;
        let turn = hold.turn.as_ref();
        let free = turn.is_none_or(|turn| !inherited.is_nested() && turn.try_take(Mode::Shared, false));
        free.then(|| Shared::new(hold))
    }

    /// As [`take_shared`](Target::take_shared), for `&mut self`.
    #[inline(always)]
    fn take_exclusive<A: Serialize, O: Serialize + DeserializeOwned, R>(
        &self,
        method: &'static Method<O, R>,
        inherited: &Inherited,
        arguments: &A,
    ) -> Option<Exclusive<T>> {
        let hold = self.quick(method, inherited, arguments)?;
        let free = !inherited.is_nested() && hold.turns().try_take(Mode::Exclusive, false);
        free.then(|| Exclusive::new(hold))
    }

    #[inline(always)]
    fn quick<A: Serialize, O: Serialize + DeserializeOwned, R>(
        &self,
        method: &'static Method<O, R>,
        inherited: &Inherited,
        arguments: &A,
    ) -> Option<Hold<T>> {
        let core = &*self.host.core;
        if inherited.chain_full() || self.options.deadline.is_some() || core.settings.deadline.is_some() {
            return None;
        }
        if cfg!(debug_assertions) && far::prove_arguments(method, arguments).is_err() {
            return None;
        }
        self.route()
    }

    /// The fast way to a replicated instance that lives here.
    #[inline(always)]
    fn route(&self) -> Option<Hold<T>> {
        if self.host.core.strict {
            return None;
        }
        route_here(&self.host, self.key.as_ref())
    }

    /// The long way to a `&self` call: finds the instance and takes its turn, or has the call answered elsewhere.
    async fn find_shared<A, O, R, W>(
        &self,
        method: &'static Method<O, R>,
        wire: W,
        mut inherited: Inherited,
        arguments: &A,
        mut tries: Tries,
    ) -> Found<Shared<T>, R>
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
            let kind = match turn_shared(&self.host.core, hold, head, &inherited).await {
                Ok(Some(shared)) => return Found::Here(shared, inherited),
                Ok(None) if replaced < RESENDS_MAX => {
                    tries = Tries { replaced: replaced + 1, ..Tries::default() };
                    continue;
                }
                Ok(None) => CallErrorKind::Gone,
                Err(kind) => kind,
            };
            return Found::Answered(refuse(method, wire, self.edge(method, &inherited), kind));
        }
    }

    /// As [`find_shared`](Target::find_shared), for `&mut self`.
    async fn find_exclusive<A, O, R, W>(
        &self,
        method: &'static Method<O, R>,
        wire: W,
        mut inherited: Inherited,
        arguments: &A,
        mut tries: Tries,
    ) -> Found<Exclusive<T>, R>
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
            let kind = match turn_exclusive(&self.host.core, hold, head, &inherited).await {
                Ok(Some(exclusive)) => return Found::Here(exclusive, inherited),
                Ok(None) if replaced < RESENDS_MAX => {
                    tries = Tries { replaced: replaced + 1, ..Tries::default() };
                    continue;
                }
                Ok(None) => CallErrorKind::Gone,
                Err(kind) => kind,
            };
            return Found::Answered(refuse(method, wire, self.edge(method, &inherited), kind));
        }
    }

    fn edge<O, R>(&self, method: &Method<O, R>, inherited: &Inherited) -> &Edge {
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
        let settings = &self.host.core.settings;
        if let Some(limit) = self.options.deadline.into_iter().chain(settings.deadline).min() {
            inherited.context_mut().shrink(Some(tokio::time::Instant::now().into_std() + limit));
        }
        let found = match self.route().filter(|_| !inherited.chain_full()) {
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
                Err(kind) => return Found::Answered(refuse(method, wire, edge, kind)),
            };
            let node = link.node();
            match far::call(
                &self.host,
                &link,
                head,
                method,
                wire,
                &inherited,
                self.key.as_ref(),
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
    fn send_now<A, O, R>(
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
        if core.traced && !self.host.line.is_empty() {
            return None;
        }
        let Look::Conn(conn) = self.look(&Tries::default()) else { return None };
        far::send(core, conn, method, inherited, self.key.as_ref(), arguments)
    }

    /// A call with arguments and result as JSON, from the command line.
    pub(crate) async fn relay(&self, method: u16, payload: Bytes) -> Result<Reply, CallErrorKind> {
        let inherited = Inherited::nothing();
        let mut tries = Tries::default();
        loop {
            let outcome = match self.place(&inherited, &mut tries).await? {
                Place::Far(Link::Peer(conn), _) => {
                    far::relay(&self.host.core, &conn, method, self.key.as_ref(), &payload).await
                }
                Place::Here(..) | Place::Far(Link::Strict, _) => {
                    far::relay_here(&self.host, method, self.key.clone(), payload.clone()).await
                }
            };
            match outcome {
                Err(kind) if far::may_resend(&kind, false) && tries.resends < RESENDS_MAX => {
                    tries.resends += 1
                }
                outcome => return outcome,
            }
        }
    }

    /// Where the call goes, waiting within bounds while it can go nowhere.
    async fn place(&self, inherited: &Inherited, tries: &mut Tries) -> Result<Place<T>, CallErrorKind> {
        let core = &self.host.core;
        let deadline = inherited.deadline();
        let mut changes = core.changes();
        let (mut waiting, mut until, mut head) = (None, None, None);
        loop {
            changes.borrow_and_update();
            if core.strict {
                return Ok(Place::Far(Link::Strict, None));
            }
            let here = head.as_ref().and_then(|_| Hold::of_route(self.host.local.load()));
            let look = here.map_or_else(|| self.look(tries), Look::Here);
            // Calls that nobody has refused wait in line, where the order of calls means something.
            let in_line = head.is_some() || !core.traced || self.key.is_some() || !tries.refused.is_empty();
            if !in_line && matches!(look, Look::Dial(_) | Look::Wait(_)) {
                waiting = Some(core.queue_up()?);
                let until = *until.get_or_insert_with(|| core.wait_end(deadline));
                head = self.host.line.enter(until).await;
                if head.is_none() {
                    return Err(core.waited_out(deadline, "no instance was ready"));
                }
                continue;
            }
            let why = match look {
                Look::Here(hold) => return Ok(Place::Here(hold, head)),
                Look::Wake => match self.host.find_here(self.key.as_ref(), deadline).await {
                    // Between the look and here.
                    Err(CallErrorKind::Moved) => {
                        format!("{} had handed its key over and nobody had taken it", core.node)
                    }
                    found => return found.map(|(hold, head)| Place::Here(hold, Some(head))),
                },
                Look::Conn(conn) => return Ok(Place::Far(Link::Peer(conn), head)),
                Look::Dial(peers) => match far::connect(core, &peers).await {
                    Ok(link) => return Ok(Place::Far(link, head)),
                    Err(why) => why,
                },
                Look::Never(kind) => return Err(kind),
                Look::Wait(why) => why,
            };
            if let Some(kind) = tries.last.take_if(|kind| matches!(kind, CallErrorKind::Overloaded { .. })) {
                return Err(kind);
            }
            if waiting.is_none() {
                waiting = Some(core.queue_up()?);
            }
            let until = *until.get_or_insert_with(|| core.wait_end(deadline));
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

    /// Looks once.
    fn look(&self, tries: &Tries) -> Look<T> {
        if let Some(hold) = self.route() {
            return Look::Here(hold);
        }
        let core = &self.host.core;
        if core.app.strong_count() == 0 {
            return Look::Never(CallErrorKind::Gone);
        }
        let placement = core.placement.load();
        if let Some(key) = &self.key {
            return self.look_keyed(&placement, key, tries);
        }
        let peers = || placement.elsewhere.iter().filter(|peer| !tries.refused_by(peer, placement.version));
        if let Some(conn) = least_loaded(core, peers()) {
            return Look::Conn(conn);
        }
        let nodes: Vec<_> = peers().cloned().collect();
        if !nodes.is_empty() {
            return Look::Dial(nodes);
        }
        if let Some(cause) = crate::host::failed_here(core) {
            return Look::Never(CallErrorKind::NotStarted { cause });
        }
        if let Some(cause) = &placement.failed {
            return Look::Never(match cause.strip_prefix("unplaced: ") {
                Some(why) => CallErrorKind::Unplaced { why: why.to_owned() },
                None => CallErrorKind::NotStarted { cause: cause.clone() },
            });
        }
        Look::Wait("no instance was ready".to_owned())
    }

    fn look_keyed(&self, placement: &Placement, key: &[u8], tries: &Tries) -> Look<T> {
        let Some(shards) = &placement.shards else { return Look::Wake };
        let index = usize::from(shards.owner[usize::from(KeyHash::of(key).shard().0)]);
        match placement.owners.get(index) {
            None => Look::Wait("nobody owned its key".to_owned()),
            Some(None) => Look::Wake,
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
enum Found<G, R> {
    /// With the instance held.
    Here(G, Inherited),
    /// The call is over.
    Answered(R),
}
