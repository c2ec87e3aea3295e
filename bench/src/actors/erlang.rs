//! Erlang: the same work as a script, each instance a `gen_server`, where `escript` is on the PATH.

use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const NAME: &str = "erlang";

/// Whether it can be measured on this machine.
pub(super) fn is_there() -> bool {
    let mut escript = Command::new("escript");
    // Without a script it complains and ends.
    escript.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    escript.status().is_ok()
}

/// What measures it, and says so as the other subjects do.
pub(super) fn command(instances: u64) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors/actors.escript");
    let mut escript = Command::new("escript");
    escript.arg(script).arg(instances.to_string());
    escript
}
