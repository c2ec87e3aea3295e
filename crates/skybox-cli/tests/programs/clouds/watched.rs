//! What a node of a cloud says of itself to whoever watches over it: whether it is ready, and how it stands to the plan.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Cloud, LONG, SHORT, module, node_in, parsed, program_name};
use crate::etcd::Etcd;
use crate::http;
use crate::stage::{Ended, Program, Stage, harbour, wait_for};

/// Where a node has its probes and figures.
fn admin(node: &Program<'_>) -> SocketAddr {
    wait_for("the admin address", || {
        let log = node.err();
        let told = log.lines().find_map(|line| line.split("admin: http://").nth(1)?.trim().parse().ok());
        told.ok_or(log)
    })
}

fn metrics(at: SocketAddr) -> String {
    http::get(at, "/metrics").expect("an answer").body
}

/// The value of a metric on a line that begins so.
fn value(text: &str, start: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(start)?.rsplit(' ').next()?.parse().ok())
}

/// Every metric of which a rule of `deploy/alerts.yaml` asks.
fn asked() -> Vec<String> {
    let rules = include_str!("../../../../../deploy/alerts.yaml");
    let exprs = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let words = exprs.flat_map(|expr| expr.split(|char: char| !(char.is_ascii_lowercase() || char == '_')));
    words
        .filter(|word| word.starts_with("skybox_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn how_nodes_stand_to_the_plan_is_among_their_figures() {
    let (stage, mut etcd) = (Stage::new(), Etcd::start());
    stage.config("[admin]\naddress = \"127.0.0.1:0\"\n");
    let cloud = Cloud::start(&stage, &etcd, program_name("figures"), SHORT, &["a", "b"]);
    let here = |arguments: &[&str]| cloud.here(arguments);
    let ps = cloud.settled(&["a", "b"], || here(&["ps", "--json"]));
    let leader = ps["cloud"]["leader"].as_str().expect("somebody leads").to_owned();
    let follower = if leader == "a" { "b" } else { "a" };
    let (of_leader, of_follower) = (admin(&cloud.nodes[&*leader]), admin(&cloud.nodes[follower]));
    let label = |metric: &str, node: &str| format!("{metric}{{node=\"{node}\"");
    let text = wait_for("renewals of the lease", || {
        let text = metrics(of_leader);
        let count = value(&text, &label("skybox_lease_renewal_seconds_count", &leader));
        if count >= Some(1.0) { Ok(text) } else { Err(text) }
    });
    for metric in asked() {
        assert!(text.contains(&format!("# TYPE {metric} ")), "a rule asks for {metric}: {text}");
    }
    for (metric, expected) in
        [("skybox_leads", 1.0), ("skybox_unplaced_modules", 0.0), ("skybox_held_back_nodes", 0.0)]
    {
        assert_eq!(value(&text, &label(metric, &leader)), Some(expected), "{metric}: {text}");
    }
    let theirs = metrics(of_follower);
    assert_eq!(value(&theirs, &label("skybox_leads", follower)), Some(0.0), "{theirs}");
    assert!(!theirs.contains("skybox_unplaced_modules{"), "it does not know: {theirs}");
    for (text, node) in [(&text, &*leader), (&theirs, follower)] {
        for metric in ["skybox_fence_closed", "skybox_fenced_shards"] {
            assert_eq!(value(text, &label(metric, node)), Some(0.0), "{metric}: {text}");
        }
        for metric in ["skybox_plan_age_seconds", "skybox_lease_age_seconds"] {
            let age = value(text, &label(metric, node)).expect("it is there");
            assert!((0.0..60.0).contains(&age), "{metric}: {text}");
        }
    }

    // More than there are nodes.
    here(&["scale", "pilot", "3"]).ok();
    wait_for("one without a place", || {
        let text = metrics(of_leader);
        let missing = value(&text, &format!("{},module=\"pilot\"", label("skybox_unplaced", &leader)));
        let modules = value(&text, &label("skybox_unplaced_modules", &leader));
        if (missing, modules) == (Some(1.0), Some(1.0)) { Ok(()) } else { Err(text) }
    });

    // Without etcd keys are fenced, and what is known gets older.
    (0..3).for_each(|member| etcd.kill(member));
    wait_for("shards that are fenced", || {
        let text = metrics(of_follower);
        let closed = value(&text, &label("skybox_fence_closed", follower)) == Some(1.0);
        let shards = value(&text, &label("skybox_fenced_shards", follower)) > Some(0.0);
        // A lease lasts 3 s.
        let late = value(&text, &label("skybox_lease_age_seconds", follower)) > Some(2.0);
        let old = value(&text, &label("skybox_plan_age_seconds", follower)) > Some(2.0);
        if closed && shards && late && old { Ok(()) } else { Err(text) }
    });
    assert_eq!(http::get(of_follower, "/readyz").expect("an answer").status, 200, "it is as good as any");
}

#[test]
fn a_node_is_ready_when_what_it_was_told_to_run_has_started() {
    let (stage, etcd) = (Stage::new(), Etcd::start());
    stage.config("[admin]\naddress = \"127.0.0.1:0\"\n");
    let program = program_name("ready");
    // The pilot of a node waits until there is a file, or fails.
    let start = |name: &str, pilot: &str| {
        let mut command = stage.command(harbour());
        command
            .env("SKYBOX_PROGRAM", &program)
            .env("SKYBOX_STORE", etcd.address())
            .env("SKYBOX_STORE__LEASE", LONG)
            .env("SKYBOX_MODULES__PILOT__REPLICAS", "per-node")
            .env("SKYBOX_MODULES__PILOT__MAX_RESTARTS", "1")
            .env("HARBOUR_PILOT", pilot)
            .env("SKYBOX_NODE__NAME", name);
        Program::start(&stage, &mut command)
    };
    let here =
        |arguments: &[&str]| -> Ended { stage.skybox(&[arguments, &["--program", &program]].concat()) };
    let readyz = |node: &Program<'_>| http::get(admin(node), "/readyz").expect("an answer").status;
    let is = |node: &Program<'_>, status: u16| {
        wait_for(&format!("/readyz {status}"), || match readyz(node) {
            got if got == status => Ok(()),
            got => Err((got, node.err())),
        });
    };
    let gate = |name: &str| format!("wait-for:{}", stage.directory().join(name).display());
    let a = start("a", &gate("first"));
    // Its `start` has returned and its other module serves, as the plan has it.
    wait_for("the tide", || {
        let ended = here(&["ps", "--json"]);
        let Ok(ps) = serde_json::from_str::<Value>(&ended.out) else { return Err(ended) };
        let serves = module(&ps, "tide")["serving"] == json!(["a"]);
        if serves && node_in(&ps, "a")["state"] == "ready" { Ok(()) } else { Err(ended) }
    });
    assert_eq!(readyz(&a), 503, "the pilot has not started: {}", a.err());
    stage.write("first", "open");
    is(&a, 200);
    let b = start("b", "fail");
    is(&b, 200);
    let ps = parsed(here(&["ps", "--json"]));
    assert_eq!(module(&ps, "pilot")["serving"], json!(["a"]), "what was given up is waited for no more");
    // What another one is to take over has not started there, so this one is still there while it leaves.
    let c = start("c", &gate("second"));
    wait_for("c", || {
        let ps = parsed(here(&["ps", "--json"]));
        if module(&ps, "tide")["serving"] == json!(["a", "b", "c"]) { Ok(()) } else { Err(ps) }
    });
    assert_eq!(readyz(&c), 503, "{}", c.err());
    a.signal(Signal::TERM);
    is(&a, 503);
    stage.write("second", "open");
    is(&c, 200);
    assert_eq!(a.end().code(), Some(0), "{}", a.err());
}
