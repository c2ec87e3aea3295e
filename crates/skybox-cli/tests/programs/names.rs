//! Names of instances, while the parent that keeps them hangs, and in what is shown.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::restarts::calling;
use crate::stage::{Program, Stage, lobby, skybox, wait_for};

/// The lobby as two nodes, with a desk on each.
fn split(stage: &Stage) -> Program<'_> {
    let mut command = stage.command(skybox());
    let program = Program::start(stage, command.args(["run", "--nodes", "2", "--program"]).arg(lobby()));
    wait_for("two desks", || {
        let ended = program.skybox(&["ps", "--json"]);
        let ps = serde_json::from_str::<Value>(&ended.out).unwrap_or_default();
        let desk = |module: &&Value| module["module"] == "desk";
        let serving =
            ps["modules"].as_array().into_iter().flatten().find(desk).map(|desk| desk["serving"].clone());
        if serving == Some(json!(["node-1", "node-2"])) { Ok(()) } else { Err((ended, program.err())) }
    });
    program
}

/// What a desk answers.
fn ask(program: &Program<'_>, node: &str, method: &str, arguments: &str) -> Value {
    let text = program.skybox(&["call", &format!("desk.{method}"), arguments, "--from", node]).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// More than fit on the way to the store.
const LOOKS: u64 = 300;
/// So many that a wait for each would be longer than a test's.
const ROW: usize = 20;

#[test]
fn a_parent_that_hangs_holds_nobody_for_ever_and_doubles_no_name() {
    let stage = Stage::new();
    let program = split(&stage);
    let nodes = ["node-1", "node-2"];
    assert_eq!(ask(&program, "node-1", "open", r#"["kept"]"#), "ok");
    for n in 0..ROW {
        assert_eq!(ask(&program, "node-1", "open", &format!(r#"["row {n}"]"#)), "ok");
    }
    let asking = nodes
        .map(|node| calling(&stage, &program, &["desk.meanwhile", &format!("[{LOOKS}]"), "--from", node]));
    // Each has opened what it is about to name: the calls are there before the parent hangs, which they need to find a node.
    wait_for("desks that wait", || {
        let counts = nodes.map(|node| ask(&program, node, "count", "[]"));
        if counts == [json!(ROW + 3), json!(2)] { Ok(()) } else { Err(counts) }
    });
    program.signal(Signal::STOP);
    stage.write("go", "");
    let seen = asking.map(|asked| {
        assert!(asked.end().success(), "{}", asked.err());
        serde_json::from_str::<Value>(&asked.out()).unwrap_or_else(|error| panic!("{error}: {}", asked.out()))
    });
    for (seen, closed) in seen.iter().zip([ROW, 0]) {
        // What was asked may be done still, and whoever asked is told so; what was not is not.
        assert_eq!((&seen["late lost"], &seen["prize lost"]), (&json!(1), &json!(1)), "{seen}");
        let of = |outcome: &str| seen[outcome].as_u64().unwrap_or_default();
        assert_eq!(of("look lost") + of("look unreachable"), LOOKS, "{seen}");
        assert_eq!(seen["closed"], closed, "{seen}");
    }
    program.signal(Signal::CONT);
    // It does what it was asked before it hung: the names of what has ended are free, and of those who wanted one name at
    // once one has it.
    for n in 0..ROW {
        let name = format!(r#"["row {n}"]"#);
        // Until then it is that of an instance that has ended, which takes no call.
        wait_for("a free name", || {
            let found = program.skybox(&["call", "desk.find", &name, "--from", "node-2"]);
            if found.out.trim() == "null" { Ok(()) } else { Err(found) }
        });
        assert_eq!(ask(&program, "node-2", "open", &name), "ok");
    }
    for name in ["late", "prize"] {
        let name = format!(r#"["{name}"]"#);
        // Who has it may ask again.
        let mut again = nodes.map(|node| ask(&program, node, "open", &name).to_string());
        let found = nodes.map(|node| ask(&program, node, "find", &name));
        let has = usize::from(again[1] == "\"ok\"");
        again.sort();
        assert_eq!(again, ["\"name-taken\"", "\"ok\""]);
        let process = program.process_of(nodes[has]);
        assert_eq!(found, [json!(process), json!(process)]);
    }
    assert_eq!(ask(&program, "node-2", "find", r#"["kept"]"#), program.process_of("node-1"));
}

#[test]
fn names_and_links_of_instances_are_shown() {
    let stage = Stage::new();
    let program = split(&stage);
    assert!(!program.skybox(&["ps"]).ok().contains("NAMED"), "nothing has a name");
    for (node, name) in [("node-1", "hall"), ("node-1", "attic"), ("node-2", "cellar")] {
        assert_eq!(ask(&program, node, "open", &format!(r#"["{name}"]"#)), "ok");
    }
    assert_eq!(ask(&program, "node-1", "call_it", r#"["hall", "entrance"]"#), "ok");
    ask(&program, "node-1", "link", r#"["hall", "attic"]"#);
    let room = crate::restarts::module(&program, "room");
    let of = |name: &str| {
        let instances = crate::restarts::list(&room["instances"]).iter();
        let named = |instance: &&Value| {
            instance["names"].as_array().is_some_and(|names| names.contains(&json!(name)))
        };
        instances.clone().find(named).unwrap_or_else(|| panic!("no {name}: {room}"))
    };
    let (hall, attic, cellar) = (of("hall"), of("attic"), of("cellar"));
    assert_eq!(
        (&hall["names"], &hall["falls_with"], &hall["node"]),
        (&json!(["entrance", "hall"]), &json!(1), &json!("node-1"))
    );
    assert_eq!((&attic["names"], &attic["falls_with"]), (&json!(["attic"]), &json!(1)));
    assert_eq!((&cellar["falls_with"], &cellar["node"]), (&json!(0), &json!("node-2")));
    let text = program.skybox(&["ps"]).ok();
    let id = |of: &Value| of["instance"].as_str().unwrap_or_default().to_owned();
    let row =
        text.lines().find(|line| line.starts_with("entrance and hall")).unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains(&id(hall)) && row.contains("room") && row.ends_with('1'), "{text}");
    let tree = program.skybox(&["ps", "--tree"]).ok();
    let branch = tree.lines().find(|line| line.contains(&id(hall))).unwrap_or_else(|| panic!("{tree}"));
    assert!(branch.contains("entrance and hall, up") && branch.ends_with("falls with 1 other"), "{tree}");
    // What has ended has no name, and the other has gone with it.
    ask(&program, "node-1", "burn", r#"["hall"]"#);
    wait_for("one room", || {
        let room = crate::restarts::module(&program, "room");
        let names: Vec<_> =
            crate::restarts::list(&room["instances"]).iter().map(|one| one["names"].clone()).collect();
        if names == [json!(["cellar"])] { Ok(()) } else { Err(room) }
    });
}

#[test]
fn all_instances_are_counted_though_not_all_are_listed() {
    let stage = Stage::new();
    let program = split(&stage);
    ask(&program, "node-1", "fill", "[130]");
    let ps = program.json(&["ps"]);
    let room = |module: &&Value| module["module"] == "room";
    let room = ps["modules"].as_array().unwrap().iter().find(room).unwrap();
    assert_eq!(
        (&room["live"], room["instances"].as_array().unwrap().len()),
        (&json!({ "node-1": 130 }), 100)
    );
    let text = program.skybox(&["ps"]).ok();
    assert!(text.contains("room ×130"), "{text}");
    let tree = program.skybox(&["ps", "--tree"]).ok();
    assert!(tree.contains("room  spawned, 130 instances"), "{tree}");
    let explained = program.skybox(&["explain", "room"]).ok();
    assert!(explained.contains("and 110 more: --json has 100 of all"), "{explained}");
}
