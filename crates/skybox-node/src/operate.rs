//! What a person at a command line can ask of a running node, over the same wire as every call.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use skybox_core::{CallError, CallErrorKind, CallId, Callee, Incarnation, NodeName, Ran};
use skybox_wire::codec::Form;
use skybox_wire::frame::ModuleNumber;
use skybox_wire::handshake::{Hello, Role};

use crate::app::{App, AppInner};
use crate::call::{Reply, ReplyTo};
use crate::conn::{Address, Conn, DialError, Right, dial_operator};
use crate::metrics::EdgeCounts;
use crate::status::{ModuleStatus, NodeStatus};

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
        arguments: serde_json::Value,
    },
    /// Hand over what it has, and end.
    Drain,
}

/// How a call from the command line ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It returned this.
    Returned(serde_json::Value),
    /// It returned its own error.
    Failed(serde_json::Value),
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
        modules: inner.hosts.iter().map(|host| module_status(&**host)).collect(),
        edges: edges(inner),
        frames: inner.links.open().iter().map(|conn| conn.frames()).sum(),
    }
}

fn module_status(host: &dyn crate::host::AnyHost) -> ModuleStatus {
    let core = host.core();
    let methods = core.descriptor.methods.iter();
    ModuleStatus {
        module: core.descriptor.name.to_owned(),
        kind: core.descriptor.kind,
        path: core.descriptor.path.to_owned(),
        methods: methods
            .map(|method| {
                (method.name.to_owned(), method.parameters.iter().map(|&name| name.to_owned()).collect())
            })
            .collect(),
        failed: crate::host::failed_here(core),
        instances: host.status(),
        endings: crate::host::lock(&core.endings).clone(),
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
            Ask::Status => Right::Read,
            Ask::Call { .. } => Right::Call,
            Ask::Drain => Right::Admin,
        }
    }
}

/// Answers an operator. Runs as a task of its own.
pub(crate) async fn answer(app: Arc<AppInner>, conn: Arc<Conn>, id: CallId, payload: Bytes) {
    let ask = serde_json::from_slice::<Ask>(&payload)
        .map_err(|error| CallErrorKind::Mismatch { why: error.to_string() });
    let allowed = ask.and_then(|ask| conn.peer().may(ask.needs()).map(|()| ask));
    let operator = conn.peer().node.clone();
    let drains = matches!(allowed, Ok(Ask::Drain));
    let reply = ReplyTo::Conn(conn.clone(), id);
    let answered = match allowed {
        Err(kind) => Err(kind),
        Ok(Ask::Status) => to_json(&status(&App::from_inner(app.clone()))),
        Ok(Ask::Call { module, method, key, arguments }) => {
            tracing::info!(target: AUDIT, %operator, "calls {module}.{method}");
            let outcome = call(&app, &module, &method, key.as_deref(), &arguments).await;
            to_json(&outcome)
        }
        Ok(Ask::Drain) => {
            tracing::info!(target: AUDIT, %operator, "drains this node");
            to_json(&())
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

fn to_json<V: Serialize>(value: &V) -> Result<Vec<u8>, CallErrorKind> {
    serde_json::to_vec(value).map_err(|error| CallErrorKind::BadReply { why: error.to_string() })
}

async fn call(
    app: &Arc<AppInner>,
    module: &str,
    method: &str,
    key: Option<&str>,
    arguments: &serde_json::Value,
) -> Outcome {
    let refuse = |kind: CallErrorKind| {
        let ran = match kind.ran() {
            Ran::No => "no",
            Ran::Yes => "yes",
            Ran::Maybe => "maybe",
        };
        let ran = ran.to_owned();
        Outcome::CallError { message: kind.to_string(), code: kind.code().to_string(), ran }
    };
    let mismatch = |why: String| refuse(CallErrorKind::Mismatch { why });
    let Some(host) = app.hosts.iter().find(|host| host.core().descriptor.name == module) else {
        let names: Vec<_> = app.hosts.iter().map(|host| host.core().descriptor.name).collect();
        return mismatch(format!("there is no module `{module}`; there are {}", names.join(", ")));
    };
    let descriptor = host.core().descriptor;
    let Some(index) = descriptor.methods.iter().position(|known| known.name == method) else {
        let names: Vec<_> = descriptor.methods.iter().map(|method| method.name).collect();
        return mismatch(format!("`{module}` has no method `{method}`; it has {}", names.join(", ")));
    };
    let key = match (descriptor.kind, key) {
        (skybox_core::ModuleKind::Keyed, None) => {
            return mismatch(format!("`{module}` is keyed: say which with --key"));
        }
        (skybox_core::ModuleKind::Keyed, Some(key)) => match host.key(key) {
            Ok(key) => Some(key),
            Err(why) => return mismatch(why),
        },
        (_, Some(_)) => return mismatch(format!("`{module}` has no keys")),
        (_, None) => None,
    };
    let payload = Bytes::from(arguments.to_string());
    match host.clone().relay(index as u16, key, payload).await {
        Err(kind) => refuse(kind),
        Ok(Reply { own_error, payload, .. }) => {
            let value = serde_json::from_slice(&payload).unwrap_or(serde_json::Value::Null);
            if own_error { Outcome::Failed(value) } else { Outcome::Returned(value) }
        }
    }
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

    /// A call, made from that node.
    ///
    /// # Errors
    /// [`AskError`] if the node could not be asked; how the call went is the [`Outcome`].
    pub async fn call(
        &self,
        module: &str,
        method: &str,
        key: Option<&str>,
        arguments: serde_json::Value,
    ) -> Result<Outcome, AskError> {
        let (module, method, key) = (module.to_owned(), method.to_owned(), key.map(str::to_owned));
        self.ask(&Ask::Call { module, method, key, arguments }).await
    }

    /// Has the node drain, as SIGTERM does; resolves when it has begun to.
    ///
    /// # Errors
    /// [`AskError`]; `Denied` without the right of an admin.
    pub async fn drain(&self) -> Result<(), AskError> {
        self.ask(&Ask::Drain).await
    }

    async fn ask<A: serde::de::DeserializeOwned>(&self, ask: &Ask) -> Result<A, AskError> {
        let failed = |kind| CallError::new(Callee::new("node", "ask"), kind);
        let pending = self.conn.clone().send_to(THE_NODE, 0, &serde_json::to_vec(ask)?).map_err(failed)?;
        let reply = pending.await.map_err(failed)?;
        Ok(serde_json::from_slice(&reply.payload)?)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.conn.close("the operator has gone");
    }
}
