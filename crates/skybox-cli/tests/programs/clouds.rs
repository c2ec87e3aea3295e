//! A cloud of nodes that agree through a real etcd, asked and ordered through any one of them.

mod history;
mod store;
mod watched;

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::etcd::Etcd;
use crate::stage::{Ended, Program, Stage, harbour, wait_for};
use store::forget;

/// How long a node counts as alive without a word from it: short where a test waits for that, long where it looks at what
/// is before.
const SHORT: &str = "3s";
const LONG: &str = "60s";

/// Nodes of one program, each a process of its own.
struct Cloud<'s> {
    stage: &'s Stage,
    program: String,
    nodes: BTreeMap<&'static str, Program<'s>>,
}

/// The name of a program that no other test has.
fn program_name(test: &str) -> String {
    format!("harbour-{test}-{}", std::process::id())
}

impl<'s> Cloud<'s> {
    fn start(
        stage: &'s Stage,
        etcd: &Etcd,
        program: String,
        lease: &str,
        names: &[&'static str],
    ) -> Cloud<'s> {
        let node = |name: &&'static str| {
            let mut command = stage.command(harbour());
            command
                .env("SKYBOX_PROGRAM", &program)
                .env("SKYBOX_STORE", etcd.address())
                .env("SKYBOX_STORE__LEASE", lease)
                .env("SKYBOX_NODE__NAME", name);
            (*name, Program::start(stage, &mut command))
        };
        let nodes = names.iter().map(node).collect();
        Cloud { stage, program, nodes }
    }

    /// `skybox`, about all processes of this user that are of it.
    fn here(&self, arguments: &[&str]) -> Ended {
        self.stage.skybox(&[arguments, &["--program", &self.program]].concat())
    }

    /// The same, through the node at an address.
    fn at(&self, address: &str, identity: &str, arguments: &[&str]) -> Ended {
        self.stage.skybox(&[arguments, &["--at", address, "--identity", identity]].concat())
    }

    fn logs(&self) -> BTreeMap<&'static str, String> {
        self.nodes.iter().map(|(name, node)| (*name, node.err())).collect()
    }

    /// Waits until these nodes are all there is, are ready, and every module serves where it should.
    fn settled(&self, names: &[&str], ask: impl Fn() -> Ended) -> Value {
        wait_for(&format!("a cloud of {names:?}"), || {
            let ended = ask();
            let Ok(ps) = serde_json::from_str::<Value>(&ended.out) else { return Err((ended, self.logs())) };
            let ready: Vec<_> = states(&ps).into_iter().filter(|(_, state)| state == "ready").collect();
            let all = states(&ps).into_keys().collect::<Vec<_>>() == names && ready.len() == names.len();
            let serving = modules(&ps).values().all(|module| {
                module["serving"].as_array().is_some_and(|nodes| !nodes.is_empty())
                    && module["serving"] == module["assigned"]
            });
            if all && serving && module(&ps, "tide")["serving"] == json!(names) {
                Ok(ps)
            } else {
                Err((ended, self.logs()))
            }
        })
    }
}

fn parsed(ended: Ended) -> Value {
    let text = ended.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The nodes of a program and how they are, as `ps --json` says.
fn states(ps: &Value) -> BTreeMap<String, String> {
    let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    let nodes = ps["nodes"].as_array().into_iter().flatten();
    nodes.map(|node| (text(node, "node"), text(node, "state"))).collect()
}

fn node_in<'p>(ps: &'p Value, name: &str) -> &'p Value {
    let mut nodes = ps["nodes"].as_array().into_iter().flatten();
    nodes.find(|node| node["node"] == name).unwrap_or_else(|| panic!("no {name}: {ps:#}"))
}

fn modules(ps: &Value) -> BTreeMap<String, Value> {
    let modules = ps["modules"].as_array().into_iter().flatten();
    modules.map(|module| (module["module"].as_str().unwrap_or_default().to_owned(), module.clone())).collect()
}

fn module(ps: &Value, name: &str) -> Value {
    modules(ps).remove(name).unwrap_or_default()
}

#[test]
fn processes_of_one_cloud_are_one_program_and_any_of_them_is_asked_for_all() {
    let (stage, etcd) = (Stage::new(), Etcd::start());
    let cloud = Cloud::start(&stage, &etcd, program_name("here"), SHORT, &["a", "b", "c"]);
    let here = |arguments: &[&str]| cloud.here(arguments);
    let ps = cloud.settled(&["a", "b", "c"], || here(&["ps", "--json"]));
    let leader = ps["cloud"]["leader"].as_str().expect("somebody leads").to_owned();
    assert_eq!((&ps["split"], &ps["cloud"]["degraded"]), (&json!(true), &json!([])), "{ps:#}");
    for (name, node) in &cloud.nodes {
        assert_eq!(node_in(&ps, name)["pid"], json!(node.pid()), "{ps:#}");
        let ps = node.json(&["ps"]);
        assert_eq!(states(&ps).len(), 3, "of process {}: {ps:#}", node.pid());
    }
    let text = here(&["ps"]).ok();
    assert!(text.starts_with(&format!("{}: a cloud of 3 nodes, led by {leader}\n", cloud.program)), "{text}");
    assert!(text.contains("ADDRESS") && text.contains("a, b, c"), "{text}");

    // What is moved, called, counted, restarted and killed is so wherever it is.
    for to in ["b", "c"] {
        assert_eq!(here(&["move", "pilot", to]).ok(), format!("pilot runs on {to}\n"));
        for from in ["a", "b", "c"] {
            assert_eq!(here(&["call", "pilot.place", "--from", from]).ok(), format!("\"{to}\"\n"));
            let tide = here(&["call", "tide", "[6]", "--from", from]).ok();
            assert_eq!(tide, format!("\"6 h, says {to}\"\n"));
        }
    }
    let wrong = here(&["move", "pilot", "z"]).failed();
    assert!(wrong.contains("there is no node `z`; there are a, b, c (SKY-401)"), "{wrong}");
    let wrong = here(&["call", "pilot.place", "--from", "z"]).failed();
    assert!(wrong.contains("there is no node `z`; there are a, b, c"), "{wrong}");
    let explained = here(&["explain", "pilot"]).ok();
    assert!(explained.contains("it belongs on c\n  it was put on c"), "{explained}");
    let graph = parsed(here(&["graph", "--json"]));
    let edges = graph["edges"].as_array().expect("edges").iter();
    let calls = |edge: &Value| edge["local"].as_u64().unwrap_or(0) + edge["remote"].as_u64().unwrap_or(0);
    let of_pilot = edges.filter(|edge| edge["caller"] == "tide" && edge["module"] == "pilot").map(calls);
    assert_eq!(of_pilot.sum::<u64>(), 6, "summed over all nodes: {graph:#}");
    let top = here(&["top", "--once", "--every", "100ms"]).ok();
    assert!(["a ", "b ", "c "].iter().all(|node| top.contains(&format!("\n{node}"))), "{top}");
    let restarted = here(&["restart", "pilot"]).ok();
    assert!(
        restarted.starts_with("pilot on c: ") && restarted.contains("has taken over from"),
        "{restarted}"
    );
    let pilot = &module(&parsed(here(&["ps", "--json"])), "pilot")["instances"][0];
    let instance = pilot["instance"].as_str().expect("it lives");
    assert_eq!(here(&["kill", instance]).ok(), format!("{instance} of pilot on c was killed\n"));
    assert_eq!(here(&["go-on"]).ok(), "nothing was held back\n");
    let refused = here(&["stop"]).failed();
    assert!(refused.contains("is a cloud of nodes without a parent that could end them all"), "{refused}");

    // A node that is stopped says nothing, and nobody here knows where else to ask it.
    let b = &cloud.nodes["b"];
    b.signal(Signal::STOP);
    let stopped = parsed(here(&["ps", "--json"]));
    assert_eq!(states(&stopped)["a"], "ready", "{stopped:#}");
    if let Some(state) = states(&stopped).get("b") {
        assert_eq!(state, "not-asked", "{stopped:#}");
        assert!(node_in(&stopped, "b")["error"].as_str().is_some_and(|why| why.contains("--identity")));
    }
    b.signal(Signal::CONT);
    cloud.settled(&["a", "b", "c"], || here(&["ps", "--json"]));

    assert_eq!(here(&["kill", "c"]).ok(), "c was killed\n");
    let ps = cloud.settled(&["a", "b"], || here(&["ps", "--json"]));
    // It was put where it cannot be any more.
    assert_ne!(module(&ps, "pilot")["serving"], json!(["c"]), "{ps:#}");
    assert_eq!(here(&["drain", "b"]).ok(), "b drains\n");
    assert_eq!(cloud.nodes["b"].end().code(), Some(0), "{}", cloud.nodes["b"].err());
    let ps = cloud.settled(&["a"], || here(&["ps", "--json"]));
    assert_eq!(ps["cloud"]["leader"], "a");
    assert_eq!(here(&["stop"]).ok(), format!("{} has ended\n", cloud.program));
}

/// Each node's own files.
const TLS: &str = "[tls]\nauthority = \"certs/authority.pem\"\ncertificate = \"certs/{node}.pem\"\n\
                   key = \"certs/{node}.key\"\n";

#[test]
fn a_node_that_is_reached_over_tls_answers_for_the_others() {
    let (stage, etcd) = (Stage::new(), Etcd::start());
    let program = program_name("tls");
    stage.config(TLS);
    stage.skybox(&["certs", "init", &program]).ok();
    for node in ["a", "b", "c"] {
        stage.skybox(&["certs", "node", node]).ok();
    }
    for role in ["read", "admin"] {
        stage.skybox(&["certs", "operator", role, "--role", role]).ok();
    }
    let cloud = Cloud::start(&stage, &etcd, program, LONG, &["a", "b", "c"]);
    let ps = cloud.settled(&["a", "b", "c"], || cloud.here(&["ps", "--json"]));
    let address = |node: &str| node_in(&ps, node)["address"].as_str().expect("it has one").to_owned();
    let (reader, admin) = ("certs/operator-read", "certs/operator-admin");
    let through = |node: &str, arguments: &[&str]| cloud.at(&address(node), admin, arguments);
    for node in ["a", "b", "c"] {
        let ps = cloud.settled(&["a", "b", "c"], || cloud.at(&address(node), reader, &["ps", "--json"]));
        assert!(ps["cloud"]["leader"].is_string(), "through {node}: {ps:#}");
    }
    let denied = cloud.at(&address("a"), reader, &["move", "pilot", "b"]).failed();
    assert!(denied.contains("operator read has the right to read, and this needs admin"), "{denied}");

    // Each through another one than the one that is meant.
    assert_eq!(through("a", &["move", "pilot", "b"]).ok(), "pilot runs on b\n");
    assert_eq!(through("a", &["call", "tide", "[6]", "--from", "c"]).ok(), "\"6 h, says b\"\n");
    assert_eq!(through("b", &["call", "tide", "[6]", "--from", "a"]).ok(), "\"6 h, says b\"\n");
    let graph = parsed(through("c", &["graph", "--json"]));
    let edges = graph["edges"].as_array().expect("edges").iter();
    let remote = edges.filter(|edge| edge["caller"] == "tide").filter_map(|edge| edge["remote"].as_u64());
    assert_eq!(remote.sum::<u64>(), 2, "{graph:#}");
    assert!(through("c", &["explain", "pilot"]).ok().contains("it was put on b"));
    let restarted = through("a", &["restart", "pilot"]).ok();
    assert!(restarted.starts_with("pilot on b: ") && restarted.contains("has taken over"), "{restarted}");
    let pilot = &module(&parsed(through("a", &["ps", "--json"])), "pilot")["instances"][0];
    let instance = pilot["instance"].as_str().expect("it lives");
    assert_eq!(through("c", &["kill", instance]).ok(), format!("{instance} of pilot on b was killed\n"));
    let elsewhere = through("a", &["kill", "b"]).failed();
    assert!(elsewhere.contains("b is no process of yours on this machine"), "{elsewhere}");
    assert_eq!(through("a", &["go-on"]).ok(), "nothing was held back\n");

    // A node that is killed counts as alive for a while still, and is said not to answer.
    cloud.nodes["c"].signal(Signal::KILL);
    cloud.nodes["c"].end();
    let killed = parsed(through("a", &["ps", "--json"]));
    let said = states(&killed);
    assert_eq!((said["a"].as_str(), said["b"].as_str(), said["c"].as_str()), ("ready", "ready", "silent"));
    assert!(node_in(&killed, "c")["error"].as_str().is_some_and(|why| why.contains("no connection")));
    let text = through("b", &["ps"]).ok();
    assert!(text.contains("\nc: c could not be asked: no connection"), "{text}");
    // On its own machine there is no process of it any more.
    let here = parsed(cloud.here(&["ps", "--json"]));
    assert_eq!(states(&here)["c"], "not-asked", "{here:#}");
    let here = parsed(cloud.here(&["ps", "--json", "--identity", reader]));
    assert_eq!(states(&here)["c"], "silent", "{here:#}");

    assert_eq!(through("a", &["drain", "b"]).ok(), "b drains\n");
    assert_eq!(cloud.nodes["b"].end().code(), Some(0), "{}", cloud.nodes["b"].err());
    let gone = through("b", &["ps"]).failed();
    assert!(gone.contains("no connection") && gone.contains("(SKY-402)"), "{gone}");
}

#[test]
fn what_is_held_back_is_said_and_given_to_others_when_somebody_says_so() {
    let (stage, etcd) = (Stage::new(), Etcd::start());
    let names = ["a", "b", "c", "d", "e"];
    let cloud = Cloud::start(&stage, &etcd, program_name("held"), LONG, &names);
    let here = |arguments: &[&str]| cloud.here(arguments);
    let ps = cloud.settled(&names, || here(&["ps", "--json"]));
    let leader = ps["cloud"]["leader"].as_str().expect("somebody leads");
    // Three of those that do not lead, so that the others need not wait for a leader.
    let lost: Vec<_> = names.into_iter().filter(|name| *name != leader).take(3).collect();
    let left: Vec<_> = names.into_iter().filter(|name| !lost.contains(name)).collect();
    for name in &lost {
        cloud.nodes[name].signal(Signal::KILL);
        cloud.nodes[name].end();
    }
    // As if their leases had ended in one moment.
    forget(&etcd, &cloud.program, &lost);
    let ps = wait_for("what is held back", || {
        let ps = parsed(here(&["ps", "--json"]));
        if ps["cloud"]["degraded"] == json!(lost) { Ok(ps) } else { Err(ps) }
    });
    for name in &lost {
        assert_eq!(states(&ps)[*name], "held-back", "{ps:#}");
    }
    let text = here(&["ps"]).ok();
    assert!(text.contains("degraded (SKY-307)") && text.contains("`skybox go-on`"), "{text}");
    let keys = module(&ps, "berth")["serving"].clone();
    assert_eq!(keys, json!(left), "those that are left have what they had: {ps:#}");
    assert_eq!(here(&["go-on"]).ok(), format!("others take over what {} had\n", lost.join(", ")));
    let ps = cloud.settled(&left, || here(&["ps", "--json"]));
    assert_eq!(ps["cloud"]["degraded"], json!([]), "{ps:#}");
    for ship in 0..32 {
        let (ship, from) = (format!("ship-{ship}"), left[ship % 2]);
        here(&["call", "berth.moor", "[1]", "--key", &ship, "--from", from]).ok();
    }
}

#[test]
fn while_the_store_is_away_nodes_are_shown_and_nothing_is_ordered() {
    let (stage, mut etcd) = (Stage::new(), Etcd::start());
    let cloud = Cloud::start(&stage, &etcd, program_name("away"), SHORT, &["a", "b"]);
    let here = |arguments: &[&str]| cloud.here(arguments);
    cloud.settled(&["a", "b"], || here(&["ps", "--json"]));
    (0..3).for_each(|member| etcd.kill(member));
    let ps = wait_for("that the store is away", || {
        let ps = parsed(here(&["ps", "--json"]));
        if ps["cloud"]["trouble"].is_string() { Ok(ps) } else { Err(ps) }
    });
    assert_eq!(
        states(&ps),
        BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), "ready".to_owned()))),
        "{ps:#}"
    );
    assert_eq!(module(&ps, "pilot")["serving"].as_array().map(Vec::len), Some(1), "where it lives: {ps:#}");
    let text = cloud.nodes["a"].skybox(&["ps"]).ok();
    assert!(text.contains("the plan is not known, since the store is not there"), "{text}");
    let refused = here(&["move", "pilot", "b"]).failed();
    assert!(refused.contains("the store of the cloud is not there"), "{refused}");
}

#[test]
fn people_say_how_many_there_are_and_what_may_move() {
    let (stage, etcd) = (Stage::new(), Etcd::start());
    let cloud = Cloud::start(&stage, &etcd, program_name("said"), SHORT, &["a", "b", "c"]);
    let here = |arguments: &[&str]| cloud.here(arguments);
    cloud.settled(&["a", "b", "c"], || here(&["ps", "--json"]));
    let pilots = |count: usize| {
        wait_for(&format!("{count} pilots"), || {
            let ps = parsed(here(&["ps", "--json"]));
            let serving = module(&ps, "pilot")["serving"].as_array().map(Vec::len);
            if serving == Some(count) { Ok(ps) } else { Err(ps) }
        })
    };
    assert_eq!(here(&["cordon", "c"]).ok(), "c gets nothing more, and keeps what it has\n");
    let had = module(&pilots(1), "pilot")["serving"] == json!(["c"]);
    assert_eq!(here(&["scale", "pilot", "3"]).ok(), "there are 3 of pilot, where there is room\n");
    // Where it is already, it stays.
    let ps = pilots(if had { 3 } else { 2 });
    let explained = parsed(here(&["explain", "pilot", "--json"]));
    let instances = explained["plan"]["instances"].as_array().map(Vec::len);
    assert_eq!(instances, module(&ps, "pilot")["serving"].as_array().map(Vec::len), "{explained:#}");
    if !had {
        let text = here(&["explain", "pilot"]).ok();
        assert!(text.contains("Why there") && text.contains("not on c: "), "{text}");
    }
    assert_eq!(here(&["uncordon", "c"]).ok(), "c is given things again\n");
    pilots(3);
    assert_eq!(here(&["scale", "pilot"]).ok(), "there are as many of pilot as the program says\n");
    pilots(1);
    assert_eq!(here(&["freeze"]).ok(), "nothing moves but what has lost its node, or must leave it\n");
    assert_eq!(here(&["unfreeze"]).ok(), "things move again\n");
    let wrong = here(&["scale", "berth", "2"]).failed();
    assert!(wrong.contains("`berth` is keyed") && wrong.contains("SKY-401"), "{wrong}");
    let wrong = here(&["cordon", "z"]).failed();
    assert!(wrong.contains("there is no node `z`; there are a, b, c"), "{wrong}");
    for (node, left) in [("a", 2), ("b", 1)] {
        here(&["drain", node]).ok();
        wait_for(&format!("{node} gone"), || {
            let ps = parsed(here(&["ps", "--json"]));
            if states(&ps).len() == left { Ok(()) } else { Err(ps) }
        });
    }
    let wrong = here(&["drain", "c"]).failed();
    assert!(wrong.contains("c is the only node that does not drain: nobody would take over"), "{wrong}");
}
