//! `skybox graph`: every edge of the program, summed over its nodes.

mod dot;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use skybox_node::EdgeCounts;

use crate::args::GraphArgs;
use crate::call::print_json;
use crate::choose::{Purpose, choose};
use crate::ps;
use crate::table::{self, Cell, Table, Tone};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Graph {
    program: String,
    pid: u32,
    edges: Vec<Edge>,
}

/// One edge.
#[derive(Debug, Serialize)]
struct Edge {
    /// The calling module; empty for code outside all modules.
    caller: String,
    module: String,
    method: String,
    /// Calls that stayed in their process.
    local: u64,
    /// Calls that crossed to another.
    remote: u64,
    /// Calls that returned the method's own error.
    own_errors: u64,
    /// Calls that failed as calls, by kind.
    call_errors: BTreeMap<String, u64>,
    /// Upper bounds of latencies, in microseconds; absent before the first measured call.
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    bytes_out: u64,
    bytes_in: u64,
}

impl Edge {
    /// Calls that returned an error, of whichever sort.
    fn errors(&self) -> u64 {
        self.own_errors + self.call_errors.values().sum::<u64>()
    }
}

/// Shows the edges.
pub(crate) async fn graph(args: &GraphArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.read.which, Purpose::Look).await?;
    let (shown, statuses) = program.look().await?;
    let (mut counts, mut modules) = (Vec::new(), BTreeMap::new());
    for (node, status) in statuses {
        match status {
            Ok(status) => {
                for module in status.modules {
                    let serving = ps::serving(&module.module, shown.as_ref());
                    modules.insert(module.module, dot::Module { form: ps::form(module.kind), serving });
                }
                counts.extend(status.edges);
            }
            Err(error) => eprintln!("{node} is missing here: {:#}", anyhow::Error::from(error)),
        }
    }
    let graph = Graph { program: program.program, pid: program.pid, edges: sum(counts) };
    if args.read.json {
        print_json(&graph)?;
    } else if args.dot {
        dot::write(&graph, &modules, &mut std::io::stdout().lock())?;
    } else {
        show(&graph, &mut std::io::stdout().lock(), table::colours(&std::io::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds up what the nodes have counted of the same edge.
fn sum(counts: Vec<EdgeCounts>) -> Vec<Edge> {
    let mut sums: BTreeMap<(String, String, String), EdgeCounts> = BTreeMap::new();
    for more in counts {
        let edge = (more.caller.clone(), more.module.clone(), more.method.clone());
        match sums.entry(edge) {
            std::collections::btree_map::Entry::Vacant(first) => drop(first.insert(more)),
            std::collections::btree_map::Entry::Occupied(mut sum) => add(sum.get_mut(), more),
        }
    }
    let edge = |counts: EdgeCounts| Edge {
        p50_us: counts.latency_us(0.50),
        p99_us: counts.latency_us(0.99),
        caller: counts.caller,
        module: counts.module,
        method: counts.method,
        local: counts.local,
        remote: counts.remote,
        own_errors: counts.own_errors,
        call_errors: counts.call_errors.into_iter().fold(BTreeMap::new(), |mut sum, (kind, n)| {
            *sum.entry(kind).or_default() += n;
            sum
        }),
        bytes_out: counts.bytes_out,
        bytes_in: counts.bytes_in,
    };
    sums.into_values().map(edge).collect()
}

fn add(sum: &mut EdgeCounts, more: EdgeCounts) {
    sum.local += more.local;
    sum.remote += more.remote;
    sum.own_errors += more.own_errors;
    sum.call_errors.extend(more.call_errors);
    sum.bytes_out += more.bytes_out;
    sum.bytes_in += more.bytes_in;
    sum.latency.resize(sum.latency.len().max(more.latency.len()), 0);
    for (bucket, n) in sum.latency.iter_mut().zip(more.latency) {
        *bucket += n;
    }
}

fn show(graph: &Graph, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut table = Table::new(&["CALLER", "CALLEE", "LOCAL", "REMOTE", "P50", "P99", "OUT", "IN", "ERRORS"]);
    for edge in &graph.edges {
        let caller = if edge.caller.is_empty() { "main" } else { &edge.caller };
        let own = (edge.own_errors > 0).then(|| format!("own {}", edge.own_errors));
        let failed = edge.call_errors.iter().map(|(kind, n)| format!("{kind} {n}"));
        let errors: Vec<_> = failed.chain(own).collect();
        table.row(vec![
            caller.into(),
            format!("{}.{}", edge.module, edge.method).into(),
            Cell::count(edge.local),
            Cell::count(edge.remote),
            latency(edge.p50_us),
            latency(edge.p99_us),
            size(edge.bytes_out),
            size(edge.bytes_in),
            Cell::new(errors.join(", "), Tone::Bad),
        ]);
    }
    if table.is_empty() {
        return writeln!(out, "nothing has been called yet");
    }
    table.write(out, colours)
}

fn size(n: u64) -> Cell {
    if n == 0 { Cell::count(0) } else { table::bytes(n).into() }
}

/// A bucket's upper bound: below it, so many calls stayed.
fn latency(us: Option<u64>) -> Cell {
    us.map_or(Cell::count(0), |us| latency_text(us).into())
}

fn latency_text(us: u64) -> String {
    match us {
        0..1_000 => format!("<{us} µs"),
        1_000..1_000_000 => format!("<{} ms", us.div_ceil(1_000)),
        _ => format!("<{} s", us.div_ceil(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(caller: &str, local: u64, remote: u64) -> EdgeCounts {
        EdgeCounts {
            caller: caller.to_owned(),
            module: "catalog".to_owned(),
            method: "get".to_owned(),
            local,
            remote,
            own_errors: 1,
            call_errors: vec![("Lost".to_owned(), 2)],
            bytes_out: 10,
            bytes_in: 2000,
            latency: vec![0, 0, remote],
            latency_us_sum: 3 * remote,
        }
    }

    #[test]
    fn nodes_are_summed_by_edge() {
        let edges = sum(vec![counts("", 1, 2), counts("cart", 5, 0), counts("", 3, 4)]);
        let seen: Vec<_> = edges.iter().map(|edge| (edge.caller.as_str(), edge.local, edge.remote)).collect();
        assert_eq!(seen, [("", 4, 6), ("cart", 5, 0)]);
        assert_eq!(edges[0].call_errors, BTreeMap::from([("Lost".to_owned(), 4)]));
        assert_eq!((edges[0].p50_us, edges[1].p50_us), (Some(4), None));
        let mut text = Vec::new();
        show(&Graph { program: "shop".into(), pid: 1, edges }, &mut text, false)
            .expect("a Vec takes everything");
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("main    catalog.get      4       6  <4 µs"), "{text}");
        assert!(text.contains("Lost 4, own 2"), "{text}");
    }
}
