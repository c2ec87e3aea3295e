//! Where the stream of a reply is read from.

use std::sync::Arc;

use skybox_core::{CallId, Callee};
use skybox_wire::frame::PayloadOf;

use super::{Landing, STRICT_CALL, Streams};
use crate::app::AppId;
use crate::conn::Conn;
use crate::metrics::Edge;

/// The way by which a reply came.
#[derive(Clone, Copy)]
pub(crate) enum ReplyWay<'c> {
    /// Over a connection, to this call.
    Conn(&'c Arc<Conn>, CallId),
    /// In strict mode, with streams if the call can have any.
    Strict(Option<&'c Arc<Streams>>),
}

impl ReplyWay<'_> {
    /// What a stream among the result is attached to.
    pub(crate) fn landing(self, callee: Callee, app: AppId, edge: Option<&Arc<Edge>>) -> Option<Landing> {
        let (streams, call) = match self {
            ReplyWay::Conn(conn, call) => (&conn.streams, call),
            ReplyWay::Strict(streams) => (streams?, STRICT_CALL),
        };
        let (of, edge) = (PayloadOf::Reply, edge.cloned());
        Some(Landing { streams: streams.clone(), of, call, callee, app, edge, marked: false })
    }

    /// The result could not be read, and nobody reads its stream.
    pub(crate) fn unread(self) {
        match self {
            ReplyWay::Conn(conn, call) => drop(conn.cancel(call)),
            ReplyWay::Strict(Some(streams)) => streams.unread(PayloadOf::Reply, STRICT_CALL),
            ReplyWay::Strict(None) => {}
        }
    }
}

/// The streams of a call in strict mode. Dropped before it was answered, nobody reads what nobody has read yet.
pub(crate) struct Unanswered(pub(crate) Option<Arc<Streams>>);

impl Unanswered {
    /// The call is answered: its streams go on.
    pub(crate) fn answered(mut self) -> Option<Arc<Streams>> {
        self.0.take()
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(streams) = &self.0 {
            streams.unread(PayloadOf::Call, STRICT_CALL);
            streams.unread(PayloadOf::Reply, STRICT_CALL);
        }
    }
}
