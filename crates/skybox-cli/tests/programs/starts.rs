//! How a program starts.

use std::collections::BTreeSet;
use std::path::Path;

use crate::http;
use crate::stage::{Stage, shop, skybox, wait_for};

#[test]
fn three_nodes_one_migration_one_port() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "3"]);
    let ps = program.ready(3);
    assert_eq!(stage.store(), ["migrated to version 2"]);
    let address = program.address();
    assert_eq!(ps["listeners"]["http"], address.to_string());
    for node in ["node-1", "node-2", "node-3"] {
        let line = program.says(&format!("shop: {node} listens on"));
        assert!(line.ends_with(&format!("http://{address}")), "one port for all: {line}");
    }
    let mut answered = BTreeSet::new();
    wait_for("an answer of each node", || {
        let who = http::get(address, "/").expect("a connection").json();
        answered.insert(who["node"].as_str().unwrap_or_default().to_owned());
        if answered.len() == 3 { Ok(()) } else { Err(answered.clone()) }
    });
    let greeting = program.err();
    for part in [
        "shop runs as 3 nodes",
        "node-3   process",
        "skybox ps",
        &format!("http listens on http://{address}"),
    ] {
        assert!(greeting.contains(part), "{part}: {greeting}");
    }
    assert_eq!(program.out(), "", "the program's own output is all there is");
}

#[test]
fn a_directory_with_a_program_is_built_and_run() {
    shop();
    let stage = Stage::new();
    let profile = skybox().parent().expect("an executable is in a directory");
    let mut command = stage.command(skybox());
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop"));
    command.env("CARGO_TARGET_DIR", profile.parent().expect("a profile is in the target directory"));
    command.args(["run", "--nodes", "2", "--config"]).arg(stage.directory().join("skybox.toml"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let program = crate::stage::Program::start(&stage, &mut command);
    program.ready(2);
    assert_eq!(http::get(program.address(), "/items/pear").expect("an answer").json()["price_cents"], 30);
}

#[test]
fn split_has_a_node_for_each_module() {
    let stage = Stage::new();
    let program = stage.run(&["--split"]);
    let ps = program.ready(4);
    let modules = ps["modules"].as_array().expect("a list");
    assert_eq!(modules.len(), 4);
    let homes: BTreeSet<_> = modules
        .iter()
        .filter(|module| module["form"] != "keyed")
        .map(|module| module["serving"].to_string())
        .collect();
    assert_eq!(homes.len(), 3, "each has a node of its own: {homes:?}");
    assert_eq!(stage.store(), ["migrated to version 2"]);
}

#[test]
fn modules_are_placed_kept_for_a_debugger_and_niced() {
    let stage = Stage::new();
    let program = stage.run(&[
        "--nodes",
        "3",
        "--place",
        "catalog=node-2,node-3",
        "--inline",
        "warehouse",
        "--nice",
        "node-3=7",
    ]);
    let ps = program.ready(3);
    let of = |module: &str| {
        let modules = ps["modules"].as_array().into_iter().flatten();
        modules.into_iter().find(|found| found["module"] == module).expect("a module of the shop").clone()
    };
    assert_eq!(of("catalog")["serving"], serde_json::json!(["node-2", "node-3"]));
    assert_eq!(of("warehouse")["serving"], serde_json::json!(["node-1"]));
    let process = program.process_of("node-1");
    program.says(&format!("`warehouse` runs in node-1: attach a debugger to process {process}"));
    let nice = |process: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it lives");
        // The fields behind the command's name, which ends with a parenthesis; nice is the 19th of all.
        let nice = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16));
        nice.and_then(|nice| nice.parse::<i32>().ok()).expect("a field")
    };
    let of = |node: &str| nice(&program.process_of(node).to_string());
    assert_eq!((of("node-1") - nice("self"), of("node-3") - nice("self")), (0, 7));
}

#[test]
fn a_node_that_does_not_serve_a_listener_never_answers() {
    let stage = Stage::new();
    stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\nnodes = 2\n");
    let program = stage.run(&["--nodes", "3"]);
    let ps = wait_for("two nodes that serve", || {
        let ps = program.ready(3);
        let serves = |ps: &serde_json::Value| -> Vec<_> {
            ps["nodes"].as_array().into_iter().flatten().map(|node| node["serves"].to_string()).collect()
        };
        if serves(&ps) == [r#"["http"]"#, r#"["http"]"#, "[]"] { Ok(ps.clone()) } else { Err(ps.clone()) }
    });
    let idle = ps["nodes"][2]["pid"].clone();
    for _ in 0..200 {
        let who = http::get(program.address(), "/").expect("an answer").json();
        assert_ne!(who["process"], idle, "{who}");
    }
    // It runs modules all the same, and answers when it is asked on its own socket.
    program.skybox(&["move", "catalog", "node-3"]).ok();
    assert_eq!(http::get(program.address(), "/items/plum").expect("an answer").json()["price_cents"], 12);
}

#[test]
fn probes_and_figures_have_an_address_of_their_own() {
    let stage = Stage::new();
    stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n");
    let program = stage.run(&["--nodes", "3"]);
    let ps = program.ready(3);
    let admin = ps["listeners"]["admin"].as_str().and_then(|text| text.parse().ok()).expect("its address");
    let get = |path: &str| http::get(admin, path).expect("an answer");
    // When its modules have started, which is a moment after its `start`.
    wait_for("/readyz", || match get("/readyz") {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer),
    });
    for (path, status, body) in
        [("/livez", 200, "alive\n"), ("/readyz", 200, "ready\n"), ("/else", 404, "/metrics")]
    {
        let answer = get(path);
        assert!(answer.status == status && answer.body.contains(body), "{path}: {answer:?}");
    }
    http::get(program.address(), "/items/pear").expect("an answer");
    wait_for("the call among the figures", || {
        let text = get("/metrics").body;
        let counted = text
            .lines()
            .any(|line| line.starts_with("skybox_calls_total") && line.contains("module=\"catalog\""));
        if counted { Ok(()) } else { Err(text) }
    });
}
