//! A change in an implementation compiles no caller anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

/// Builds the program, and says of each crate of this example whether cargo took what it had.
fn fresh() -> BTreeMap<String, bool> {
    let profile =
        Path::new(env!("CARGO_BIN_EXE_payments-shop")).parent().expect("a program is in a directory");
    let target = profile.parent().expect("a profile is in the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "payments-shop",
        "--message-format",
        "json",
        "--target-dir",
    ]);
    cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let artifacts = messages
        .map(|line| serde_json::from_slice::<Value>(line).expect("cargo writes JSON"))
        .filter(|message| message["reason"] == "compiler-artifact");
    let crates = artifacts.filter_map(|artifact| {
        let name = artifact["target"]["name"].as_str()?.replace('-', "_");
        Some((name, artifact["fresh"].as_bool()?))
    });
    crates.filter(|(name, _)| name.starts_with("payments_")).collect()
}

#[test]
fn a_change_in_an_implementation_compiles_no_caller_anew() {
    let fresh_ones =
        |expect: [(&str, bool); 4]| BTreeMap::from(expect.map(|(name, is)| (name.to_owned(), is)));
    fresh();
    let all = [
        ("payments_api", true),
        ("payments_checkout", true),
        ("payments_stripe", true),
        ("payments_shop", true),
    ];
    assert_eq!(fresh(), fresh_ones(all), "nothing has changed");
    let stripe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../payments-stripe/src/lib.rs");
    let touched =
        File::options().append(true).open(&stripe).and_then(|file| file.set_modified(SystemTime::now()));
    touched.expect("the tree can be written to");
    let changed = [
        ("payments_api", true),
        ("payments_checkout", true),
        ("payments_stripe", false),
        ("payments_shop", false),
    ];
    assert_eq!(fresh(), fresh_ones(changed), "an implementation has changed");
}
