//! What a node answers to calls that its own version could not have made, and to those it does not take any more.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use skybox_core::{CallErrorKind, CallId};
use skybox_wire::codec::Form;
use skybox_wire::frame::{Frame, Outcome, ReplyBody, ReplyFrame};

use crate::peer::Peer;
use crate::stage::{Program, Stage, wait_for};

/// An answer that is still missing then will not come.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

fn connect(stage: &Stage, node: &str) -> Peer {
    let directory = stage.left_behind().pop().expect("a running program has a directory");
    let socket = directory.join(format!("{node}.sock"));
    let stream = wait_for("a connection", || UnixStream::connect(&socket));
    stream.set_read_timeout(Some(ANSWER_WAIT)).expect("a time above zero");
    Peer::shake(stream)
}

fn shop(stage: &Stage) -> Program<'_> {
    stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\nnodes = 1\n");
    let program = stage.run(&["--nodes", "2", "--place", "catalog=node-2", "--place", "warehouse=node-2"]);
    program.ready(2);
    program
}

/// The verdict on the peer's latest call.
fn verdict(peer: &mut Peer, call: CallId) -> CallErrorKind {
    match peer.frame() {
        Frame::Reply(ReplyFrame { call: answered, body: ReplyBody::Failed(kind), .. })
            if answered == call =>
        {
            kind
        }
        other => panic!("{call:?}: {other:?}"),
    }
}

#[test]
fn a_call_of_another_version_is_a_mismatch_and_harms_no_other() {
    let stage = Stage::new();
    let _program = shop(&stage);
    let mut peer = connect(&stage, "node-2");
    let catalog = peer.module("catalog");
    let (compact, json) = (Form::Compact as u8, Form::Json as u8);
    let calls: [(u16, u16, u8, &[u8], &str); 5] = [
        (u16::MAX - 1, 0, compact, b"", "no module"),
        (catalog, 99, compact, b"", "no method 99"),
        (catalog, 0, compact, &[0xff; 16], "cannot be decoded"),
        (catalog, 0, json, b"[\"pear\", 1, 2]", "3 given, 1 expected"),
        (catalog, 0, 77, b"", "77"),
    ];
    for (module, method, form, payload, says) in calls {
        let call = peer.call(module, method, form, payload);
        match verdict(&mut peer, call) {
            CallErrorKind::Mismatch { why } => assert!(why.contains(says), "{says:?}: {why}"),
            other => panic!("{says:?}: {other:?}"),
        }
        // The connection is as it was.
        let call = peer.call(catalog, 0, json, b"[\"pear\"]");
        match peer.frame() {
            Frame::Reply(ReplyFrame {
                call: answered, body: ReplyBody::Returned { outcome, .. }, ..
            }) => {
                assert_eq!((answered, outcome), (call, Outcome::Ok));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_node_that_drains_says_which_calls_it_took_and_answers_those() {
    let stage = Stage::new();
    let program = shop(&stage);
    let mut peer = connect(&stage, "node-2");
    let warehouse = peer.module("warehouse");
    let taken = peer.call(warehouse, 0, Form::Json as u8, b"[\"taken\", 3000]");
    stage.packs("taken");
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| program.skybox(&["drain", "node-2"]).ok());
        let (mut refused, mut answered) = (None, false);
        while refused.is_none() || !answered {
            match peer.frame() {
                Frame::Drain { last } => {
                    assert_eq!(last, taken, "it is the last one");
                    refused = Some(peer.call(warehouse, 0, Form::Json as u8, b"[\"refused\", 0]"));
                }
                Frame::Reply(ReplyFrame { call, body: ReplyBody::Returned { outcome, .. }, .. }) => {
                    assert_eq!((call, outcome), (taken, Outcome::Ok));
                    answered = true;
                }
                Frame::Reply(ReplyFrame { call, body: ReplyBody::Failed(kind), .. }) => {
                    assert_eq!((Some(call), kind), (refused, CallErrorKind::Moved));
                }
                other => panic!("{other:?}"),
            }
        }
        draining.join().expect("the command does not panic");
    });
    assert!(!stage.store().iter().any(|line| line.contains("refused")), "{:?}", stage.store());
}

/// A node whose peer does not read has its answers wait; the answer to a ping does not wait behind them.
#[test]
fn health_traffic_passes_payload() {
    /// Their answers are more than the kernel takes.
    const CALLS: u64 = 150_000;
    const NONCE: u64 = 7;
    let stage = Stage::new();
    let _program = shop(&stage);
    let mut peer = connect(&stage, "node-2");
    let catalog = peer.module("catalog");
    for _ in 0..CALLS {
        peer.call(catalog, 0, Form::Json as u8, b"[\"pear\"]");
    }
    peer.ping(NONCE);
    let mut before = 0;
    loop {
        match peer.frame() {
            Frame::Reply(_) => before += 1,
            Frame::Pong(beat) => break assert_eq!(beat.nonce, NONCE),
            other => panic!("{other:?}"),
        }
    }
    assert!(before < CALLS / 2, "{before} answers of {CALLS} came before the one to the ping");
    (before..CALLS).for_each(|_| assert!(matches!(peer.frame(), Frame::Reply(_))));
}
