//! In a cell: the plan that its node stands behind, and what the node has it do.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use skybox_core::{
    CallErrorKind, CallId, InstanceId, ModuleKind, ModulePlan, NodeEntry, NodeName, Plan, SHARD_COUNT, Shards,
};
use skybox_plan::names::{NameAnswer, NameAsk};
use skybox_wire::codec::Form;
use tokio::sync::watch;

use super::{Birth, Order, Word};
use crate::app::{App, AppError, AppInner};
use crate::between;
use crate::call::ReplyTo;
use crate::conn::{Conn, Kin, shake_link};
use crate::control::{Boxed, Control, ControlError, Leave, ModuleDecl, OnceTurn, Report};
use crate::names::Refusal;
use crate::operate::THE_NODE;
use crate::stream::Outlets;

/// How long the answer to the order to leave may take to leave itself.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// How long the calls of an instance that was killed have to notice. Code that holds its thread does not.
const GONE_WAIT: Duration = Duration::from_secs(1);

/// The node is gone, and this process with it.
#[derive(Debug)]
pub(crate) struct Lost;

/// Whoever plans, seen from a cell: its node.
pub(crate) struct Inside {
    /// The one that lives here.
    module: String,
    plan: watch::Sender<Arc<Plan>>,
    leave: watch::Sender<Option<Leave>>,
    /// The version of the plan whose other keys have ended here.
    released: watch::Sender<u64>,
    link: OnceLock<(Arc<Conn>, tokio::runtime::Handle)>,
}

impl Inside {
    pub(crate) fn new(birth: &Birth, modules: &[ModuleDecl]) -> Inside {
        let plan = plan(birth, modules);
        Inside {
            module: birth.module.clone(),
            plan: watch::Sender::new(Arc::new(plan)),
            leave: watch::Sender::new(None),
            released: watch::Sender::new(0),
            link: OnceLock::new(),
        }
    }

    /// Connects to the node, serves, and ends the process when the node is gone.
    ///
    /// # Errors
    /// The node is not there, or not understood. Otherwise it does not return.
    pub(crate) async fn serve(self: &Arc<Self>, app: App, link: OwnedFd) -> Result<App, AppError> {
        let broken = |source| AppError::Control(ControlError::Cell { source });
        let _asked_to_end = deaf().map_err(broken)?;
        let stream = UnixStream::from(link);
        stream.set_nonblocking(true).map_err(broken)?;
        let stream = tokio::net::UnixStream::from_std(stream).map_err(broken)?;
        let conn = shake_link(app.inner(), stream, Kin::Node(self.clone()));
        let conn = conn.await.map_err(|error| broken(std::io::Error::other(error)))?;
        drop(self.link.set((conn.clone(), app.inner().runtime.clone())));
        app.inner().links.accepted(&conn);
        app.begin_in_cell();
        conn.wait_closed().await;
        std::process::exit(0)
    }

    /// Takes over which keys belong here. Resolves when the others have ended.
    async fn follow(&self, module: &str, place: ModulePlan) {
        let mut version = 0;
        self.plan.send_modify(|plan| {
            let plan = Arc::make_mut(plan);
            plan.version += 1;
            version = plan.version;
            plan.modules.insert(module.to_owned(), place);
        });
        let mut released = self.released.subscribe();
        // The sender lives as long as the process.
        drop(released.wait_for(|released| *released >= version).await);
    }

    /// Tells the node, as soon as that takes it; an error only if it is gone.
    pub(crate) async fn tell(&self, word: &Word) -> Result<(), Lost> {
        let (link, _) = self.link.get().ok_or(Lost)?;
        let text = serde_json::to_vec(word).map_err(|_| Lost)?;
        let sent = link.send_when_room(0, text.into()).await.map_err(|_| Lost)?;
        sent.await.map(drop).map_err(|_| Lost)
    }

    /// Tells the node. Never waits; what is said before the link is there is lost, but then nothing has happened.
    pub(crate) fn say(&self, word: &Word) {
        let Some((link, runtime)) = self.link.get() else { return };
        let Ok(text) = serde_json::to_vec(word) else { return };
        if let Ok(answer) = link.clone().send_to(THE_NODE, 0, &text, &Outlets::new()) {
            runtime.spawn(async move { drop(answer.await) });
        }
    }
}

/// The module is here, everything else at the node.
fn plan(birth: &Birth, modules: &[ModuleDecl]) -> Plan {
    let place = |module: &ModuleDecl| {
        let here = module.name == birth.module;
        let at = if here { &birth.name } else { &birth.node };
        match module.kind {
            ModuleKind::Keyed => ModulePlan::Keyed(Shards {
                nodes: vec![at.clone()],
                owner: vec![0; usize::from(SHARD_COUNT)],
                ..if here { birth.epochs.clone() } else { Shards::default() }
            }),
            _ if here => ModulePlan::replicated(vec![at.clone()], Vec::new()),
            _ => ModulePlan::replicated(Vec::new(), vec![at.clone()]),
        }
    };
    // Nobody dials it: the link is there before the first call.
    let entry = |name: &NodeName| {
        (name.clone(), NodeEntry { incarnation: None, address: String::new(), draining: false })
    };
    Plan {
        version: 1,
        nodes: BTreeMap::from([entry(&birth.node), entry(&birth.name)]),
        modules: modules.iter().map(|module| (module.name.clone(), place(module))).collect(),
    }
}

impl Control for Inside {
    fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn leaving(&self) -> watch::Receiver<Option<Leave>> {
        self.leave.subscribe()
    }

    fn report(&self, report: Report) {
        if let Report::Released { version, .. } = &report {
            self.released.send_replace(*version);
        }
        self.say(&Word::Report(report));
    }

    /// A cell has nothing to do once: its node has done it.
    fn once(&self, _name: &str) -> Boxed<'_, Result<OnceTurn, ControlError>> {
        Box::pin(async { Ok(OnceTurn::Done) })
    }

    fn listener(&self, _name: &str, _address: &str) -> Boxed<'_, Result<Option<TcpListener>, ControlError>> {
        Box::pin(async { Ok(None) })
    }

    fn names(&self, ask: NameAsk) -> Boxed<'_, Result<NameAnswer, ControlError>> {
        Box::pin(async {
            let gone = |why: String| ControlError::Cell { source: std::io::Error::other(why) };
            let (link, _) = self.link.get().ok_or_else(|| gone("it has no link yet".to_owned()))?;
            let answered = between::name(link, ask).await.map_err(ControlError::Failed)?;
            answered.map_err(|refusal| match refusal {
                Refusal::NoStore(why) => ControlError::Refused(why),
                Refusal::Failed(kind) => ControlError::Failed(kind),
                refusal => gone(format!("its node answered {refusal:?}")),
            })
        })
    }

    /// The names of what lives in a cell are its node's to free.
    fn ended(&self, _instance: InstanceId) -> Boxed<'_, Result<(), ControlError>> {
        Box::pin(async { Ok(()) })
    }
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inside")
    }
}

/// Who stops a service may ask all of its processes to end, and a hung-up terminal does. A cell ends when its node says
/// so, which has calls of it to answer first.
fn deaf() -> std::io::Result<[tokio::signal::unix::Signal; 3]> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?])
}

/// Does what the node says, and answers.
pub(crate) async fn obey(
    inside: Arc<Inside>,
    app: Arc<AppInner>,
    link: Arc<Conn>,
    id: CallId,
    payload: Bytes,
) {
    let reply = ReplyTo::Conn(link.clone(), id);
    let answer = |reply: ReplyTo, text: &[u8]| reply.answer(false, Form::Json, &mut BytesMut::from(text));
    match serde_json::from_slice(&payload) {
        Ok(Order::Leave) => {
            link.drain();
            crate::app::close(&app).await;
            crate::spans::flush().await;
            answer(reply, b"null");
            drop(tokio::time::timeout(ANSWER_WAIT, link.answered()).await);
            std::process::exit(0);
        }
        Ok(Order::Follow(place)) => {
            inside.follow(&inside.module, place).await;
            answer(reply, b"null");
        }
        Ok(Order::ForgetFailed { key }) => {
            let here = app.hosts.iter().find(|host| host.core().descriptor.name == inside.module);
            if let Some(host) = here {
                host.core().forget_failed(key.as_deref());
            }
            answer(reply, b"null");
        }
        Ok(Order::Status) => {
            let status = crate::operate::status(&App::from_inner(app));
            answer(reply, &serde_json::to_vec(&status).unwrap_or_default());
        }
        Ok(Order::Told { life, number, exit }) => {
            app.monitors.told(life, number, exit);
            answer(reply, b"null");
        }
        Ok(Order::Kill { instance, by }) => {
            let killed = app.hosts.iter().find_map(|host| host.clone().kill(&instance, &by));
            let has_ended = match killed {
                Some(ended) => Some(tokio::time::timeout(GONE_WAIT, ended.wait()).await.is_ok()),
                None => None,
            };
            answer(reply, &serde_json::to_vec(&has_ended).unwrap_or_default());
        }
        Err(error) => reply.fail(CallErrorKind::Mismatch { why: error.to_string() }),
    }
}
