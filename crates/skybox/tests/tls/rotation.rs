//! Certificates that change while nodes run.

use skybox::TlsFiles;
use skybox_cloud::certs::Authority;
use skybox_node::tls::Identity;
use skybox_node::{Operator, Right};

use crate::certs::{Certs, DAY, settings, write};
use crate::node::{Node, PROGRAM, play};

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
