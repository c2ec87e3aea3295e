//! `[node]` and `[tls]`: how a node is reached by others, by what they know it, and what it may use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use skybox_core::{Needs, Settings, TextChain};
use toml::Spanned;
use toml::de::DeValue;

use super::{ConfigError, Place, Reader, labels};
use crate::capacity::{self, Capacity, Source};

/// The keys of `[node]`.
const KEYS: [&str; 9] =
    ["name", "listen", "advertise", "peers", "cpu", "memory", "gpu", "labels", "hold-warning"];

/// The keys of `[tls]`.
pub(super) const TLS_KEYS: [&str; 3] = ["authority", "certificate", "key"];

/// Stands for the node's name in the paths of `[tls]`, so that one file serves every node.
pub(super) const NODE_PLACEHOLDER: &str = "{node}";

/// `[node]`: addresses given by hand, what there is for its instances, and what it tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node's name, where its certificate does not say it.
    pub name: Option<String>,
    /// Where it listens for other nodes, and where that is written.
    pub listen: Option<(String, Place)>,
    /// Where other nodes of its cloud reach it, if that is not where it listens: behind a translation of addresses, or where
    /// a machine has several.
    pub advertise: Option<String>,
    /// Every node's address, by name. This node's own may be among them.
    pub peers: BTreeMap<String, String>,
    /// Its cores, in thousandths, and where that is written; what it finds when absent, as of `memory_bytes`.
    pub cpu_milli: Option<(u32, Place)>,
    /// Its memory.
    pub memory_bytes: Option<(u64, Place)>,
    /// Its GPUs, which are not looked for; none when absent.
    pub gpu: Option<u32>,
    /// Its labels, as far as they are written: [`super::Config::node_labels`] has all.
    pub labels: BTreeMap<String, String>,
    /// When methods that hold async threads are named.
    pub hold_warning: HoldWarning,
}

/// After how long a method that holds an async thread is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldWarning {
    /// After 100 ms.
    #[default]
    Usual,
    /// After this long.
    After(Duration),
    /// Nobody looks.
    Off,
}

impl HoldWarning {
    pub(crate) fn limit(self, usual: Duration) -> Option<Duration> {
        match self {
            HoldWarning::Usual => Some(usual),
            HoldWarning::After(limit) => Some(limit),
            HoldWarning::Off => None,
        }
    }

    fn parse(text: &str) -> Option<HoldWarning> {
        if text == "off" {
            return Some(HoldWarning::Off);
        }
        skybox_core::parse_duration(text).filter(|limit| !limit.is_zero()).map(HoldWarning::After)
    }
}

/// The files of `[tls]`, in PEM. Others may replace them at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are trusted: one or more certificates.
    pub authority: PathBuf,
    /// This process's certificate, followed by those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// The files of one node: `{node}` in a path stands for its name.
    pub fn of_node(&self, node: &str) -> TlsFiles {
        let fill = |path: &PathBuf| PathBuf::from(path.to_string_lossy().replace(NODE_PLACEHOLDER, node));
        TlsFiles {
            authority: fill(&self.authority),
            certificate: fill(&self.certificate),
            key: fill(&self.key),
        }
    }

    /// Whether the paths depend on the node's name.
    pub fn needs_name(&self) -> bool {
        self.of_node("") != *self
    }
}

impl NodeConfig {
    pub(super) fn set(&mut self, key: &str, value: String, place: Place) -> Result<(), String> {
        match key {
            "name" => self.name = Some(value),
            "listen" => self.listen = Some((value, place)),
            "advertise" => match value.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                    self.advertise = Some(value);
                }
                _ => return Err(format!("`advertise` takes HOST:PORT, not `{value}`")),
            },
            "peers" => {
                for peer in value.split(',') {
                    let (name, address) = peer.split_once('=').ok_or_else(|| {
                        format!("`peers` takes NAME=HOST:PORT,NAME=HOST:PORT, not `{value}`")
                    })?;
                    self.peers.insert(name.trim().to_owned(), address.trim().to_owned());
                }
            }
            "cpu" | "memory" | "gpu" => {
                // As the annotations of what is to fit.
                let mut needs = Settings::of(&Needs::NONE);
                needs.set(key, &value).map_err(|error| TextChain::of(&error).joined())?;
                self.cpu_milli =
                    needs.cpu_milli.map(|milli| (milli, place.clone())).or(self.cpu_milli.take());
                self.memory_bytes =
                    needs.memory_bytes.map(|bytes| (bytes, place)).or(self.memory_bytes.take());
                self.gpu = needs.gpu.or(self.gpu);
            }
            "labels" => {
                for label in value.split(',') {
                    let (name, value) = label
                        .split_once('=')
                        .ok_or_else(|| format!("`labels` takes NAME=VALUE,NAME=VALUE, not `{value}`"))?;
                    labels::set(&mut self.labels, name.trim(), value.trim())?;
                }
            }
            "hold-warning" | "hold_warning" => {
                let takes = "takes a duration such as \"250ms\", or \"off\"";
                let wrong = || format!("`hold-warning` {takes}, not `{value}`");
                self.hold_warning = HoldWarning::parse(&value).ok_or_else(wrong)?;
            }
            _ => return Err(format!("there is no key `{key}`; the keys are {}", KEYS.join(", "))),
        }
        Ok(())
    }

    /// What there is, unless it is written otherwise.
    pub(super) fn capacity(&self) -> Capacity {
        let mut capacity = capacity::of_this_process();
        let written = |place: &Place| Source::Configuration(place.to_string());
        if let Some((milli, place)) = &self.cpu_milli {
            (capacity.cpu_milli, capacity.cpu_from) = (*milli, written(place));
        }
        if let Some((bytes, place)) = &self.memory_bytes {
            (capacity.memory_bytes, capacity.memory_from) = (*bytes, written(place));
        }
        capacity.gpu = self.gpu.unwrap_or(capacity.gpu);
        capacity
    }
}

pub(super) fn read_node(
    node: &mut NodeConfig,
    reader: &Reader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    for (key, value) in reader.table("node", value)? {
        reader.known(key, &KEYS)?;
        if &**key.get_ref() == "peers" {
            for (name, address) in reader.table("peers", value)? {
                node.peers.insert(name.get_ref().to_string(), reader.text(address)?);
            }
            continue;
        }
        if &**key.get_ref() == "labels" {
            for (name, value) in reader.table("labels", value)? {
                let set = labels::set(&mut node.labels, name.get_ref(), &reader.text(value)?);
                set.map_err(|message| reader.wrong(name, &message))?;
            }
            continue;
        }
        let place = reader.place(key.span().start);
        let set = node.set(key.get_ref(), reader.text(value)?, place);
        set.map_err(|message| reader.wrong(key, &message))?;
    }
    Ok(())
}

pub(super) fn tls_files(keys: &BTreeMap<String, (String, Place)>) -> Result<Option<TlsFiles>, ConfigError> {
    let Some((_, place)) = keys.values().next() else { return Ok(None) };
    let file = |key: &str| {
        let message = || format!("`[tls]` needs {}: `{key}` is missing", TLS_KEYS.join(", "));
        let missing = || ConfigError::Wrong { place: place.clone(), message: message() };
        keys.get(key).map(|(path, _)| PathBuf::from(path)).ok_or_else(missing)
    };
    Ok(Some(TlsFiles { authority: file("authority")?, certificate: file("certificate")?, key: file("key")? }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("skybox.toml"), text).expect("well formed")
    }

    #[test]
    fn one_file_serves_every_node() {
        let config = parse(
            "[node]\nlisten = \"0.0.0.0:7600\"\n[node.peers]\na = \"10.0.0.1:7600\"\n\
             [tls]\nauthority = \"ca.pem\"\ncertificate = \"{node}.pem\"\nkey = \"{node}.key\"\n",
        );
        let (listen, place) = config.node().listen.clone().expect("it is written there");
        assert_eq!((listen.as_str(), place.to_string().as_str()), ("0.0.0.0:7600", "skybox.toml:2"));
        assert_eq!(config.node().peers, BTreeMap::from([("a".to_owned(), "10.0.0.1:7600".to_owned())]));
        let files = config.tls().expect("all three are there").expect("they are given");
        assert!(files.needs_name());
        let of_a = files.of_node("a");
        assert_eq!((of_a.certificate, of_a.key), ("a.pem".into(), "a.key".into()));
        assert!(!files.of_node("a").needs_name());
    }

    #[test]
    fn when_held_threads_are_told_of() {
        let told = |value: &str| {
            let text = format!("[node]\nhold-warning = \"{value}\"\n");
            Config::parse(Path::new("skybox.toml"), &text).map(|config| config.node().hold_warning)
        };
        assert_eq!(
            parse("").node().hold_warning.limit(Duration::from_millis(1)),
            Some(Duration::from_millis(1))
        );
        assert_eq!(told("250ms").expect("a duration"), HoldWarning::After(Duration::from_millis(250)));
        assert_eq!(told("off").expect("a word").limit(Duration::MAX), None);
        for wrong in ["0ms", "soon"] {
            let error = told(wrong).expect_err("neither").to_string();
            assert!(
                error.contains("skybox.toml:2") && error.contains("\"off\"") && error.contains(wrong),
                "{error}"
            );
        }
        let mut config = parse("");
        config.set_variable("SKYBOX_NODE__HOLD_WARNING", "off".to_owned()).expect("a known variable");
        assert_eq!(config.node().hold_warning, HoldWarning::Off);
    }

    #[test]
    fn what_there_is_can_be_said_otherwise() {
        let found = capacity::of_this_process();
        assert_eq!(parse("").node_capacity(), found);
        let mut config = parse("[node]\ncpu = 4\nmemory = \"8GiB\"\ngpu = 1\n");
        let written = "4 cores (skybox.toml:2), 8192 MiB (skybox.toml:3), 1 GPU";
        assert_eq!(config.node_capacity().to_string(), written);
        config.set_variable("SKYBOX_NODE__CPU", "0.5".to_owned()).expect("a known variable");
        let written = "0.5 cores (SKYBOX_NODE__CPU), 8192 MiB (skybox.toml:3), 1 GPU";
        assert_eq!(config.node_capacity().to_string(), written);
        let half = parse("[node]\nmemory = \"1GiB\"\n").node_capacity();
        assert_eq!(
            (half.cpu_milli, half.cpu_from, half.memory_bytes),
            (found.cpu_milli, found.cpu_from, 1 << 30)
        );

        let wrong = [
            ("cpu = 0", "`cpu` takes a number of cores such as 2 or 0.5, not `0`"),
            ("memory = \"much\"", "`memory` takes a size such as \"512MiB\", not `much`"),
            ("gpu = -1", "`gpu` takes a whole number, not `-1`"),
        ];
        for (line, message) in wrong {
            let error = Config::parse(Path::new("skybox.toml"), &format!("[node]\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("skybox.toml:2: {message}"));
        }
    }

    #[test]
    fn half_of_tls_is_a_mistake() {
        let error = parse("\n[tls]\nkey = \"a.key\"\n").tls().expect_err("two are missing").to_string();
        assert_eq!(error, "skybox.toml:3: `[tls]` needs authority, certificate, key: `authority` is missing");
        assert_eq!(parse("").tls().expect("none is fine"), None);
    }

    #[test]
    fn variables_override_the_file() {
        let mut config = parse("[node]\nname = \"a\"\n");
        for (name, value) in
            [("SKYBOX_NODE__NAME", "b"), ("SKYBOX_NODE__PEERS", "b=h:1, c=h:2"), ("SKYBOX_NODE", "x")]
        {
            config.set_variable(name, value.to_owned()).expect("known variables");
        }
        assert_eq!(config.node().name.as_deref(), Some("b"));
        assert_eq!(config.node().peers.len(), 2);
        for wrong in ["SKYBOX_NODE__NICKNAME", "SKYBOX_TLS__PASSWORD"] {
            assert!(config.set_variable(wrong, "x".to_owned()).is_err(), "{wrong}");
        }
        assert!(config.set_variable("SKYBOX_NODE__PEERS", "h:1".to_owned()).is_err());
    }
}
