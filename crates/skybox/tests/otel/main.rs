//! Spans of real processes, at a real receiver: this test's process is the collector, and its nodes send to it.
//!
//! `Front` is on one node and calls `Back` on another. What stands above `start` runs in each node, and installs the
//! subscriber that a program would.

#![expect(unreachable_pub, reason = "`pub` is what makes a method part of a module's interface")]

mod collector;

use std::sync::OnceLock;

use skybox::TraceContext;
use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::otel::Flush;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use collector::{Collector, Manner, Received};

/// Calls on.
#[derive(Debug, Default)]
pub struct Front;

#[skybox::module]
impl Front {
    pub async fn ask(&self, question: String) -> skybox::Result<String> {
        // A span of the program's own, around a call.
        async { reply(question).await }.instrument(tracing::info_span!("think")).await
    }

    /// Spans that this process has lost.
    pub async fn lost(&self) -> skybox::Result<u64> {
        Ok(SENDING.get().map_or(0, Flush::lost))
    }
}

/// Answers in another process.
#[skybox::task]
async fn reply(question: String) -> skybox::Result<String> {
    assert_ne!(question, "the forbidden one", "asked what must not be asked");
    if question == "the hard one" {
        return Err(std::io::Error::other("nobody knows").into());
    }
    Ok(format!("{question}: yes"))
}

static SENDING: OnceLock<Flush> = OnceLock::new();

/// What a program's `main` does before it starts; in nodes alone.
fn trace_this_node() {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return;
    }
    let (layer, sending) = skybox::otel::layer().expect("the variables are right");
    tracing_subscriber::registry().with(layer).init();
    SENDING.set(sending).expect("this runs once");
}

async fn nodes(collector: &Collector, environment: &[(&str, &str)]) -> RunningNodes {
    trace_this_node();
    let mut nodes = Nodes::of_this_test(2)
        .pin("front", &["node-1"])
        .pin("reply", &["node-2"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_SERVICE_NAME", "oracle");
    for (name, value) in environment {
        nodes = nodes.env(name, value);
    }
    nodes.start(|builder| builder).await
}

/// The trace that a request brought.
fn trace() -> TraceContext {
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("it is one")
}

async fn ask(nodes: &RunningNodes, question: &str) -> skybox::Result<String> {
    let front = nodes.app().get::<Front>();
    skybox::with_trace(trace(), async { front.ask(question.to_owned()).await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_crosses_is_one_trace_of_two_processes() {
    let collector = Collector::open(Manner::Takes);
    let nodes = nodes(&collector, &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    assert_eq!(ask(&nodes, "will it rain?").await.unwrap(), "will it rain?: yes");
    let spans = collector.wait(4).await;
    let one = |name: &str, kind: &str| {
        let found: Vec<_> = spans.iter().filter(|span| span.name == name && span.kind == kind).collect();
        assert_eq!(found.len(), 1, "one {kind} {name} among {spans:#?}");
        found[0].clone()
    };
    let (asked, thought) = (one("front.ask", "server"), one("think", "internal"));
    let (sent, replied) = (one("reply.call", "client"), one("reply.call", "server"));
    assert!(spans.iter().all(|span| span.trace == trace().trace_id), "{spans:#?}");
    assert_eq!(asked.parent, trace().span_id, "the request is above the first call");
    assert_eq!(thought.parent, asked.id);
    assert_eq!(sent.parent, thought.id);
    assert_eq!(replied.parent, sent.id, "across the processes");
    assert_eq!((&asked.pid, &thought.pid), (&sent.pid, &sent.pid));
    assert_ne!(sent.pid, replied.pid);
    assert_eq!((asked.node.as_str(), replied.node.as_str()), ("node-1", "node-2"));
    assert!(spans.iter().all(|span| span.service == "oracle" && !span.failed), "{spans:#?}");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_seen_on_both_sides() {
    let collector = Collector::open(Manner::Takes);
    let nodes = nodes(&collector, &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    ask(&nodes, "the forbidden one").await.unwrap_err();
    let spans = collector.wait(4).await;
    let failed = failed(&spans);
    // What the crashed call's caller returns is an error of its own.
    let expect = [
        ("front.ask", "server", "own"),
        ("reply.call", "client", "crashed"),
        ("reply.call", "server", "crashed"),
    ];
    assert_eq!(failed, expect, "{spans:#?}");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_methods_own_is_seen_on_both_sides() {
    let collector = Collector::open(Manner::Takes);
    let nodes = nodes(&collector, &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    ask(&nodes, "the hard one").await.unwrap_err();
    let spans = collector.wait(4).await;
    let expect =
        [("front.ask", "server", "own"), ("reply.call", "client", "own"), ("reply.call", "server", "own")];
    assert_eq!(failed(&spans), expect, "{spans:#?}");
    nodes.stop().await;
}

/// Of the spans that are marked as failed: name, kind, and type of the error.
fn failed(spans: &[Received]) -> Vec<(&str, &str, &str)> {
    let failed = spans.iter().filter(|span| span.failed);
    let mut failed: Vec<_> = failed.map(|span| (&*span.name, &*span.kind, &*span.error)).collect();
    failed.sort();
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_sends_what_it_has() {
    let collector = Collector::open(Manner::Takes);
    // Nothing is sent before the end by itself.
    let nodes = nodes(&collector, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    ask(&nodes, "is this the end?").await.unwrap();
    assert!(collector.spans().is_empty());
    nodes.drain("node-2").await;
    let names =
        |spans: Vec<Received>| spans.into_iter().map(|span| (span.node, span.name)).collect::<Vec<_>>();
    assert_eq!(names(collector.spans()), [("node-2".to_owned(), "reply.call".to_owned())]);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans_and_no_call() {
    let collector = Collector::open(Manner::Hangs);
    // One batch is on its way for an hour: a call that waited for it would never end, and neither would this test.
    let environment = [
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
    ];
    let nodes = nodes(&collector, &environment).await;
    ask(&nodes, "are you there?").await.unwrap();
    collector.asked().await;
    for n in 0..50 {
        assert_eq!(ask(&nodes, &n.to_string()).await.unwrap(), format!("{n}: yes"));
    }
    let lost = nodes.app().get::<Front>().lost().await.unwrap();
    // Three spans for each call in this process, and eight places.
    assert!(lost >= 50 * 3 - 8, "{lost} spans were lost");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_spans_and_no_call() {
    let collector = Collector::open(Manner::IsDown);
    let environment = [("OTEL_BSP_SCHEDULE_DELAY", "1"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "100")];
    let nodes = nodes(&collector, &environment).await;
    for n in 0..50 {
        assert_eq!(ask(&nodes, &n.to_string()).await.unwrap(), format!("{n}: yes"));
    }
    let front = nodes.app().get::<Front>();
    collector::until(async || front.lost().await.unwrap() > 0).await;
    nodes.stop().await;
}
