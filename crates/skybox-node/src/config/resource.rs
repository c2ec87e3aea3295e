//! `[resources.…]`: what the program uses beside itself, and how it is found out how far away that is.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::{ConfigError, Reader};

/// The keys of `[resources.NAME]`.
const KEYS: [&str; 2] = ["address", "probe"];

/// Where Postgres listens unless it is told otherwise.
const POSTGRES_PORT: u16 = 5432;

/// A resource: something that the program uses and that is no part of it, such as a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceConfig {
    /// Where it is: `host:port`, a URL, or whatever the program makes of it. It may hold a password.
    pub address: Option<String>,
    /// What is asked of it to measure how far away it is, where that is written.
    pub probe: Option<Probe>,
}

/// What is asked of a resource where no connection of the program tells how far away it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether its server is Postgres: only that itself answers, so a proxy on the way does not hide the distance.
    Postgres,
    /// To be connected to: whatever accepts connections there answers.
    Tcp,
    /// Nothing.
    None,
}

impl Probe {
    fn parse(text: &str) -> Result<Probe, String> {
        match text {
            "postgres" => Ok(Probe::Postgres),
            "tcp" => Ok(Probe::Tcp),
            "none" => Ok(Probe::None),
            _ => Err(format!("`probe` takes \"postgres\", \"tcp\" or \"none\", not `{text}`")),
        }
    }
}

/// A host's name or address, and a port. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// Not zero.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl ResourceConfig {
    /// Where it is in the network: what `host:port` or `scheme://user:password@host:port/path` says. The port may be
    /// missing where the scheme has one: `postgres`, `http`, `https`. `None` if the address names no host and port, as
    /// that of a file does, or several.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let (scheme, rest) = scheme_and_rest(self.address.as_deref()?);
        let usual = match scheme {
            Some("postgres" | "postgresql") => Some(POSTGRES_PORT),
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        let authority = match scheme {
            // The password may have any character, but `/`, `?` and `#` would end it too early for everyone.
            Some(_) => rest.split(['/', '?', '#']).next().and_then(|all| all.rsplit('@').next())?,
            None => rest,
        };
        let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']')?;
            let is_address = host.split('%').next()?.parse::<std::net::Ipv6Addr>().is_ok();
            (is_address.then_some(host)?, after.strip_prefix(':').filter(|port| !port.is_empty()))
        } else {
            let (host, port) =
                authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            (Some(host).filter(|host| !host.is_empty() && host.chars().all(is_name))?, port)
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None => usual?,
        };
        Some(Endpoint { host: host.to_owned(), port })
    }

    /// What is asked of it: what is written, else `postgres` where the address's scheme or port says that it is one, else
    /// `tcp`.
    pub fn probe(&self) -> Probe {
        let scheme = self.address.as_deref().and_then(|address| scheme_and_rest(address).0);
        let is_postgres = match scheme {
            Some(scheme) => matches!(scheme, "postgres" | "postgresql"),
            None => self.endpoint().is_some_and(|endpoint| endpoint.port == POSTGRES_PORT),
        };
        self.probe.unwrap_or(if is_postgres { Probe::Postgres } else { Probe::Tcp })
    }

    pub(super) fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "address" => self.address = Some(value),
            "probe" => self.probe = Some(Probe::parse(&value)?),
            _ => return Err(format!("there is no key `{key}`; the keys are {}", KEYS.join(", "))),
        }
        Ok(())
    }
}

fn scheme_and_rest(address: &str) -> (Option<&str>, &str) {
    address.split_once("://").map_or((None, address), |(scheme, rest)| (Some(scheme), rest))
}

pub(super) fn read(
    resource: &mut ResourceConfig,
    name: &str,
    reader: &Reader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    for (key, value) in reader.table(name, value)? {
        reader.known(key, &KEYS)?;
        let set = resource.set(key.get_ref(), reader.text(value)?);
        set.map_err(|message| reader.wrong(key, &message))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    #[test]
    fn an_address_says_where_it_is_and_what_is_asked() {
        let check = |address: &str, endpoint: Option<&str>, probe: Probe| {
            let resource = ResourceConfig { address: Some(address.to_owned()), probe: None };
            let found = resource.endpoint().map(|endpoint| endpoint.to_string());
            assert_eq!((found.as_deref(), resource.probe()), (endpoint, probe), "{address}");
        };
        check("10.0.0.5:5432", Some("10.0.0.5:5432"), Probe::Postgres);
        check("db.example:5433", Some("db.example:5433"), Probe::Tcp);
        check("[fd00::5]:5432", Some("[fd00::5]:5432"), Probe::Postgres);
        check("postgres://db/shop", Some("db:5432"), Probe::Postgres);
        check("postgresql://db:6000", Some("db:6000"), Probe::Postgres);
        check("postgres://me:a@b:c@db:6000/shop?sslmode=require", Some("db:6000"), Probe::Postgres);
        check("postgres://me@[fd00::5]/shop", Some("[fd00::5]:5432"), Probe::Postgres);
        check("https://api.example/v1?q=a:b@c", Some("api.example:443"), Probe::Tcp);
        check("redis://cache:6379", Some("cache:6379"), Probe::Tcp);
        check("amqp://queue:5432", Some("queue:5432"), Probe::Tcp);
        // A port that nobody knows, a file, a socket of a directory, several hosts.
        check("redis://cache", None, Probe::Tcp);
        check("db.example", None, Probe::Tcp);
        check("db.example:0", None, Probe::Tcp);
        check("[db.example]:80", None, Probe::Tcp);
        check("sqlite:/var/lib/shop.db", None, Probe::Tcp);
        check("sqlite://shop.db", None, Probe::Tcp);
        check("postgres:///shop?host=/run/postgresql", None, Probe::Postgres);
        check("postgres://%2Frun%2Fpostgresql/shop", None, Probe::Postgres);
        check("postgres://a:5432,b:5432/shop", None, Probe::Postgres);
        check("", None, Probe::Tcp);
    }

    #[test]
    fn what_is_written_counts_and_the_environment_overrides_it() {
        let text = "[resources.db]\naddress = \"10.0.0.5:5432\"\nprobe = \"tcp\"\n\n[resources.queue]\naddress = \"q:1\"\n";
        let mut config = Config::parse(Path::new("skybox.toml"), text).expect("well formed");
        let probes = |config: &Config| {
            config.resources().map(|(name, resource)| (name.to_owned(), resource.probe())).collect::<Vec<_>>()
        };
        assert_eq!(probes(&config), [("db".to_owned(), Probe::Tcp), ("queue".to_owned(), Probe::Tcp)]);
        config.set_variable("SKYBOX_RESOURCES__DB__PROBE", "none".to_owned()).expect("a known variable");
        config
            .set_variable("SKYBOX_RESOURCES__QUEUE__PROBE", "postgres".to_owned())
            .expect("a known variable");
        assert_eq!(probes(&config), [("db".to_owned(), Probe::None), ("queue".to_owned(), Probe::Postgres)]);
        let wrong = config.set_variable("SKYBOX_RESOURCES__DB__PROBE", "ping".to_owned()).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "SKYBOX_RESOURCES__DB__PROBE: `probe` takes \"postgres\", \"tcp\" or \"none\", not `ping`"
        );
        let wrong = config.set_variable("SKYBOX_RESOURCES__DB__PORT", "1".to_owned()).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "SKYBOX_RESOURCES__DB__PORT: there is no key `port`; the keys are address, probe"
        );
        // A probe alone is no address.
        config.set_variable("SKYBOX_RESOURCES__CACHE__PROBE", "tcp".to_owned()).expect("a known variable");
        assert_eq!(config.resource("cache"), None);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let wrong = [
            ("probe = \"ping\"", "`probe` takes \"postgres\", \"tcp\" or \"none\", not `ping`"),
            ("adress = \"x\"", "there is no key `adress`; the keys are address, probe"),
        ];
        for (line, message) in wrong {
            let text = format!("[resources.db]\n{line}\n");
            let error = Config::parse(Path::new("skybox.toml"), &text).unwrap_err();
            assert_eq!(error.to_string(), format!("skybox.toml:2: {message}"));
        }
    }
}
