//! How a program ends, and what it leaves behind: nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use crate::http::{self, Http};
use crate::restarts::{calling, split_by};
use crate::stage::{Program, Stage, skybox, wait_for};

/// Nothing of the stage's programs is there any more: no process, no socket, no directory, no port.
fn nothing_is_left(stage: &Stage, address: SocketAddr) {
    assert_eq!(stage.processes(), Vec::<i32>::new());
    assert_eq!(stage.left_behind(), Vec::<std::path::PathBuf>::new());
    TcpStream::connect(address).expect_err("nobody listens any more");
}

fn nodes_are_gone(stage: &Stage) {
    wait_for("the end of every node", || {
        let left = stage.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn ctrl_c_ends_with_0_and_leaves_nothing() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "3"]);
    program.ready(3);
    let address = program.address();
    // A client that keeps its connection does not hold the end up.
    let mut idle = Http::connect(address).expect("a connection");
    assert_eq!(idle.get("/").expect("an answer").status, 200);
    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(0), "{}", program.err());
    nothing_is_left(&stage, address);
    idle.get("/").expect_err("its node is gone");
}

#[test]
fn stop_ends_it_as_well() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "2"]);
    program.ready(2);
    let address = program.address();
    assert_eq!(program.skybox(&["stop"]).ok(), "shop has ended\n");
    assert_eq!(program.end().code(), Some(0));
    nothing_is_left(&stage, address);
}

#[test]
fn ctrl_c_lets_requests_end() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "3"]);
    program.ready(3);
    let mut waiting = Http::connect(program.address()).expect("a connection");
    waiting.send("POST", "/orders/slow?ms=1500").expect("sent");
    stage.packs("slow");
    program.signal(Signal::INT);
    let answer = waiting.answer().expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}\n{}", program.err());
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn a_second_ctrl_c_kills() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "2"]);
    program.ready(2);
    let address = program.address();
    let mut waiting = Http::connect(address).expect("a connection");
    waiting.send("POST", "/orders/endless?ms=600000").expect("sent");
    stage.packs("endless");
    program.signal(Signal::INT);
    program.says("leaving");
    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(130), "{}", program.err());
    nothing_is_left(&stage, address);
}

#[test]
fn a_request_without_end_does_not_hold_the_program() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "2"]);
    program.ready(2);
    let address = program.address();
    let mut waiting = Http::connect(address).expect("a connection");
    waiting.send("POST", "/orders/endless?ms=600000").expect("sent");
    stage.packs("endless");
    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(0), "{}", program.err());
    nothing_is_left(&stage, address);
}

#[test]
fn a_killed_parent_takes_its_nodes_along() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "3"]);
    program.ready(3);
    let address = program.address();
    program.signal(Signal::KILL);
    program.end();
    nodes_are_gone(&stage);
    drop(TcpListener::bind(address).expect("the port is free"));
    let again = run_at(&stage, address, &[]);
    again.ready(3);
    assert_eq!(http::get(address, "/items/pear").expect("an answer").status, 200);
    assert_eq!(stage.left_behind().len(), 1, "the killed parent's directory was removed");
}

#[test]
fn a_node_whose_threads_are_held_ends_with_its_parent() {
    let stage = Stage::new();
    let mut command = stage.command(skybox());
    command.env("TOKIO_WORKER_THREADS", "1");
    let program = split_by(&stage, command);
    let caller = calling(&stage, &program, &["gate.block"]);
    program.says("holds an async thread for");
    program.signal(Signal::KILL);
    program.end();
    assert!(!caller.end().success(), "its node has ended: {}", caller.out());
    nodes_are_gone(&stage);
}

#[test]
fn after_a_killed_parent_a_new_run_works_at_once() {
    let stage = Stage::new();
    // A program that never asks when it is to end.
    let program = stage.run(&["--nodes", "3", "--", "--abrupt"]);
    program.ready(3);
    let address = program.address();
    let before = stage.processes();
    program.signal(Signal::KILL);
    let again = run_at(&stage, address, &["--", "--abrupt"]);
    again.ready(3);
    assert_eq!(http::get(address, "/items/pear").expect("an answer").status, 200);
    wait_for("the end of the old nodes", || {
        let old: Vec<_> = stage
            .processes()
            .into_iter()
            .filter(|pid| before.contains(pid) && *pid != program.pid())
            .collect();
        if old.is_empty() { Ok(()) } else { Err(old) }
    });
}

fn run_at<'s>(stage: &'s Stage, address: SocketAddr, arguments: &[&str]) -> Program<'s> {
    stage.config(&format!("[listeners.http]\naddress = \"{address}\"\n"));
    stage.run(&[&["--nodes", "3"], arguments].concat())
}

#[test]
fn a_single_process_ends_at_ctrl_c_too() {
    let stage = Stage::new();
    let program = stage.alone(&[]);
    program.ready(1);
    let address = program.address();
    let mut waiting = Http::connect(address).expect("a connection");
    waiting.send("POST", "/orders/endless?ms=600000").expect("sent");
    stage.packs("endless");
    program.signal(Signal::INT);
    program.says("leaving");
    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(130), "{}", program.err());
    nothing_is_left(&stage, address);
}
