//! Who answered: the process this code runs in, by a name people can tell apart.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The environment variables that name this process's node: where a parent has started it, and as one of a cloud.
const NODE_VARIABLES: [&str; 2] = ["SKYBOX_NODE", "SKYBOX_NODE__NAME"];

/// The name of a process that nobody named: everything runs inside it.
const UNNAMED: &str = "inline";

/// One run of one node; after a restart the name is the same and the pid is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    pub node: String,
    pub pid: u32,
}

impl Process {
    /// The process that runs this code.
    pub fn here() -> &'static Process {
        static HERE: OnceLock<Process> = OnceLock::new();
        HERE.get_or_init(|| Process {
            node: name(NODE_VARIABLES.iter().find_map(|variable| std::env::var(variable).ok())),
            pid: std::process::id(),
        })
    }
}

/// A name that is safe in an HTTP header and in a JPEG's comment.
fn name(given: Option<String>) -> String {
    let kept: String = given
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    if kept.is_empty() { UNNAMED.to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_safe_in_headers() {
        assert_eq!(name(None), "inline");
        assert_eq!(name(Some(String::new())), "inline");
        assert_eq!(name(Some("node-4".into())), "node-4");
        assert_eq!(name(Some("node 4\r\nx: y".into())), "node4xy");
    }
}
