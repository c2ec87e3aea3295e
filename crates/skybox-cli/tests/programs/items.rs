//! `skybox call` with streams, on the real command and a program of two nodes: the module on one, the call from either.

use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use crate::stage::{Program, Stage, fountain, skybox, wait_for};

/// The nodes that calls are made from: the one that has the module, and the other.
const FROM: [&str; 2] = ["node-1", "node-2"];

fn start(stage: &Stage) -> Program<'_> {
    let mut command = stage.command(skybox());
    command.args(["run", "--nodes", "2", "--place", "spring=node-1", "--place", "double=node-1"]);
    command.args(["--place", "sum=node-1", "--program"]).arg(fountain());
    let program = Program::start(stage, &mut command);
    program.ready(2);
    program
}

/// A call, with what is written to its standard input.
fn call<'s>(program: &Program<'s>, arguments: &[&str]) -> (Program<'s>, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("there are descriptors");
    let mut command = program.command(&["call"]);
    command.args(arguments).stdin(Stdio::from(reader));
    (Program::start(program.stage(), &mut command), writer)
}

fn printed(call: &Program<'_>, expect: &str) {
    wait_for(expect, || {
        let out = call.out();
        if out == expect { Ok(()) } else { Err((out, call.err())) }
    });
}

#[test]
fn items_are_printed_as_they_come_until_ctrl_c() {
    let stage = Stage::new();
    let program = start(&stage);
    for (ended, from) in (1..).zip(FROM) {
        let (call, _) = call(&program, &["spring.flow", "--from", from]);
        printed(&call, "1\n2\n3\n");
        call.signal(Signal::INT);
        assert_ne!(call.end().code(), Some(0));
        wait_for("the end of the stream where it is made", || {
            let dry = program.skybox(&["call", "spring.dry"]).ok();
            if dry.trim() == ended.to_string() { Ok(()) } else { Err(dry) }
        });
    }
}

#[test]
fn items_are_read_from_standard_input_as_they_come() {
    let stage = Stage::new();
    let program = start(&stage);
    for from in FROM {
        let arguments = ["double", r#"{"factor": 2}"#, "--stdin", "--from", from];
        let (doubling, mut stdin) = call(&program, &arguments);
        writeln!(stdin, "1\n\n2").expect("it reads");
        printed(&doubling, "2\n4\n");
        // An error is an item, and more follow.
        writeln!(stdin, "13\n7").expect("it reads");
        printed(&doubling, "2\n4\n14\n");
        drop(stdin);
        assert_eq!(doubling.end().code(), Some(1));
        assert_eq!(doubling.err(), "double gave an error: 13 brings bad luck\n");

        let (adding, mut stdin) = call(&program, &["sum", "-", "--from", from]);
        writeln!(stdin, "1\n2\n3").expect("it reads");
        drop(stdin);
        assert_eq!(adding.end().code(), Some(0), "{}", adding.err());
        assert_eq!(adding.out(), "6\n");
    }
}

#[test]
fn a_stream_that_breaks_off_says_why() {
    let stage = Stage::new();
    let program = start(&stage);
    for from in FROM {
        let arguments = ["double", "[2]", "--stdin", "--json", "--from", from];
        let (doubling, mut stdin) = call(&program, &arguments);
        writeln!(stdin, "1\n13\n666").expect("it reads");
        assert_eq!(doubling.end().code(), Some(1));
        let lines: Vec<serde_json::Value> =
            doubling.out().lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
        let outcomes: Vec<_> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
        assert_eq!(outcomes, ["item", "item-failed", "call-error"], "{lines:?}");
        assert_eq!(lines[0]["value"], 2);
        assert!(lines[2]["message"].as_str().is_some_and(|text| text.contains("the number of the beast")));
        assert_eq!(lines[2]["code"], "SKY-114");
    }
}

#[test]
fn mistakes_of_standard_input_are_named() {
    let stage = Stage::new();
    let program = start(&stage);
    let (adding, mut stdin) = call(&program, &["sum", "--stdin"]);
    writeln!(stdin, "1\ntwo").expect("it reads");
    assert_eq!(adding.end().code(), Some(1));
    assert!(adding.err().contains("line 2 of standard input is not JSON"), "{}", adding.err());

    let refused = program.skybox(&["call", "sum", r#"{"numbers": 0}"#]).failed();
    assert!(refused.contains("a stream is given with --stdin"), "{refused}");
    let refused = program.skybox(&["call", "double", "--stdin"]).failed();
    assert!(refused.contains("say with --stdin=PARAMETER which of factor, numbers"), "{refused}");
}
