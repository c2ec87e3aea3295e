//! A method that holds an async thread: what the log and `ps` say of it.

use serde_json::json;

use crate::restarts::{alone, calling, list, module};
use crate::stage::{Program, Stage, wait_for};

/// Whether a thread of it looks at the others.
fn is_watched(program: &Program<'_>) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it runs");
    let mut names = threads.flatten().map(|thread| std::fs::read_to_string(thread.path().join("comm")));
    names.any(|name| name.is_ok_and(|name| name.trim() == "skybox-watchdog"))
}

#[test]
fn a_held_thread_is_told_of_while_it_is_held_and_after() {
    let stage = Stage::new();
    let program = alone(&stage);
    assert!(is_watched(&program));
    let held = calling(&stage, &program, &["gate.block"]);
    let begun = program.says("holds an async thread for");
    for part in ["WARN", "module=\"gate\"", "method=\"block\"", "instance=", "blocked", "spawn_blocking"] {
        assert!(begun.contains(part), "{part}: {begun}");
    }
    // It is not asked while it is held: a held worker may keep all input of its process waiting.
    assert!(!program.err().contains("let its thread go"), "it holds it still: {}", program.err());
    stage.write("release", "");
    let ended = program.says("let its thread go after about");
    assert!(ended.contains("method=\"block\""), "{ended}");
    assert!(held.end().success(), "{}", held.err());
    let gate = module(&program, "gate");
    let [hold] = list(&gate["holds"]) else { panic!("one method has: {gate}") };
    let instance = &list(&gate["instances"])[0]["instance"];
    assert_eq!(
        (&hold["method"], &hold["count"], &hold["node"], &hold["instance"]),
        (&json!("block"), &json!(1), &json!("alone"), instance)
    );
    let text = program.skybox(&["ps"]).ok();
    assert!(text.contains("gate.block held an async thread of alone once, up to "), "{text}");
    assert_eq!(program.err().matches("holds an async thread").count(), 1, "once a hold: {}", program.err());
}

#[test]
fn nobody_is_named_where_that_is_off() {
    let stage = Stage::new();
    stage.config("[node]\nhold-warning = \"off\"\n");
    let program = alone(&stage);
    assert!(!is_watched(&program));
    let wrong = Stage::new();
    wrong.config("[node]\nhold-warning = \"soon\"\n");
    let ended = wrong.alone(&[]);
    wait_for("its end", || {
        if ended.err().contains("or \"off\", not `soon`") { Ok(()) } else { Err(ended.err()) }
    });
}
