//! Modules that do not start, or crash: what is done about them, and what `ps` says.

use serde_json::{Value, json};

use crate::stage::{Program, Stage, press, skybox, wait_for};

/// The press as a single process, whose printer has no paper.
fn alone(stage: &Stage) -> Program<'_> {
    let program = Program::start(stage, &mut stage.command(press()));
    wait_for("a running program", || {
        let ended = program.skybox(&["ps", "--json"]);
        if ended.code == Some(0) { Ok(()) } else { Err(ended) }
    });
    program
}

/// The press as two nodes; the printer is on the second.
fn split(stage: &Stage) -> Program<'_> {
    let mut command = stage.command(skybox());
    let places = ["--place", "printer=node-2", "--place", "gate=node-1"];
    command.args(["run", "--nodes", "2"]).args(places).arg("--program").arg(press());
    let program = Program::start(stage, &mut command);
    wait_for("a gate that serves", || {
        let ended = program.skybox(&["call", "gate.open"]);
        if ended.code == Some(0) { Ok(()) } else { Err((ended, program.err())) }
    });
    program
}

fn module(program: &Program<'_>, name: &str) -> Value {
    let ps = program.json(&["ps"]);
    let found = ps["modules"].as_array().and_then(|all| all.iter().find(|module| module["module"] == name));
    found.cloned().unwrap_or_else(|| panic!("no {name}: {ps}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// How often a start was tried that needs this file.
fn attempts(stage: &Stage, file: &str) -> usize {
    let text = std::fs::read_to_string(stage.directory().join("starts")).unwrap_or_default();
    text.lines().filter(|line| *line == file).count()
}

/// Waits until the printer is given up.
fn given_up(program: &Program<'_>) -> Value {
    wait_for("a printer that is given up", || {
        let printer = module(program, "printer");
        if list(&printer["given_up"]).is_empty() { Err((printer, program.err())) } else { Ok(printer) }
    })
}

fn does_not_start(stage: &Stage, program: &Program<'_>, node: &str) {
    let printer = given_up(program);
    let given = &printer["given_up"][0];
    assert_eq!(attempts(stage, "paper"), 3, "once, and twice again: `max_restarts`");
    assert_eq!(
        (&given["node"], &given["cause"], &given["failed_starts"], &given["within_ms"]),
        (&json!(node), &json!("there is no paper"), &json!(3), &json!(3_600_000))
    );
    let endings = list(&printer["endings"]);
    assert_eq!(endings.len(), 3, "{printer}");
    for ending in endings {
        assert_eq!(
            (&ending["reason"], &ending["cause"], &ending["instance"], &ending["lived_ms"]),
            (&json!("failed-start"), &json!("there is no paper"), &Value::Null, &Value::Null)
        );
    }
    let text = program.skybox(&["ps"]).ok();
    assert!(text.contains("\nprinter does not run (SKY-102): there is no paper\n"), "{text}");
    assert!(text.contains(&format!("printer was given up on {node} ")), "{text}");
    assert!(text.contains("ago: it failed 3 times within 1 h 0 min\n"), "{text}");
    assert_eq!(text.matches("did not start: there is no paper (SKY-102)").count(), 3, "{text}");
    // Callers are told at once, nobody tries again, and the others go on.
    let refused = program.json_of_failed(&["call", "printer.print"]);
    assert_eq!((&refused["code"], &refused["ran"]), (&json!("SKY-102"), &json!("no")), "{refused}");
    assert_eq!(attempts(stage, "paper"), 3);
    assert_eq!(program.skybox(&["call", "gate.open"]).code, Some(0));
}

#[test]
fn a_module_that_does_not_start_is_given_up_and_shown() {
    let stage = Stage::new();
    does_not_start(&stage, &alone(&stage), "alone");
    let stage = Stage::new();
    does_not_start(&stage, &split(&stage), "node-2");
}

#[test]
fn a_crash_is_shown_with_what_it_ended() {
    let stage = Stage::new();
    stage.write("first", "");
    let program = alone(&stage);
    assert_eq!(program.skybox(&["call", "page.write", "--key", "first"]).ok(), "1\n");
    let live = wait_for("a page with an age", || {
        let page = module(&program, "page");
        let live = page["instances"][0].clone();
        if live["up_ms"].as_u64() > Some(0) { Ok(live) } else { Err(page) }
    });
    let crashed = program.json_of_failed(&["call", "page.tear", "--key", "first"]);
    assert_eq!(crashed["code"], "SKY-114", "{crashed}");
    let page = module(&program, "page");
    let [ending] = list(&page["endings"]) else { panic!("one has ended: {page}") };
    assert_eq!(
        (&ending["reason"], &ending["message"], &ending["key"], &ending["instance"], &ending["node"]),
        (&json!("crashed"), &json!("torn"), &json!("first"), &live["instance"], &json!("alone"))
    );
    assert!(ending["lived_ms"].as_u64() >= live["up_ms"].as_u64(), "{ending}: {live}");
    assert!(ending["place"].as_str().is_some_and(|place| place.contains("press.rs:")), "{ending}");
    let text = program.skybox(&["ps"]).ok();
    let line = text.lines().find(|line| line.contains("page[first]")).unwrap_or_default();
    assert!(line.contains("crashed at ") && line.ends_with(": torn (SKY-114)"), "{text}");
    // What it had is gone.
    assert_eq!(program.skybox(&["call", "page.write", "--key", "first"]).ok(), "1\n");
}

#[test]
fn a_key_that_does_not_start_is_given_up_alone() {
    let stage = Stage::new();
    stage.write("first", "");
    let program = alone(&stage);
    let page = wait_for("a page that is given up", || {
        let refused = program.json_of_failed(&["call", "page.write", "--key", "other"]);
        assert_eq!(refused["code"], "SKY-102", "{refused}");
        let page = module(&program, "page");
        if list(&page["given_up"]).is_empty() { Err(page) } else { Ok(page) }
    });
    assert_eq!(attempts(&stage, "other"), 2, "once, and once again: `max_restarts`");
    let given = &page["given_up"][0];
    assert_eq!(
        (&given["key"], &given["cause"], &given["failed_starts"]),
        (&json!("other"), &json!("there is no other"), &json!(2))
    );
    assert_eq!(page["failed"], Value::Null, "its other keys run");
    assert_eq!(program.skybox(&["call", "page.write", "--key", "first"]).ok(), "1\n");
    let text = program.skybox(&["ps"]).ok();
    assert!(text.contains("\npage[other] was given up on alone "), "{text}");
    assert!(text.contains("it failed 2 times within 1 h 0 min (SKY-102): there is no other\n"), "{text}");
}
