//! Words that must not appear: everywhere, or in crates that are promised to do without.

use std::path::Path;

use super::Finding;
use super::source::{Source, has_word};

/// Words that are forbidden below a directory.
struct Rule {
    /// Where; everywhere if empty.
    below: &'static [&'static str],
    /// Where not.
    except: &'static [&'static str],
    words: &'static [&'static str],
    /// Why, and what to do instead.
    fix: &'static str,
}

/// Crates that decide and are given everything they need.
const PURE: &[&str] = &["crates/skybox-core/src", "crates/skybox-wire/src", "crates/skybox-plan/src"];

const RULES: &[Rule] = &[
    Rule {
        below: PURE,
        except: &[],
        words: &["tokio", "std::net", "std::fs", "std::os", "std::thread", "std::process"],
        fix: "core, wire and plan do no I/O: do it in skybox-node and hand in the result",
    },
    Rule {
        below: PURE,
        except: &[],
        words: &["Instant::now", "SystemTime::now", "UNIX_EPOCH", "std::env"],
        fix: "core, wire and plan read no clock and no environment: take the value as an argument",
    },
    Rule {
        below: PURE,
        except: &[],
        words: &["rand::", "RandomState", "getrandom"],
        fix: "core, wire and plan draw no randomness: take it as an argument",
    },
    Rule {
        below: &["crates"],
        except: &["crates/skybox-cloud/src/store"],
        words: &["etcd_client"],
        fix: "etcd's types stay in skybox-cloud's store: translate them there",
    },
    Rule {
        below: &["crates"],
        except: &["crates/skybox-cloud/src/platform"],
        words: &["k8s_openapi", "kube::"],
        fix: "Kubernetes' types stay in skybox-cloud's platform: translate them there",
    },
    Rule {
        below: &[
            "crates/skybox-wire/src",
            "crates/skybox-plan/src",
            "crates/skybox-node/src",
            "crates/skybox-cloud/src",
        ],
        except: &[],
        words: &["use anyhow", "anyhow::Context", "anyhow::Result", "anyhow::bail", "anyhow::anyhow"],
        fix: "anyhow is for the command line and xtask: write one error type for the operation",
    },
    Rule {
        below: &["crates"],
        except: &["crates/skybox-macros/src"],
        words: &[".unwrap()"],
        fix: "return an error where bytes, files, peers or users come in; elsewhere `expect` why it cannot fail",
    },
];

/// Promises in comments, which are kept in issues instead.
const PROMISES: [&str; 4] = ["TODO", "FIXME", "XXX", "not yet implemented"];

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let below = |paths: &[&str]| paths.iter().any(|path| source.path.starts_with(Path::new(path)));
    for rule in RULES.iter().filter(|rule| below(rule.below) && !below(rule.except)) {
        for (line, text) in source.code() {
            for word in rule.words.iter().filter(|word| has_word(text, word)) {
                findings.push(source.finding(line, format!("`{word}`: {}", rule.fix)));
            }
        }
    }
    for (at, text) in source.lines.iter().enumerate() {
        for promise in PROMISES.iter().filter(|promise| has_word(text, promise)) {
            findings.push(
                source.finding(
                    at + 1,
                    format!("`{promise}`: do it now, or write an issue and delete the line"),
                ),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(Path::new(path), text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pure_crates_are_given_what_they_need() {
        let plan = "crates/skybox-plan/src/spread.rs";
        assert_eq!(
            found(plan, "fn f() {\n    let now = std::time::Instant::now();\n}\n"),
            [format!(
                "{plan}:2: `Instant::now`: core, wire and plan read no clock and no environment: take the value as an argument"
            )]
        );
        assert_eq!(found(plan, "use tokio::time;\n").len(), 1);
        for fine in
            ["// as tokio does\n", "use stokio::x;\n", "#[cfg(test)]\nmod tests {\n    Instant::now();\n}\n"]
        {
            assert!(found(plan, fine).is_empty(), "{fine}");
        }
        assert!(found("crates/skybox-node/src/conn.rs", "use tokio::time;\n").is_empty());
    }

    #[test]
    fn no_unwrap_outside_of_tests_and_no_promises_anywhere() {
        assert_eq!(found("crates/skybox-node/src/conn.rs", "x.unwrap();\nx.unwrap_or(1);\n").len(), 1);
        assert!(found("crates/skybox-node/tests/conn.rs", "x.unwrap();\n").is_empty());
        let promise = format!("// {}: later\n", "TODO");
        assert_eq!(found("examples/a/src/main.rs", &promise).len(), 1);
    }
}
