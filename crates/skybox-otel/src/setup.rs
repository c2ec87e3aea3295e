//! What the environment and `skybox.toml` say: where spans go, which, and as whose.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT,
    Sampler, SdkTracerProvider,
};
use skybox_node::config::Config;
use skybox_node::control::NODE_ENV;
use tracing::Level;
use tracing_subscriber::filter::Targets;

use crate::OtelError;
use crate::bounded::{Bounded, Counted, Losses};
use crate::client::Client;

/// The endpoint of traces, as it is.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// The endpoint of everything, to which [`TRACES_PATH`] is appended.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_PATH: &str = "/v1/traces";
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
/// How long one batch may take, where the environment does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

pub(crate) struct Setup {
    endpoint: String,
    sample: Option<f64>,
    pub(crate) filter: Targets,
}

/// A variable that says something: an empty one does not.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn number(name: &str) -> Option<u64> {
    variable(name)?.trim().parse().ok()
}

impl Setup {
    /// `None` if nothing is to be sent.
    pub(crate) fn read(config: &Config) -> Result<Option<Setup>, OtelError> {
        let off = |name, value: &str| variable(name).is_some_and(|said| said.eq_ignore_ascii_case(value));
        if off("OTEL_SDK_DISABLED", "true") || off("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let trace = config.trace();
        let below = |base: String| format!("{}{TRACES_PATH}", base.trim_end_matches('/'));
        let endpoint = variable(TRACES_ENDPOINT)
            .or_else(|| variable(ENDPOINT).map(below))
            .or_else(|| trace.endpoint.clone().map(below));
        let Some(endpoint) = endpoint else { return Ok(None) };
        for name in PROTOCOLS {
            if let Some(protocol) = variable(name).filter(|protocol| protocol != "http/protobuf") {
                return Err(OtelError::Protocol { variable: name, protocol });
            }
        }
        if endpoint.starts_with("https://") && !cfg!(feature = "tls") {
            return Err(OtelError::NeedsTls { endpoint });
        }
        let filter = match &trace.filter {
            None => Targets::new().with_default(Level::INFO).with_target("skybox::call", Level::DEBUG),
            Some((filter, place)) => filter.parse().map_err(|error| OtelError::Filter {
                place: place.to_string(),
                message: format!("{error}"),
            })?,
        };
        // The standard variable is more specific to this run than the file.
        let sample = trace.sample.filter(|_| variable("OTEL_TRACES_SAMPLER").is_none());
        Ok(Some(Setup { endpoint, sample, filter }))
    }

    /// What makes spans and sends them.
    pub(crate) fn provider(&self) -> Result<(SdkTracerProvider, Arc<Losses>), OtelError> {
        let timeout = TIMEOUTS.iter().find_map(|name| number(name)).map(Duration::from_millis);
        let timeout = timeout.unwrap_or(TIMEOUT_DEFAULT);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(&self.endpoint)
            .with_timeout(timeout)
            .with_http_client(Client::new(timeout))
            .build()
            .map_err(|error| OtelError::Exporter(error.to_string()))?;
        let waiting_max =
            number(OTEL_BSP_MAX_QUEUE_SIZE).map_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT, |max| max as usize);
        let losses = Losses::new(&self.endpoint, waiting_max);
        // The bound of the batches themselves is of the same size, so they never drop anything uncounted.
        let batches = BatchSpanProcessor::builder(Counted { exporter, losses: losses.clone() })
            .with_batch_config(BatchConfigBuilder::default().build())
            .build();
        let mut provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { batches, losses: losses.clone() })
            .with_resource(resource());
        if let Some(sample) = self.sample {
            let of_roots = Box::new(Sampler::TraceIdRatioBased(sample));
            provider = provider.with_sampler(Sampler::ParentBased(of_roots));
        }
        Ok((provider.build(), losses))
    }
}

/// Whose spans they are.
fn resource() -> Resource {
    let mut resource = Resource::builder();
    let named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|attributes| attributes.contains("service.name="));
    if !named {
        resource = resource.with_service_name(skybox_node::program_name());
    }
    let node = variable(NODE_ENV).or_else(|| variable("SKYBOX_NODE__NAME"));
    let pid = i64::from(std::process::id());
    let instance = format!("{}/{pid}", node.as_deref().unwrap_or("alone"));
    resource = resource
        .with_attributes([KeyValue::new("process.pid", pid), KeyValue::new("service.instance.id", instance)]);
    let version = variable("SKYBOX_VERSION").map(|version| KeyValue::new("service.version", version));
    let node = node.map(|node| KeyValue::new("skybox.node", node));
    resource.with_attributes(version.into_iter().chain(node)).build()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Option<Setup>, OtelError> {
        Setup::read(&Config::parse(Path::new("skybox.toml"), text).expect("well formed"))
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        assert!(read("[trace]\nsample = 0.5\n").expect("nothing is wrong").is_none());
        let setup = read("[trace]\nendpoint = \"http://collector:4318/\"\n").expect("nothing is wrong");
        assert_eq!(setup.expect("it says where").endpoint, "http://collector:4318/v1/traces");
    }

    #[test]
    fn a_filter_says_which_spans() {
        let setup = |filter: &str| {
            read(&format!("[trace]\nendpoint = \"http://collector\"\nfilter = \"{filter}\"\n"))
        };
        let filter = setup("info,skybox::call=off").expect("it is one").expect("it says where").filter;
        assert!(!filter.would_enable("skybox::call", &Level::DEBUG));
        assert!(filter.would_enable("shop", &Level::INFO));
        let error = setup("skybox=loud").err().expect("there is no such level").to_string();
        assert!(error.starts_with("skybox.toml:3: `filter` takes targets with their levels"), "{error}");
    }
}
