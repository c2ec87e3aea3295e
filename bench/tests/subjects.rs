//! Every subject of the call bench answers, from a server process of its own where it is remote.

use std::process::Command;

#[test]
fn every_subject_of_the_call_bench_answers() {
    let bench = Command::new(env!("CARGO_BIN_EXE_skybox-bench")).args(["call", "--check", "--json"]).output();
    let bench = bench.expect("the bench has been built for this test");
    let (out, err) = (String::from_utf8_lossy(&bench.stdout), String::from_utf8_lossy(&bench.stderr));
    assert!(bench.status.success(), "{err}");
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
        assert!(out.contains(&format!("\"{subject}\"")), "{subject}: {out}");
    }
}
