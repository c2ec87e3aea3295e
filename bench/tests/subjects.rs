//! Every subject of a bench answers, under the names that its page and its records have.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a bench prints: the name of each subject with that of each of its metrics.
fn measured(arguments: &[&str]) -> BTreeSet<(String, String)> {
    let bench = Command::new(env!("CARGO_BIN_EXE_skybox-bench")).args(arguments).arg("--json").output();
    let bench = bench.expect("the bench has been built for this test");
    let (out, err) = (String::from_utf8_lossy(&bench.stdout), String::from_utf8_lossy(&bench.stderr));
    assert!(bench.status.success(), "{err}");
    let of_line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line["median"].is_f64() && line["unit"].is_string(), "it has a value: {line}");
        assert_eq!(line["bench"], arguments[0], "{line}");
        let text = |name: &str| line[name].as_str().expect("it has a name").to_owned();
        (text("subject"), text("metric"))
    };
    out.lines().map(of_line).collect()
}

/// All of these metrics, of each of these subjects.
fn each(subjects: &[&str], metrics: &[String]) -> BTreeSet<(String, String)> {
    let of = |subject: &&str| metrics.iter().map(|metric| ((*subject).to_owned(), metric.clone())).collect();
    subjects.iter().flat_map(|subject| -> Vec<_> { of(subject) }).collect()
}

#[test]
fn every_subject_of_the_call_bench_answers() {
    let measured = measured(&["call", "--check"]);
    for subject in [
        "direct",
        "skybox-local",
        "skybox-unix",
        "skybox-tcp",
        "skybox-tls",
        "mux-unix",
        "mux-tcp",
        "mux-tls",
        "tarpc",
        "tonic",
        "tonic-tls",
    ] {
        assert!(measured.iter().any(|(known, _)| known == subject), "{subject}: {measured:?}");
    }
}

#[test]
fn every_subject_of_the_actors_bench_makes_calls_crashes_and_stops() {
    let measured = measured(&["actors", "--rounds", "1", "--instances", "100"]);
    let mut subjects = vec!["skybox", "tokio-task", "ractor", "kameo"];
    let mut escript = Command::new("escript");
    // Without a script it complains and ends. Where there is none, the bench leaves Erlang out.
    if escript.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        subjects.push("erlang");
    }
    let metrics = ["spawn_per_s", "bytes_idle", "call_ns", "crash_to_answer_us", "stop_all_ms"];
    assert_eq!(measured, each(&subjects, &metrics.map(str::to_owned)));
}

#[test]
fn the_overload_bench_says_what_becomes_of_each_load() {
    let measured = measured(&["overload", "--rounds", "1", "--lasts-ms", "100"]);
    let mut metrics = ["goodput_ratio", "refusal_p50_us", "memory_growth_mib"].map(str::to_owned).to_vec();
    for load in ["0.5", "0.8", "1", "1.5", "2", "4"] {
        metrics.extend(["goodput", "late", "refused"].map(|what| format!("{what}_at_{load}")));
    }
    assert_eq!(measured, each(&["skybox"], &metrics));
}
