//! `skybox top`, for scripts and on a terminal; and `ps --tree`.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};

use crate::restarts::{alone, list};
use crate::stage::{Program, Stage, skybox};

/// The line of a module.
fn line<'t>(top: &'t Value, module: &str) -> &'t Value {
    let found =
        list(&top["lines"]).iter().find(|line| line["module"] == module && line["restarts"] != Value::Null);
    found.unwrap_or_else(|| panic!("no {module}: {top}"))
}

#[test]
fn scripts_get_figures() {
    let stage = Stage::new();
    ["paper", "first", "other"].iter().for_each(|file| stage.write(file, ""));
    let program = alone(&stage);
    for title in ["first", "other"] {
        program.skybox(&["call", "page.write", "--key", title]).ok();
    }
    program.skybox(&["call", "page.tear", "--key", "first"]).failed();
    program.skybox(&["call", "page.write", "--key", "first"]).ok();
    let top = program.json(&["top", "--every", "100ms"]);
    let node = &list(&top["lines"])[0];
    assert_eq!(
        (&node["node"], &node["module"], &node["restarts"]),
        (&json!("alone"), &Value::Null, &json!(1))
    );
    assert!(node["memory_bytes"].as_u64() > Some(1 << 20), "{node}");
    assert!(node["cpu"].as_f64().is_some_and(|cores| (0.0..1_000.0).contains(&cores)), "{node}");
    let pages = line(&top, "page");
    assert_eq!((&pages["instances"], &pages["restarts"]), (&json!(2), &json!(1)));
    assert!(pages["p99_us"].as_u64().is_some(), "the first call of an edge is measured: {pages}");
    let keys = list(&top["lines"]).iter().filter_map(|line| line["key"].as_str());
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    assert_eq!(keys, ["first", "other"]);
    let text = program.skybox(&["top", "--once", "--every", "100ms", "--sort", "restarts"]).ok();
    assert!(text.starts_with("NODE   MODULE"), "{text}");
    assert!(text.contains("page[first]"), "{text}");
    let refused = program.skybox(&["top"]).failed();
    assert!(refused.contains("this is none: `--once`"), "{refused}");
}

#[test]
fn a_terminal_is_drawn_on_and_given_back() {
    let stage = Stage::new();
    let program = alone(&stage);
    stage.write("keys", "ceq");
    let keys = File::open(stage.directory().join("keys")).expect("it was just written");
    let mut command = stage.command(Path::new("script"));
    let top = format!("stty rows 30 cols 120 && {} top --program {}", skybox().display(), program.pid());
    command.args(["--quiet", "--return", "--command", &top, "/dev/null"]).env("TERM", "xterm").stdin(keys);
    let terminal = Program::start(&stage, &mut command);
    assert!(terminal.end().success(), "{} {}", terminal.out(), terminal.err());
    let out = terminal.out();
    let (entered, left) = (out.find("\x1b[?1049h"), out.rfind("\x1b[?1049l"));
    assert!(entered.is_some() && entered < left, "it leaves the other screen: {out:?}");
    assert!(out.contains("quit") && out.contains("errors"), "{out:?}");
}

#[test]
fn a_tree_shows_what_stands_under_what() {
    let stage = Stage::new();
    ["paper", "first"].iter().for_each(|file| stage.write(file, ""));
    let program = alone(&stage);
    program.skybox(&["call", "page.write", "--key", "first"]).ok();
    program.skybox(&["call", "page.tear", "--key", "first"]).failed();
    program.skybox(&["call", "page.write", "--key", "first"]).ok();
    let text = program.skybox(&["ps", "--tree"]).ok();
    assert!(text.starts_with("alone  ready, process "), "{text}");
    assert!(text.contains("\n├─ gate  replicated\n│  └─ "), "{text}");
    assert!(text.contains("page  keyed, 1 has ended, the last one crashed at "), "{text}");
    assert!(text.contains("─ page[first] "), "{text}");
}
