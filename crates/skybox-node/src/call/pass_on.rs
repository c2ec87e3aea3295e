//! Calls that only pass through this node: from others to its cells, and from its cells to others.
//!
//! Their arguments and results are not looked at: method, key, deadline, chain, trace and verdict go on as they came. A
//! call from another node goes to a cell of this one or nowhere, so that none goes in circles; one from a cell goes
//! wherever a call from this node would.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, ModuleKind};
use skybox_wire::codec::Form;

use super::far::{Link, may_resend, with_scratch};
use super::find::{Place, Tries};
use super::{Arriving, RESENDS_MAX, Reply, ReplyTo, Serving, Target};
use crate::conn::{Conn, Request};
use crate::host::{AnyHost, Head, Host, HostCore};
use crate::module::Module;
use crate::stream::Outlets;
use crate::thread::Inherited;

/// A call to an instance that lives in a cell of this node.
pub(crate) fn to_cell(core: Arc<HostCore>, call: Arriving) -> Serving {
    Serving::new(async move {
        let (call, owed) = Passing::take(call);
        owed.pay(into_cell(&core, &call).await);
    })
}

async fn into_cell(core: &Arc<HostCore>, call: &Passing) -> Result<Reply, CallErrorKind> {
    let mut resends = 0;
    loop {
        let Some(cells) = &core.cells else { return Err(CallErrorKind::Moved) };
        let (link, head) = match cells.ready(call.key.as_ref()) {
            Some(link) => (link, None),
            None => {
                let (link, head) = cells.find(core, call.key.as_ref(), call.inherited.deadline()).await?;
                (link, Some(head))
            }
        };
        match call.send(core, &link, head).await {
            // It has not run, and the cell has a successor.
            Err(kind) if may_resend(&kind, false) && resends < RESENDS_MAX => resends += 1,
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
        let (call, owed) = Passing::take(call);
        let core = &target.host.core;
        let mut tries = Tries::default();
        let outcome = loop {
            let (link, head) = match target.place(&call.inherited, &mut tries).await {
                Ok(Place::Far(Link::Peer(link), head)) => (link, head),
                // Between the look and here.
                Ok(Place::Here(..) | Place::Far(Link::Strict, _)) => {
                    let call = call.into_arriving(owed.reply());
                    return target.host.clone().serve(call).run().await;
                }
                Err(kind) => break Err(kind),
            };
            match call.send(core, &link, head).await {
                Err(kind) if may_resend(&kind, false) && tries.may_go_on() => {
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
}

impl Passing {
    fn take(call: Arriving) -> (Passing, Owed) {
        let Arriving { method, form, payload, key, inherited, reply } = call;
        (Passing { method, form, payload, key, inherited }, Owed(Some(reply)))
    }

    fn into_arriving(self, reply: ReplyTo) -> Arriving {
        let Passing { method, form, payload, key, inherited } = self;
        Arriving { method, form, payload, key, inherited, reply }
    }

    /// Sends it on, and waits for the answer. No clock bounds the wait: its caller has one, and so has its callee.
    async fn send(
        &self,
        core: &HostCore,
        link: &Arc<Conn>,
        head: Option<Head>,
    ) -> Result<Reply, CallErrorKind> {
        let context = self.inherited.context();
        let request = Request {
            module: core.index,
            method: self.method,
            key: self.key.as_deref(),
            context,
            trace: context.trace,
            caller: self.inherited.caller(),
            streams: &Outlets::new(),
            edge: None,
            ordered: core.descriptor.kind != ModuleKind::Task,
        };
        let pending = with_scratch(|buffer: &mut BytesMut| {
            buffer.extend_from_slice(&self.payload);
            link.clone().send(&request, self.form, buffer)
        });
        // It is on its way: the next call may follow.
        drop(head);
        pending?.await
    }
}

/// The duty to answer. Dropped without an answer, the caller hears that the call was cancelled.
struct Owed(Option<ReplyTo>);

impl Owed {
    fn reply(mut self) -> ReplyTo {
        self.0.take().expect("it is owed until it is paid, once")
    }

    fn pay(self, outcome: Result<Reply, CallErrorKind>) {
        let reply = self.reply();
        match outcome {
            Ok(Reply { own_error, form, payload }) => {
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
