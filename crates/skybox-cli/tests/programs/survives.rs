//! What calls and connections notice when a node dies, drains, or a module moves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::http::{self, Answer, Http};
use crate::stage::{Program, Stage, send, wait_for};

/// The page is served by node-1 alone, so that a test can kill the others without cutting its own connections.
const SERVED_BY_ONE: &str = "[listeners.http]\naddress = \"127.0.0.1:0\"\nnodes = 1\n";

#[test]
fn a_killed_node_resets_its_own_connections_and_no_others() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "3"]);
    program.ready(3);
    let address = program.address();
    let mut connections: BTreeMap<String, Vec<Http>> = BTreeMap::new();
    wait_for("two connections to each node", || {
        let mut connection = Http::connect(address).expect("a connection");
        let who = connection.get("/").expect("an answer").json();
        connections.entry(who["node"].as_str().expect("a name").to_owned()).or_default().push(connection);
        let counts: Vec<_> = connections.values().map(Vec::len).collect();
        if counts.len() == 3 && counts.iter().all(|n| *n >= 2) { Ok(()) } else { Err(counts) }
    });
    let before = program.process_of("node-2");
    send(before, Signal::KILL);
    wait_for("its end", || if stage.processes().contains(&before) { Err("alive") } else { Ok(()) });
    assert_eq!(http::get(address, "/").expect("the next connect succeeds").status, 200);
    for (node, connections) in &mut connections {
        for connection in connections {
            match (connection.get("/"), node.as_str()) {
                (Err(_), "node-2") => {}
                (Ok(answer), other) if other != "node-2" => assert_eq!(answer.json()["node"], *node),
                (outcome, _) => panic!("a connection to {node}: {outcome:?}"),
            }
        }
    }
    let ps = program.ready(3);
    let again = program.process_of("node-2");
    assert_ne!(again, before, "{ps}");
    wait_for("an answer of the new node-2", || {
        let who = http::get(address, "/").expect("an answer").json();
        if who["process"] == again { Ok(()) } else { Err(who) }
    });
    assert_eq!(stage.store().iter().filter(|line| line.starts_with("migrated")).count(), 1);
}

#[test]
fn calls_in_flight_are_lost_and_run_once() {
    let stage = Stage::new();
    stage.config(SERVED_BY_ONE);
    let program = stage.run(&["--nodes", "3", "--place", "warehouse=node-2"]);
    program.ready(3);
    let address = program.address();
    let mut waiting: Vec<_> = (0..20).map(|n| order(address, &format!("held{n}"), 600_000)).collect();
    (0..20).for_each(|n| stage.packs(&format!("held{n}")));
    send(program.process_of("node-2"), Signal::KILL);
    for connection in &mut waiting {
        let answer = connection.answer().expect("the page's own node lives");
        let problem = answer.json();
        assert_eq!((answer.status, problem["kind"].as_str()), (502, Some("lost")), "{answer:?}");
        assert_eq!(problem["ran"], "it may have run");
    }
    // The warehouse is there again, where a node lives.
    let answer = order(address, "next", 0).answer().expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    packed_once(&stage);
    program.ready(3);
    let graph = program.json(&["graph"]);
    let edges = graph["edges"].as_array().expect("a list");
    let lost: i64 = edges.iter().filter_map(|edge| edge["call_errors"]["lost"].as_i64()).sum();
    assert_eq!(lost, 20, "{graph}");
}

fn order(address: SocketAddr, order: &str, ms: u32) -> Http {
    let mut connection = Http::connect(address).expect("a connection");
    connection.send("POST", &format!("/orders/{order}?ms={ms}")).expect("sent");
    connection
}

/// No order was begun twice.
fn packed_once(stage: &Stage) {
    let mut orders = BTreeSet::new();
    for line in stage.store().into_iter().filter(|line| line.starts_with("packing")) {
        assert!(orders.insert(line.clone()), "twice: {line}");
    }
}

/// Clients that ask all the time, each over one connection.
struct Clients<'a> {
    stop: AtomicBool,
    count: AtomicU32,
    address: SocketAddr,
    path: &'a (dyn Fn(u32) -> (&'static str, String) + Sync),
}

impl Clients<'_> {
    fn ask(&self, seen: &(dyn Fn(Answer) + Sync)) {
        let mut connection = Http::connect(self.address).expect("a connection");
        while !self.stop.load(Ordering::Relaxed) {
            let (method, path) = (self.path)(self.count.fetch_add(1, Ordering::Relaxed));
            connection.send(method, &path).expect("the page's own node lives");
            seen(connection.answer().expect("the page's own node lives"));
        }
    }

    /// Waits until so many further requests have begun.
    fn more(&self, n: u32) {
        let target = self.count.load(Ordering::Relaxed) + n;
        wait_for("further requests", || {
            let count = self.count.load(Ordering::Relaxed);
            if count >= target { Ok(()) } else { Err(count) }
        });
    }
}

/// Lets four clients ask while something happens; every answer goes to `seen`.
fn under_load(
    program: &Program<'_>,
    path: &(dyn Fn(u32) -> (&'static str, String) + Sync),
    seen: &(dyn Fn(Answer) + Sync),
    happens: impl FnOnce(&Clients<'_>),
) {
    let clients =
        Clients { stop: AtomicBool::new(false), count: AtomicU32::new(0), address: program.address(), path };
    thread::scope(|scope| {
        let stop = StopAtEnd(&clients.stop);
        for _ in 0..4 {
            scope.spawn(|| clients.ask(seen));
        }
        happens(&clients);
        drop(stop);
    });
}

/// Also when the test fails: the clients' threads are joined.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn under_load_a_killed_callee_fails_calls_as_lost_or_unreachable_only() {
    let stage = Stage::new();
    stage.config(SERVED_BY_ONE);
    let program = stage.run(&["--nodes", "3", "--place", "warehouse=node-2,node-3"]);
    program.ready(3);
    let packed = AtomicU32::new(0);
    let seen = |answer: Answer| match answer.status {
        200 => drop(packed.fetch_add(1, Ordering::Relaxed)),
        _ => {
            let problem = answer.json();
            let known = [("lost", "it may have run"), ("unreachable", "it did not run")];
            let found =
                (problem["kind"].as_str().unwrap_or_default(), problem["ran"].as_str().unwrap_or_default());
            assert!(known.contains(&found), "{answer:?}");
        }
    };
    under_load(&program, &|n| ("POST", format!("/orders/load{n}?ms=1")), &seen, |clients| {
        for node in ["node-2", "node-3", "node-2"] {
            clients.more(100);
            let before = program.process_of(node);
            send(before, Signal::KILL);
            wait_for("its next life", || {
                let now = program.process_of(node);
                if now == before { Err(now) } else { Ok(()) }
            });
            program.ready(3);
        }
        clients.more(100);
    });
    packed_once(&stage);
    let begun = stage.store().iter().filter(|line| line.starts_with("packing")).count();
    assert!(begun >= packed.load(Ordering::Relaxed) as usize, "what was answered was begun");
}

#[test]
fn idempotent_calls_survive_kills_without_a_failure() {
    let stage = Stage::new();
    stage.config(SERVED_BY_ONE);
    let program = stage.run(&["--nodes", "3", "--place", "catalog=node-2"]);
    program.ready(3);
    let seen = |answer: Answer| assert_eq!(answer.status, 200, "{answer:?}");
    under_load(&program, &|_| ("GET", "/items/pear".to_owned()), &seen, |clients| {
        clients.more(100);
        program.skybox(&["kill", "node-2"]).ok();
        program.ready(3);
        clients.more(100);
    });
}

#[test]
fn a_move_fails_no_call() {
    let stage = Stage::new();
    stage.config(SERVED_BY_ONE);
    let program = stage.run(&["--nodes", "3"]);
    program.ready(3);
    let path = |n: u32| match n % 4 {
        0 => ("GET", "/items/pear".to_owned()),
        1 => ("POST", format!("/orders/moved{n}?ms=2")),
        2 => ("POST", format!("/carts/customer{}/plum", n % 50)),
        _ => ("GET", "/postage/30".to_owned()),
    };
    let seen = |answer: Answer| assert_eq!(answer.status, 200, "{answer:?}");
    under_load(&program, &path, &seen, |clients| {
        for nodes in ["node-1", "node-2", "node-3", "node-1,node-2", "node-2,node-3", "node-3"] {
            for module in ["catalog", "warehouse", "cart", "with_postage"] {
                program.skybox(&["move", module, nodes]).ok();
                clients.more(20);
            }
        }
        for module in ["catalog", "warehouse", "cart", "with_postage"] {
            program.skybox(&["move", module, "--anywhere"]).ok();
        }
        clients.more(100);
    });
    packed_once(&stage);
    let ps = program.json(&["ps"]);
    assert!(
        ps["modules"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|module| module["pinned"] == serde_json::json!([])),
        "{ps}"
    );
}

#[test]
fn a_drained_node_hands_over_and_ends() {
    let stage = Stage::new();
    stage.config(SERVED_BY_ONE);
    let program = stage.run(&["--nodes", "3"]);
    program.ready(3);
    let path = |n: u32| match n % 3 {
        0 => ("GET", "/items/pear".to_owned()),
        1 => ("POST", format!("/orders/drained{n}?ms=2")),
        _ => ("POST", format!("/carts/customer{}/plum", n % 50)),
    };
    let seen = |answer: Answer| assert_eq!(answer.status, 200, "{answer:?}");
    under_load(&program, &path, &seen, |clients| {
        for (node, left) in [("node-3", 2), ("node-2", 1)] {
            clients.more(50);
            let process = program.process_of(node);
            assert_eq!(
                program.skybox(&["drain", node]).ok(),
                format!("{node} has handed everything over and ended\n")
            );
            assert!(!stage.processes().contains(&process));
            program.ready(left);
        }
        clients.more(50);
    });
    packed_once(&stage);
}
