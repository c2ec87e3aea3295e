//! `[node.labels]`: what annotations can ask of a node (`on = "arch=arm64"`), and spread over (`spread = "zone"`).

use std::collections::BTreeMap;

/// Bytes of a name or a value: the longest name that a host can have.
const BYTES_MAX: usize = 253;
/// Labels of one node that are written: every node tells every other.
const LABELS_MAX: usize = 64;

/// What a node knows of itself: `arch` as container engines write it, `os`, and `host`, which in a container is the name
/// of that.
pub(super) fn known_by_itself() -> BTreeMap<String, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    let known = [("arch", arch), ("os", std::env::consts::OS), ("host", &host)];
    let known = known.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(super) fn set(labels: &mut BTreeMap<String, String>, name: &str, value: &str) -> Result<(), String> {
    check("the name of a label", name)?;
    check(&format!("the value of the label `{name}`"), value)?;
    if labels.len() >= LABELS_MAX && !labels.contains_key(name) {
        return Err(format!("a node has {LABELS_MAX} labels at most"));
    }
    labels.insert(name.to_owned(), value.to_owned());
    Ok(())
}

fn check(what: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.len() > BYTES_MAX {
        return Err(format!("{what} has {BYTES_MAX} characters at most, not {}", text.len()));
    }
    if !text.chars().all(is_allowed) {
        return Err(format!("{what} has letters, digits and `-_./`, not `{text}`"));
    }
    Ok(())
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./".contains(c)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(lines: &str) -> Result<Config, String> {
        let parsed = Config::parse(Path::new("skybox.toml"), &format!("[node.labels]\n{lines}\n"));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_comes_before_what_is_known() {
        let known = Config::default().node_labels();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["arch", "host", "os"]);
        assert_eq!(known["os"], std::env::consts::OS);
        assert!(!known["arch"].contains("x86"), "{known:?}");
        let kernel =
            std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux tells the name of the host");
        assert_eq!(known["host"], kernel.trim());

        let lines = "zone = \"a\"\nrack = 12\nhost = \"h1\"\n\"topology.kubernetes.io/zone\" = \"eu-west_1\"";
        let mut config = parse(lines).expect("well formed");
        config.set_variable("SKYBOX_NODE__LABELS__ZONE", "b".to_owned()).expect("a known variable");
        let labels = config.node_labels();
        assert_eq!(
            (labels["zone"].as_str(), labels["rack"].as_str(), labels["host"].as_str()),
            ("b", "12", "h1")
        );
        assert_eq!((labels["topology.kubernetes.io/zone"].as_str(), labels.len()), ("eu-west_1", 6));
        config.set_variable("SKYBOX_NODE__LABELS", "Disk-Type=ssd, zone=c".to_owned()).expect("whole");
        assert_eq!((&*config.node_labels()["Disk-Type"], &*config.node_labels()["zone"]), ("ssd", "c"));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let long = format!("a = \"{}\"", "x".repeat(254));
        let wrong = [
            ("\"zone \" = \"a\"", "the name of a label has letters, digits and `-_./`, not `zone `"),
            ("\"\" = \"a\"", "the name of a label is empty"),
            ("zone = \"a=b\"", "the value of the label `zone` has letters, digits and `-_./`, not `a=b`"),
            ("zone = \"é\"", "the value of the label `zone` has letters, digits and `-_./`, not `é`"),
            ("zone = \"\"", "the value of the label `zone` is empty"),
            (&long, "the value of the label `a` has 253 characters at most, not 254"),
            ("zone = [1]", "a text or a number is expected here"),
        ];
        for (line, message) in wrong {
            assert_eq!(parse(line).expect_err(line), format!("skybox.toml:2: {message}"));
        }
        let many: Vec<_> = (0..=LABELS_MAX).map(|i| format!("l{i:02} = {i}")).collect();
        let error = parse(&many.join("\n")).expect_err("one too many");
        assert_eq!(error, "skybox.toml:66: a node has 64 labels at most");
        let mut config = Config::default();
        for (name, value) in [("SKYBOX_NODE__LABELS__ZONE", "a b"), ("SKYBOX_NODE__LABELS", "zone")] {
            let error = config.set_variable(name, value.to_owned()).expect_err(name).to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }
}
