//! Certificates that change while nodes run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use serde_json::json;
use skybox::TlsFiles;
use skybox_cloud::certs::Authority;
use skybox_core::TextChain;
use skybox_node::tls::Identity;
use skybox_node::{Answer, Operator, Outcome, Right};

use crate::certs::{Certs, DAY, settings, write};
use crate::node::{Node, PATIENCE, PROGRAM, play};

/// Asks for the calls that were made, and those that failed.
fn tally(node: &mut Node) -> (u64, u64) {
    let said = node.ask("tally");
    let numbers = said.split_once(' ');
    let numbers = numbers.and_then(|(calls, failed)| Some((calls.parse().ok()?, failed.parse().ok()?)));
    numbers.unwrap_or_else(|| panic!("two numbers: {said}"))
}

/// Whether an operator with these files and the node at that address let each other in.
fn let_in(at: &str, files: &TlsFiles) -> bool {
    let runtime = tokio::runtime::Runtime::new().expect("a test has threads");
    runtime.block_on(Operator::connect_tls(PROGRAM, at, files.clone())).is_ok()
}

/// Node `name`'s files in `certs`, issued by any authority.
fn issued(certs: &Certs, by: &Authority, name: &str) -> TlsFiles {
    certs.put(&by.issue(&Identity::Node(name.to_owned()), DAY).expect("it is issued"))
}

/// In the order in which it has to be done: trust both, issue anew, trust the new one alone.
#[test]
fn an_authority_changes_under_load_and_no_call_fails() {
    play(|| {
        let (certs, new) = (Certs::of(PROGRAM), Certs::of(PROGRAM));
        let (mut a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let peers = format!("a={at}");
        let (mut b, _) = Node::running(&settings(&certs.node("b"), &[("SKYBOX_NODE__PEERS", &peers)]));
        let (old_operator, new_operator) = (certs.operator(Right::Read), new.operator(Right::Read));
        assert_eq!(b.ask("load"), "loading");
        assert!(let_in(&at, &old_operator) && !let_in(&at, &new_operator));

        certs.trust(new.authority.certificate());
        a.logs_again("new certificates for node a: new connections use them");
        b.logs_again("new certificates for node b: new connections use them");
        for name in ["a", "b"] {
            issued(&certs, &new.authority, name);
        }
        write(&certs.path("authority.pem"), new.authority.certificate());
        a.logs_again("new certificates for node a: new connections use them");
        b.logs_again("new certificates for node b: new connections use them");
        assert!(let_in(&at, &new_operator), "who has a certificate of the new authority is let in");
        assert!(!let_in(&at, &old_operator), "who has one of the old authority is not");

        // A node that comes now is let in as well.
        let c = issued(&certs, &new.authority, "c");
        let (mut c, _) = Node::running(&settings(&c, &[("SKYBOX_NODE__PEERS", &peers)]));
        assert_eq!(c.ask("call"), "returned 7");
        let (calls, failed) = tally(&mut b);
        assert!(calls > 1_000, "it was under load: {calls}");
        assert_eq!(failed, 0, "of {calls} calls");
    });
}

/// Open connections go on as they are; so calls are also made over new ones all the time, by operators and by a node
/// that comes after each rotation. Two authorities take turns, and everybody trusts both.
#[test]
fn certificates_rotate_again_and_again_under_load_and_no_call_fails() {
    const ROTATIONS: usize = 6;
    /// Calls over connections of their own that must be made between two rotations.
    const KNOCKS: u64 = 20;
    play(|| {
        let (certs, other) = (Certs::of(PROGRAM), Certs::of(PROGRAM));
        certs.trust(other.authority.certificate());
        other.trust(certs.authority.certificate());
        let (mut a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let peers = format!("a={at}");
        let (mut b, _) = Node::running(&settings(&certs.node("b"), &[("SKYBOX_NODE__PEERS", &peers)]));
        assert_eq!(b.ask("load"), "loading");
        let knockers = [&certs, &other].map(|certs| Knocker::start(&at, certs.operator(Right::Call)));
        for rotation in 1..=ROTATIONS {
            let authority = if rotation % 2 == 0 { &certs.authority } else { &other.authority };
            let before = knockers.each_ref().map(Knocker::calls);
            for name in ["a", "b"] {
                issued(&certs, authority, name);
            }
            a.logs_again("new certificates for node a: new connections use them");
            b.logs_again("new certificates for node b: new connections use them");
            let c = issued(&certs, authority, "c");
            let (mut c, _) = Node::running(&settings(&c, &[("SKYBOX_NODE__PEERS", &peers)]));
            assert_eq!(c.ask("call"), "returned 7", "rotation {rotation}");
            for (knocker, before) in knockers.iter().zip(before) {
                knocker.wait_for(before + KNOCKS);
            }
        }
        let failures = knockers.map(Knocker::stop);
        assert_eq!(failures, [const { Vec::<String>::new() }; 2], "over connections of their own");
        let (calls, failed) = tally(&mut b);
        assert!(calls > 1_000, "it was under load: {calls}");
        assert_eq!(failed, 0, "of {calls} calls over a connection that was open all the time");
    });
}

/// An operator who calls without end, each time over a new connection.
struct Knocker {
    calls: Arc<(Mutex<u64>, Condvar)>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Knocker {
    fn start(at: &str, files: TlsFiles) -> Knocker {
        let (calls, stopping) = (Arc::<(Mutex<u64>, Condvar)>::default(), Arc::<AtomicBool>::default());
        let (at, counted, stop) = (at.to_owned(), calls.clone(), stopping.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a test has threads");
            let mut failures = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                if let Err(error) = runtime.block_on(call_once(&at, files.clone())) {
                    failures.push(error);
                }
                *counted.0.lock().unwrap() += 1;
                counted.1.notify_all();
            }
            failures
        });
        Knocker { calls, stopping, thread }
    }

    fn calls(&self) -> u64 {
        *self.calls.0.lock().unwrap()
    }

    fn wait_for(&self, count: u64) {
        let calls = self.calls.0.lock().unwrap();
        let waited = self.calls.1.wait_timeout_while(calls, PATIENCE, |calls| *calls < count);
        let (calls, _) = waited.unwrap();
        assert!(*calls >= count, "waited {PATIENCE:?} for {count} calls, there are {calls}");
    }

    /// What has failed.
    fn stop(self) -> Vec<String> {
        self.stopping.store(true, Ordering::SeqCst);
        self.thread.join().expect("it only calls")
    }
}

async fn call_once(at: &str, files: TlsFiles) -> Result<(), String> {
    let operator = Operator::connect_tls(PROGRAM, at, files).await;
    let operator = operator.map_err(|error| TextChain::of(&error).joined())?;
    match operator.call("echo", "echo", None, json!([7]), None).await {
        Ok(Answer::Once(Outcome::Returned(n))) if n == 7 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn files_that_cannot_be_used_change_nothing_but_the_log() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let files = certs.node("a");
        let operator = certs.operator(Right::Read);
        let good = std::fs::read_to_string(&files.certificate).expect("it was written");
        let (mut a, at) = Node::running(&settings(&files, &[]));
        let theirs = certs.authority.issue(&Identity::Node("b".to_owned()), DAY).expect("it is issued");
        for (broken, says) in [
            ("no certificate at all", "holds no usable certificate: it has no BEGIN CERTIFICATE"),
            (&theirs.certificate, "does not belong to the certificate in"),
        ] {
            write(&files.certificate, broken);
            let line = a.logs_again("new certificates cannot be used, the old ones stay in use");
            assert!(line.contains(says), "{line}");
            assert!(let_in(&at, &operator));
        }
        std::fs::remove_file(&files.key).expect("it is there");
        let line = a.logs_again("new certificates cannot be used, the old ones stay in use");
        assert!(line.contains("a.key cannot be read"), "{line}");
        // Another node's whole set of files.
        write(&files.key, &theirs.key);
        let line = a.logs_again("the old one stays in use");
        assert!(line.contains("is for node b, and this process is node a"), "{line}");
        assert!(let_in(&at, &operator));
        let again = certs.node("a");
        assert_ne!(std::fs::read_to_string(&again.certificate).expect("it was written"), good);
        a.logs_again("new certificates for node a: new connections use them");
    });
}
