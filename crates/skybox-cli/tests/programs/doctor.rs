//! `skybox doctor`, at a real etcd, with a node that joins there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{Program, Stage, fountain, skybox, wait_for};

/// A member of an etcd of one, at an address that no other process has.
struct Etcd {
    at: String,
    child: Child,
}

impl Etcd {
    fn start(stage: &Stage) -> Etcd {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 192 + high % 32, middle, low);
        let (client, peer) = (format!("http://{host}:2379"), format!("http://{host}:2380"));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(stage.directory().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("etcd is there: `apt-get install etcd-server`");
        let etcd = Etcd { at: format!("{host}:2379"), child };
        wait_for("an etcd that has elected itself", || {
            let said = etcd.ask("maintenance/status", &json!({}));
            said.filter(|said| said["leader"].as_str().is_some_and(|leader| leader != "0")).ok_or("nothing")
        });
        etcd
    }

    /// What it answers to a question, which must be one of its own.
    fn ask(&self, what: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.at).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let head = format!(
            "POST /v3/{what} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.at,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| serde_json::from_str(body).ok()).flatten()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The variables of a node of the fountain, in a file as its unit would name it.
fn variables(stage: &Stage, etcd: &str, more: &str) {
    stage.write(
        "fountain.env",
        &format!("# a node\nSKYBOX_PROGRAM=fountain\nSKYBOX_STORE=etcd://{etcd}\n{more}"),
    );
}

/// What it has found, and how it ended.
fn doctor(stage: &Stage, more: &[&str]) -> (Vec<(String, String, String)>, Option<i32>) {
    let mut command = stage.command(skybox());
    command.args(["doctor", "--json", "--environment-file", "fountain.env"]).args(more);
    let ended = stage.ask(&mut command);
    let found: Vec<Value> =
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let text = |found: &Value, key: &str| found[key].as_str().expect("a text").to_owned();
    let found = found.iter().map(|one| (text(one, "level"), text(one, "about"), text(one, "says")));
    (found.collect(), ended.code)
}

#[track_caller]
fn has(found: &[(String, String, String)], level: &str, about: &str, says: &str) {
    let is_it =
        |(of, what, text): &(String, String, String)| of == level && what == about && text.contains(says);
    assert!(found.iter().any(is_it), "{level} {about} {says}: {found:#?}");
}

#[test]
fn a_node_and_its_etcd_are_looked_after() {
    let stage = Stage::new();
    let etcd = Etcd::start(&stage);
    variables(&stage, &etcd.at, "");
    let (found, code) = doctor(&stage, &[]);
    has(&found, "ok", "etcd", "/skybox/fountain/ is read and written");
    has(&found, "ok", "etcd", &format!("http://{} leads", etcd.at));
    has(&found, "warning", "etcd", "Have three");
    has(&found, "warning", "etcd", "asks for no password");
    has(&found, "warning", "certificate", "the node has none");
    has(&found, "ok", "nodes", "no node of fountain has joined yet");
    assert_eq!(code, Some(0), "nothing is wrong: {found:#?}");
    let left = etcd.ask("kv/range", &json!({"key": "AA==", "range_end": "AA=="})).expect("it answers");
    assert!(left["kvs"].is_null(), "nothing of it stays: {left}");

    // A node with certificates; and an operator who can ask it.
    stage.skybox(&["certs", "init", "fountain"]).ok();
    stage.skybox(&["certs", "node", "a", "--days", "5"]).ok();
    stage.skybox(&["certs", "operator", "ada", "--role", "read"]).ok();
    let tls = "SKYBOX_NODE__NAME=a\nSKYBOX_TLS__AUTHORITY=certs/authority.pem\nSKYBOX_TLS__CERTIFICATE=certs/{node}.pem\n\
               SKYBOX_TLS__KEY=certs/{node}.key\nSKYBOX_STORE__LEASE=60s\n";
    let listen = format!("{}:7600", etcd.at.split(':').next().expect("a host"));
    variables(&stage, &etcd.at, tls);
    let mut command = stage.command(fountain());
    let file = std::fs::read_to_string(stage.directory().join("fountain.env")).expect("it was written");
    for line in file.lines().filter(|line| line.starts_with("SKYBOX_")) {
        let (name, value) = line.split_once('=').expect("a variable");
        command.env(name, value);
    }
    let node = Program::start(&stage, command.env("SKYBOX_NODE__LISTEN", &listen));
    let identity = ["--identity", "certs/operator-ada"];
    let answers = format!("a answers at {listen}");
    let found = wait_for("a node that is ready", || {
        let (found, _) = doctor(&stage, &identity);
        let is_ok = |what: &str| found.iter().any(|(level, _, says)| level == "ok" && says == what);
        match is_ok(&answers) && is_ok("a plans") {
            true => Ok(found),
            false => Err((found, node.err())),
        }
    });
    has(&found, "warning", "certificate", "certs/a.pem is node a's and ends in ");
    has(&found, "ok", "certificate", "certs/operator-ada.pem is operator ada (read)'s, for ");
    let (found, code) = doctor(&stage, &[]);
    has(&found, "warning", "nodes", "say --identity");
    assert_eq!(code, Some(0), "{found:#?}");
    // Its lease lasts for longer than this test.
    node.signal(Signal::KILL);
    node.end();
    let (found, code) = doctor(&stage, &identity);
    has(&found, "error", "nodes", &format!("a is not reached at {listen}"));
    assert_eq!(code, Some(1), "{found:#?}");
    // The files of one node, at another one.
    variables(&stage, &etcd.at, &tls.replace("{node}", "a").replace("NAME=a", "NAME=b"));
    let (found, code) = doctor(&stage, &[]);
    has(&found, "error", "certificate", "is that of node a, and this is node b");
    assert_eq!(code, Some(1), "{found:#?}");
}

#[test]
fn who_may_not_use_it_is_told_what_to_grant() {
    let stage = Stage::new();
    let etcd = Etcd::start(&stage);
    let asked = |what: &str, body: Value| etcd.ask(what, &body).unwrap_or_else(|| panic!("{what} {body}"));
    for user in ["root", "fountain"] {
        asked("auth/user/add", json!({"name": user, "password": "secret"}));
    }
    asked("auth/role/add", json!({"name": "root"}));
    asked("auth/user/grant", json!({"user": "root", "role": "root"}));
    asked("auth/enable", json!({}));
    stage.write("password", "secret\n");
    variables(&stage, &etcd.at, "SKYBOX_STORE__USER=fountain\nSKYBOX_STORE__PASSWORD_FILE=password\n");
    let (found, code) = doctor(&stage, &[]);
    has(&found, "error", "etcd", "--prefix=true readwrite /skybox/fountain/");
    assert_eq!(code, Some(1), "{found:#?}");
    variables(&stage, &etcd.at, "");
    let (found, code) = doctor(&stage, &[]);
    has(&found, "error", "etcd", "`[store] user` and `password-file`");
    assert_eq!(code, Some(1), "{found:#?}");
}

#[test]
fn what_is_not_there_is_said() {
    let stage = Stage::new();
    variables(&stage, "127.0.0.1:1", "");
    let (found, code) = doctor(&stage, &[]);
    has(&found, "error", "etcd", "http://127.0.0.1:1 does not answer");
    assert_eq!(code, Some(1), "{found:#?}");
    stage.write("fountain.env", "SKYBOX_PROGRAM=fountain\n");
    let (found, code) = doctor(&stage, &[]);
    has(&found, "error", "store", "set SKYBOX_STORE");
    assert_eq!(code, Some(1), "{found:#?}");
    stage.write("fountain.env", "SKYBOX_PROGRAM=fountain\nSKYBOX_NODE__NICKNAME=x\n");
    let (found, _) = doctor(&stage, &[]);
    has(&found, "error", "configuration", "there is no key `nickname`");
    let ended = stage.skybox(&["doctor", "--environment-file", "none.env"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<_> = ended.out.lines().filter(|line| line.starts_with("error")).collect();
    assert!(lines.len() == 1 && lines[0].contains("none.env cannot be read"), "{ended:?}");
}
