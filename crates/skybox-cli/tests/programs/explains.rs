//! What `explain` says of a module.

use serde_json::json;

use crate::restarts::{alone, list, module, split};
use crate::stage::{Stage, wait_for};

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\n\n{text}");
    }
}

#[test]
fn a_module_that_does_not_start_is_explained_until_it_does() {
    let stage = Stage::new();
    let program = split(&stage);
    wait_for("a printer that is given up", || {
        let printer = module(&program, "printer");
        if list(&printer["given_up"]).is_empty() { Err((printer, program.err())) } else { Ok(()) }
    });
    let text = program.skybox(&["explain", "printer"]).ok();
    has(
        &text,
        &[
            "printer is replicated, written in press\n",
            "\nPlace\n  it belongs on node-2\n  it was put on node-2, as `--place` or `skybox move` said\n",
            "  no node takes its calls\n",
            "  printer does not run (SKY-102): there is no paper\n",
            "  one instance (`replicas`)\n  in the process of its node",
            "given up at 3 failed starts within 1 h 0 min (`max_restarts`, `within`)\n",
            "\nInstances\n  printer was given up on node-2 ",
            "ago: it failed 3 times within 1 h 0 min\n",
            "  mend the cause, and then `skybox restart printer`, which tries it anew on node-2\n",
            "did not start: there is no paper (SKY-102)",
        ],
    );
    assert_eq!(text.matches("did not start").count(), 3, "each attempt: {text}");
    let explained = program.json(&["explain", "printer"]);
    assert_eq!((&explained["module"], &explained["assigned"]), (&json!("printer"), &json!(["node-2"])));
    let [policy] = list(&explained["policies"]) else { panic!("all nodes have one: {explained}") };
    assert_eq!(
        (&policy["max_restarts"], &policy["within_ms"], &policy["nodes"]),
        (&json!(2), &json!(3_600_000), &json!(["node-1", "node-2"]))
    );
    assert_eq!(
        (&policy["restart"], &policy["replicas"], &policy["isolate"]),
        (&json!("always"), &json!("1"), &json!(null)),
        "as they stand in the source"
    );
    assert_eq!(list(&explained["advice"]).len(), 1, "{explained}");
    assert_eq!(list(&explained["endings"]).len(), 3, "{explained}");
    // The advice is good.
    stage.write("paper", "");
    program.skybox(&["restart", "printer"]).ok();
    assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
    let text = wait_for("a printer that serves", || {
        let text = program.skybox(&["explain", "printer"]).ok();
        if text.contains("no node takes") { Err(text) } else { Ok(text) }
    });
    has(&text, &[" on node-2: up ", "did not start: there is no paper (SKY-102)"]);
    assert!(!text.contains("was given up") && !text.contains("skybox restart"), "{text}");
}

#[test]
fn the_last_exits_of_a_module_are_told_with_reason_message_and_place() {
    let stage = Stage::new();
    ["paper", "first"].iter().for_each(|file| stage.write(file, ""));
    let program = alone(&stage);
    let gate = program.skybox(&["explain", "gate"]).ok();
    has(
        &gate,
        &["\nWhat you can do\n  nothing: it runs\n", "\nLast exits\n  none that its nodes remember\n"],
    );
    assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
    program.skybox(&["call", "printer.jam"]).failed();
    wait_for("an exit", || {
        let printer = module(&program, "printer");
        if list(&printer["endings"]).is_empty() { Err(printer) } else { Ok(()) }
    });
    let text = program.skybox(&["explain", "printer"]).ok();
    let exit = text.lines().last().unwrap_or_default();
    has(
        exit,
        &[
            " ago  ",
            "alone",
            "crashed at crates/skybox-cli/tests/programs/press.rs:",
            "a paper jam (SKY-114)",
        ],
    );
    has(&text, &["see the last exits: 1 since the start of the nodes"]);
    // A key by its own name, and how it is tried again.
    wait_for("a page that is given up", || {
        // Only calls have it started again.
        program.skybox(&["call", "page.write", "--key", "no such page"]).failed();
        let page = module(&program, "page");
        if list(&page["given_up"]).is_empty() { Err(page) } else { Ok(()) }
    });
    let text = program.skybox(&["explain", "page"]).ok();
    has(
        &text,
        &[
            "its keys are spread over alone",
            "page[no such page] was given up on alone",
            "then `skybox restart page --key 'no such page'`, which tries it anew on alone\n",
            "page[no such page] –",
        ],
    );
    let unknown = program.skybox(&["explain", "pirnter"]).failed();
    assert!(unknown.contains("no module `pirnter`; there are gate, page, printer"), "{unknown}");
}
