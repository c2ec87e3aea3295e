//! The spans of calls, and how a trace goes on in another process.
//!
//! A call that runs here has one span, `call`, in which its code is polled. A call that is sent has one in each of two
//! processes: `send`, from the sending to the answer, and `call` where it runs. Both are made at debug level, so a
//! subscriber that wants none costs a call one load.
//!
//! Which trace a `tracing` span belongs to is known to whoever exports spans. This crate exports none: an exporter says
//! so with [`follow_spans`].

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use skybox_core::{CallErrorKind, InstanceId, NodeName, TraceContext};
use tracing::field::{Empty, display};
use tracing::{Level, Span};

use crate::call::Reply;
use crate::host::HostCore;
use crate::metrics::OWN_ERROR;
use crate::thread::Inherited;

/// How long a node that leaves waits until what has been gathered is sent.
pub(crate) const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Who knows which trace a span belongs to: an exporter.
pub trait SpanContexts: fmt::Debug + Send + Sync {
    /// Where the code that runs on this thread is in a trace, if its spans are part of one.
    fn current(&self) -> Option<TraceContext>;

    /// Where a span is in a trace, if it is in one.
    fn of(&self, span: &Span) -> Option<TraceContext>;

    /// Makes a span, which has not been entered yet, part of a trace that began elsewhere.
    fn adopt(&self, span: &Span, parent: TraceContext);

    /// Sends what has been gathered. Blocks, within a bound of its own.
    fn flush(&self);
}

static CONTEXTS: OnceLock<Arc<dyn SpanContexts>> = OnceLock::new();

/// Has calls carry on the traces of this process's spans. The first one stays; says whether this is it.
pub fn follow_spans(contexts: Arc<dyn SpanContexts>) -> bool {
    CONTEXTS.set(contexts).is_ok()
}

/// The trace of the running code, which has inherited this one.
///
/// A span that belongs to the inherited trace is nearer than what was inherited. One that does not is of the code
/// around [`with_trace`](crate::with_trace), which was told otherwise.
pub(crate) fn trace_of(inherited: Option<TraceContext>) -> Option<TraceContext> {
    let Some(contexts) = CONTEXTS.get() else { return inherited };
    match (contexts.current(), inherited) {
        (Some(current), Some(inherited)) if current.trace_id != inherited.trace_id => Some(inherited),
        (current, inherited) => current.or(inherited),
    }
}

/// Makes a new span part of the trace that its call has inherited, unless it is already by the spans around it.
fn adopt(span: &Span, inherited: &Inherited) {
    let Some(trace) = inherited.context().trace else { return };
    let Some(contexts) = CONTEXTS.get() else { return };
    if contexts.current().is_none_or(|current| current.trace_id != trace.trace_id) {
        contexts.adopt(span, trace);
    }
}

/// A call's span, with the fields that all have; a macro, since each name and each list of fields is a call site of its
/// own.
macro_rules! call_span {
    ($name:literal, $kind:expr, $core:expr, $method:expr, $($further:tt)*) => {{
        let (module, method) = ($core.descriptor.name, $core.descriptor.methods.get(usize::from($method))?.name);
        let span = tracing::debug_span!(
            target: "skybox::call",
            $name,
            otel.name = %format_args!("{module}.{method}"),
            otel.kind = $kind,
            otel.status_code = Empty,
            otel.status_description = Empty,
            module,
            method,
            error.type = Empty,
            $($further)*
        );
        if span.is_disabled() {
            return None;
        }
        span
    }};
}

/// The span of a call that runs here, if somebody wants it.
#[cold]
pub(crate) fn of_callee(
    core: &HostCore,
    instance: InstanceId,
    method: u16,
    inherited: &Inherited,
) -> Option<Box<Span>> {
    let kind = if inherited.has_arrived() { "server" } else { "internal" };
    let span = call_span!("call", kind, core, method, %instance, traceparent = Empty);
    if let Some(trace) = inherited.context().trace {
        span.record("traceparent", display(trace));
    }
    adopt(&span, inherited);
    Some(Box::new(span))
}

/// Says on a call's span that it failed.
#[cold]
pub(crate) fn failed(span: &Span, kind: &CallErrorKind) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", display(kind));
    span.record("error.type", kind.name());
}

/// Says on a call's span that its method returned its own error. Not which: what is in it is between caller and callee,
/// and may be nothing for a collector.
#[cold]
pub(crate) fn own_error(span: &Span) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", OWN_ERROR);
}

/// A call that is sent: its span, from the sending to the answer, if somebody wants it.
pub(crate) struct Sending(Option<Box<Span>>);

impl Sending {
    /// A call to a node, or in strict mode to none.
    #[inline]
    pub(crate) fn new(core: &HostCore, method: u16, inherited: &Inherited, to: Option<&NodeName>) -> Sending {
        if tracing::level_enabled!(Level::DEBUG) {
            Sending(of_caller(core, method, inherited, to))
        } else {
            Sending(None)
        }
    }

    /// A call from a command line: nobody follows it.
    pub(crate) fn of_an_operator() -> Sending {
        Sending(None)
    }

    /// What the call carries on.
    #[inline]
    pub(crate) fn trace(&self, inherited: &Inherited) -> Option<TraceContext> {
        let inherited = inherited.context().trace;
        let Some(contexts) = CONTEXTS.get() else { return inherited };
        self.0.as_ref().and_then(|span| contexts.of(span)).or_else(|| trace_of(inherited))
    }

    /// Says what came back, if that is the method's own error.
    #[inline]
    pub(crate) fn answered(&self, reply: &Reply) {
        if reply.own_error
            && let Some(span) = &self.0
        {
            own_error(span);
        }
    }

    /// Says that it failed as a call.
    #[inline]
    pub(crate) fn failed(&self, kind: &CallErrorKind) {
        if let Some(span) = &self.0 {
            failed(span, kind);
        }
    }
}

#[cold]
fn of_caller(
    core: &HostCore,
    method: u16,
    inherited: &Inherited,
    to: Option<&NodeName>,
) -> Option<Box<Span>> {
    let span = call_span!("send", "client", core, method, node = to.map(display));
    adopt(&span, inherited);
    Some(Box::new(span))
}

/// Has the exporter, if there is one, send what it has gathered; gives up after [`FLUSH_WAIT`].
pub(crate) async fn flush() {
    let Some(contexts) = CONTEXTS.get() else { return };
    let flushed = tokio::task::spawn_blocking(|| contexts.flush());
    if tokio::time::timeout(FLUSH_WAIT, flushed).await.is_err() {
        tracing::warn!("spans could not be sent within {FLUSH_WAIT:?}; this node leaves without them");
    }
}
