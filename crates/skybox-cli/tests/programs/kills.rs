//! One instance is killed from the command line.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::restarts::{alone, alone_by, attempts, busy, calling, list, module, split, word};
use crate::stage::{Program, Stage, press, send, skybox, wait_for};

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

/// The press as a single process, in which each page has a cell of its own; two are awake, of which the first is given.
fn in_cells(stage: &Stage) -> (Program<'_>, Value) {
    ["first", "other"].iter().for_each(|title| stage.write(title, ""));
    let mut command = stage.command(press());
    command.env("SKYBOX_MODULES__PAGE__ISOLATE", "process");
    let program = alone_by(stage, command);
    assert_eq!((write(&program, "first"), write(&program, "other")), ("1\n".to_owned(), "1\n".to_owned()));
    let first = page(&module(&program, "page"), "first").clone();
    (program, first)
}

fn page<'p>(page: &'p Value, title: &str) -> &'p Value {
    let found = list(&page["instances"]).iter().find(|page| page["key"] == title);
    found.unwrap_or_else(|| panic!("{title} is awake: {page}"))
}

fn process_of(instance: &Value) -> i32 {
    let pid = instance["cell"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.unwrap_or_else(|| panic!("it lives in a cell: {instance}"))
}

fn write(program: &Program<'_>, title: &str) -> String {
    program.skybox(&["call", "page.write", "--key", title]).ok()
}

/// Kills a page whose cell answers nobody, while others are written.
fn kill_stuck(stage: &Stage, program: &Program<'_>, instance: &str, written: &mut u32) {
    let pid = program.pid().to_string();
    let mut command = stage.command(skybox());
    let kill = Program::start(stage, command.args(["kill", instance, "--program", &pid]));
    for _ in 0..5 {
        *written += 1;
        assert_eq!(write(program, "other"), format!("{written}\n"), "its call does not fail");
    }
    assert!(kill.end().success(), "{}", kill.err());
    let how =
        "with the process of its cell: that had not answered within 2 s, or the instance had not ended in it";
    assert_eq!(kill.out(), format!("{instance} of page on alone was killed, {how}\n"));
}

/// Waits until the history has it that a page was killed with its cell for so many times.
fn was_killed(program: &Program<'_>, times: usize) {
    let page = wait_for("a history with the kill", || {
        let page = module(program, "page");
        let of_it = |ending: &&Value| ending["reason"] == "killed" && ending["key"] == "first";
        if list(&page["endings"]).iter().filter(of_it).count() == times { Ok(page) } else { Err(page) }
    });
    let by = |ending: &Value| ending["by"].as_str().is_some_and(|by| by.starts_with("operator-"));
    assert!(list(&page["endings"]).iter().all(by), "nothing else has ended: {page}");
    assert_eq!(page["given_up"], json!([]), "a kill is not counted");
}

#[test]
fn an_instance_in_an_endless_loop_is_killed_with_its_cell() {
    let stage = Stage::new();
    let (program, first) = in_cells(&stage);
    let mut written = 1;
    let spins = calling(&stage, &program, &["page.spin", "--key", "first"]);
    wait_for("a page that does not say what it does", || {
        let page = module(&program, "page");
        let pages = list(&page["instances"]);
        let is_silent = pages.iter().any(|page| page["key"] == "first" && page["holding"].is_null());
        let is_held = pages.iter().any(|page| page["key"] == "first" && page["holding"] == 1);
        if is_silent || is_held { Ok(()) } else { Err(page) }
    });
    kill_stuck(&stage, &program, word(&first["instance"]), &mut written);
    assert_eq!(spins.end().code(), Some(1), "{}", spins.out());
    assert!(spins.err().contains("killed by operator-"), "{}", spins.err());
    was_killed(&program, 1);
    assert_eq!(write(&program, "first"), "1\n", "another one answers");
    assert_eq!(write(&program, "other"), format!("{}\n", written + 1));
}

#[test]
fn an_instance_in_a_stopped_cell_is_killed_with_it() {
    let stage = Stage::new();
    let (program, first) = in_cells(&stage);
    let mut written = 1;
    send(process_of(&first), Signal::STOP);
    kill_stuck(&stage, &program, word(&first["instance"]), &mut written);
    was_killed(&program, 1);
    assert_eq!(write(&program, "first"), "1\n", "another one answers");
    // Once stopped, a cell is shown by its own name, which will do as well.
    send(process_of(page(&module(&program, "page"), "first")), Signal::STOP);
    let cell = wait_for("a cell that does not answer", || {
        let page = module(&program, "page");
        let first = list(&page["instances"]).iter().find(|page| page["key"] == "first").cloned();
        let name = first.map(|first| word(&first["instance"]).to_owned());
        name.filter(|name| name.contains('/')).ok_or(page)
    });
    let text = program.skybox(&["kill", &cell]).ok();
    assert_eq!(text, format!("{cell} of page on alone was killed\n"));
    was_killed(&program, 2);
    assert_eq!(write(&program, "first"), "1\n", "another one answers");
    assert_eq!(write(&program, "other"), format!("{}\n", written + 1), "and nothing has become of this one");
}
