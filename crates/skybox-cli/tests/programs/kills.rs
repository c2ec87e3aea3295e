//! One instance is killed from the command line.

use serde_json::json;

use crate::restarts::{alone, attempts, busy, calling, list, module, split, word};
use crate::stage::{Stage, wait_for};

#[test]
fn a_killed_instance_is_replaced_at_once() {
    for split_up in [false, true] {
        let stage = Stage::new();
        stage.write("paper", "");
        let (program, node) = if split_up { (split(&stage), "node-2") } else { (alone(&stage), "alone") };
        assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
        let held = calling(&stage, &program, &["printer.print_later"]);
        busy(&program, "printer", 1, 0);
        let queued = calling(&stage, &program, &["printer.print"]);
        let instance = busy(&program, "printer", 1, 1)["instance"].clone();
        let text = program.skybox(&["kill", word(&instance)]).ok();
        assert_eq!(text, format!("{} of printer on {node} was killed\n", word(&instance)));
        // Nobody has opened the gate: the one is cancelled where it waits, the other finds the next printer.
        assert_eq!(held.end().code(), Some(1), "{}", held.out());
        assert!(held.err().contains("SKY-112"), "{}", held.err());
        assert!(queued.end().success(), "{}", queued.err());
        assert_eq!((queued.out(), attempts(&stage, "paper")), ("1\n".to_owned(), 2));
        let printer = module(&program, "printer");
        let [ending] = list(&printer["endings"]) else { panic!("one has ended: {printer}") };
        assert_eq!(
            (&ending["reason"], &ending["instance"], &ending["node"]),
            (&json!("killed"), &instance, &json!(node))
        );
        assert!(ending["by"].as_str().is_some_and(|by| !by.is_empty()), "{ending}");
        assert!(!stage.directory().join("stops").exists(), "it has no last word");
        let gone = program.skybox(&["kill", word(&instance)]).failed();
        assert_eq!(
            gone,
            format!("error: no instance {} is live: `skybox ps` shows those that are\n", word(&instance))
        );
    }
}

#[test]
fn a_killed_key_sleeps() {
    let stage = Stage::new();
    ["first", "other"].iter().for_each(|title| stage.write(title, ""));
    let program = alone(&stage);
    for title in ["first", "other"] {
        assert_eq!(program.skybox(&["call", "page.write", "--key", title]).ok(), "1\n");
    }
    let page = module(&program, "page");
    let first = list(&page["instances"]).iter().find(|page| page["key"] == "first").cloned();
    let first = first.unwrap_or_else(|| panic!("it is awake: {page}"));
    program.skybox(&["kill", word(&first["instance"])]).ok();
    wait_for("a page that sleeps", || {
        let page = module(&program, "page");
        let awake: Vec<_> = list(&page["instances"]).iter().map(|page| page["key"].clone()).collect();
        if awake == [json!("other")] { Ok(()) } else { Err(page) }
    });
    assert_eq!(attempts(&stage, "first"), 1, "nobody calls it");
    assert_eq!(program.skybox(&["call", "page.write", "--key", "first"]).ok(), "1\n");
    assert_eq!(program.skybox(&["call", "page.write", "--key", "other"]).ok(), "2\n");
    assert_eq!((attempts(&stage, "first"), attempts(&stage, "other")), (2, 1));
}
