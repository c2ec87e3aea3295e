//! Counters in Prometheus' text format.

use std::fmt::Write;

use crate::metrics::EdgeCounts;

/// Every edge of these nodes.
pub(crate) fn render(nodes: &[(String, Vec<EdgeCounts>)]) -> String {
    let edges = || nodes.iter().flat_map(|(node, edges)| edges.iter().map(|edge| (labels(node, edge), edge)));
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
            edge.call_errors.iter().map(|(kind, n)| (kind.as_str(), *n)).chain([("own", edge.own_errors)])
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
        "skybox_call_seconds",
        "histogram",
        "Latency: one remote call in 16, one local call in 64.",
    );
    for (labels, edge) in edges() {
        histogram(&mut text, &labels, edge);
    }
    text
}

fn section(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes everything");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    writeln!(text, "{name}{{{labels}}} {value}").expect("a String takes everything");
}

fn labels(node: &str, edge: &EdgeCounts) -> String {
    format!(
        "node=\"{node}\",caller=\"{}\",module=\"{}\",method=\"{}\"",
        edge.caller, edge.module, edge.method
    )
}

fn histogram(text: &mut String, labels: &str, edge: &EdgeCounts) {
    let mut seen = 0;
    for (bucket, count) in edge.latency.iter().enumerate() {
        seen += count;
        let bound = (1u64 << bucket) as f64 / 1e6;
        line(text, "skybox_call_seconds_bucket", &format!("{labels},le=\"{bound}\""), seen);
    }
    line(text, "skybox_call_seconds_bucket", &format!("{labels},le=\"+Inf\""), seen);
    line(text, "skybox_call_seconds_count", labels, seen);
}
