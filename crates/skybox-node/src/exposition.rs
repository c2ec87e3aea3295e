//! Counters in Prometheus' text format.

mod plan;

use std::fmt::Write;

use crate::app::AppInner;
use crate::conn::HandshakeCounts;
use crate::control::PlanFigures;
use crate::metrics::{EdgeCounts, OWN_ERROR};

/// What one node has counted.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) node: String,
    pub(crate) edges: Vec<EdgeCounts>,
    pub(crate) handshakes: HandshakeCounts,
    pub(crate) plan: Option<PlanFigures>,
}

impl Figures {
    pub(crate) fn of(app: &AppInner) -> Figures {
        let (edges, handshakes) = (crate::operate::edges(app), app.handshakes.counts());
        Figures { node: app.home.to_string(), edges, handshakes, plan: crate::operate::plan_figures(app) }
    }
}

/// Every edge of these nodes, and who has connected to them.
pub(crate) fn render(nodes: &[Figures]) -> String {
    let edges =
        || nodes.iter().flat_map(|node| node.edges.iter().map(|edge| (labels(&node.node, edge), edge)));
    let mut text = String::new();
    section(&mut text, "skybox_calls_total", "counter", "Calls by edge; `path` is local or remote.");
    for (labels, edge) in edges() {
        line(&mut text, "skybox_calls_total", &format!("{labels},path=\"local\""), edge.local);
        line(&mut text, "skybox_calls_total", &format!("{labels},path=\"remote\""), edge.remote);
    }
    section(
        &mut text,
        "skybox_call_errors_total",
        "counter",
        "Calls that failed as calls, by kind; `own` are the method's own errors.",
    );
    for (labels, edge) in edges() {
        for (kind, count) in
            edge.call_errors.iter().map(|(kind, n)| (kind.as_str(), *n)).chain([(OWN_ERROR, edge.own_errors)])
        {
            line(&mut text, "skybox_call_errors_total", &format!("{labels},kind=\"{kind}\""), count);
        }
    }
    section(
        &mut text,
        "skybox_payload_bytes_total",
        "counter",
        "Bytes of arguments (out) and results (in) that crossed.",
    );
    for (labels, edge) in edges() {
        line(&mut text, "skybox_payload_bytes_total", &format!("{labels},direction=\"out\""), edge.bytes_out);
        line(&mut text, "skybox_payload_bytes_total", &format!("{labels},direction=\"in\""), edge.bytes_in);
    }
    section(
        &mut text,
        "skybox_call_duration_seconds",
        "histogram",
        "Latency: one remote call in 16, one local call in 64.",
    );
    for (labels, edge) in edges() {
        histogram(&mut text, "skybox_call_duration_seconds", &labels, &edge.latency, edge.latency_us_sum);
    }
    handshakes(&mut text, nodes);
    plan::render(&mut text, nodes);
    text
}

fn handshakes(text: &mut String, nodes: &[Figures]) {
    let (total, pending) = ("skybox_handshakes_total", "skybox_handshakes_pending");
    let help = "Connections that others have opened over TCP; `late` took over 5 s, `no-room` were too many at once.";
    section(text, total, "counter", help);
    for Figures { node, handshakes, .. } in nodes {
        let HandshakeCounts { pending: _, open, refused, late, no_room } = *handshakes;
        for (outcome, count) in [("open", open), ("refused", refused), ("late", late), ("no-room", no_room)] {
            let labels = format!("node=\"{}\",outcome=\"{outcome}\"", escaped(node));
            line(text, total, &labels, count);
        }
    }
    section(text, pending, "gauge", "Those that are in their handshake now.");
    for Figures { node, handshakes, .. } in nodes {
        line(text, pending, &format!("node=\"{}\"", escaped(node)), handshakes.pending);
    }
}

fn section(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes everything");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    writeln!(text, "{name}{{{labels}}} {value}").expect("a String takes everything");
}

fn labels(node: &str, edge: &EdgeCounts) -> String {
    // The others are names of Rust items; this one people have written.
    format!(
        "node=\"{}\",caller=\"{}\",module=\"{}\",method=\"{}\"",
        escaped(node),
        edge.caller,
        edge.module,
        edge.method
    )
}

fn escaped(node: &str) -> String {
    node.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Buckets whose n-th counts what took less than 2^n µs, the last one what took longer.
fn histogram(text: &mut String, name: &str, labels: &str, buckets: &[u64], sum_us: u64) {
    let mut seen = 0;
    let of_bucket = format!("{name}_bucket");
    let bounded = buckets.len().saturating_sub(1);
    for (bucket, count) in buckets.iter().take(bounded).enumerate() {
        seen += count;
        let bound = (1u64 << bucket) as f64 / 1e6;
        line(text, &of_bucket, &format!("{labels},le=\"{bound}\""), seen);
    }
    let count: u64 = buckets.iter().sum();
    line(text, &of_bucket, &format!("{labels},le=\"+Inf\""), count);
    let sum_s = sum_us as f64 / 1e6;
    writeln!(text, "{name}_sum{{{labels}}} {sum_s}").expect("a String takes everything");
    line(text, &format!("{name}_count"), labels, count);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Edge;

    #[test]
    fn a_histogram_counts_upwards_and_has_its_sum() {
        let edge = Edge::default();
        for time in
            [Duration::ZERO, Duration::from_micros(3), Duration::from_millis(1), Duration::from_secs(100)]
        {
            edge.took(time);
        }
        let handshakes = HandshakeCounts { pending: 3, no_room: 7, ..HandshakeCounts::default() };
        let edges = vec![edge.counts("", "catalog", "get")];
        let text = render(&[Figures { node: "a \"b\"".to_owned(), edges, handshakes, plan: None }]);
        let labels = r#"node="a \"b\"",caller="",module="catalog",method="get""#;
        let value = |name: &str, more: &str| {
            let start = format!("skybox_call_duration_seconds_{name}{{{labels}{more}}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("no {start}: {text}")).to_owned()
        };
        let bucket = |le: &str| value("bucket", &format!(",le=\"{le}\""));
        assert_eq!(["0.000001", "0.000002", "0.000004"].map(bucket), ["1", "1", "2"]);
        assert_eq!(["0.000512", "0.001024", "67.108864", "+Inf"].map(bucket), ["2", "3", "3", "4"]);
        assert_eq!((value("sum", ""), value("count", "")), ("100.001003".to_owned(), "4".to_owned()));
        for line in [
            r#"skybox_handshakes_total{node="a \"b\"",outcome="no-room"} 7"#,
            r#"skybox_handshakes_pending{node="a \"b\""} 3"#,
        ] {
            assert!(text.lines().any(|of| of == line), "{line}: {text}");
        }
        assert!(!text.contains("134."), "what took longest is in no bucket with a bound: {text}");
    }
}
