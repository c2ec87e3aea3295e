//! What a person can do about a module.

use crate::ps::{Module, joined};

/// One thing each; nothing where all is well.
pub(super) fn advice(module: &Module) -> Vec<String> {
    let name = &module.module;
    let mut advice = Vec::new();
    if module.is_unplaced() {
        advice.push(format!(
            "start a node that meets what it needs, or change that need: in `[modules.{name}]` of skybox.toml, or where it \
             is written"
        ));
    }
    if module.keys_given_up().is_some() {
        advice.push(format!(
            "mend the cause, and then `skybox restart {name}`, after which the next call of each of these keys starts it; one \
             alone is tried anew with `--key`"
        ));
        return advice;
    }
    let left = joined(module.left().map(|left| left.node.as_str()));
    for given in &module.given_up {
        let key = given.up.key.as_ref().map(|key| format!(" --key {}", quoted(key))).unwrap_or_default();
        let restart = format!("`skybox restart {name}{key}`");
        advice.push(match given.up.failed_starts {
            0 => format!("{restart}: its `restart` does not allow another start otherwise"),
            _ if given.up.key.is_none() && !left.is_empty() => {
                format!("mend the cause, and then {restart}, which tries it anew on each node")
            }
            _ => format!("mend the cause, and then {restart}, which tries it anew on {}", given.node),
        });
    }
    if module.given_up.is_empty() && !left.is_empty() {
        advice.push(format!(
            "mend what keeps it from starting on {left}; `skybox restart {name}` allows it there again, and `skybox move \
             {name} NODE` puts it there"
        ));
    }
    // Given up, it does not crash any more.
    if module.given_up.is_empty() && module.has_crashed() {
        advice.push(format!(
            "see the last exits: {} since the start of the nodes, each with its reason, and `docs/exits.md` says what each \
             asks for",
            module.ended.values().sum::<u64>()
        ));
    }
    advice
}

/// As a shell takes it.
fn quoted(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    if is_bare { key.to_owned() } else { format!("'{}'", key.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_a_shell_takes_it() {
        let rows = [
            ("first", "first"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("{\"id\":1}", "'{\"id\":1}'"),
        ];
        for (key, text) in rows {
            assert_eq!(quoted(key), text);
        }
    }
}
