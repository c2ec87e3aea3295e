//! Spans of a Skybox program to an OpenTelemetry collector. Users meet it as `skybox::otel`, by the feature `otel`.
//!
//! It gives a `tracing` layer to a program's own subscriber, and tells the runtime which trace a span belongs to, so
//! that a call to another process goes on with the trace of its caller. It installs no subscriber, and exports neither
//! metrics nor logs.
//!
//! Spans leave from a thread of their own, over OTLP with protobuf and HTTP. A collector that is down, slow or silent
//! costs spans and nothing else: those that find the queue full are dropped and counted.
//!
//! Start reading at [`layer`].

mod bounded;
mod client;
mod contexts;
mod setup;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use skybox_core::TraceContext;
use skybox_node::SpanContexts;
use skybox_node::config::{Config, ConfigError};
use tracing::{Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Identity;
use tracing_subscriber::registry::LookupSpan;

use bounded::Losses;
use contexts::Contexts;
use setup::Setup;

/// How long the end of a program may take for the spans that still wait.
pub const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// A layer for a subscriber whose type is `S`.
pub type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Why there is no layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtelError {
    /// A mistake in `skybox.toml` or the environment.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// A filter that is none.
    #[error(
        "{place}: `filter` takes targets with their levels, such as \"info,skybox::call=off\": {message}"
    )]
    Filter {
        /// Where it is written.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// A protocol that is not spoken.
    #[error(
        "{variable} asks for `{protocol}`; spans are sent by `http/protobuf` alone: leave the variable out"
    )]
    Protocol {
        /// Who asks.
        variable: &'static str,
        /// For what.
        protocol: String,
    },
    /// A collector with TLS, and a build without.
    #[error("the collector {endpoint} needs TLS: build the program with the feature `tls` of skybox")]
    NeedsTls {
        /// Its address.
        endpoint: String,
    },
    /// A setting that the exporter refuses.
    #[error("the exporter cannot be made: {0}")]
    Exporter(String),
}

/// A layer that sends this process's spans to a collector, for the program's own subscriber, and what sends the last of
/// them when it is dropped: keep it to the end of `main`.
///
/// The collector is where `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` say, else
/// `[trace] endpoint` in `skybox.toml`. If nobody says, nothing is sent, and the layer costs nothing: a program on a
/// laptop needs no collector.
///
/// Of the program's spans those at level `INFO` and above are sent, and those of calls, which have the target
/// `skybox::call` and the level `DEBUG`. `[trace] filter` says otherwise. A filter of the whole subscriber comes before;
/// give a filter that is meant for a terminal to the layer of the terminal.
///
/// The service is named by `OTEL_SERVICE_NAME`, else after the program. `OTEL_RESOURCE_ATTRIBUTES`,
/// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT` (ms, 10 s), `OTEL_BSP_MAX_QUEUE_SIZE` (2,048 spans),
/// `OTEL_BSP_SCHEDULE_DELAY` (ms, 5 s), `OTEL_TRACES_SAMPLER` and `OTEL_SDK_DISABLED` mean what they mean everywhere.
///
/// Nothing is waited for: neither here nor by a call. Spans are sent from a thread of their own.
///
/// # Errors
/// [`OtelError`]: the configuration is wrong. A collector that does not answer is none: that is logged when spans are
/// lost.
pub fn layer<S>() -> Result<(BoxedLayer<S>, Flush), OtelError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let Some(setup) = Setup::read(&Config::load()?)? else {
        let off = Identity::new().with_filter(LevelFilter::OFF);
        return Ok((Box::new(off), Flush { exporting: None }));
    };
    let (provider, losses) = setup.provider()?;
    skybox_node::follow_spans(Arc::new(Contexts::of(Some(provider.clone()))));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("skybox"))
        .with_threads(false)
        .with_location(false)
        .with_filter(setup.filter);
    Ok((Box::new(layer), Flush { exporting: Some((provider, losses)) }))
}

/// For programs that have a `tracing_opentelemetry` layer of their own: calls to other processes go on with its traces.
///
/// That layer must be of the version of `tracing-opentelemetry` that Skybox is built with, 0.34, and let spans of the
/// target `skybox::call` through, at level `DEBUG`. [`layer`] does this by itself; of several calls the first counts.
pub fn propagate() {
    skybox_node::follow_spans(Arc::new(Contexts::of(None)));
}

/// Makes a span part of a trace that began elsewhere, such as the span of a request with a `traceparent`.
///
/// Say so before the span is entered: afterwards it is too late, and ignored.
pub fn continue_trace(span: &Span, parent: TraceContext) {
    Contexts::of(None).adopt(span, parent);
}

/// Sends the spans that still wait when it is dropped, within [`FLUSH_WAIT`]. Keep it to the end of `main`.
///
/// A node that leaves has sent what it had before [`draining`](skybox_node::App::draining) resolves; this is for the
/// rest, and for programs that end without.
#[must_use = "dropped, it stops the sending of spans: keep it to the end of `main`"]
pub struct Flush {
    /// Absent where nothing is sent.
    exporting: Option<(SdkTracerProvider, Arc<Losses>)>,
}

impl Flush {
    /// Spans that were dropped so far: they found the queue full, or the collector did not take them.
    pub fn lost(&self) -> u64 {
        self.exporting.as_ref().map_or(0, |(_, losses)| losses.count())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Some((provider, losses)) = &self.exporting else { return };
        // An error has been counted and logged where it arose; that time was up is said here.
        if let Err(opentelemetry_sdk::error::OTelSdkError::Timeout(_)) =
            provider.shutdown_with_timeout(FLUSH_WAIT)
        {
            tracing::warn!("the collector did not take the last spans within {FLUSH_WAIT:?}");
        }
        losses.sum_up();
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("lost", &self.lost()).finish_non_exhaustive()
    }
}
