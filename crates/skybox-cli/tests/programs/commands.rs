//! `ps`, `graph`, `call`, on programs of several nodes and on single processes.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::http;
use crate::stage::{Program, Stage, payments_shop, skybox};

/// The item of a list that has this under a key.
#[track_caller]
fn item<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().find(|item| item[key] == value).unwrap_or_else(|| panic!("no {key} {value}: {list}"))
}

fn calls(program: &Program<'_>) {
    let plum = json!({"id": "plum", "price_cents": 12});
    for arguments in [r#"{"id":"plum"}"#, r#"["plum"]"#] {
        let text = program.skybox(&["call", "catalog.get", arguments]).ok();
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), plum);
    }
    assert_eq!(
        program.json(&["call", "catalog.get", r#"["plum"]"#]),
        json!({"outcome": "returned", "value": plum})
    );
    assert_eq!(
        program.skybox(&["call", "with_postage", r#"{"price_cents": 10, "parcels": 2}"#]).ok(),
        "990\n"
    );
    for count in [2, 4] {
        let added = program.json(&["call", "cart.add", r#"["pear", 2]"#, "--key", "ann"]);
        assert_eq!(added["value"], count, "one cart for each customer");
    }
    let error = program.skybox(&["call", "catalog.get", r#"["nut"]"#]).failed();
    assert!(error.starts_with("catalog.get returned an error: NoItem"), "{error}");
    let failed = program.skybox(&["call", "catalog.get", r#"["nut"]"#, "--json"]);
    assert_eq!(failed.code, Some(1));
    let shown: Value = serde_json::from_str(&failed.out).expect("JSON");
    assert_eq!(shown["outcome"], "failed");
    let refused = program.skybox(&["call", "catalog.get", r#"{"ident":"plum"}"#, "--json"]);
    let shown: Value = serde_json::from_str(&refused.out).expect("JSON");
    assert_eq!(
        (&shown["outcome"], &shown["code"], &shown["ran"]),
        (&json!("call-error"), &json!("SKY-108"), &json!("no")),
        "{refused:?}"
    );
}

#[test]
fn a_program_of_nodes_is_shown_and_called() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "2", "--place", "catalog=node-2"]);
    let ps = program.ready(2);
    assert_eq!(
        (&ps["program"], &ps["pid"], &ps["split"]),
        (&json!("shop"), &json!(program.pid()), &json!(true))
    );
    assert_eq!(item(&ps["nodes"], "node", "node-1")["error"], Value::Null);
    let catalog = item(&ps["modules"], "module", "catalog");
    assert_eq!((&catalog["form"], &catalog["pinned"]), (&json!("replicated"), &json!(["node-2"])));
    assert_eq!(catalog["methods"], json!([{"method": "get", "parameters": ["id"]}]));
    assert_eq!(item(&ps["modules"], "module", "cart")["form"], "keyed");
    assert_eq!(item(&ps["modules"], "module", "with_postage")["form"], "task");
    calls(&program);
    assert_eq!(http::get(program.address(), "/items/pear").expect("an answer").status, 200);
    let text = program.skybox(&["ps"]).ok();
    let (pid, address) = (program.pid(), program.address());
    assert!(text.starts_with(&format!("shop (process {pid}): 2 nodes, http on {address}\n\nNODE")), "{text}");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("node-2").contains("ready") && line("node-2").contains("catalog"), "{text}");
    assert!(line("catalog").contains("replicated  node-2"), "{text}");
    let from = program.skybox(&["call", "catalog.get", r#"["plum"]"#, "--from", "node-2"]).ok();
    assert!(from.contains("plum"));
    let graph = program.json(&["graph"]);
    let edge = item(&graph["edges"], "module", "catalog");
    for key in [
        "caller",
        "method",
        "local",
        "remote",
        "own_errors",
        "call_errors",
        "p50_us",
        "p99_us",
        "bytes_out",
        "bytes_in",
    ] {
        assert!(edge.get(key).is_some(), "{key}: {edge}");
    }
    let text = program.skybox(&["graph"]).ok();
    assert!(text.starts_with("CALLER") && text.contains("catalog.get"), "{text}");
    let dot = program.skybox(&["graph", "--dot"]).ok();
    assert!(dot.starts_with("digraph \"shop\" {\n") && dot.ends_with("}\n"), "{dot}");
    assert!(dot.contains(r#"  "catalog" [label="catalog\nreplicated, node-2"];"#), "{dot}");
    assert!(dot.contains(r#"  "(main)" -> "catalog" [label="get: "#), "{dot}");
}

#[test]
fn a_single_process_is_shown_and_called() {
    let stage = Stage::new();
    let program = stage.alone(&[]);
    let ps = program.ready(1);
    assert_eq!((&ps["program"], &ps["split"]), (&json!("shop"), &json!(false)));
    let address = program.address();
    let node = item(&ps["nodes"], "node", "alone");
    assert_eq!((&node["pid"], &node["state"]), (&json!(program.pid()), &json!("ready")));
    assert_eq!(http::get(address, "/items/pear").expect("an answer").status, 200);
    assert_eq!(program.json(&["ps"])["listeners"]["http"], address.to_string());
    calls(&program);
    let text = program.skybox(&["ps"]).ok();
    assert!(
        text.starts_with(&format!("shop (process {}): a single process, http on {address}", program.pid())),
        "{text}"
    );
    let graph = program.json(&["graph"]);
    assert_eq!(
        item(&graph["edges"], "module", "catalog")["local"].as_u64().map(|n| n > 0),
        Some(true),
        "{graph}"
    );
    let moved = program.skybox(&["move", "catalog", "node-2"]).failed();
    assert!(moved.contains("is a single process: move needs nodes; start it with `skybox run"), "{moved}");
    assert!(moved.contains("(SKY-401)"), "{moved}");
    assert_eq!(program.skybox(&["stop"]).ok(), "shop has ended\n");
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn a_call_does_not_wait_for_itself_to_wake_a_key() {
    let stage = Stage::new();
    // What waits for a start here waits for longer than this test.
    stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\n[modules.cart]\nstart-wait = \"1h\"\n");
    let program = stage.alone(&[]);
    program.ready(1);
    assert_eq!(program.skybox(&["call", "cart.add", r#"["pear", 2]"#, "--key", "ann"]).ok(), "2\n");
}

#[test]
fn an_interface_is_shown_with_what_implements_it() {
    for (chosen, path) in [("stripe", "payments_stripe"), ("on_account", "payments_shop::on_account")] {
        let stage = Stage::new();
        stage.config(&format!("[modules.payments]\nuse = \"{chosen}\"\n"));
        // It runs for as long as it may be given orders.
        let program = Program::start(&stage, stage.command(payments_shop()).stdin(Stdio::piped()));
        let ps = program.ready(1);
        assert_eq!(
            item(&ps["modules"], "module", "payments")["implementations"],
            json!([{"name": chosen, "path": path, "nodes": ["alone"]}])
        );
        let text = program.skybox(&["ps"]).ok();
        let words = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("MODULE"), ["MODULE", "USES", "FORM", "SERVING"], "{text}");
        assert_eq!(words("payments "), ["payments", chosen, "replicated", "alone"], "{text}");
    }
    // Where nothing was to be chosen, nothing is said of it.
    let stage = Stage::new();
    let program = stage.alone(&[]);
    let ps = program.ready(1);
    assert_eq!(item(&ps["modules"], "module", "catalog")["implementations"], json!([]));
    assert!(!program.skybox(&["ps"]).ok().contains("USES"));
}

#[test]
fn one_of_several_programs_is_chosen() {
    let stage = Stage::new();
    let first = stage.run(&["--nodes", "1"]);
    let second = Program::start(
        &stage,
        stage
            .command(skybox())
            .args(["run", "--nodes", "1", "--program"])
            .arg(crate::stage::shop())
            .env("SKYBOX_PROGRAM", "kiosk"),
    );
    first.ready(1);
    second.ready(1);
    let several = stage.skybox(&["ps"]).failed();
    for program in [&first, &second] {
        assert!(several.contains(&format!("process {}", program.pid())), "{several}");
    }
    assert!(several.contains("choose one with --program NAME or --program PID"), "{several}");
    let named = stage.skybox(&["ps", "--program", "kiosk", "--json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&named).expect("JSON")["pid"], second.pid());
    // In a program's own directory it is that program.
    stage.write("Cargo.toml", "[package]\nname = \"kiosk\"\n");
    let own = stage.skybox(&["ps", "--json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&own).expect("JSON")["pid"], second.pid());
    let nobody = stage.skybox(&["ps", "--program", "nobody"]).failed();
    assert!(nobody.contains("no program `nobody` is running"), "{nobody}");
}

#[test]
fn output_suits_pipes() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "2"]);
    program.ready(2);
    for command in ["ps", "graph"] {
        let text = program.skybox(&[command]).ok();
        assert!(!text.contains('\x1b'), "{text:?}");
        // Whoever reads the output may stop at any time.
        let mut child = stage.command(skybox());
        child
            .args([command, "--program", &program.pid().to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = child.spawn().expect("it is there");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it is our child");
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }
    assert!(!program.err().contains('\x1b'), "{}", program.err());
}
