//! `skybox.toml` and its overrides: read whole and judged before anything starts.
//!
//! Optional. `SKYBOX_CONFIG` names another file; `SKYBOX_MODULES__THUMBNAIL__REPLICAS=3` overrides one key.
//! `${NAME}` in a text is the environment's value.

mod labels;
mod node;
mod plan;
mod resource;
mod store;
mod trace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use skybox_core::{Needs, SettingError, Settings};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use node::{HoldWarning, NodeConfig, TlsFiles};
pub use plan::PlanConfig;
pub use resource::{Endpoint, Probe, ResourceConfig};
pub use store::{StoreConfig, StoreTls};
pub use trace::TraceConfig;

use crate::capacity::Capacity;
use crate::control::ModuleDecl;

/// Names another file than `skybox.toml`.
pub const CONFIG_ENV: &str = "SKYBOX_CONFIG";
/// Where the configuration is if nothing else is said: in the working directory.
pub const FILE: &str = "skybox.toml";
/// The key that says which implementation an interface has.
const USE: &str = "use";
const SECTIONS: [&str; 10] =
    ["modules", "listeners", "resources", "admin", "node", "store", "tls", "trace", "plan", "config"];

/// What `skybox.toml` and the environment say.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The file that was read.
    pub path: Option<PathBuf>,
    /// Overrides of annotations: module, key, value.
    modules: Vec<Entry>,
    listeners: BTreeMap<String, ListenerConfig>,
    resources: BTreeMap<String, ResourceConfig>,
    admin: Option<String>,
    node: NodeConfig,
    store: store::Written,
    /// The files of `[tls]`, by key.
    tls: BTreeMap<String, (String, Place)>,
    trace: TraceConfig,
    plan: PlanConfig,
    /// The program's own tables, `[config.…]`.
    own: toml::Table,
}

#[derive(Clone, Debug)]
struct Entry {
    module: String,
    key: String,
    value: String,
    place: Place,
}

/// A listener of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where it is bound.
    pub address: Option<String>,
    /// On how many nodes it is served; on all when absent.
    pub nodes: Option<u32>,
}

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file.
    Line(PathBuf, usize),
    /// A variable of the environment.
    Variable(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Place::Variable(name) => f.write_str(name),
        }
    }
}

/// A mistake in the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A key or name that does not exist, or a value it cannot take.
    #[error("{place}: {message}")]
    Wrong {
        /// Where.
        place: Place,
        /// What is wrong, and what to write.
        message: String,
    },
    /// A key's value.
    #[error("{place}: `[modules.{module}]`")]
    Setting {
        /// Where.
        place: Place,
        /// Which module.
        module: String,
        /// What is wrong with it.
        source: SettingError,
    },
}

impl Config {
    /// Reads the file, if there is one, and the environment.
    ///
    /// # Errors
    /// [`ConfigError`], with the line or the variable.
    pub fn load() -> Result<Config, ConfigError> {
        Config::load_from(std::env::var_os(CONFIG_ENV).map(PathBuf::from))
    }

    /// Reads this file, which must be there, or else `skybox.toml`, which need not; and the environment.
    ///
    /// # Errors
    /// [`ConfigError`], with the line or the variable.
    pub fn load_from(named: Option<PathBuf>) -> Result<Config, ConfigError> {
        let path = named.clone().unwrap_or_else(|| FILE.into());
        let mut config = match std::fs::read_to_string(&path) {
            Ok(text) => Config::parse(&path, &text)?,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Config::default()
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        config.override_with(std::env::vars())?;
        Ok(config)
    }

    /// Takes over variables as they would stand in the environment of a program; those that are no `SKYBOX_…` are left
    /// out. For whoever prepares one for another process; [`load`](Config::load) has read this process's own.
    ///
    /// # Errors
    /// [`ConfigError`], with the variable.
    pub fn override_with(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in variables {
            self.set_variable(&name, value)?;
        }
        // What does not belong together is told before anything starts, as every other mistake is.
        self.store()?;
        Ok(())
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`ConfigError`], with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let reader = Reader { path, text };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: reader.place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut config = Config { path: Some(path.to_owned()), ..Config::default() };
        for (section, value) in table.get_ref() {
            match &**section.get_ref() {
                "modules" => config.read_modules(&reader, value)?,
                "listeners" => config.read_listeners(&reader, value)?,
                "resources" => config.read_resources(&reader, value)?,
                "admin" => {
                    for (key, value) in reader.table("admin", value)? {
                        reader.known(key, &["address"])?;
                        config.admin = Some(reader.text(value)?);
                    }
                }
                "trace" => self::trace::read(&mut config.trace, &reader, value)?,
                "plan" => self::plan::read(&mut config.plan, &reader, value)?,
                "node" => self::node::read_node(&mut config.node, &reader, value)?,
                "store" => self::store::read(&mut config.store, &reader, value)?,
                "tls" => {
                    for (key, value) in reader.table("tls", value)? {
                        reader.known(key, &node::TLS_KEYS)?;
                        let place = reader.place(key.span().start);
                        config.tls.insert(key.get_ref().to_string(), (reader.text(value)?, place));
                    }
                }
                "config" => {
                    let whole: toml::Table =
                        toml::from_str(text).map_err(|error| reader.wrong(section, error.message()))?;
                    config.own =
                        whole.get("config").and_then(toml::Value::as_table).cloned().unwrap_or_default();
                }
                _ => reader.known(section, &SECTIONS)?,
            }
        }
        Ok(config)
    }

    fn read_modules(&mut self, reader: &Reader<'_>, value: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        for (module, value) in reader.table("modules", value)? {
            for (key, value) in reader.table(module.get_ref(), value)? {
                self.modules.push(Entry {
                    module: module.get_ref().to_string(),
                    key: key.get_ref().to_string(),
                    value: reader.text(value)?,
                    place: reader.place(key.span().start),
                });
            }
        }
        Ok(())
    }

    fn read_listeners(
        &mut self,
        reader: &Reader<'_>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        for (name, value) in reader.table("listeners", value)? {
            let listener = self.listeners.entry(name.get_ref().to_string()).or_default();
            for (key, value) in reader.table(name.get_ref(), value)? {
                reader.known(key, &["address", "nodes"])?;
                let text = reader.text(value)?;
                set_listener(listener, key.get_ref(), text).map_err(|message| reader.wrong(key, &message))?;
            }
        }
        Ok(())
    }

    fn read_resources(
        &mut self,
        reader: &Reader<'_>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        for (name, value) in reader.table("resources", value)? {
            let resource = self.resources.entry(name.get_ref().to_string()).or_default();
            self::resource::read(resource, name.get_ref(), reader, value)?;
        }
        Ok(())
    }

    fn set_variable(&mut self, name: &str, value: String) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix("SKYBOX_") else { return Ok(()) };
        let parts: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        let place = Place::Variable(name.to_owned());
        match &parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["modules", module, key] => {
                self.modules.push(Entry {
                    module: (*module).to_owned(),
                    key: (*key).to_owned(),
                    value,
                    place,
                });
            }
            ["listeners", listener, key] => {
                let listener = self.listeners.entry((*listener).to_owned()).or_default();
                set_listener(listener, key, value)
                    .map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["resources", resource, key] => {
                let resource = self.resources.entry((*resource).to_owned()).or_default();
                resource.set(key, value).map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["admin", "address"] => self.admin = Some(value),
            ["node", key] => {
                let set = self.node.set(key, value, place.clone());
                set.map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["store", key] => {
                let set = self.store.set(key, value, place.clone());
                set.map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["store"] => {
                let set = self.store.set("address", value, place.clone());
                set.map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["node", "labels", label] => {
                let set = labels::set(&mut self.node.labels, label, &value);
                set.map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["plan", key] => {
                let wrong = |message| ConfigError::Wrong { place: place.clone(), message };
                self.plan.set(key, &value).map_err(wrong)?;
            }
            ["trace", key] => {
                let set = self.trace.set(key, value, place.clone());
                set.map_err(|message| ConfigError::Wrong { place, message })?;
            }
            ["tls", key] if node::TLS_KEYS.contains(key) => {
                self.tls.insert((*key).to_owned(), (value, place));
            }
            // SKYBOX_NODE alone is a node's name, as its parent gives it.
            ["node"] => {}
            [
                "modules" | "listeners" | "resources" | "admin" | "node" | "store" | "tls" | "trace" | "plan",
                ..,
            ] => {
                let message =
                    "write SKYBOX_<section>__<name>__<key>, such as SKYBOX_MODULES__THUMBNAIL__REPLICAS"
                        .to_owned();
                return Err(ConfigError::Wrong { place, message });
            }
            _ => {}
        }
        Ok(())
    }

    /// A module's settings: its annotations, then the file, then the environment.
    ///
    /// # Errors
    /// [`ConfigError::Setting`], with the line.
    pub fn settings(&self, module: &str, needs: &Needs) -> Result<Settings, ConfigError> {
        let mut settings = Settings::of(needs);
        for entry in self.modules.iter().filter(|entry| entry.module == module && entry.key != USE) {
            settings.set(&entry.key, &entry.value).map_err(|source| ConfigError::Setting {
                place: entry.place.clone(),
                module: entry.module.clone(),
                source,
            })?;
        }
        Ok(settings)
    }

    /// Which of these implementations an interface is to have, by its place among them.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] if it names none of them, with the line.
    pub fn implementation<'n>(
        &self,
        interface: &str,
        candidates: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<Option<usize>, ConfigError> {
        // The environment comes after the file.
        let mut entries = self.modules.iter().filter(|entry| entry.module == interface && entry.key == USE);
        let Some(entry) = entries.next_back() else { return Ok(None) };
        if let Some(at) = candidates.clone().position(|name| name == entry.value) {
            return Ok(Some(at));
        }
        let names = candidates.collect::<Vec<_>>().join(", ");
        let has = if names.is_empty() {
            "none is linked into this program".to_owned()
        } else {
            format!("it has {names}")
        };
        let message = format!("`{interface}` has no implementation `{}`; {has}", entry.value);
        Err(ConfigError::Wrong { place: entry.place.clone(), message })
    }

    /// Refuses names of modules that are not linked into the program, and the choice of an implementation where
    /// there is nothing to choose. `implementations` are pairs: its name and that of its interface.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], with the line.
    pub fn check_names(
        &self,
        known: &[&str],
        interfaces: &[&str],
        implementations: &[(&str, &str)],
    ) -> Result<(), ConfigError> {
        for Entry { module, key, place, .. } in &self.modules {
            let is = |name: &&str| *name == module.as_str();
            let of = implementations.iter().find(|(name, _)| is(name));
            let message = match (known.iter().any(&is), of) {
                (true, _) if key == USE && !interfaces.iter().any(&is) => {
                    format!(
                        "`{module}` is not an interface, so there is nothing to choose: leave `{USE}` out"
                    )
                }
                (true, _) => continue,
                (false, Some((_, interface))) => format!(
                    "`{module}` is an implementation of `{interface}`: write `[modules.{interface}]`, with \
                     `{USE} = \"{module}\"`"
                ),
                (false, None) => {
                    format!("there is no module `{module}` in this program; it has {}", known.join(", "))
                }
            };
            return Err(ConfigError::Wrong { place: place.clone(), message });
        }
        Ok(())
    }

    /// Whether a program could start with it, as far as can be said from outside: every value, and the names, if it
    /// is known which modules the program has; else `modules` is empty.
    ///
    /// # Errors
    /// [`ConfigError`], with the line or the variable.
    pub fn check(&self, modules: &[ModuleDecl]) -> Result<(), ConfigError> {
        self.tls()?;
        self.store()?;
        for Entry { module, .. } in &self.modules {
            self.settings(module, &Needs::NONE)?;
        }
        if modules.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
        let implemented =
            modules.iter().filter_map(|module| Some((module, module.implementations.as_ref()?)));
        let interfaces: Vec<_> = implemented.clone().map(|(module, _)| module.name.as_str()).collect();
        let pairs = implemented.clone().flat_map(|(module, candidates)| {
            candidates.iter().map(|candidate| (candidate.as_str(), module.name.as_str()))
        });
        self.check_names(&names, &interfaces, &pairs.collect::<Vec<_>>())?;
        for (module, candidates) in implemented {
            self.implementation(&module.name, candidates.iter().map(String::as_str))?;
        }
        Ok(())
    }

    /// What it says of a listener.
    pub fn listener(&self, name: &str) -> ListenerConfig {
        self.listeners.get(name).cloned().unwrap_or_default()
    }

    /// The address of a resource.
    pub fn resource(&self, name: &str) -> Option<&str> {
        self.resources.get(name)?.address.as_deref()
    }

    /// What it says of each resource, by its name.
    pub fn resources(&self) -> impl Iterator<Item = (&str, &ResourceConfig)> {
        self.resources.iter().map(|(name, resource)| (name.as_str(), resource))
    }

    /// Where `/readyz`, `/livez` and `/metrics` are served, if anywhere.
    pub fn admin(&self) -> Option<&str> {
        self.admin.as_deref()
    }

    /// How this node is reached where addresses are given by hand.
    pub fn node(&self) -> &NodeConfig {
        &self.node
    }

    /// What this node may use: what it finds, unless `[node]` says otherwise. It is found anew each time.
    pub fn node_capacity(&self) -> Capacity {
        self.node.capacity()
    }

    /// This node's labels, by name: `arch`, `os` and `host`, which it knows by itself, and those of `[node.labels]`, which
    /// come before them.
    pub fn node_labels(&self) -> BTreeMap<String, String> {
        let mut all = labels::known_by_itself();
        all.extend(self.node.labels.clone());
        all
    }

    /// How much a move has to be worth to whoever plans.
    pub fn plan(&self) -> &PlanConfig {
        &self.plan
    }

    /// Where spans go.
    pub fn trace(&self) -> &TraceConfig {
        &self.trace
    }

    /// What the nodes of many machines agree through, if there is anything.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`]: what is written does not belong together.
    pub fn store(&self) -> Result<Option<StoreConfig>, ConfigError> {
        self.store.judged()
    }

    /// The certificate files, if there are any.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`]: some of the three are missing.
    pub fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        node::tls_files(&self.tls)
    }

    /// The program's own table of that name.
    pub fn own(&self, name: &str) -> Option<&toml::Value> {
        self.own.get(name)
    }
}

fn set_listener(listener: &mut ListenerConfig, key: &str, value: String) -> Result<(), String> {
    match key {
        "address" => listener.address = Some(value),
        "nodes" if value == "all" => listener.nodes = None,
        "nodes" => {
            let nodes = value.parse().ok().filter(|n| *n > 0);
            listener.nodes = Some(
                nodes
                    .ok_or_else(|| format!("`nodes` takes \"all\" or a number above zero, not `{value}`"))?,
            );
        }
        _ => return Err(format!("there is no key `{key}`; the keys are address, nodes")),
    }
    Ok(())
}

struct Reader<'f> {
    path: &'f Path,
    text: &'f str,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> Place {
        let line =
            1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count();
        Place::Line(self.path.to_owned(), line)
    }

    fn wrong<V>(&self, at: &Spanned<V>, message: &str) -> ConfigError {
        ConfigError::Wrong { place: self.place(at.span().start), message: message.to_owned() }
    }

    fn known<V: std::ops::Deref<Target = str>>(
        &self,
        key: &Spanned<V>,
        known: &[&str],
    ) -> Result<(), ConfigError> {
        let name: &str = key.get_ref();
        if known.contains(&name) {
            return Ok(());
        }
        Err(self.wrong(key, &format!("there is no key `{name}`; the keys are {}", known.join(", "))))
    }

    fn table<'t, 'v>(
        &self,
        name: &str,
        value: &'t Spanned<DeValue<'v>>,
    ) -> Result<&'t DeTable<'v>, ConfigError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong(value, &format!("`{name}` is a table"))),
        }
    }

    /// A value as text, with the environment's values in it.
    fn text(&self, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) => expand(text).map_err(|message| self.wrong(value, &message)),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(yes) => Ok(yes.to_string()),
            _ => Err(self.wrong(value, "a text or a number is expected here")),
        }
    }
}

/// Puts the environment's values where `${NAME}` stands.
fn expand(text: &str) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            return Err("`${` without `}`".to_owned());
        };
        expanded.push_str(before);
        expanded.push_str(&std::env::var(name).map_err(|_| format!("the environment has no `{name}`"))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("skybox.toml"), text)
            .map_err(|error| skybox_core::TextChain::of(&error).joined())
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let wrong = [
            ("[modules.a\n", "skybox.toml:1: "),
            (
                "[listener.http]\naddress = \"x\"\n",
                "skybox.toml:1: there is no key `listener`; the keys are modules, listeners, resources, admin, node, store, tls, trace, plan, config",
            ),
            (
                "\n[listeners.http]\nadress = \"x\"\n",
                "skybox.toml:3: there is no key `adress`; the keys are address, nodes",
            ),
            (
                "[listeners.http]\nnodes = 0\n",
                "skybox.toml:2: `nodes` takes \"all\" or a number above zero, not `0`",
            ),
            (
                "[resources.db]\naddress = \"${SKYBOX_NO_SUCH_VARIABLE}\"\n",
                "skybox.toml:2: the environment has no `SKYBOX_NO_SUCH_VARIABLE`",
            ),
            ("modules = 3\n", "skybox.toml:1: `modules` is a table"),
        ];
        for (text, message) in wrong {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn the_file_overrides_annotations_and_the_environment_the_file() {
        let mut config = parse("[modules.thumbnail]\nreplicas = 3\nidle = \"1s\"\n").unwrap();
        config.set_variable("SKYBOX_MODULES__THUMBNAIL__REPLICAS", "5".into()).unwrap();
        let settings = config.settings("thumbnail", &Needs::NONE).unwrap();
        assert_eq!(settings.replicas, skybox_core::Replicas::fixed(5));
        assert_eq!(settings.idle.as_secs(), 1);
        assert!(
            config.check_names(&["catalog"], &[], &[]).unwrap_err().to_string().contains("it has catalog")
        );
        let bad = parse("[modules.thumbnail]\nreplicas = \"many\"\n").unwrap();
        let bad = bad.settings("thumbnail", &Needs::NONE).unwrap_err();
        let text = skybox_core::TextChain::of(&bad).joined();
        assert_eq!(
            text,
            "skybox.toml:2: `[modules.thumbnail]`: `replicas` takes a number, a range such as \"1..=8\", or \"per-node\", not `many`"
        );
    }

    #[test]
    fn an_implementation_is_chosen_where_there_is_something_to_choose() {
        let refused = |text: &str| {
            let config = parse(text).unwrap();
            let checked =
                config.check_names(&["catalog", "payments"], &["payments"], &[("stripe", "payments")]);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(refused("[modules.payments]\nuse = \"stripe\"\nreplicas = 2\n"), Ok(()));
        assert_eq!(
            refused("[modules.catalog]\nuse = \"stripe\"\n").unwrap_err(),
            "skybox.toml:2: `catalog` is not an interface, so there is nothing to choose: leave `use` out"
        );
        assert_eq!(
            refused("[modules.stripe]\nreplicas = 2\n").unwrap_err(),
            "skybox.toml:2: `stripe` is an implementation of `payments`: write `[modules.payments]`, with \
             `use = \"stripe\"`"
        );
        let mut config = parse("[modules.payments]\nuse = \"stripe\"\nreplicas = 2\n").unwrap();
        let candidates = ["cash", "stripe"];
        assert_eq!(config.implementation("payments", candidates.into_iter()).unwrap(), Some(1));
        // `use` is no setting of the instances.
        assert_eq!(
            config.settings("payments", &Needs::NONE).unwrap().replicas,
            skybox_core::Replicas::fixed(2)
        );
        config.set_variable("SKYBOX_MODULES__PAYMENTS__USE", "cash".into()).unwrap();
        assert_eq!(config.implementation("payments", candidates.into_iter()).unwrap(), Some(0));
    }

    #[test]
    fn the_environment_fills_texts() {
        // HOME is there wherever a person or CI runs this.
        let config = parse("[resources.db]\naddress = \"sqlite:${HOME}/x\"\n").unwrap();
        assert_eq!(
            config.resource("db").map(str::to_owned),
            std::env::var("HOME").ok().map(|home| format!("sqlite:{home}/x"))
        );
    }
}
