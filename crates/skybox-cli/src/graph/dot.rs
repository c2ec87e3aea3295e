//! The call graph in the language of Graphviz: `skybox graph --dot | dot -Tsvg`.
//!
//! A module is a box that says where it runs. All methods that one module calls of another share an arrow, a line
//! each: an arrow for every method would hide the shape that people look for.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Edge, Graph, latency_text};

/// What code outside of all modules is in the file. No module can have this name.
const OUTSIDE: &str = "(main)";

/// A module as the graph shows it.
#[derive(Debug)]
pub(super) struct Module {
    /// `task`, `replicated` or `keyed`.
    pub(super) form: &'static str,
    /// The nodes that take its calls; empty if it runs nowhere.
    pub(super) serving: Vec<String>,
}

/// Writes the graph; a module that nobody has called is in it, too.
pub(super) fn write(
    graph: &Graph,
    modules: &BTreeMap<String, Module>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    writeln!(out, "digraph {} {{", quoted(&graph.program))?;
    writeln!(out, "  rankdir=LR;")?;
    writeln!(out, "  node [shape=box];")?;
    if graph.edges.iter().any(|edge| edge.caller.is_empty()) {
        writeln!(out, "  {} [label=\"main\", shape=plaintext];", quoted(OUTSIDE))?;
    }
    for (name, module) in modules {
        let place = match module.serving.as_slice() {
            [] => "nowhere".to_owned(),
            nodes => nodes.join(", "),
        };
        let label = quoted(&format!("{name}\n{}, {place}", module.form));
        writeln!(out, "  {} [label={label}];", quoted(name))?;
    }
    let mut arrows: BTreeMap<(&str, &str), Vec<&Edge>> = BTreeMap::new();
    for edge in &graph.edges {
        let caller = if edge.caller.is_empty() { OUTSIDE } else { &edge.caller };
        arrows.entry((caller, &edge.module)).or_default().push(edge);
    }
    for ((caller, module), edges) in arrows {
        let lines: Vec<_> = edges.iter().map(|edge| line(edge)).collect();
        let mut attributes = format!("label={}", quoted(&lines.join("\n")));
        if edges.iter().all(|edge| edge.remote == 0) {
            attributes.push_str(", style=dashed");
        }
        if edges.iter().any(|edge| edge.errors() > 0) {
            attributes.push_str(", color=red");
        }
        writeln!(out, "  {} -> {} [{attributes}];", quoted(caller), quoted(module))?;
    }
    writeln!(out, "}}")
}

/// What one method's calls were: `get: 31 calls, 1 error, p99 <512 µs`.
fn line(edge: &Edge) -> String {
    let counted = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut text = format!("{}: {}", edge.method, counted(edge.local + edge.remote, "call"));
    if edge.errors() > 0 {
        text.push_str(&format!(", {}", counted(edge.errors(), "error")));
    }
    if let Some(us) = edge.p99_us {
        text.push_str(&format!(", p99 {}", latency_text(us)));
    }
    text
}

/// A quoted string. Labels also know `\n`, `\N` and the like, and entities such as `&lt;`: a name has none of these.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '&' => quoted.push_str("&amp;"),
            '\n' => quoted.push_str("\\n"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_they_should() {
        let rows = [
            ("shop", r#""shop""#),
            (r#"a "b""#, r#""a \"b\"""#),
            (r"C:\N", r#""C:\\N""#),
            (r#"\""#, r#""\\\"""#),
            ("a&lt;b", r#""a&amp;lt;b""#),
            ("one\ntwo", r#""one\ntwo""#),
        ];
        for (text, expect) in rows {
            assert_eq!(quoted(text), expect, "{text}");
        }
    }

    fn edge(caller: &str, method: &str, local: u64, remote: u64) -> Edge {
        Edge {
            caller: caller.to_owned(),
            module: "catalog".to_owned(),
            method: method.to_owned(),
            local,
            remote,
            own_errors: 0,
            call_errors: BTreeMap::new(),
            p50_us: None,
            p99_us: None,
            bytes_out: 0,
            bytes_in: 0,
        }
    }

    #[test]
    fn a_box_for_each_module_and_an_arrow_for_each_pair() {
        let failing = Edge {
            own_errors: 1,
            call_errors: BTreeMap::from([("lost".to_owned(), 2)]),
            p99_us: Some(512),
            ..edge("cart", "get", 3, 60)
        };
        let edges = vec![edge("", "get", 1, 0), edge("", "list", 2, 0), failing];
        let graph = Graph { program: "my \"shop\"".to_owned(), pid: 1, edges };
        let on =
            |form, nodes: &[&str]| Module { form, serving: nodes.iter().map(|&node| node.into()).collect() };
        let modules = BTreeMap::from([
            ("cart".to_owned(), on("keyed", &["node-1", "node-2"])),
            ("catalog".to_owned(), on("replicated", &["node-1"])),
            ("idle".to_owned(), on("task", &[])),
        ]);
        let mut text = Vec::new();
        write(&graph, &modules, &mut text).expect("a Vec takes everything");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"digraph "my \"shop\"" {
  rankdir=LR;
  node [shape=box];
  "(main)" [label="main", shape=plaintext];
  "cart" [label="cart\nkeyed, node-1, node-2"];
  "catalog" [label="catalog\nreplicated, node-1"];
  "idle" [label="idle\ntask, nowhere"];
  "(main)" -> "catalog" [label="get: 1 call\nlist: 2 calls", style=dashed];
  "cart" -> "catalog" [label="get: 63 calls, 3 errors, p99 <512 µs", color=red];
}
"#
        );
    }
}
