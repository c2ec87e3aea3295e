//! Certificates that no node should have, and TLS peers that are no nodes: what each side says.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::AlertDescription;

use crate::certs::{Certs, DAY, OddAuthority, Pair, settings};
use crate::node::{Node, PROGRAM, play};
use crate::stranger::{SKYBOX, Server, knock, knock_for, older_server};

/// The program's certificates, and an authority that every node trusts and that issues anything.
fn certs() -> (Certs, OddAuthority) {
    let (certs, odd) = (Certs::of(PROGRAM), OddAuthority::new());
    certs.trust(&odd.own.certificate);
    (certs, odd)
}

fn later(params: &mut CertificateParams) {
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + DAY, now + 2 * DAY);
}

fn only(usage: ExtendedKeyUsagePurpose) -> impl FnOnce(&mut CertificateParams) {
    |params| params.extended_key_usages = vec![usage]
}

/// What a node says, in its answer and in its log, that calls a server which does not let it in.
fn refusal_of(certs: &Certs, at: &str, says: &str) {
    let peers = format!("a={at}");
    let (mut b, _) = Node::running(&settings(&certs.node("b"), &[("SKYBOX_NODE__PEERS", &peers)]));
    let failed = b.ask("call");
    assert!(failed.contains(says), "{failed}");
    b.logs(&["WARN", "no connection to a at", says]);
}

/// What happens to a node's certificate wherever it is shown: at a node that it dials, at a node that dials it, and
/// at its own start. `refusals`: what each of these says. The peer hears `alert`.
#[track_caller]
fn refused_everywhere(
    of: &Pair,
    (certs, _odd): &(Certs, OddAuthority),
    alert: AlertDescription,
    refusals: [&str; 3],
) {
    let [by_dialled, by_dialler, by_itself] = refusals;
    let (a, at) = Node::running(&settings(&certs.node("a"), &[]));
    assert_eq!(knock(&at, Some(of)), Some(alert));
    a.logs(&["WARN", "a connection from 127.0.0.1:", "was refused: ", by_dialled]);
    let server = Server::start(of, SKYBOX);
    refusal_of(certs, &server.at, by_dialler);
    assert_eq!(server.refused_with(), alert);
    let failed = Node::start(&settings(&certs.put_pair("odd", of), &[])).answer();
    assert!(failed.contains("others will refuse the certificate in"), "{failed}");
    assert!(failed.contains("odd.pem") && failed.contains(by_itself), "{failed}");
}

#[test]
fn a_certificate_of_tomorrow() {
    play(|| {
        let certs = certs();
        let early = certs.1.issue("spiffe://shop/node/b", later);
        let says = "the peer's certificate is not valid yet: compare the clocks of both machines";
        let itself = "it is not valid yet; look at the clock";
        refused_everywhere(&early, &certs, AlertDescription::CertificateExpired, [says, says, itself]);
    });
}

#[test]
fn an_authoritys_certificate_as_a_nodes() {
    play(|| {
        let certs = certs();
        let says = "the peer's certificate is an authority's own: it needs one of a node or an operator";
        let itself = "it is an authority's own; have one issued for this node";
        let own = certs.1.own.clone();
        refused_everywhere(&own, &certs, AlertDescription::CertificateUnknown, [says, says, itself]);
    });
}

#[test]
fn a_certificate_for_one_side_only() {
    play(|| {
        let (certs, odd) = certs();
        let says = "the peer's certificate does not allow this use: a node's needs both server and client";
        let (a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let server_only = odd.issue("spiffe://shop/node/b", only(ExtendedKeyUsagePurpose::ServerAuth));
        assert_eq!(knock(&at, Some(&server_only)), Some(AlertDescription::UnsupportedCertificate));
        a.logs(&["WARN", "a connection from 127.0.0.1:", "was refused: ", says]);
        let client_only = odd.issue("spiffe://shop/node/a", only(ExtendedKeyUsagePurpose::ClientAuth));
        let server = Server::start(&client_only, SKYBOX);
        refusal_of(&certs, &server.at, says);
        assert_eq!(server.refused_with(), AlertDescription::UnsupportedCertificate);
        for half in [server_only, client_only] {
            let failed = Node::start(&settings(&certs.put_pair("odd", &half), &[])).answer();
            let itself = "a node's must allow both server and client authentication";
            assert!(failed.contains("odd.pem") && failed.contains(itself), "{failed}");
        }
    });
}

/// It was good when the node started; the node learns at its next connection that it is not any more.
#[test]
fn a_certificate_that_ends_while_its_node_runs() {
    play(|| {
        let (certs, odd) = certs();
        let (a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let peers = format!("a={at}");
        // A slow machine takes longer to start a node than the shortest of these certificates is valid.
        let started = [3, 10, 30, 60].into_iter().find_map(|seconds| {
            let short = odd.issue("spiffe://shop/node/b", |params| {
                params.not_after = time::OffsetDateTime::now_utc() + std::time::Duration::from_secs(seconds);
            });
            let files = certs.put_pair("short", &short);
            let mut b = Node::start(&settings(&files, &[("SKYBOX_NODE__PEERS", &peers)]));
            b.answer().starts_with("at ").then_some((b, short))
        });
        let (mut b, short) = started.expect("a node starts within a minute");
        while knock(&at, Some(&short)).is_none() {}
        let says = "the peer refuses this side's certificate: it has expired or is not valid yet; renew it";
        let failed = b.ask("call");
        assert!(failed.contains(says), "{failed}");
        b.logs(&["WARN", "no connection to a at", says]);
        a.logs(&["was refused: the peer's certificate has expired: renew it"]);
    });
}

#[test]
fn a_server_of_another_protocol() {
    play(|| {
        let (certs, odd) = certs();
        let says = "the peer speaks TLS but not Skybox: check the address";
        // One that names no protocol, from an authority of its own: whom its certificate is from does not matter.
        let stranger =
            Certs::of("web").authority.issue(&skybox_node::tls::Identity::Node("a".to_owned()), DAY);
        let stranger = Pair::from(stranger.expect("it is issued"));
        let server = Server::start(&stranger, &[]);
        refusal_of(&certs, &server.at, says);
        assert_eq!(server.refused_with(), AlertDescription::UnknownCA);
        // One for HTTP/2 alone.
        let server = Server::start(&stranger, &[b"h2"]);
        refusal_of(&certs, &server.at, says);
        // One that has a good certificate.
        let good = odd.issue("spiffe://shop/node/a", |_| ());
        refusal_of(&certs, &Server::start(&good, &[]).at, says);
        // One that claims to speak Skybox, and speaks something else.
        let server = Server::start(&good, SKYBOX);
        refusal_of(&certs, &server.at, "the peer does not speak Skybox; its first bytes are `220 mail");
        let says = "the peer speaks TLS, but not version 1.3 as nodes do: check the address";
        refusal_of(&certs, &older_server(), says);
    });
}

#[test]
fn a_client_of_another_protocol() {
    play(|| {
        let (certs, odd) = certs();
        let says = "was refused: the peer speaks TLS but not Skybox: check the address";
        let node = || Node::running(&settings(&certs.node("a"), &[]));
        let (a, at) = node();
        assert_eq!(knock_for(&[b"h2"], &at, None), Some(AlertDescription::NoApplicationProtocol));
        a.logs(&["WARN", says]);
        let (a, at) = node();
        assert_eq!(knock_for(&[], &at, None), Some(AlertDescription::CertificateRequired));
        a.logs(&["WARN", says]);
        // With a good certificate, but no node behind it.
        let (a, at) = node();
        let good = odd.issue("spiffe://shop/node/b", |_| ());
        assert_eq!(knock(&at, Some(&good)), None);
        a.logs(&[
            "WARN",
            "was refused: the peer closed the connection during the handshake: its log may say",
        ]);
        // Somebody who only looks whether the port is open.
        drop(std::net::TcpStream::connect(&at));
        a.logs(&[
            "WARN",
            "was refused: the peer closed the connection during the TLS handshake: its log may",
        ]);
    });
}
