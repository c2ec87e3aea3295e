//! Calls that wait for each other, shown by `ps`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::stage::{Program, Stage, quarrel, skybox, wait_for};

/// Has Ann and Bob wait for each other, and looks at them.
fn met(stage: &Stage, program: &Program<'_>) {
    assert_eq!(program.json(&["ps"])["knots"], Value::Array(Vec::new()));
    let pid = program.pid().to_string();
    let ask = |arguments: &[&str]| {
        let mut command = stage.command(skybox());
        Program::start(stage, command.arg("call").args(arguments).args(["--program", &pid]))
    };
    let asked = [ask(&["ann.quarrel"]), ask(&["bob.quarrel", "--key", "bob"])];
    let knots = wait_for("two waits", || {
        let ps = program.json(&["ps"]);
        match ps["knots"].as_array().map(Vec::as_slice) {
            Some([one, other]) => Ok([one.clone(), other.clone()]),
            _ => Err((ps, asked[0].err(), asked[1].err())),
        }
    });
    let names = |of: &Value| (of["holds"]["module"].clone(), of["wants"]["module"].clone());
    let expect = [("ann", "bob"), ("bob", "ann")].map(|(a, b)| (Value::from(a), Value::from(b)));
    assert_eq!(knots.each_ref().map(names), expect);
    assert!(
        knots.iter().all(|knot| knot["held"] == "&mut self" && knot["wanted"] == "&mut self"),
        "{knots:?}"
    );
    let nodes: BTreeSet<_> = knots.iter().map(|knot| knot["holds"]["node"].to_string()).collect();
    let shown = program.skybox(&["ps"]).ok();
    let place = |knot: &Value| {
        let key = knot["key"].as_str().map(|key| format!("[{key}]")).unwrap_or_default();
        format!("{}{key} on {}", knot["module"].as_str().unwrap_or("?"), knot["node"].as_str().unwrap_or("?"))
    };
    for knot in &knots {
        let line = format!(
            "  a call holds {} `&mut self` and waits for {} `&mut self`",
            place(&knot["holds"]),
            place(&knot["wants"])
        );
        assert!(shown.lines().any(|shown| shown == line), "{line:?}: {shown}");
    }
    assert_eq!(nodes.len(), if program.json(&["ps"])["split"] == true { 2 } else { 1 }, "{knots:?}");
    // A call that waits for a turn, and is under no other one, keeps nobody waiting.
    let other = ask(&["ann.give_in"]);
    wait_for("a third call that waits", || {
        let ps = program.json(&["ps"]);
        let modules = ps["modules"].as_array().into_iter().flatten();
        let waiting = modules.flat_map(|module| module["instances"].as_array().into_iter().flatten());
        let waiting: u64 = waiting.filter_map(|instance| instance["waiting"].as_u64()).sum();
        if waiting == 3 { Ok(()) } else { Err((ps, other.err())) }
    });
    assert_eq!(program.json(&["ps"])["knots"].as_array().map(Vec::len), Some(2));
}

#[test]
fn calls_that_wait_for_each_other_are_shown() {
    let stage = Stage::new();
    let program = Program::start(&stage, &mut stage.command(quarrel()));
    wait_for("a running program", || {
        let ended = program.skybox(&["ps", "--json"]);
        if ended.code == Some(0) { Ok(()) } else { Err(ended) }
    });
    met(&stage, &program);
}

#[test]
fn calls_of_several_nodes_that_wait_for_each_other_are_shown() {
    let stage = Stage::new();
    let places = ["--place", "table=node-1", "--place", "ann=node-1", "--place", "bob=node-2"];
    let mut command = stage.command(skybox());
    command.args(["run", "--nodes", "2"]).args(places).arg("--program").arg(quarrel());
    let program = Program::start(&stage, &mut command);
    program.ready(2);
    met(&stage, &program);
}
