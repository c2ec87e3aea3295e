//! Whether this machine's clock is set by somebody. What the kernel knows of that is asked for through the tools that
//! people would ask.

use std::process::{Command, Stdio};

use super::finding::{Findings, Level};

const ABOUT: &str = "clock";

pub(super) fn look(findings: &mut Findings) {
    let said = said_by("timedatectl", &["show", "--property", "NTPSynchronized", "--value"]);
    let chrony = || said_by("chronyc", &["-c", "tracking"]);
    match said.as_deref().map(str::trim) {
        Some("yes") => findings.add(Level::Ok, ABOUT, "it is kept in step by NTP"),
        Some("no") => findings.add(
            Level::Warning,
            ABOUT,
            "it is not kept in step by NTP: `timedatectl set-ntp true`, or install chrony. A clock that is far off has \
             certificates refused, and logs of several machines cannot be read side by side",
        ),
        _ => match chrony().as_deref().and_then(offset) {
            Some(offset) => findings.add(Level::Ok, ABOUT, format!("chrony keeps it within {offset:.6} s")),
            None => findings.add(
                Level::Warning,
                ABOUT,
                "nobody here says whether it is kept in step: neither timedatectl nor chronyc answers. In a container, look \
                 on its machine",
            ),
        },
    }
}

/// The fifth field of chrony's own table is how far the clock is off, in seconds.
fn offset(tracking: &str) -> Option<f64> {
    tracking.trim().split(',').nth(4)?.parse().ok().map(f64::abs)
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chrony_says_how_far_it_is_off() {
        let line = "A29FC87B,162.159.200.123,4,1732700000.1,-0.000012345,0.0000034,0.00002,1.2,0.01,0.05,0.01,0.002,64.2,Normal\n";
        assert_eq!(offset(line), Some(0.000012345));
        assert_eq!(offset("506 Cannot talk to daemon"), None);
    }
}
