//! Each refusal: one clear line in the log of either side, and an error at the caller that says what to do.

use std::time::Duration;

use rustls::AlertDescription;
use skybox::TlsFiles;
use skybox_node::tls::Identity;

use crate::certs::{Certs, DAY, settings};
use crate::node::{Node, PROGRAM, play};
use crate::stranger::knock;

/// Node `a`, and where it is.
fn node_a(files: &TlsFiles) -> (Node, String) {
    Node::running(&settings(files, &[]))
}

/// Node `b`, which calls `a`.
fn node_b(files: &TlsFiles, a: &str, more: &[(&str, &str)]) -> Node {
    let peers = format!("a={a}");
    let mut all = settings(files, &[("SKYBOX_NODE__PEERS", &peers)]);
    all.extend_from_slice(more);
    Node::running(&all).0
}

#[test]
fn nodes_of_one_authority_call_each_other() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (_a, at) = node_a(&certs.node("a"));
        assert_eq!(node_b(&certs.node("b"), &at, &[]).ask("call"), "returned 7");
    });
}

#[test]
fn no_certificate() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (a, at) = node_a(&certs.node("a"));
        assert_eq!(knock(&at, None), Some(AlertDescription::CertificateRequired));
        a.logs(&[
            "WARN",
            "a connection from 127.0.0.1:",
            "was refused: the peer has no certificate",
            "`[tls]`",
        ]);
    });
}

#[test]
fn another_authoritys_certificate() {
    play(|| {
        let (ours, theirs) = (Certs::of(PROGRAM), Certs::of(PROGRAM));
        let (a, at) = node_a(&ours.node("a"));
        // Neither trusts the other: the one that dialled sees it first.
        let mut b = node_b(&theirs.node("b"), &at, &[]);
        let failed = b.ask("call");
        assert!(
            failed.contains("from an authority that this side does not trust: issue it from"),
            "{failed}"
        );
        b.logs(&["WARN", "no connection to a at", "from an authority that this side does not trust"]);
        a.logs(&["was refused: the peer refuses this side's certificate: it does not trust its authority"]);
        drop(b);
        // One that trusts both is refused all the same.
        theirs.trust(ours.authority.certificate());
        let failed = node_b(&theirs.node("b"), &at, &[]).ask("call");
        assert!(
            failed.contains("the peer refuses this side's certificate: it does not trust its authority"),
            "{failed}"
        );
        a.logs(&["was refused: the peer's certificate is from an authority that this side does not trust"]);
    });
}

#[test]
fn an_expired_certificate() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (a, at) = node_a(&certs.node("a"));
        let expired = certs.authority.issue(&Identity::Node("b".to_owned()), Duration::ZERO).unwrap();
        // It is valid to the end of the second in which it was made.
        while knock(&at, Some(&expired.clone().into())) != Some(AlertDescription::CertificateExpired) {}
        a.logs(&["was refused: the peer's certificate has expired: renew it"]);
        let failed = Node::start(&settings(&certs.put(&expired), &[])).answer();
        assert!(
            failed.contains("others will refuse the certificate in") && failed.contains("has expired"),
            "{failed}"
        );
    });
}

#[test]
fn another_programs_certificate() {
    play(|| {
        let (shop, bank) = (Certs::of(PROGRAM), Certs::of("bank"));
        shop.trust(bank.authority.certificate());
        bank.trust(shop.authority.certificate());
        let (a, at) = node_a(&shop.node("a"));
        let stranger = bank.authority.issue(&Identity::Node("b".to_owned()), DAY).unwrap();
        assert_eq!(knock(&at, Some(&stranger.clone().into())), Some(AlertDescription::CertificateUnknown));
        a.logs(&["was refused: the peer is refused: the certificate is for spiffe://bank/node/b", "`shop`"]);
        let failed = node_b(&bank.put(&stranger), &at, &[("SKYBOX_PROGRAM", "bank")]).ask("call");
        assert!(failed.contains("is for spiffe://shop/node/a, and this program is `bank`"), "{failed}");
        a.logs(&["the peer refuses this side's certificate: it is for another program"]);
    });
}

#[test]
fn plain_tcp_to_a_port_with_tls() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (a, at) = node_a(&certs.node("a"));
        let peers = format!("a={at}");
        let (mut b, _) = Node::running(&[("SKYBOX_NODE__NAME", "b"), ("SKYBOX_NODE__PEERS", &peers)]);
        let failed = b.ask("call");
        assert!(
            failed.contains("the peer speaks TLS and this side does not: give both certificates"),
            "{failed}"
        );
        b.logs(&["WARN", "no connection to a at", "the peer speaks TLS and this side does not"]);
        a.logs(&["was refused: the peer does not speak TLS (its first bytes are `SKYBOX"]);
    });
}

#[test]
fn tls_to_a_plain_port() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (a, at) = Node::running(&[("SKYBOX_NODE__NAME", "a")]);
        let mut b = node_b(&certs.node("b"), &at, &[]);
        let failed = b.ask("call");
        assert!(
            failed.contains("the peer does not speak TLS") && failed.contains("give both `[tls]`"),
            "{failed}"
        );
        b.logs(&["WARN", "no connection to a at", "the peer does not speak TLS"]);
        a.logs(&["was refused: the peer speaks TLS and this side does not"]);
    });
}

#[test]
fn a_node_under_another_name() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (_a, at) = node_a(&certs.node("a"));
        let failed = Node::start(&settings(&certs.node("b"), &[("SKYBOX_NODE__NAME", "c")])).answer();
        assert!(failed.contains("is for node b, and this is c: give each node its own"), "{failed}");
        // Who is found at an address must be who was expected there.
        let peers = format!("A={at}");
        let (mut b, _) = Node::running(&settings(&certs.node("b"), &[("SKYBOX_NODE__PEERS", &peers)]));
        let failed = b.ask("call");
        assert!(failed.contains("a answers where A was expected: check `[node.peers]`"), "{failed}");
    });
}

#[test]
fn a_node_that_others_could_reach_without_tls_does_not_start() {
    play(|| {
        let open = [("SKYBOX_NODE__LISTEN", "0.0.0.0:0"), ("SKYBOX_NODE__NAME", "a")];
        let mut a = Node::start(&open);
        let failed = a.answer();
        let says =
            ["other machines could connect to 0.0.0.0:0", "`[tls] authority`", "or listen on 127.0.0.1"];
        assert!(says.iter().all(|part| failed.contains(part)), "{failed}");
        assert!(!a.end().success());
        let certs = Certs::of(PROGRAM);
        let (_a, at) = Node::running(&settings(&certs.node("a"), &open));
        assert!(at.starts_with("0.0.0.0:"), "with certificates it does: {at}");
    });
}
