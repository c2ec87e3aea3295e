//! Calls that only pass through this node: from others to its cells, and from its cells to others.
//!
//! Their arguments and results are not looked at: method, key, deadline, chain, trace and verdict go on as they came. A
//! call from another node goes to a cell of this one or nowhere, so that none goes in circles; one from a cell goes
//! wherever a call from this node would.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, ModuleKind};
use skybox_wire::codec::Form;
use skybox_wire::frame::PayloadOf;

use super::far::{Link, may_resend, with_scratch};
use super::find::{Place, Tries};
use super::{Arriving, RESENDS_MAX, Reply, ReplyTo, Serving, Target};
use crate::conn::{Conn, Request};
use crate::host::{AnyHost, Head, Host, HostCore};
use crate::module::Module;
use crate::stream::{Outlets, relayed};
use crate::thread::Inherited;

/// A call to an instance that lives in a cell of this node.
pub(crate) fn to_cell(core: Arc<HostCore>, call: Arriving) -> Serving {
    Serving::new(async move {
        match Passing::take(&core, call) {
            Ok((call, owed)) => owed.pay(into_cell(&core, &call).await),
            Err((kind, reply)) => reply.fail(kind),
        }
    })
}

async fn into_cell(core: &Arc<HostCore>, call: &Passing) -> Result<Answer, CallErrorKind> {
    let mut resends = 0;
    let mut first = match &call.key {
        Some(key) if core.descriptor.kind == ModuleKind::Keyed => {
            core.decided(key, call.inherited.deadline()).await?
        }
        _ => None,
    };
    loop {
        let Some(cells) = &core.cells else { return Err(CallErrorKind::Moved) };
        let (link, head) = match cells.ready(core, call.key.as_deref()) {
            Some(link) => (link, None),
            None => {
                let finding = cells.find(core, call.key.as_deref(), call.inherited.deadline(), None);
                let (link, head) = Head::waits_for(first.as_ref(), finding).await?;
                (link, Some(head))
            }
        };
        let head = head.or_else(|| first.take());
        first.take();
        match call.send(core, &link, head).await {
            // It has not run, and the cell has a successor.
            Err(kind) if may_resend(&kind, false) && resends < RESENDS_MAX && !call.has_given() => {
                resends += 1
            }
            outcome => return outcome,
        }
    }
}

/// A call that a cell of this node makes.
pub(crate) fn from_cell<T: Module>(host: Arc<Host<T>>, call: Arriving) -> Serving {
    if host.is_wanted(call.key.as_ref()) {
        return host.serve(call);
    }
    Serving::new(async move {
        let to = host.named(call.key.clone());
        let target = Target::new(host, to);
        let (call, owed) = match Passing::take(&target.host.core, call) {
            Ok(taken) => taken,
            Err((kind, reply)) => return reply.fail(kind),
        };
        let core = &target.host.core;
        let mut tries = Tries::default();
        let outcome = loop {
            let (link, head) = match target.place(&call.inherited, &mut tries).await {
                Ok(Place::Far(Link::Peer(link), head)) => (link, head),
                // It has come here in this moment: the cell sends the call again.
                Ok(Place::Here(..) | Place::Far(Link::Strict, _)) => break Err(CallErrorKind::Moved),
                Err(kind) => break Err(kind),
            };
            match call.send(core, &link, head).await {
                Err(kind) if may_resend(&kind, false) && tries.may_go_on() && !call.has_given() => {
                    tries.failed(Some(link.peer().node.clone()), core.placement.load().version, kind);
                }
                outcome => break outcome,
            }
        };
        owed.pay(outcome);
    })
}

/// A call as it came.
struct Passing {
    method: u16,
    form: Form,
    payload: Bytes,
    key: Option<Bytes>,
    inherited: Inherited,
    /// The streams among its arguments, from where it came.
    outlets: Outlets,
    gives_stream: bool,
}

/// The answer to a call, with the stream in it.
struct Answer {
    reply: Reply,
    outlets: Outlets,
}

impl Passing {
    fn take(core: &HostCore, call: Arriving) -> Result<(Passing, Owed), (CallErrorKind, ReplyTo)> {
        let Arriving { method, form, payload, key, inherited, reply } = call;
        let descriptor = core.descriptor.methods.get(usize::from(method));
        let count = descriptor.map_or(0, |method| method.stream_arguments);
        let outlets = match reply.streams().filter(|_| count > 0) {
            Some((streams, call)) => match relayed(streams, PayloadOf::Call, call, count) {
                Ok(outlets) => outlets,
                Err(kind) => return Err((kind, reply)),
            },
            None => Outlets::new(),
        };
        let gives_stream = descriptor.is_some_and(|method| method.gives_stream);
        Ok((Passing { method, form, payload, key, inherited, outlets, gives_stream }, Owed(Some(reply))))
    }

    /// Somebody has asked its streams for an item: what was given is gone, and nobody else can be asked.
    fn has_given(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.has_given())
    }

    /// Sends it on, and waits for the answer. No clock bounds the wait: its caller has one, and so has its callee.
    async fn send(
        &self,
        core: &HostCore,
        link: &Arc<Conn>,
        head: Option<Head>,
    ) -> Result<Answer, CallErrorKind> {
        let context = self.inherited.context();
        let request = Request {
            module: core.index,
            method: self.method,
            key: self.key.as_deref(),
            context,
            trace: context.trace,
            caller: self.inherited.caller(),
            streams: &self.outlets,
            edge: None,
            ordered: core.descriptor.kind != ModuleKind::Task,
        };
        let pending = with_scratch(|buffer: &mut BytesMut| {
            buffer.extend_from_slice(&self.payload);
            link.clone().send(&request, self.form, buffer)
        });
        // It is on its way: the next call may follow.
        drop(head);
        let mut pending = pending?;
        let reply = (&mut pending).await?;
        let gives = u8::from(self.gives_stream && !reply.own_error);
        let (streams, call) = pending.streams();
        let outlets = relayed(streams, PayloadOf::Reply, call, gives)?;
        Ok(Answer { reply, outlets })
    }
}

/// The duty to answer. Dropped without an answer, the caller hears that the call was cancelled.
struct Owed(Option<ReplyTo>);

impl Owed {
    fn reply(mut self) -> ReplyTo {
        self.0.take().expect("it is owed until it is paid, once")
    }

    fn pay(self, outcome: Result<Answer, CallErrorKind>) {
        let reply = self.reply();
        match outcome {
            Ok(Answer { reply: Reply { own_error, form, payload }, outlets }) => {
                if let Some((streams, call)) = reply.streams()
                    && let Err(kind) = streams.attach_sending(PayloadOf::Reply, call, &outlets, form, None)
                {
                    return reply.fail(CallErrorKind::BadReply { why: kind.to_string() });
                }
                let mut payload = payload.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                reply.answer(own_error, form, &mut payload);
            }
            Err(kind) => reply.fail(kind),
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply.fail(CallErrorKind::Cancelled);
        }
    }
}
