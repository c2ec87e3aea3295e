//! What a person at a command line can ask of a running node, over the same wire as every call.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skybox_core::{CallError, CallErrorKind, CallId, Callee, Incarnation, ModulePlan, NodeName, Ran};
use skybox_wire::codec::Form;
use skybox_wire::frame::{ModuleNumber, PayloadOf};
use skybox_wire::handshake::{Hello, Role};

use crate::app::{App, AppId, AppInner};
use crate::call::{ItemError, Relayed, ReplyTo};
use crate::conn::{Address, Conn, DialError, Right, dial_operator};
use crate::control::{PlanFigures, Unanswered};
use crate::host::{AnyHost, Restarted};
use crate::metrics::EdgeCounts;
use crate::status::{ImplementationStatus, ModuleStatus, NodeStatus, PolicyStatus};
use crate::stream::{FROM_A_PERSON, Landing, Outlets, Passing, Stream, arriving, collecting};
use crate::uses::ProcessUse;

/// The module number that means the node itself.
pub(crate) const THE_NODE: ModuleNumber = ModuleNumber(u16::MAX);

/// How long the answer to an operator who has a node drain may take to leave it.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Where the log says what operators did.
const AUDIT: &str = "skybox::audit";

/// What a node can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// What it runs and has counted.
    Status,
    /// A call, made from there.
    Call {
        /// Module or task.
        module: String,
        /// Method; `call` for a task.
        method: String,
        /// The key of a keyed module: JSON, or a bare word.
        key: Option<String>,
        /// The arguments, by name or in order.
        arguments: Value,
        /// Whether a stream follows, for one of them.
        #[serde(default)]
        stdin: Option<Stdin>,
    },
    /// Hand over what it has, and end.
    Drain,
    /// Start a module, or one key of it, anew.
    Restart {
        /// Module or task.
        module: String,
        /// The key of a keyed module: JSON, or a bare word.
        key: Option<String>,
    },
    /// Kill an instance.
    Kill {
        /// Its name, as the status says it.
        instance: String,
    },
    /// What the plan of the whole program is.
    Plan,
    /// Change the plan of the whole program.
    Order(Value),
}

/// Orders that change nothing.
const READS: [&str; 3] = ["explain", "history", "try-out"];
/// Asks whoever keeps the plan for all of it.
const SHOW: &str = "show";

/// What came of the order to kill an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Killed {
    /// Its module.
    pub module: String,
    /// What was killed.
    pub extent: Extent,
}

/// What is killed where an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Extent {
    /// It, by its cell or its node. Code that holds a thread of the node goes on there.
    Instance,
    /// The process of its cell with it: it went on there, or the cell did not answer.
    Cell,
    /// It takes no more calls, but its code holds a thread of a cell in which others live, and goes on.
    GoesOn,
}

/// The argument that an operator sends item by item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stdin {
    /// Its parameter; the only one that is not among the arguments, if nothing is said.
    parameter: Option<String>,
}

/// What a node answers to a call: how it ended, or the stream that it returned.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Told {
    Items { items: Passing<Value, ItemError> },
    Once(Outcome),
}

/// The answer of a call from the command line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// It has ended.
    Once(Outcome),
    /// It returned a stream; its items.
    Items(Items),
}

/// The items of a stream that a call has returned. Dropped, the stream ends where it is made.
#[derive(Debug)]
pub struct Items(Stream<Value, ItemError>);

impl Items {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// [`ItemError`]: one of the stream's own, after which it goes on, or why it has broken off.
    ///
    /// # Cancel safety
    /// No item is lost.
    pub async fn next(&mut self) -> Option<Result<Value, ItemError>> {
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut self.0).poll_next(cx)).await
    }
}

/// How a call from the command line ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It returned this.
    Returned(Value),
    /// It returned its own error.
    Failed(Value),
    /// It failed as a call.
    CallError {
        /// What is wrong.
        message: String,
        /// Its stable code; empty from a node of a version without.
        #[serde(default)]
        code: String,
        /// Whether it ran: `no`, `yes` or `maybe`.
        ran: String,
    },
}

pub(crate) fn status(app: &App) -> NodeStatus {
    let inner = app.inner();
    NodeStatus {
        node: inner.node.clone(),
        address: inner.address.to_string(),
        pid: std::process::id(),
        program: inner.program.clone(),
        up_ms: inner.started.elapsed().as_millis() as u64,
        ready: inner.ready.load(std::sync::atomic::Ordering::Relaxed),
        listeners: crate::host::lock(&inner.bound).clone(),
        modules: inner.hosts.iter().map(|host| module_status(inner, &**host)).collect(),
        edges: edges(inner),
        frames: inner.links.open().iter().map(|conn| conn.frames()).sum(),
        uses: ProcessUse::of_this(),
        linked: inner.ties.count() as u64,
        restarted: inner.lives.told(),
        handshakes: inner.handshakes.counts(),
        plan: plan_figures(inner),
    }
}

/// How this node stands to the plan, with what only it knows of its fence.
pub(crate) fn plan_figures(app: &AppInner) -> Option<PlanFigures> {
    let figures = app.control.figures()?;
    let plan = app.control.plans().borrow().clone();
    let fence_closed = app.control.fence().is_some_and(|fence| !fence.is_open(plan.version));
    let shards = |host: &Arc<dyn AnyHost>| match plan.modules.get(host.core().descriptor.name) {
        Some(ModulePlan::Keyed(shards)) if host.core().has_fence() => {
            let me = shards.nodes.iter().position(|node| *node == app.node);
            me.map_or(0, |me| shards.owner.iter().filter(|owner| usize::from(**owner) == me).count())
        }
        _ => 0,
    };
    let owned: usize = app.hosts.iter().map(shards).sum();
    Some(PlanFigures { fence_closed, fenced_shards: if fence_closed { owned as u64 } else { 0 }, ..figures })
}

fn module_status(app: &AppInner, host: &dyn crate::host::AnyHost) -> ModuleStatus {
    let core = host.core();
    let methods = core.descriptor.methods.iter();
    let implementation = app.implementation(usize::from(core.index));
    core.tallies.look();
    ModuleStatus {
        module: core.descriptor.name.to_owned(),
        kind: core.descriptor.kind,
        path: core.descriptor.path.to_owned(),
        implementation: implementation.map(|chosen| ImplementationStatus {
            name: chosen.name.to_owned(),
            path: chosen.path.to_owned(),
        }),
        methods: methods
            .map(|method| {
                (method.name.to_owned(), method.parameters.iter().map(|&name| name.to_owned()).collect())
            })
            .collect(),
        given_up: host.given_up(),
        given_up_keys: core.failed_keys.given_up_count() as u64,
        spawned: host.spawned() as u64,
        instances: host.status(),
        endings: core.endings.list(),
        ended: core.endings.count(),
        served: Some(core.served.counts("", core.descriptor.name, "")),
        policy: Some(PolicyStatus::of(&core.settings)),
        holds: core.holds.status(|method| core.descriptor.methods[usize::from(method)].name.to_owned()),
    }
}

/// The edges in use.
pub(crate) fn edges(app: &AppInner) -> Vec<EdgeCounts> {
    let name = |caller: usize| caller.checked_sub(1).map_or("", |at| app.hosts[at].core().descriptor.name);
    let mut counts = Vec::new();
    for host in &app.hosts {
        let core = host.core();
        for (caller, method, edge) in core.edges.used() {
            counts.push(edge.counts(
                name(caller),
                core.descriptor.name,
                core.descriptor.methods[method].name,
            ));
        }
    }
    counts
}

impl Ask {
    /// What an operator must be allowed to do for it.
    fn needs(&self) -> Right {
        match self {
            Ask::Status | Ask::Plan => Right::Read,
            Ask::Order(order) if READS.iter().any(|read| order.get(read).is_some()) => Right::Read,
            Ask::Call { .. } => Right::Call,
            Ask::Drain | Ask::Restart { .. } | Ask::Kill { .. } | Ask::Order(_) => Right::Admin,
        }
    }
}

/// Answers an operator. Runs as a task of its own.
pub(crate) async fn answer(app: Arc<AppInner>, conn: Arc<Conn>, id: CallId, payload: Bytes) {
    let ask = serde_json::from_slice::<Ask>(&payload)
        .map_err(|error| CallErrorKind::Mismatch { why: error.to_string() });
    let allowed = ask.and_then(|ask| conn.peer().may(ask.needs()).map(|()| ask));
    let operator = conn.peer().node.clone();
    let who = conn.peer().who();
    let drains = matches!(allowed, Ok(Ask::Drain));
    let reply = ReplyTo::Conn(conn.clone(), id);
    let answered = match allowed {
        Err(kind) => Err(kind),
        Ok(Ask::Status) => {
            let mut status = crate::cell::status_with_cells(&app).await;
            crate::names::show(&app, &mut status).await;
            to_json(&status)
        }
        Ok(Ask::Call { module, method, key, arguments, stdin }) => {
            tracing::info!(target: AUDIT, %operator, "calls {module}.{method}");
            let asked = Asked { module, method, key, arguments };
            let items = stdin.map(|stdin| (stdin, items_of(&app, &conn, id)));
            tokio::select! {
                biased;
                told = call(&app, asked, items) => tell(&conn, id, told),
                // Nobody waits for it any more.
                () = conn.wait_closed() => Err(CallErrorKind::Cancelled),
            }
        }
        Ok(Ask::Drain) => {
            tracing::info!(target: AUDIT, %operator, "drains this node");
            to_json(&())
        }
        Ok(Ask::Restart { module, key }) => {
            let shown = key.as_ref().map(|key| format!("[{key}]")).unwrap_or_default();
            tracing::info!(target: AUDIT, %operator, "restarts {module}{shown}");
            restart(&app, &module, key.as_deref()).await.and_then(|restarted| to_json(&restarted))
        }
        Ok(Ask::Kill { instance }) => {
            tracing::info!(target: AUDIT, %operator, "kills {instance}");
            to_json(&kill(&app, &instance, &operator).await)
        }
        Ok(Ask::Plan) => order(&app, SHOW.into(), &who).await,
        Ok(Ask::Order(asked)) => {
            tracing::info!(target: AUDIT, %operator, %who, "orders {asked}");
            order(&app, asked, &who).await
        }
    };
    match answered {
        Ok(text) => reply.answer(false, Form::Json, &mut BytesMut::from(&text[..])),
        Err(kind) => reply.fail(kind),
    }
    if drains {
        // A drained process may end at once: the answer leaves first.
        drop(tokio::time::timeout(ANSWER_WAIT, conn.answered()).await);
        App::from_inner(app).drain();
    }
}

/// A stream that comes with a call, and for which parameter; or why it cannot be taken.
type ItemsIn = (Stdin, Result<Passing<Value, ItemError>, String>);

/// The stream that an operator sends with a call.
fn items_of(app: &AppInner, conn: &Conn, call: CallId) -> Result<Passing<Value, ItemError>, String> {
    let (streams, callee) = (conn.streams.clone(), Callee::new("node", "ask"));
    let landing =
        Landing { streams, of: PayloadOf::Call, call, callee, app: app.id, edge: None, marked: false };
    arriving(landing, || serde_json::from_value(0.into())).map_err(|error| error.to_string())
}

/// What is answered to a call, with its stream on its way.
fn tell(conn: &Conn, call: CallId, told: Told) -> Result<Vec<u8>, CallErrorKind> {
    let (text, outlets) = collecting(|| to_json(&told));
    conn.streams.attach_sending(PayloadOf::Reply, call, &outlets, Form::Json, None)?;
    text
}

/// What an operator wants to be called.
struct Asked {
    module: String,
    method: String,
    key: Option<String>,
    arguments: Value,
}

/// Puts a stream among the arguments: where it belongs, or in the only place that is left.
fn place(arguments: &mut Value, parameters: &[&str], stdin: &Stdin, position: Value) -> Result<(), String> {
    let marked = || position.as_u64().map(|position| position + u64::from(FROM_A_PERSON));
    let marked = marked().ok_or("a stream has a position")?;
    match arguments {
        Value::Object(named) => {
            let missing: Vec<_> =
                parameters.iter().filter(|parameter| !named.contains_key(**parameter)).collect();
            let parameter = match (&stdin.parameter, &missing[..]) {
                (Some(parameter), _) => parameter.clone(),
                (None, [only]) => (**only).to_owned(),
                (None, _) => {
                    return Err(format!(
                        "say with --stdin=PARAMETER which of {} is read from standard input",
                        parameters.join(", ")
                    ));
                }
            };
            named.insert(parameter, marked.into());
        }
        Value::Array(ordered) if stdin.parameter.is_none() => ordered.push(marked.into()),
        _ => return Err("with --stdin=PARAMETER the other arguments are given by name".to_owned()),
    }
    Ok(())
}

fn to_json<V: Serialize>(value: &V) -> Result<Vec<u8>, CallErrorKind> {
    serde_json::to_vec(value).map_err(|error| CallErrorKind::BadReply { why: error.to_string() })
}

async fn call(app: &Arc<AppInner>, asked: Asked, stdin: Option<ItemsIn>) -> Told {
    match relay(app, asked, stdin).await {
        Ok(Relayed::Returned(value)) => Told::Once(Outcome::Returned(value)),
        Ok(Relayed::Failed(error)) => Told::Once(Outcome::Failed(error)),
        Ok(Relayed::Items(stream)) => Told::Items { items: Passing::of(PayloadOf::Reply, stream) },
        Err(kind) => {
            let ran = match kind.ran() {
                Ran::No => "no",
                Ran::Yes => "yes",
                Ran::Maybe => "maybe",
            };
            let (message, code, ran) = (kind.to_string(), kind.code().to_string(), ran.to_owned());
            Told::Once(Outcome::CallError { message, code, ran })
        }
    }
}

/// The module that an operator names.
fn host_of<'a>(app: &'a AppInner, module: &str) -> Result<&'a Arc<dyn AnyHost>, CallErrorKind> {
    app.hosts.iter().find(|host| host.core().descriptor.name == module).ok_or_else(|| {
        let names: Vec<_> = app.hosts.iter().map(|host| host.core().descriptor.name).collect();
        let why = format!("there is no module `{module}`; there are {}", names.join(", "));
        CallErrorKind::Mismatch { why }
    })
}

/// The key that an operator names, where there are keys.
fn key_of(host: &dyn AnyHost, key: Option<&str>) -> Result<Option<Bytes>, CallErrorKind> {
    let module = host.core().descriptor.name;
    let key = match (host.core().descriptor.kind, key) {
        (skybox_core::ModuleKind::Keyed, None) => Err(format!("`{module}` is keyed: say which with --key")),
        (skybox_core::ModuleKind::Keyed, Some(key)) => host.key(key).map(Some),
        (_, Some(_)) => Err(format!("`{module}` has no keys")),
        (_, None) => Ok(None),
    };
    key.map_err(|why| CallErrorKind::Mismatch { why })
}

async fn restart(app: &AppInner, module: &str, key: Option<&str>) -> Result<Restarted, CallErrorKind> {
    let host = host_of(app, module)?;
    if host.core().descriptor.kind == skybox_core::ModuleKind::Spawned {
        let why = format!("the instances of `{module}` are made by code, which alone can make them anew");
        return Err(CallErrorKind::Mismatch { why });
    }
    // Of keys that nobody names, those are meant that were given up.
    let key = if key.is_none() { None } else { key_of(&**host, key)? };
    host.clone().restart(key).await
}

async fn order(app: &AppInner, order: Value, by: &str) -> Result<Vec<u8>, CallErrorKind> {
    match app.control.order(order, by).await {
        Ok(done) => to_json(&done),
        Err(Unanswered::Refused(why)) => Err(CallErrorKind::Mismatch { why }),
        Err(Unanswered::Unreachable(why)) => Err(CallErrorKind::Lost { why }),
    }
}

/// Nothing if none of that name is live.
async fn kill(app: &AppInner, instance: &str, by: &NodeName) -> Option<Killed> {
    for host in &app.hosts {
        let extent = match host.clone().kill(instance, by.as_str()) {
            Some(_) => Some(Extent::Instance),
            None => crate::cell::kill_in_cells(&**host, instance, by.as_str()).await,
        };
        if let Some(extent) = extent {
            return Some(Killed { module: host.core().descriptor.name.to_owned(), extent });
        }
    }
    None
}

async fn relay(app: &Arc<AppInner>, asked: Asked, stdin: Option<ItemsIn>) -> Result<Relayed, CallErrorKind> {
    let mismatch = |why: String| CallErrorKind::Mismatch { why };
    let Asked { module, method, key, mut arguments } = asked;
    let host = host_of(app, &module)?;
    let descriptor = host.core().descriptor;
    let Some(index) = descriptor.methods.iter().position(|known| known.name == method) else {
        let names: Vec<_> = descriptor.methods.iter().map(|method| method.name).collect();
        return Err(mismatch(format!("`{module}` has no method `{method}`; it has {}", names.join(", "))));
    };
    let key = key_of(&**host, key.as_deref())?;
    let mut outlets = Outlets::new();
    if let Some((stdin, items)) = stdin {
        let items = items.map_err(mismatch)?;
        let (position, collected) = collecting(|| serde_json::to_value(&items));
        let position = position.map_err(|error| mismatch(error.to_string()))?;
        let parameters = descriptor.methods[index].parameters;
        place(&mut arguments, parameters, &stdin, position).map_err(mismatch)?;
        outlets = collected;
    }
    let payload = Bytes::from(arguments.to_string());
    host.clone().relay(index as u16, key, payload, outlets).await
}

/// A person's connection to a node.
#[derive(Debug)]
pub struct Operator {
    conn: Arc<Conn>,
}

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It answered something else.
    #[error("the node's answer was not understood: it may be another version")]
    Answer(#[from] serde_json::Error),
    /// The certificate's files.
    #[cfg(feature = "tls")]
    #[error("the operator's certificate cannot be used")]
    Files(#[from] crate::conn::tls::TlsFilesError),
    /// The certificate is a node's.
    #[cfg(feature = "tls")]
    #[error("the certificate is a node's: `skybox certs operator` makes one for a person")]
    NotAnOperator,
}

fn hello(program: &str, operator: String) -> Hello {
    Hello {
        protocols: Hello::PROTOCOLS,
        role: Role::Operator,
        incarnation: Incarnation(u64::from(std::process::id())),
        clock_us: crate::clock::monotonic_us(),
        program: program.to_owned(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
        node: NodeName::new(operator),
        modules: Vec::new(),
    }
}

impl Operator {
    /// Connects to a node of `program`.
    ///
    /// # Errors
    /// [`AskError::Dial`].
    pub async fn connect(program: &str, address: &Address) -> Result<Operator, AskError> {
        let hello = hello(program, format!("operator-{}", std::process::id()));
        Ok(Operator { conn: dial_operator(address, hello).await? })
    }

    /// Connects to a node of `program` on any machine, with an operator's certificate.
    ///
    /// # Errors
    /// [`AskError::Files`] if the certificate cannot be used, [`AskError::Dial`] if there is no connection.
    #[cfg(feature = "tls")]
    pub async fn connect_tls(
        program: &str,
        address: &str,
        files: crate::config::TlsFiles,
    ) -> Result<Operator, AskError> {
        use crate::conn::tls::{Identity, Tls};
        let tls = Tls::load(program, files)?;
        let Identity::Operator { name, .. } = tls.identity() else { return Err(AskError::NotAnOperator) };
        Ok(Operator { conn: crate::conn::dial_operator_tls(&tls, address, hello(program, name)).await? })
    }

    /// What the node runs and has counted.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn status(&self) -> Result<NodeStatus, AskError> {
        self.ask(&Ask::Status).await
    }

    /// A call, made from that node. `stdin` is a stream for one of its parameters: the named one, or the only one that
    /// is not among the arguments.
    ///
    /// # Errors
    /// [`AskError`] if the node could not be asked; how the call went is the [`Answer`].
    pub async fn call(
        &self,
        module: &str,
        method: &str,
        key: Option<&str>,
        arguments: Value,
        stdin: Option<(Option<String>, Stream<Value, ItemError>)>,
    ) -> Result<Answer, AskError> {
        let (module, method, key) = (module.to_owned(), method.to_owned(), key.map(str::to_owned));
        let (stdin, items) = stdin.map(|(parameter, items)| (Stdin { parameter }, items)).unzip();
        let callee = Callee::new("node", "ask");
        let items = items.map(|items| Passing::argument(items, callee));
        let (_, outlets) = collecting(|| items.as_ref().map(serde_json::to_value));
        let failed = |kind| CallError::new(callee, kind);
        let ask = serde_json::to_vec(&Ask::Call { module, method, key, arguments, stdin })?;
        let mut pending = self.conn.clone().send_to(THE_NODE, 0, &ask, &outlets).map_err(failed)?;
        let reply = (&mut pending).await.map_err(failed)?;
        let read = || serde_json::from_slice(&reply.payload);
        let told = match pending.way().landing(callee, AppId::NONE, None) {
            Some(landing) => arriving(landing, read)?,
            None => read()?,
        };
        Ok(match told {
            Told::Once(outcome) => Answer::Once(outcome),
            Told::Items { items } => Answer::Items(Items(items.into_stream())),
        })
    }

    /// Has the node drain, as SIGTERM does; resolves when it has begun to.
    ///
    /// # Errors
    /// [`AskError`]; `Denied` without the right of an admin.
    pub async fn drain(&self) -> Result<(), AskError> {
        self.ask(&Ask::Drain).await
    }

    /// Has the node start a module, or one key of a keyed one, anew, as if it had never failed. One that runs is
    /// replaced: no call fails. Resolves when that is done, after at most the time that calls wait for a start. Without a
    /// key, those of a keyed module that were given up may be started again; its other ones go on.
    ///
    /// # Errors
    /// [`AskError`]; `Denied` without the right of an admin, `Mismatch` if there is no such module or key.
    pub async fn restart(&self, module: &str, key: Option<&str>) -> Result<Restarted, AskError> {
        self.ask(&Ask::Restart { module: module.to_owned(), key: key.map(str::to_owned) }).await
    }

    /// Has the node kill an instance: its calls in progress end with `Cancelled`, and another one takes its place, which
    /// is not counted as a failure. If it lives in a cell that does not answer within two seconds, or that has nobody else in
    /// it and where it goes on, the process of that cell is killed. `None` if no instance of that name is live there.
    ///
    /// # Errors
    /// [`AskError`]; `Denied` without the right of an admin.
    pub async fn kill(&self, instance: &str) -> Result<Option<Killed>, AskError> {
        self.ask(&Ask::Kill { instance: instance.to_owned() }).await
    }

    /// Asks the node for the plan of the whole program, which its cloud's store has.
    ///
    /// # Errors
    /// [`AskError`]; `Mismatch` if the node is no member of a cloud, `Lost` if its store cannot be reached.
    pub async fn plan(&self) -> Result<Value, AskError> {
        self.ask(&Ask::Plan).await
    }

    /// Has the node change the plan of the whole program; resolves when that is done.
    ///
    /// # Errors
    /// As those of [`plan`](Operator::plan); `Denied` without the right of an admin.
    pub async fn order(&self, order: Value) -> Result<Value, AskError> {
        self.ask(&Ask::Order(order)).await
    }

    async fn ask<A: serde::de::DeserializeOwned>(&self, ask: &Ask) -> Result<A, AskError> {
        let failed = |kind| CallError::new(Callee::new("node", "ask"), kind);
        let pending = self
            .conn
            .clone()
            .send_to(THE_NODE, 0, &serde_json::to_vec(ask)?, &Outlets::new())
            .map_err(failed)?;
        let reply = pending.await.map_err(failed)?;
        Ok(serde_json::from_slice(&reply.payload)?)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.conn.close("the operator has gone");
    }
}
