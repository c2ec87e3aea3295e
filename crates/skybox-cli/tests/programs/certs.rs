//! `skybox certs`, and what its certificates open: nodes by hand, `run --tcp`, and operators with `--at`.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::stage::{Program, Stage, fountain, skybox, wait_for};

/// The permissions of a file or directory.
fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    found.permissions().mode() & 0o777
}

/// Two nodes by hand, `a` and `b`, and where each listens: on a loopback address of this process's own, so that
/// nobody else has the port.
fn by_hand(stage: &Stage) -> [String; 2] {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let at = [7600, 7601].map(|port| format!("{}:{port}", Ipv4Addr::new(127, 1 + high % 64, middle, low)));
    stage.skybox(&["certs", "init", "fountain"]).ok();
    for node in ["a", "b"] {
        stage.skybox(&["certs", "node", node]).ok();
    }
    stage.config(&format!("{TLS}[node.peers]\na = \"{}\"\nb = \"{}\"\n", at[0], at[1]));
    at
}

/// Each node's own files.
const TLS: &str = "[tls]\nauthority = \"certs/authority.pem\"\ncertificate = \"certs/{node}.pem\"\n\
                   key = \"certs/{node}.key\"\n";

fn node<'s>(stage: &'s Stage, name: &str) -> Program<'s> {
    Program::start(stage, stage.command(fountain()).env("SKYBOX_NODE__NAME", name))
}

/// The nodes that have an instance of `spring`, as `ps --json` says.
fn springs(ps: &Value) -> Vec<String> {
    let modules = ps["modules"].as_array().into_iter().flatten();
    let instances = modules
        .filter(|module| module["module"] == "spring")
        .flat_map(|module| module["instances"].as_array().into_iter().flatten());
    instances.filter_map(|instance| instance["node"].as_str().map(str::to_owned)).collect()
}

#[test]
fn certs_are_for_this_user_alone_and_an_authority_stays() {
    let stage = Stage::new();
    let nothing = stage.skybox(&["certs", "node", "a"]).failed();
    assert_eq!(nothing, "error: certs has no authority: `skybox certs init` makes one\n");
    let made = stage.skybox(&["certs", "init", "shop"]).ok();
    let node = stage.skybox(&["certs", "node", "a"]).ok();
    let operator = stage.skybox(&["certs", "operator", "ada", "--role", "call", "--days", "30"]).ok();
    // As the page shows them, commands and all.
    let page = include_str!("../../../../docs/tls.md");
    let shown = format!(
        "$ skybox certs init shop\n{made}$ skybox certs node a\n{node}\
         $ skybox certs operator ada --role call --days 30\n{operator}"
    );
    assert!(page.contains(&shown), "docs/tls.md does not show:\n{shown}");
    let certs = stage.directory().join("certs");
    assert_eq!(mode(&certs), 0o700);
    for file in ["authority.pem", "authority.key", "a.pem", "a.key", "operator-ada.pem", "operator-ada.key"] {
        assert_eq!(mode(&certs.join(file)), 0o600, "{file}");
    }
    let authority =
        || ["pem", "key"].map(|end| std::fs::read(certs.join("authority").with_extension(end)).ok());
    let before = authority();
    let again = stage.skybox(&["certs", "init", "shop"]).failed();
    assert!(again.contains("certs/authority.key is there already"), "{again}");
    for (name, whose) in
        [("authority", "the authority"), ("Authority", "the authority"), ("operator-ada", "an operator")]
    {
        let refused = stage.skybox(&["certs", "node", name]).failed();
        let line = format!(
            "error: a node named `{name}` would write over the files of {whose}: give it another name\n"
        );
        assert_eq!(refused, line);
    }
    assert_eq!(authority(), before, "nothing was written over");
    let name = stage.skybox(&["certs", "node", "a b"]).failed();
    assert!(name.contains("`a b` cannot stand in a certificate: use letters, digits"), "{name}");
    // A node's certificate may be renewed, by the same authority.
    let old = std::fs::read(certs.join("a.pem")).expect("it was made");
    stage.skybox(&["certs", "node", "a"]).ok();
    assert_ne!(std::fs::read(certs.join("a.pem")).expect("it was made"), old);
    let page = include_str!("../../../../docs/cli.md");
    let node = stage.skybox(&["certs", "node", "node-1"]).ok();
    let operator = stage.skybox(&["certs", "operator", "ada", "--role", "call"]).ok();
    let shown = format!(
        "$ skybox certs init shop\n{made}$ skybox certs node node-1\n{node}\
         $ skybox certs operator ada --role call\n{operator}"
    );
    assert!(page.contains(&shown), "docs/cli.md does not show:\n{shown}");
}

#[test]
fn nodes_by_hand_call_each_other_and_operators_do_as_their_role_says() {
    let stage = Stage::new();
    let at = by_hand(&stage);
    for role in ["read", "call", "admin"] {
        stage.skybox(&["certs", "operator", role, "--role", role]).ok();
    }
    let [a, b] = ["a", "b"].map(|name| node(&stage, name));
    let ask = |at: &str, command: &[&str], identity: &str| {
        stage.skybox(&[command, &["--at", at, "--identity", identity]].concat())
    };
    let (reader, caller, admin) = ("certs/operator-read", "certs/operator-call", "certs/operator-admin");
    for at in &at {
        wait_for("an answer", || match ask(at, &["ps", "--json"], reader) {
            ended if ended.code == Some(0) => Ok(()),
            ended => Err((ended, a.err(), b.err())),
        });
    }
    // The module is in one of them: one of the calls has to cross.
    for at in &at {
        assert_eq!(ask(at, &["call", "spring.dry"], caller).ok(), "0\n");
    }
    let shown = at.each_ref().map(|at| serde_json::from_str(&ask(at, &["ps", "--json"], reader).ok()));
    let instances: Vec<_> = shown.iter().flat_map(|ps| springs(ps.as_ref().expect("JSON"))).collect();
    assert_eq!(instances.len(), 1, "{instances:?}");
    let refused = ask(&at[0], &["call", "spring.dry"], reader).failed();
    assert_eq!(
        refused,
        "error: call to node.ask failed (SKY-104, it did not run): denied: operator read has the right to read, \
         and this needs call: use a certificate of that role\n"
    );
    let denied = ask(&at[0], &["drain", "a"], caller).failed();
    assert!(denied.contains("operator call has the right to call, and this needs admin"), "{denied}");
    let elsewhere = ask(&at[0], &["move", "spring", "b"], admin).failed();
    assert!(elsewhere.contains("can be asked and drained; move is its machine's business"), "{elsewhere}");
    // The variable says the identity once.
    let mut command = stage.command(skybox());
    command.args(["call", "spring.dry", "--at", &at[0]]).env("SKYBOX_IDENTITY", caller);
    assert_eq!(stage.ask(&mut command).ok(), "0\n");
    assert_eq!(ask(&at[0], &["drain", "a"], admin).ok(), "a drains\n");
    assert_eq!(a.end().code(), Some(0), "{}", a.err());
}

#[test]
fn a_wrong_identity_is_refused_with_one_line() {
    let stage = Stage::new();
    let at = by_hand(&stage);
    for directory in ["certs", "others"] {
        if directory == "others" {
            stage.skybox(&["certs", "init", "fountain", "--directory", directory]).ok();
        }
        stage.skybox(&["certs", "operator", "ada", "--role", "read", "--directory", directory]).ok();
    }
    let a = node(&stage, "a");
    let ps = |at: &str, identity: &str| stage.skybox(&["ps", "--at", at, "--identity", identity]);
    wait_for("an answer", || match ps(&at[0], "certs/operator-ada") {
        ended if ended.code == Some(0) => Ok(()),
        ended => Err((ended, a.err())),
    });
    let port = at[0].replace(":7600", ":1");
    let refusals = [
        (&at[0], "certs/a", "the certificate is a node's: `skybox certs operator` makes one for a person"),
        (
            &at[0],
            "others/operator-ada",
            "the peer's certificate is from an authority that this side does not trust",
        ),
        (&at[0], "certs/operator-eve", "certs/operator-eve.pem cannot be used: No such file or directory"),
        (&port, "certs/operator-ada", "no connection to 127."),
    ];
    for (at, identity, says) in refusals {
        let refused = ps(at, identity).failed();
        assert!(refused.contains(says), "{identity}: {refused}");
        assert_eq!((refused.lines().count(), refused.contains("(SKY-402)")), (1, true), "{refused}");
    }
    let nobody = stage.skybox(&["ps", "--at", &at[0]]);
    assert!(nobody.code == Some(2) && nobody.err.contains("--identity <PATH>"), "{nobody:?}");
}

/// `skybox run --tcp` of a program of two nodes, whose modules are in the first.
fn run_tcp(stage: &Stage) -> Program<'_> {
    let mut command = stage.command(skybox());
    command.args(["run", "--tcp", "--nodes", "2", "--place", "spring=node-1", "--program"]).arg(fountain());
    Program::start(stage, &mut command)
}

#[test]
fn a_run_over_tcp_makes_certificates_or_takes_those_of_the_configuration() {
    let stage = Stage::new();
    for (config, says) in [("", "certificates made for this run"), (TLS, "the certificates of `[tls]`")] {
        stage.config(config);
        if !config.is_empty() {
            stage.skybox(&["certs", "init", "fountain"]).ok();
            for node in ["node-1", "node-2"] {
                stage.skybox(&["certs", "node", node]).ok();
            }
        }
        let program = run_tcp(&stage);
        program.ready(2);
        program.says(&format!("nodes talk over TCP with TLS, with {says}"));
        assert_eq!(program.skybox(&["call", "spring.dry", "--from", "node-2"]).ok(), "0\n");
        assert_eq!(springs(&program.json(&["ps"])), ["node-1"], "the call has crossed");
        program.skybox(&["stop"]).ok();
        assert_eq!(program.end().code(), Some(0));
        assert_eq!(stage.left_behind(), Vec::<std::path::PathBuf>::new(), "keys of a run end with it");
    }
    std::fs::remove_file(stage.directory().join("certs/node-2.pem")).expect("it was made");
    let program = run_tcp(&stage);
    assert_eq!(program.end().code(), Some(1));
    let err = program.err();
    assert!(
        err.contains("SKY-214: `[tls]` cannot be used") && err.contains("certs/node-2.pem cannot be read"),
        "{err}"
    );
}

/// The shop is built without the feature `tls`.
#[test]
fn a_program_without_tls_says_so() {
    let stage = Stage::new();
    let program = stage.run(&["--tcp", "--nodes", "2"]);
    assert_eq!(program.end().code(), Some(1));
    let says = "the program is built without the feature `tls` of skybox";
    assert!(program.err().contains(says), "{}", program.err());
}
