//! `[store]`: what the nodes of many machines agree through, and who this program is there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::node::NODE_PLACEHOLDER;
use super::{ConfigError, Place, Reader};

/// The keys of `[store]`.
const KEYS: [&str; 8] =
    ["address", "prefix", "user", "password-file", "authority", "certificate", "key", "lease"];
/// The short form of `SKYBOX_STORE__ADDRESS`.
pub(super) const SHORT: &str = "SKYBOX_STORE";
/// Where etcd listens for clients, if no port is said.
const PORT: u16 = 2379;
/// How long a node counts as alive without a word from it, unless `lease` says something else.
const LEASE: Duration = Duration::from_secs(6);
/// In seconds. Below, a moment's pause of a node or an election of etcd's takes a node for dead; above, one that is
/// dead is called for too long.
const LEASE_SECONDS: RangeInclusive<u64> = 3..=60;

/// `[store]`: where etcd is, and who this program is there. It holds no secret: passwords stay in their file until
/// somebody asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    members: Vec<String>,
    is_tls: bool,
    prefix: Option<String>,
    user: Option<User>,
    tls: StoreTls,
    lease: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    password_file: PathBuf,
    /// Where that is written.
    place: Place,
}

/// The files for the store's own TLS, in PEM. They are not those of `[tls]`: the store is no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTls {
    /// The authorities that are trusted: one or more certificates. It is there if the store is reached over TLS.
    pub authority: Option<PathBuf>,
    /// The certificate that the store is shown, with its private key, where it wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl StoreConfig {
    /// Its members as URLs, such as `https://a:2379`: at least one.
    pub fn members(&self) -> Vec<String> {
        let scheme = if self.is_tls { "https" } else { "http" };
        self.members.iter().map(|member| format!("{scheme}://{member}")).collect()
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// What all keys of this program begin with. It ends with a `/`.
    pub fn prefix(&self, program: &str) -> String {
        self.prefix.clone().unwrap_or_else(|| format!("/skybox/{program}/"))
    }

    /// Who this program is at the store, if the store asks for a password.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.name.as_str())
    }

    /// The user with the password, read now: the file may be replaced at any time. The end of its line is no part of it.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if the file cannot be read, [`ConfigError::Wrong`] if there is nothing in it.
    pub fn credentials(&self) -> Result<Option<(String, String)>, ConfigError> {
        let Some(User { name, password_file, place }) = &self.user else { return Ok(None) };
        let text = std::fs::read_to_string(password_file)
            .map_err(|source| ConfigError::Read { path: password_file.clone(), source })?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            let message = format!("there is no password in {}", password_file.display());
            return Err(ConfigError::Wrong { place: place.clone(), message });
        }
        Ok(Some((name.clone(), password.to_owned())))
    }

    /// The files for TLS; none if it is reached without.
    pub fn tls(&self) -> &StoreTls {
        &self.tls
    }

    /// How long a node counts as alive without a word from it: whole seconds, from 3 to 60, by itself 6.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The same for one node: `{node}` in a path stands for its name.
    #[must_use]
    pub fn of_node(&self, node: &str) -> StoreConfig {
        let fill = |path: &Path| PathBuf::from(path.to_string_lossy().replace(NODE_PLACEHOLDER, node));
        let mut config = self.clone();
        if let Some(user) = &mut config.user {
            user.password_file = fill(&user.password_file);
        }
        config.tls.authority = self.tls.authority.as_deref().map(fill);
        config.tls.identity =
            self.tls.identity.as_ref().map(|(certificate, key)| (fill(certificate), fill(key)));
        config
    }

    /// Whether a path depends on the node's name.
    pub fn needs_name(&self) -> bool {
        self.of_node("") != *self
    }
}

/// The address, as it could be written.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "etcds" } else { "etcd" }, self.members.join(","))
    }
}

/// What is written of the store; each value has been judged, but not yet whether they belong together.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    address: Option<(Address, Place)>,
    lease: Option<Duration>,
    texts: BTreeMap<&'static str, String>,
    places: BTreeMap<&'static str, Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    is_tls: bool,
    members: Vec<String>,
}

impl Written {
    pub(super) fn set(&mut self, key: &str, value: String, place: Place) -> Result<(), String> {
        let key = key.replace('_', "-");
        if key == "password" {
            return Err(
                "a password is not written here: `password-file` names the file that has it".to_owned()
            );
        }
        let Some(key) = KEYS.into_iter().find(|known| *known == key) else {
            return Err(format!("there is no key `{key}`; the keys are {}", KEYS.join(", ")));
        };
        match key {
            "address" => {
                let address = parse_address(&value)?;
                self.check_said_once(&address, &place)?;
                self.address = Some((address, place.clone()));
            }
            "lease" => self.lease = Some(parse_lease(&value)?),
            "prefix" if !value.ends_with('/') || value.contains(char::is_whitespace) => {
                return Err(format!("`prefix` ends with a `/`, as in \"/skybox/shop/\", not `{value}`"));
            }
            _ if value.is_empty() => return Err(format!("`{key}` is empty: leave it out")),
            _ => drop(self.texts.insert(key, value)),
        }
        self.places.insert(key, place);
        Ok(())
    }

    /// The variables come in no order, so neither of the two can override the other.
    fn check_said_once(&self, address: &Address, place: &Place) -> Result<(), String> {
        match (&self.address, place) {
            (Some((known, Place::Variable(other))), Place::Variable(name))
                if name != other && known != address =>
            {
                Err(format!("`{other}` says another address: set one of the two"))
            }
            _ => Ok(()),
        }
    }

    /// What all of it says together; nothing if nothing is written.
    pub(super) fn judged(&self) -> Result<Option<StoreConfig>, ConfigError> {
        let wrong = |key: &str, message: String| {
            let place = self.places.get(key).cloned();
            let place = place.unwrap_or_else(|| Place::Variable(SHORT.to_owned()));
            Err(ConfigError::Wrong { place, message })
        };
        let Some((Address { is_tls, members }, _)) = &self.address else {
            // By the order of the keys, and not of the lines: any of them will do.
            let Some(key) = KEYS.into_iter().find(|key| self.places.contains_key(key)) else {
                return Ok(None);
            };
            return wrong(key, format!("`{key}` without `address`, which says where the store is"));
        };
        let has = |key: &str| self.texts.contains_key(key);
        for (key, needed) in [
            ("user", "password-file"),
            ("password-file", "user"),
            ("certificate", "key"),
            ("key", "certificate"),
        ] {
            if has(key) && !has(needed) {
                return wrong(key, format!("`{key}` without `{needed}`: the two belong together"));
            }
        }
        if let Some(key) = ["authority", "certificate", "key"].into_iter().find(|key| has(key) && !is_tls) {
            return wrong(key, format!("`{key}` is for TLS, and `address` says etcd://: write etcds://"));
        }
        if *is_tls && !has("authority") {
            let message =
                "etcds:// needs `authority`, the file of the authority that the store's certificates are of";
            return wrong("address", message.to_owned());
        }
        let path = |key: &str| self.texts.get(key).map(PathBuf::from);
        let text = |key: &str| self.texts.get(key).cloned();
        let user = text("user").zip(path("password-file")).zip(self.places.get("password-file"));
        Ok(Some(StoreConfig {
            members: members.clone(),
            is_tls: *is_tls,
            prefix: text("prefix"),
            user: user.map(|((name, password_file), place)| User {
                name,
                password_file,
                place: place.clone(),
            }),
            tls: StoreTls { authority: path("authority"), identity: path("certificate").zip(path("key")) },
            lease: self.lease.unwrap_or(LEASE),
        }))
    }
}

pub(super) fn read(
    store: &mut Written,
    reader: &Reader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    for (key, value) in reader.table("store", value)? {
        let place = reader.place(key.span().start);
        let set = store.set(key.get_ref(), reader.text(value)?, place);
        set.map_err(|message| reader.wrong(key, &message))?;
    }
    Ok(())
}

/// `etcd://a:2379,b:2379`. What is wrong is told without the address where that could hold a password.
fn parse_address(text: &str) -> Result<Address, String> {
    if text.contains('@') {
        return Err(
            "`address` has an `@`: addresses are shown to people, so who this is stands in `user` and \
                    `password-file`"
                .to_owned(),
        );
    }
    let takes = "`address` takes the members of an etcd, such as etcd://a:2379,b:2379, or etcds:// for TLS";
    let (is_tls, members) = match text.split_once("://") {
        Some(("etcd", members)) => (false, members),
        Some(("etcds", members)) => (true, members),
        Some((scheme, _)) => return Err(format!("{takes}: there are no stores of the scheme `{scheme}`")),
        None => return Err(format!("{takes}, not `{text}`")),
    };
    let mut parsed = Vec::new();
    for member in members.strip_suffix('/').unwrap_or(members).split(',') {
        let member = parse_member(member.trim())?;
        if parsed.contains(&member) {
            return Err(format!("`address` has {member} twice"));
        }
        parsed.push(member);
    }
    Ok(Address { is_tls, members: parsed })
}

fn parse_member(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err(format!("`{text}` in `address`: the scheme stands once, before the first host"));
    }
    if text.contains('/') {
        return Err(format!("`{text}` in `address`: what keys begin with is said by `prefix`"));
    }
    let (host, port) = match (text.rfind(':'), text.ends_with(']')) {
        (Some(colon), false) => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match bare {
        None if host.is_empty() && text.is_empty() => return Err("`address` has no host".to_owned()),
        None if host.is_empty() => return Err(format!("`{text}` in `address` has no host")),
        None if host.contains(':') => {
            return Err(format!(
                "`{text}` in `address`: an IPv6 address stands in brackets, as in [::1]:{PORT}"
            ));
        }
        None if !host.chars().all(is_name) => return Err(format!("`{host}` in `address` is no host")),
        Some(bare) if bare.parse::<Ipv6Addr>().is_err() => {
            return Err(format!("`{bare}` in `address` is no IPv6 address"));
        }
        _ => {}
    }
    let number = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0));
    let number = number.ok_or_else(|| {
        format!("`{}` in `address` is no port: ports are from 1 to 65535", port.unwrap_or_default())
    })?;
    Ok(format!("{host}:{number}"))
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    skybox_core::parse_duration(text)
        .filter(|lease| lease.subsec_nanos() == 0 && LEASE_SECONDS.contains(&lease.as_secs()))
        .ok_or_else(|| {
            let (least, most) = (LEASE_SECONDS.start(), LEASE_SECONDS.end());
            format!("`lease` takes whole seconds, from {least}s to {most}s, not `{text}`")
        })
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn store(lines: &str) -> Result<StoreConfig, String> {
        let config = Config::parse(Path::new("skybox.toml"), &format!("[store]\n{lines}\n"));
        let store = config.and_then(|config| config.store());
        store.map(|store| store.expect("it is given")).map_err(|error| error.to_string())
    }

    #[test]
    fn where_the_store_is_and_who_this_is_there() {
        assert_eq!(Config::default().store().expect("nothing is fine"), None);
        let plain = store("address = \"etcd://a:2379, b,[::1]:23790\"").expect("well formed");
        assert_eq!(plain.members(), ["http://a:2379", "http://b:2379", "http://[::1]:23790"]);
        assert_eq!(plain.to_string(), "etcd://a:2379,b:2379,[::1]:23790");
        assert_eq!(plain.prefix("shop"), "/skybox/shop/");
        assert_eq!((plain.lease(), plain.user(), plain.is_tls()), (Duration::from_secs(6), None, false));
        assert_eq!(plain.credentials().expect("none is fine"), None);
        assert!(!plain.needs_name());

        let whole = store(
            "address = \"etcds://10.0.0.1:2379/\"\nprefix = \"/tests/shop/\"\nlease = \"1m\"\n\
             user = \"shop\"\npassword-file = \"/run/{node}.password\"\n\
             authority = \"etcd.pem\"\ncertificate = \"{node}.pem\"\nkey = \"{node}.key\"",
        );
        let whole = whole.expect("well formed");
        assert!(whole.needs_name());
        let whole = whole.of_node("a");
        assert!(!whole.needs_name());
        assert_eq!(whole.members(), ["https://10.0.0.1:2379"]);
        assert_eq!((whole.prefix("shop"), whole.lease().as_secs()), ("/tests/shop/".to_owned(), 60));
        let identity = Some(("a.pem".into(), "a.key".into()));
        assert_eq!(whole.tls(), &StoreTls { authority: Some("etcd.pem".into()), identity });
        assert_eq!(whole.user(), Some("shop"));
        let error = whole.credentials().expect_err("there is no such file").to_string();
        assert_eq!(error, "/run/a.password cannot be read");
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let takes =
            "`address` takes the members of an etcd, such as etcd://a:2379,b:2379, or etcds:// for TLS";
        let wrong = [
            ("address = \"a:2379\"", format!("{takes}, not `a:2379`")),
            ("address = \"zk://a\"", format!("{takes}: there are no stores of the scheme `zk`")),
            ("address = \"http://a\"", format!("{takes}: there are no stores of the scheme `http`")),
            ("address = \"etcd://\"", "`address` has no host".into()),
            ("address = \"etcd://a,,b\"", "`address` has no host".into()),
            ("address = \"etcd://:2379\"", "`:2379` in `address` has no host".into()),
            ("address = \"etcd://a b\"", "`a b` in `address` is no host".into()),
            ("address = \"etcd://a,a:2379\"", "`address` has a:2379 twice".into()),
            ("address = \"etcd://a:0\"", "`0` in `address` is no port: ports are from 1 to 65535".into()),
            (
                "address = \"etcd://a:65536\"",
                "`65536` in `address` is no port: ports are from 1 to 65535".into(),
            ),
            ("address = \"etcd://a:\"", "`` in `address` is no port: ports are from 1 to 65535".into()),
            (
                "address = \"etcd://::1:2379\"",
                "`::1:2379` in `address`: an IPv6 address stands in brackets, as in [::1]:2379".into(),
            ),
            ("address = \"etcd://[::x]:1\"", "`::x` in `address` is no IPv6 address".into()),
            (
                "address = \"etcd://a,etcd://b\"",
                "`etcd://b` in `address`: the scheme stands once, before the first host".into(),
            ),
            (
                "address = \"etcd://a:2379/shop\"",
                "`a:2379/shop` in `address`: what keys begin with is said by `prefix`".into(),
            ),
            ("prefix = \"/shop\"", "`prefix` ends with a `/`, as in \"/skybox/shop/\", not `/shop`".into()),
            ("lease = \"2s\"", "`lease` takes whole seconds, from 3s to 60s, not `2s`".into()),
            ("lease = \"61s\"", "`lease` takes whole seconds, from 3s to 60s, not `61s`".into()),
            ("lease = \"3500ms\"", "`lease` takes whole seconds, from 3s to 60s, not `3500ms`".into()),
            ("user = \"\"", "`user` is empty: leave it out".into()),
            ("adress = \"etcd://a\"", format!("there is no key `adress`; the keys are {}", KEYS.join(", "))),
        ];
        for (line, message) in wrong {
            assert_eq!(store(line).expect_err(line), format!("skybox.toml:2: {message}"));
        }
    }

    #[test]
    fn what_does_not_belong_together_is_told_where_it_stands() {
        let (plain, tls) = ("address = \"etcd://a\"\n", "address = \"etcds://a\"\n");
        let wrong = [
            ("", "lease = \"6s\"", "2: `lease` without `address`, which says where the store is"),
            (plain, "user = \"shop\"", "3: `user` without `password-file`: the two belong together"),
            (plain, "password-file = \"x\"", "3: `password-file` without `user`: the two belong together"),
            (
                plain,
                "authority = \"x\"",
                "3: `authority` is for TLS, and `address` says etcd://: write etcds://",
            ),
            (
                tls,
                "authority = \"x\"\nkey = \"x\"",
                "4: `key` without `certificate`: the two belong together",
            ),
            (
                tls,
                "",
                "2: etcds:// needs `authority`, the file of the authority that the store's certificates are of",
            ),
        ];
        for (address, lines, message) in wrong {
            assert_eq!(
                store(&format!("{address}{lines}")).expect_err(lines),
                format!("skybox.toml:{message}")
            );
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let text = "[store]\naddress = \"etcd://a\"\nlease = \"6s\"\n";
        let mut config = Config::parse(Path::new("skybox.toml"), text).expect("well formed");
        let mut set = |name: &str, value: &str| {
            config.set_variable(name, value.to_owned()).map_err(|error| error.to_string())
        };
        set("SKYBOX_STORE__LEASE", "10s").expect("a known variable");
        set("SKYBOX_STORE", "etcds://b").expect("the short form");
        set("SKYBOX_STORE__ADDRESS", "etcds://b").expect("it says the same");
        set("SKYBOX_STORE__AUTHORITY", "b.pem").expect("a known variable");
        assert_eq!(
            set("SKYBOX_STORE", "etcd://c").expect_err("it says something else"),
            "SKYBOX_STORE: `SKYBOX_STORE__ADDRESS` says another address: set one of the two"
        );
        let wrong = set("SKYBOX_STORE__NAME", "x").expect_err("no such key");
        assert!(wrong.starts_with("SKYBOX_STORE__NAME: there is no key `name`"), "{wrong}");
        let store = config.store().expect("it belongs together").expect("it is given");
        assert_eq!((store.to_string().as_str(), store.lease().as_secs()), ("etcds://b:2379", 10));
    }

    #[test]
    fn passwords_are_in_no_text() {
        let hidden =
            ["address = \"etcd://shop:hunter2@a\"", "address = \"shop:hunter2@a\"", "password = \"hunter2\""];
        for line in hidden {
            let error = store(line).expect_err(line);
            assert!(!error.contains("hunter2") && error.contains("password-file"), "{error}");
        }
        let file = std::env::temp_dir().join(format!("skybox-store-{}", std::process::id()));
        std::fs::write(&file, " hunter2 \r\n").expect("written");
        let lines =
            format!("address = \"etcd://a\"\nuser = \"shop\"\npassword-file = \"{}\"", file.display());
        let with_password = store(&lines).expect("well formed");
        let known = with_password.credentials().expect("it is there").expect("it is given");
        assert_eq!(known, ("shop".to_owned(), " hunter2 ".to_owned()));
        assert!(!format!("{with_password:?} {with_password}").contains("hunter2"));
        std::fs::write(&file, "\n").expect("written");
        let error = with_password.credentials().expect_err("it is empty").to_string();
        assert_eq!(error, format!("skybox.toml:4: there is no password in {}", file.display()));
        std::fs::remove_file(&file).expect("removed");
    }
}
