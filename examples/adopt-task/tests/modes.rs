//! The tests of `examples/adopt`, as they are, against this step of it: in one process, then strict, then as three
//! nodes.

#[path = "../../adopt/tests/http.rs"]
mod http;

use std::env;
use std::process::Command;

#[test]
fn strict() {
    in_mode(&[("SKYBOX_STRICT", "1")]);
}

/// Hashes run wherever they are placed. One node answers requests: each still counts logins for itself.
#[test]
fn three_nodes() {
    in_mode(&[("SKYBOX_NODES", "3"), ("SKYBOX_LISTENERS__HTTP__NODES", "1")]);
}

/// Runs all of [`http`] again, in a process with these settings; the programs that it starts inherit them.
fn in_mode(settings: &[(&str, &str)]) {
    let mut again = Command::new(env::current_exe().expect("this test's own file"));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("SKYBOX_") {
            again.env_remove(name);
        }
    }
    let status = again.arg("http::").envs(settings.iter().copied()).status();
    let status = status.expect("this test can be started again");
    assert!(status.success(), "{settings:?}: {status}");
}
