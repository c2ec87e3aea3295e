//! Which implementation the program has is a matter of its configuration: the real program, each time.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Buys for 185 cents, with this in `skybox.toml` and in the environment. What it printed, or why it did not start.
fn buy(toml: &str, variables: &[(&str, &str)]) -> Result<String, String> {
    let directory = directory();
    std::fs::write(directory.join("skybox.toml"), toml).expect("a directory for tests can be written to");
    run(&directory, variables)
}

fn run(directory: &Path, variables: &[(&str, &str)]) -> Result<String, String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_payments-shop"));
    program.args(["3x30", "1x95"]).current_dir(directory).envs(variables.iter().copied());
    let output = program.output().expect("the program was built for this test");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A directory that no other test has.
fn directory() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("payments-{}-{count}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("cargo's directory for tests can be written to");
    directory
}

#[test]
fn the_file_chooses_and_the_environment_overrides_it() {
    let stripe = Ok("paid 185 cents for order-1: ch_1\n".to_owned());
    let on_account = Ok("paid 185 cents for order-1: on account\n".to_owned());
    // As it stands in the tree.
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(run(own, &[]), stripe);
    assert_eq!(run(own, &[("SKYBOX_STRICT", "1")]), stripe);
    assert_eq!(run(own, &[("SKYBOX_MODULES__PAYMENTS__USE", "on_account")]), on_account);
    assert_eq!(buy("[modules.payments]\nuse = \"on_account\"\nreplicas = 2\n", &[]), on_account);
}

#[test]
fn a_choice_that_cannot_be_made_is_explained() {
    let refused = |toml: &str| buy(toml, &[]).expect_err(toml);
    let several = refused("");
    assert!(several.contains("the interface `payments` has several implementations"), "{several}");
    for candidate in ["on_account (payments_shop::on_account)", "stripe (payments_stripe)"] {
        assert!(several.contains(candidate), "{several}");
    }
    let unknown = refused("[modules.payments]\nreplicas = 2\nuse = \"paypal\"\n");
    let words = "skybox.toml:3: `payments` has no implementation `paypal`; it has on_account, stripe";
    assert!(unknown.contains(words), "{unknown}");
    let misplaced = refused("[modules.stripe]\nreplicas = 2\n");
    assert!(misplaced.contains("skybox.toml:2: `stripe` is an implementation of `payments`"), "{misplaced}");
}
