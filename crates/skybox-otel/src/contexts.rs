//! Which trace a span belongs to, as `tracing_opentelemetry` knows it.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::SdkTracerProvider;
use skybox_core::TraceContext;
use skybox_node::SpanContexts;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

#[derive(Debug)]
pub(crate) struct Contexts {
    /// Whose spans are flushed, if they are ours to flush.
    provider: Option<SdkTracerProvider>,
}

impl Contexts {
    pub(crate) fn of(provider: Option<SdkTracerProvider>) -> Contexts {
        Contexts { provider }
    }
}

impl SpanContexts for Contexts {
    /// The innermost span that is exported: spans of other layers may be within it.
    fn current(&self) -> Option<TraceContext> {
        let entered = opentelemetry::Context::map_current(|context| to_ours(context.span().span_context()));
        // A layer of the program's own may have been told not to say what is entered.
        entered.or_else(|| self.of(&Span::current()))
    }

    fn of(&self, span: &Span) -> Option<TraceContext> {
        to_ours(span.context().span().span_context())
    }

    fn adopt(&self, span: &Span, parent: TraceContext) {
        let flags = TraceFlags::new(parent.flags);
        let (trace, id) = (TraceId::from(parent.trace_id), SpanId::from(parent.span_id));
        let parent = SpanContext::new(trace, id, flags, true, TraceState::default());
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        // It fails where nobody exports this span, and then there is nothing to say.
        drop(span.set_parent(context));
    }

    fn flush(&self) {
        if let Some(provider) = &self.provider {
            // What is lost by it is counted and logged where it is lost.
            drop(provider.force_flush());
        }
    }
}

fn to_ours(context: &SpanContext) -> Option<TraceContext> {
    context.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    })
}
