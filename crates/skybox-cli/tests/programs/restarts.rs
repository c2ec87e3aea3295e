//! Modules that do not start, or crash: what is done about them, and what `ps` says.

use serde_json::{Value, json};

use crate::stage::{Program, Stage, press, skybox, wait_for};

/// The press as a single process, whose printer has no paper.
pub(crate) fn alone(stage: &Stage) -> Program<'_> {
    alone_by(stage, stage.command(press()))
}

/// The same, by a command with an environment of its own.
pub(crate) fn alone_by(stage: &Stage, mut command: std::process::Command) -> Program<'_> {
    let program = Program::start(stage, &mut command);
    wait_for("a running program", || {
        let ended = program.skybox(&["ps", "--json"]);
        if ended.code == Some(0) { Ok(()) } else { Err(ended) }
    });
    program
}

/// The press as two nodes; the printer is on the second.
pub(crate) fn split(stage: &Stage) -> Program<'_> {
    split_by(stage, stage.command(skybox()))
}

/// The same, by a command with an environment of its own.
pub(crate) fn split_by(stage: &Stage, mut command: std::process::Command) -> Program<'_> {
    let places = ["--place", "printer=node-2", "--place", "gate=node-1"];
    command.args(["run", "--nodes", "2"]).args(places).arg("--program").arg(press());
    let program = Program::start(stage, &mut command);
    wait_for("a gate that serves", || {
        let ended = program.skybox(&["ps", "--json"]);
        let ps = serde_json::from_str::<Value>(&ended.out).unwrap_or_default();
        let modules = ps["modules"].as_array().into_iter().flatten();
        let serves = |module: &Value| module["module"] == "gate" && module["serving"] == json!(["node-1"]);
        if modules.into_iter().any(serves) { Ok(()) } else { Err((ended, program.err())) }
    });
    program
}

pub(crate) fn module(program: &Program<'_>, name: &str) -> Value {
    let ps = program.json(&["ps"]);
    let found = ps["modules"].as_array().and_then(|all| all.iter().find(|module| module["module"] == name));
    found.cloned().unwrap_or_else(|| panic!("no {name}: {ps}"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// How often a start was tried that needs this file.
pub(crate) fn attempts(stage: &Stage, file: &str) -> usize {
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

fn brought_back(stage: &Stage, program: &Program<'_>, node: &str) {
    given_up(program);
    // The cause is still there: the operator hears of it, and it is tried as often as anew.
    let error = program.skybox(&["restart", "printer"]).failed();
    assert_eq!(error, format!("error: printer on {node} does not start (SKY-102): there is no paper\n"));
    let printer = given_up(program);
    assert_eq!(attempts(stage, "paper"), 6, "with a clean history: `max_restarts` anew");
    assert_eq!(
        (&printer["given_up"][0]["failed_starts"], list(&printer["endings"]).len()),
        (&json!(3), 6),
        "{printer}"
    );
    // It is gone, but nobody looks of himself.
    stage.write("paper", "");
    assert_eq!(program.json_of_failed(&["call", "printer.print"])["code"], "SKY-102");
    assert_eq!(attempts(stage, "paper"), 6);
    let text = program.skybox(&["restart", "printer"]).ok();
    assert_eq!(attempts(stage, "paper"), 7);
    assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
    let printer = wait_for("a printer that serves", || {
        let printer = module(program, "printer");
        if printer["serving"] == json!([node]) && printer["failed"].is_null() {
            Ok(printer)
        } else {
            Err(printer)
        }
    });
    assert_eq!(printer["given_up"], json!([]));
    let instance = printer["instances"][0]["instance"].as_str().unwrap_or_default();
    assert_eq!(text, format!("printer on {node}: {instance} has started\n"));
}

#[test]
fn a_module_that_was_given_up_is_brought_back() {
    let stage = Stage::new();
    brought_back(&stage, &alone(&stage), "alone");
    let stage = Stage::new();
    brought_back(&stage, &split(&stage), "node-2");
}

/// The press as three nodes; nobody has said where the printer belongs.
pub(crate) fn spread(stage: &Stage) -> Program<'_> {
    let mut command = stage.command(skybox());
    command.args(["run", "--nodes", "3"]).arg("--program").arg(press());
    Program::start(stage, &mut command)
}

/// Waits until the printer is where it can be, or nowhere.
pub(crate) fn settled(program: &Program<'_>, runs: bool) -> Value {
    wait_for("a printer that runs, or does not", || {
        let ended = program.skybox(&["ps", "--json"]);
        let ps = serde_json::from_str::<Value>(&ended.out).unwrap_or_default();
        let mut modules = ps["modules"].as_array().into_iter().flatten();
        let printer = modules.find(|module| module["module"] == "printer");
        match printer.filter(|printer| match runs {
            true => !list(&printer["serving"]).is_empty(),
            // Where it was before, its node has let go of it.
            false => list(&printer["failed_on"]).len() == 3 && list(&printer["given_up"]).len() == 1,
        }) {
            Some(printer) => Ok(printer.clone()),
            None => Err((ended, program.err())),
        }
    })
}

#[test]
fn what_one_node_gives_up_runs_on_another_one() {
    let stage = Stage::new();
    ["paper", "no-paper-at-first"].iter().for_each(|file| stage.write(file, ""));
    let program = spread(&stage);
    let printer = settled(&program, true);
    assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
    assert_eq!(attempts(&stage, "paper"), 4, "three on one node, and one on another");
    let [failed] = list(&printer["failed_on"]) else { panic!("one node has failed: {printer}") };
    let (first, now) = (word(&failed["node"]), word(&printer["serving"][0]));
    assert_ne!(first, now);
    assert_eq!(
        (&failed["cause"], &failed["failed_starts"], &printer["failed"]),
        (&json!("the paper is elsewhere"), &json!(3), &Value::Null)
    );
    assert_eq!((&printer["given_up"], &printer["assigned"]), (&json!([]), &json!([now])));
    let line = format!(
        "printer gave up on {first} after 3 starts (SKY-102): the paper is elsewhere; now on {now}\n"
    );
    let ps = program.skybox(&["ps"]).ok();
    assert!(ps.contains(&line) && !ps.contains("does not run"), "{ps}");
    let text = program.skybox(&["explain", "printer"]).ok();
    assert!(text.contains(&line), "{text}");
    let advice = format!(
        "  mend what keeps it from starting on {first}; `skybox restart printer` allows it there again, "
    );
    assert!(text.contains(&advice), "{text}");
    assert!(
        program.err().contains(&format!("{first} gave printer up: it is tried on {now}")),
        "{}",
        program.err()
    );
    // What has no reason to move stays; but nothing is held against the first one any more.
    assert!(program.skybox(&["restart", "printer"]).ok().contains(&format!("printer on {now}: ")));
    let printer = settled(&program, true);
    assert_eq!((&printer["failed_on"], &printer["serving"]), (&json!([]), &json!([now])));
    let text = program.skybox(&["explain", "printer"]).ok();
    assert!(!text.contains("gave up on") && !text.contains("keeps it from starting"), "{text}");
}

#[test]
fn what_all_nodes_have_given_up_is_brought_back() {
    let stage = Stage::new();
    let program = spread(&stage);
    let printer = settled(&program, false);
    assert_eq!(attempts(&stage, "paper"), 9, "three on each node");
    let [given] = list(&printer["given_up"]) else { panic!("it is on one node: {printer}") };
    let last = word(&given["node"]);
    assert_eq!((&printer["assigned"], &printer["failed"]), (&json!([last]), &json!("there is no paper")));
    for node in ["node-1", "node-2", "node-3"] {
        let endings = list(&printer["endings"]).iter().filter(|ending| ending["node"] == node).count();
        assert_eq!(endings, 3, "{node}: {printer}");
        let refused = program.json_of_failed(&["call", "printer.print", "--from", node]);
        assert_eq!((&refused["code"], &refused["ran"]), (&json!("SKY-102"), &json!("no")), "{refused}");
        assert!(word(&refused["message"]).contains("there is no paper"), "{refused}");
    }
    let text = program.skybox(&["explain", "printer"]).ok();
    let lines =
        ["  printer does not run (SKY-102): there is no paper\n", "which tries it anew on each node\n"];
    lines.iter().for_each(|line| assert!(text.contains(line), "{text}"));
    assert_eq!(text.matches(" after 3 starts\n").count(), 2, "{text}");
    assert!(text.contains(&format!("  printer was given up on {last} ")), "{text}");
    stage.write("paper", "");
    assert_eq!(attempts(&stage, "paper"), 9, "nobody tries of himself");
    let text = program.skybox(&["restart", "printer"]).ok();
    assert!(text.starts_with(&format!("printer on {last}: ")) && text.ends_with(" has started\n"), "{text}");
    assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
    let printer = settled(&program, true);
    assert_eq!((&printer["failed_on"], attempts(&stage, "paper")), (&json!([]), 10));
}

/// A call that goes on while others are made.
pub(crate) fn calling<'s>(stage: &'s Stage, program: &Program<'s>, arguments: &[&str]) -> Program<'s> {
    let pid = program.pid().to_string();
    let mut command = stage.command(skybox());
    Program::start(stage, command.arg("call").args(arguments).args(["--program", &pid]))
}

/// What a call has printed in the end.
fn outcome(call: &Program<'_>) -> String {
    assert!(call.end().success(), "{}", call.err());
    call.out()
}

/// Waits until so many calls hold the first instance of a module, and so many wait for it.
pub(crate) fn busy(program: &Program<'_>, name: &str, holding: u64, waiting: u64) -> Value {
    wait_for(&format!("{holding} calls on {name} and {waiting} that wait"), || {
        let instance = module(program, name)["instances"][0].clone();
        let is = (instance["holding"].as_u64(), instance["waiting"].as_u64());
        if is == (Some(holding), Some(waiting)) { Ok(instance) } else { Err(instance) }
    })
}

#[test]
fn a_running_module_is_replaced_and_no_call_fails() {
    for split_up in [false, true] {
        let stage = Stage::new();
        stage.write("paper", "");
        let program = if split_up { split(&stage) } else { alone(&stage) };
        assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
        let held = calling(&stage, &program, &["printer.print_later"]);
        busy(&program, "printer", 1, 0);
        let queued = calling(&stage, &program, &["printer.print"]);
        let old = busy(&program, "printer", 1, 1)["instance"].clone();
        let text = program.skybox(&["restart", "printer"]).ok();
        let printer = module(&program, "printer");
        let new = &printer["instances"][0]["instance"];
        assert!(text.contains(&format!(": {} has taken over from {}\n", word(new), word(&old))), "{text}");
        // The new one prints its first sheet while the old one is still held.
        assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "1\n");
        assert_eq!(program.skybox(&["call", "gate.open"]).code, Some(0));
        assert_eq!((outcome(&held), outcome(&queued)), ("2\n".to_owned(), "3\n".to_owned()));
        wait_for("the last word of the old one", || {
            let stops = std::fs::read_to_string(stage.directory().join("stops")).unwrap_or_default();
            if stops == "3 printed\n" { Ok(()) } else { Err(stops) }
        });
        let ending = &printer["endings"][0];
        assert_eq!((&ending["reason"], &ending["instance"]), (&json!("stopped"), &old), "{printer}");
        // Without paper the one that runs goes on.
        std::fs::remove_file(stage.directory().join("paper")).expect("the test has made it");
        let error = program.skybox(&["restart", "printer"]).failed();
        assert!(error.contains(&format!("and {} goes on: there is no paper\n", word(new))), "{error}");
        assert_eq!(program.skybox(&["call", "printer.print"]).ok(), "2\n");
        assert_eq!(attempts(&stage, "paper"), 3, "one for each instance, and one that failed");
    }
}

pub(crate) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn one_key_is_replaced_and_no_call_fails() {
    let stage = Stage::new();
    ["first", "other"].iter().for_each(|title| stage.write(title, ""));
    let program = alone(&stage);
    let write = |title: &str| program.skybox(&["call", "page.write", "--key", title]).ok();
    assert_eq!((write("other"), write("other")), ("1\n".to_owned(), "2\n".to_owned()));
    assert_eq!(
        program.skybox(&["restart", "page", "--key", "first"]).ok(),
        "page[first] on alone sleeps: its next call starts it\n"
    );
    assert_eq!(write("first"), "1\n");
    let held = calling(&stage, &program, &["page.write_later", "--key", "first"]);
    wait_for("a held page", || {
        let page = module(&program, "page");
        if list(&page["instances"]).iter().any(|one| one["holding"] == 1) { Ok(()) } else { Err(page) }
    });
    let pid = program.pid().to_string();
    let mut command = stage.command(skybox());
    let restart =
        Program::start(&stage, command.args(["restart", "page", "--key", "first", "--program", &pid]));
    wait_for("an old page that takes no calls", || {
        let page = module(&program, "page");
        if page["endings"][0]["reason"] == "stopped" { Ok(()) } else { Err(page) }
    });
    // It waits for the new one, and that for the end of the old one.
    let early = calling(&stage, &program, &["page.write", "--key", "first"]);
    assert_eq!(program.skybox(&["call", "gate.open"]).code, Some(0));
    assert_eq!((outcome(&held), outcome(&early)), ("2\n".to_owned(), "1\n".to_owned()));
    assert!(outcome(&restart).contains("page[first] on alone: "), "{}", restart.out());
    assert!(restart.out().contains(" has taken over from "), "{}", restart.out());
    assert_eq!(write("other"), "3\n", "only that key was replaced");
    assert_eq!((attempts(&stage, "first"), attempts(&stage, "other")), (2, 1));
}

#[test]
fn a_key_that_was_given_up_is_brought_back() {
    let stage = Stage::new();
    let program = alone(&stage);
    let refused = || program.json_of_failed(&["call", "page.write", "--key", "first"]);
    wait_for("a page that is given up", || {
        let refused = refused();
        let page = module(&program, "page");
        if list(&page["given_up"]).is_empty() { Err((page, refused)) } else { Ok(()) }
    });
    stage.write("first", "");
    assert_eq!(refused()["code"], "SKY-102", "nobody looks of himself");
    assert_eq!(attempts(&stage, "first"), 2);
    let text = program.skybox(&["restart", "page", "--key", "first"]).ok();
    assert!(text.starts_with("page[first] on alone: ") && text.ends_with(" has started\n"), "{text}");
    assert_eq!(program.skybox(&["call", "page.write", "--key", "first"]).ok(), "1\n");
    assert_eq!(attempts(&stage, "first"), 3);
}

/// Where the pages may live, as `isolate` says it.
const HOMES: [Option<&str>; 3] = [None, Some("process"), Some("process:shared")];

/// The press as a single process, with a setting of its pages, which live there.
fn pages_at<'s>(stage: &'s Stage, home: Option<&str>, settings: &[(&str, &str)]) -> Program<'s> {
    let mut command = stage.command(press());
    for (name, value) in settings.iter().copied().chain(home.map(|home| ("ISOLATE", home))) {
        command.env(format!("SKYBOX_MODULES__PAGE__{name}"), value);
    }
    alone_by(stage, command)
}

/// A call of a page, whose title may not be that of a file.
fn refused(program: &Program<'_>, title: &str) -> String {
    let refused = program.json_of_failed(&["call", "page.write", "--key", title]);
    assert_eq!((&refused["code"], &refused["ran"]), (&json!("SKY-102"), &json!("no")), "{refused}");
    word(&refused["message"]).to_owned()
}

#[test]
fn keys_that_were_given_up_stay_so_until_a_restart() {
    /// The window, which has passed when they are asked again.
    const WITHIN_MS: u64 = 50;
    for home in HOMES {
        let stage = Stage::new();
        stage.write("first", "");
        let program = pages_at(&stage, home, &[("MAX_RESTARTS", "0"), ("WITHIN", "50ms")]);
        let write = |title: &str| program.skybox(&["call", "page.write", "--key", title]).ok();
        assert_eq!(write("first"), "1\n");
        for title in ["a", "b", "c"] {
            assert!(refused(&program, title).contains(&format!("there is no {title}")));
        }
        let page = wait_for("pages that were given up for longer than the window", || {
            let page = module(&program, "page");
            let given_up = list(&page["given_up"]);
            let is_past = |given: &Value| given["ago_ms"].as_u64() > Some(2 * WITHIN_MS);
            if given_up.len() == 3 && given_up.iter().all(is_past) { Ok(page) } else { Err(page) }
        });
        assert_eq!(page["given_up_keys"], json!({ "alone": 3 }));
        for title in ["a", "b", "c"] {
            assert!(refused(&program, title).contains(&format!("there is no {title}")));
            assert_eq!(attempts(&stage, title), 1, "{home:?}: it is not tried again");
        }
        let text = program.skybox(&["ps"]).ok();
        assert!(text.contains("\n3 keys of page were given up, the last one page[c] on alone "), "{text}");
        assert!(text.contains(" (SKY-102): there is no c\n"), "{text}");
        let text = program.skybox(&["explain", "page"]).ok();
        assert!(text.contains("  3 keys of page were given up, the last one page[c] on alone "), "{text}");
        assert!(text.contains("mend the cause, and then `skybox restart page`, after which "), "{text}");
        ["a", "b", "c"].iter().for_each(|title| stage.write(title, ""));
        let text = program.skybox(&["restart", "page", "--key", "a"]).ok();
        assert!(text.starts_with("page[a] on alone"), "{text}");
        assert_eq!(write("a"), "1\n");
        refused(&program, "b");
        let text = program.skybox(&["restart", "page"]).ok();
        let expected = "page on alone: 2 keys that were given up are started by their next calls\n";
        assert_eq!(text, expected, "{home:?}");
        assert_eq!((write("b"), write("c")), ("1\n".to_owned(), "1\n".to_owned()));
        // Those that were awake have not been touched.
        assert_eq!((write("first"), write("a")), ("2\n".to_owned(), "2\n".to_owned()), "{home:?}");
        assert_eq!(module(&program, "page")["given_up"], json!([]));
        let text = program.skybox(&["restart", "page"]).ok();
        assert_eq!(text, "page on alone has no key that was given up\n");
    }
}

#[test]
fn a_key_that_is_not_to_be_started_again_is_not() {
    for home in HOMES {
        let stage = Stage::new();
        ["first", "other"].iter().for_each(|title| stage.write(title, ""));
        let program = pages_at(&stage, home, &[("RESTART", "never"), ("WITHIN", "50ms")]);
        let write = |title: &str| program.skybox(&["call", "page.write", "--key", title]).ok();
        assert_eq!((write("first"), write("other")), ("1\n".to_owned(), "1\n".to_owned()));
        // Its start fails, once.
        assert!(refused(&program, "missing").contains("there is no missing"));
        stage.write("missing", "");
        assert!(refused(&program, "missing").contains("there is no missing"));
        // It crashes.
        let crashed = program.json_of_failed(&["call", "page.tear", "--key", "first"]);
        assert_eq!(crashed["code"], "SKY-114", "{crashed}");
        let why = refused(&program, "first");
        assert!(why.contains("crashed at ") && why.contains("press.rs:") && why.contains("torn"), "{why}");
        let page = module(&program, "page");
        let given = &page["given_up"][0];
        assert_eq!((&given["key"], &given["failed_starts"]), (&json!("first"), &json!(0)), "{page}");
        assert_eq!(write("other"), "2\n");
        // Somebody kills it.
        let other = list(&page["instances"]).iter().find(|page| page["key"] == "other").cloned();
        let other = other.unwrap_or_else(|| panic!("it is awake: {page}"));
        program.skybox(&["kill", word(&other["instance"])]).ok();
        let why = refused(&program, "other");
        assert!(why.contains("killed by operator"), "{why}");
        let starts = |titles: [&str; 3]| titles.map(|title| attempts(&stage, title));
        assert_eq!(starts(["first", "other", "missing"]), [1, 1, 1], "{home:?}");
        let text = program.skybox(&["ps"]).ok();
        assert!(
            text.contains("\n3 keys of page were given up, the last one page[other] on alone "),
            "{text}"
        );
        assert!(
            text.contains("ago: it is not to be started again (`restart`) (SKY-102): killed by "),
            "{text}"
        );
        program.skybox(&["restart", "page"]).ok();
        assert_eq!((write("first"), write("other")), ("1\n".to_owned(), "1\n".to_owned()), "{home:?}");
        assert_eq!(starts(["first", "other", "missing"]), [2, 2, 1], "{home:?}");
    }
}

#[test]
fn what_cannot_be_restarted_is_said() {
    let stage = Stage::new();
    let program = alone(&stage);
    let cases: [(&[&str], &str); 2] = [
        (&["restart", "nobody"], "there is no module `nobody`; there are gate, page, printer"),
        (&["restart", "printer", "--key", "x"], "`printer` has no keys"),
    ];
    for (arguments, why) in cases {
        assert_eq!(program.skybox(arguments).failed(), format!("error: {why} (SKY-401)\n"));
    }
}
