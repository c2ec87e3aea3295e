//! `skybox top`, for scripts and on a terminal; and `ps --tree`.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};

use crate::restarts::{alone, list};
use crate::stage::{Program, Stage, skybox};

/// The line of a module.
fn line<'t>(top: &'t Value, module: &str) -> &'t Value {
    let found = list(&top["lines"]).iter().find(|line| line["module"] == module && line["whole"] == true);
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

/// The line of a key.
fn key<'t>(top: &'t Value, key: &str) -> &'t Value {
    let found = list(&top["lines"]).iter().find(|line| line["key"] == key);
    found.unwrap_or_else(|| panic!("no {key}: {top}"))
}

/// Looks at one that is called, one that fails, one that has crashed, and one that calls the others.
fn pages_told_apart(stage: &Stage) -> (Value, [Value; 4]) {
    let pages = ["busy", "smudged", "torn", "desk"];
    ["paper"].iter().chain(&pages).for_each(|file| stage.write(file, ""));
    let program = alone(stage);
    pages.iter().for_each(|page| drop(program.skybox(&["call", "page.write", "--key", page]).ok()));
    program.skybox(&["call", "page.tear", "--key", "torn"]).failed();
    program.skybox(&["call", "page.write", "--key", "torn"]).ok();
    let top = std::thread::scope(|scope| {
        // Long enough for some of the calls below between its two looks.
        let looks = scope.spawn(|| program.json(&["top", "--every", "5s"]));
        while !looks.is_finished() {
            // Calls from elsewhere, and within the process.
            program.skybox(&["call", "page.smudge", "--key", "smudged"]).failed();
            program.skybox(&["call", "page.copy", r#"["busy", 200, 0]"#, "--key", "desk"]).ok();
            program.skybox(&["call", "page.copy", r#"["smudged", 1, 5]"#, "--key", "desk"]).ok();
        }
        looks.join().expect("it has found a program")
    });
    let lines = pages.map(|page| key(&top, page));
    let [busy, smudged, torn, desk] = lines;
    let rate = |line: &Value, what| line[what].as_f64().unwrap_or_else(|| panic!("no {what}: {line}"));
    assert!(rate(busy, "calls_per_s") > rate(smudged, "calls_per_s"), "{top}");
    let all = [busy, smudged, torn, desk].map(|line| rate(line, "calls_per_s")).iter().sum::<f64>();
    let together = rate(line(&top, "page"), "calls_per_s");
    // The two are not counted at one moment, and some calls are on their way.
    assert!(all > 0.5 * together && all < 2.0 * together, "{all} of {together}: {top}");
    assert!(rate(smudged, "calls_per_s") > 0.0 && rate(torn, "calls_per_s") == 0.0, "{top}");
    // Five fail that come from the desk, by every other call of that, for each that comes from elsewhere.
    assert!(rate(smudged, "errors_per_s") > 1.5 * rate(desk, "calls_per_s"), "{top}");
    [busy, torn, desk].iter().for_each(|line| assert_eq!(rate(line, "errors_per_s"), 0.0, "{top}"));
    let restarts = [busy, smudged, torn, desk].map(|line| line["restarts"].as_u64());
    assert_eq!(restarts, [Some(0), Some(0), Some(1), Some(0)], "{top}");
    assert!(busy["p50_us"].as_u64().is_some() && busy["p99_us"].as_u64() >= busy["p50_us"].as_u64(), "{top}");
    let whole = line(&top, "page");
    assert!(rate(whole, "errors_per_s") > 0.5 * rate(smudged, "errors_per_s"), "{top}");
    let lines = lines.map(Value::clone);
    (top, lines)
}

#[test]
fn figures_tell_instances_apart() {
    let (top, lines) = pages_told_apart(&Stage::new());
    lines
        .iter()
        .for_each(|line| assert_eq!(line["memory_bytes"], Value::Null, "they share a process: {top}"));
}

#[test]
fn cells_have_figures_of_their_own() {
    let stage = Stage::new();
    stage.config("[modules.page]\nisolate = \"process\"\n");
    let (top, lines) = pages_told_apart(&stage);
    for line in &lines {
        assert!(line["p99_us"].as_u64().is_some(), "its first call was measured: {top}");
        assert!(line["memory_bytes"].as_u64() > Some(1 << 20) && line["cpu"].as_f64().is_some(), "{top}");
    }
    let sum = lines.iter().filter_map(|line| line["memory_bytes"].as_u64()).sum::<u64>();
    assert_eq!(line(&top, "page")["memory_bytes"].as_u64(), Some(sum), "{top}");
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
