//! Annotations after `skybox.toml` and the environment have had their say.

use std::time::Duration;

use crate::{Isolate, Needs, OnStoreLoss, Replicas, Restart};

/// What one module asks for, from its annotations and every override, in the form the runtime uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Reserved cores for each instance, in thousandths.
    pub cpu_milli: Option<u32>,
    /// Reserved memory for each instance, in bytes.
    pub memory_bytes: Option<u64>,
    /// Reserved GPUs for each instance.
    pub gpu: Option<u32>,
    /// A resource or module to be close to.
    pub near: Option<String>,
    /// A module to share every node with.
    pub with: Option<String>,
    /// A module never to share a node with.
    pub apart: Option<String>,
    /// A label in which instances should differ.
    pub spread: Option<String>,
    /// A label that a node must have.
    pub on: Option<String>,
    /// How many instances; default one.
    pub replicas: Replicas,
    /// Whether each instance lives in a process of its own.
    pub isolate: Option<Isolate>,
    /// Calls that one instance runs at once.
    pub concurrency: Option<u32>,
    /// When an ended instance is started again; default always.
    pub restart: Restart,
    /// Failed starts within `within` that are borne, default 5: one more, and it is given up.
    pub max_restarts: u32,
    /// The window of `max_restarts`; default 30 s.
    pub within: Duration,
    /// The longest any call may take; none by default: a call waits as a function does.
    pub deadline: Option<Duration>,
    /// How long a `&mut self` call may go on past its deadline; default 5 s.
    pub overrun: Duration,
    /// How long a keyed instance without calls stays awake; default 5 min.
    pub idle: Duration,
    /// How many instances of a keyed module are awake in a node at once; default 10,000, or 256 where each lives in a
    /// process of its own.
    pub awake: Option<u32>,
    /// How long the `stop` of an instance may take before it is cut off; default 10 s.
    pub stop_wait: Duration,
    /// What a keyed module does when its node cannot reach the store; default stop.
    pub on_store_loss: OnStoreLoss,
    /// How long calls wait while nothing is live; default 10 s.
    pub start_wait: Duration,
    /// Calls that wait at once for an instance or a turn before further ones are refused; default 1,024.
    pub queue: u32,
}

/// A value that a key cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No such key.
    #[error("there is no key `{key}`{}", nearest(key))]
    Unknown {
        /// What was written.
        key: String,
    },
    /// The value is not of the key's form.
    #[error("`{key}` takes {takes}, not `{value}`")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What it takes, as a phrase.
        takes: &'static str,
        /// What was written.
        value: String,
    },
}

const KEYS: [&str; 22] = [
    "cpu",
    "memory",
    "gpu",
    "near",
    "with",
    "apart",
    "spread",
    "on",
    "replicas",
    "isolate",
    "concurrency",
    "restart",
    "max-restarts",
    "within",
    "deadline",
    "overrun",
    "idle",
    "awake",
    "stop-wait",
    "on-store-loss",
    "start-wait",
    "queue",
];

fn nearest(key: &str) -> String {
    let close = KEYS.iter().find(|known| {
        known.starts_with(key)
            || key.starts_with(*known)
            || known.replace('-', "") == key.replace(['-', '_'], "")
    });
    match close {
        Some(known) => format!("; did you mean `{known}`?"),
        None => format!("; the keys are {}", KEYS.join(", ")),
    }
}

impl Settings {
    /// The settings that the annotations alone give.
    pub fn of(needs: &Needs) -> Settings {
        let ms = Duration::from_millis;
        let text = |value: Option<&'static str>| value.map(str::to_owned);
        Settings {
            cpu_milli: needs.cpu_milli,
            memory_bytes: needs.memory_bytes,
            gpu: needs.gpu,
            near: text(needs.near),
            with: text(needs.with),
            apart: text(needs.apart),
            spread: text(needs.spread),
            on: text(needs.on),
            replicas: needs.replicas.unwrap_or(Replicas::fixed(1)),
            isolate: needs.isolate,
            concurrency: needs.concurrency,
            restart: needs.restart.unwrap_or(Restart::Always),
            max_restarts: needs.max_restarts.unwrap_or(5),
            within: needs.within_ms.map_or(Duration::from_secs(30), ms),
            deadline: needs.deadline_ms.map(ms),
            overrun: needs.overrun_ms.map_or(Duration::from_secs(5), ms),
            idle: needs.idle_ms.map_or(Duration::from_secs(300), ms),
            awake: needs.awake,
            stop_wait: needs.stop_wait_ms.map_or(Duration::from_secs(10), ms),
            on_store_loss: needs.on_store_loss.unwrap_or(OnStoreLoss::Stop),
            start_wait: Duration::from_secs(10),
            queue: 1024,
        }
    }

    /// Overrides one key, as `skybox.toml` and the environment write it (`max_restarts` is taken for
    /// `max-restarts`).
    ///
    /// # Errors
    /// [`SettingError`], which says what the key takes.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        let invalid = |key, takes| SettingError::Invalid { key, takes, value: value.to_owned() };
        let text = || Some(value.to_owned());
        let duration = |key| {
            parse_duration(value)
                .ok_or_else(|| invalid(key, "a duration such as \"250ms\", \"2m\" or \"1h\""))
        };
        let count = |key| value.parse::<u32>().map_err(|_| invalid(key, "a whole number"));
        let above_zero = |key| {
            let count = value.parse::<u32>().ok().filter(|count| *count > 0);
            count.ok_or_else(|| invalid(key, "a whole number above zero"))
        };
        match key.replace('_', "-").as_str() {
            "cpu" => {
                self.cpu_milli = Some(
                    parse_cpu(value).ok_or_else(|| invalid("cpu", "a number of cores such as 2 or 0.5"))?,
                )
            }
            "memory" => {
                self.memory_bytes =
                    Some(parse_bytes(value).ok_or_else(|| invalid("memory", "a size such as \"512MiB\""))?)
            }
            "gpu" => self.gpu = Some(count("gpu")?),
            "near" => self.near = text(),
            "with" => self.with = text(),
            "apart" => self.apart = text(),
            "spread" => self.spread = text(),
            "on" if value.contains('=') => self.on = text(),
            "on" => return Err(invalid("on", "a label such as \"arch=arm64\"")),
            "replicas" => {
                let takes = "a number, a range such as \"1..=8\", or \"per-node\"";
                self.replicas = value.parse().map_err(|_| invalid("replicas", takes))?;
            }
            "isolate" => {
                self.isolate = Some(match value {
                    "process" => Isolate::Process,
                    "process:shared" => Isolate::ProcessShared,
                    _ => return Err(invalid("isolate", "\"process\" or \"process:shared\"")),
                });
            }
            "concurrency" => self.concurrency = Some(above_zero("concurrency")?),
            "restart" => {
                self.restart = match value {
                    "always" => Restart::Always,
                    "on-crash" => Restart::OnCrash,
                    "never" => Restart::Never,
                    _ => return Err(invalid("restart", "\"always\", \"on-crash\" or \"never\"")),
                };
            }
            "max-restarts" => self.max_restarts = count("max-restarts")?,
            "within" => self.within = duration("within")?,
            "deadline" => self.deadline = Some(duration("deadline")?),
            "overrun" => self.overrun = duration("overrun")?,
            "idle" => self.idle = duration("idle")?,
            "awake" => self.awake = Some(above_zero("awake")?),
            "stop-wait" => self.stop_wait = duration("stop-wait")?,
            "on-store-loss" => {
                self.on_store_loss = match value {
                    "stop" => OnStoreLoss::Stop,
                    "continue" => OnStoreLoss::Continue,
                    _ => return Err(invalid("on-store-loss", "\"stop\" or \"continue\"")),
                };
            }
            "start-wait" => self.start_wait = duration("start-wait")?,
            "queue" => self.queue = count("queue")?,
            _ => return Err(SettingError::Unknown { key: key.to_owned() }),
        }
        Ok(())
    }

    /// The keys that are set but act only where nodes of several machines agree through a store, so that `start` can say so.
    pub fn for_clouds(&self) -> Vec<&'static str> {
        [
            ("memory", self.memory_bytes.is_some() && self.isolate.is_none()),
            ("gpu", self.gpu.is_some()),
            ("near", self.near.is_some()),
            ("with", self.with.is_some()),
            ("apart", self.apart.is_some()),
            ("spread", self.spread.is_some()),
            ("on", self.on.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, set)| set.then_some(key))
        .collect()
    }
}

/// `2` or `0.5` cores, in thousandths.
fn parse_cpu(text: &str) -> Option<u32> {
    let cores: f64 = text.parse().ok()?;
    (cores > 0.0 && cores <= 4096.0).then(|| (cores * 1000.0).round() as u32)
}

/// `512MiB`, `2GB`, `1024`: bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| *bytes > 0)
}

/// `250ms`, `2s`, `5m`, `1h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = split_unit(text);
    let number = digits.parse::<u64>().ok()?;
    let ms = match unit {
        "ms" => number,
        "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(ms))
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..at], text[at..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_taken_and_every_mistake_says_what_the_key_takes() {
        let mut settings = Settings::of(&Needs::NONE);
        let good = [
            ("cpu", "0.5"),
            ("memory", "512MiB"),
            ("gpu", "1"),
            ("near", "db"),
            ("with", "cart"),
            ("apart", "cart"),
            ("spread", "zone"),
            ("on", "arch=arm64"),
            ("replicas", "1..=8"),
            ("isolate", "process:shared"),
            ("concurrency", "4"),
            ("restart", "on-crash"),
            ("max_restarts", "3"),
            ("within", "10s"),
            ("deadline", "250ms"),
            ("overrun", "1s"),
            ("idle", "2m"),
            ("awake", "100"),
            ("stop_wait", "30s"),
            ("on-store-loss", "continue"),
            ("start-wait", "1s"),
            ("queue", "16"),
        ];
        for (key, value) in good {
            assert_eq!(settings.set(key, value), Ok(()), "{key} = {value}");
        }
        assert_eq!((settings.cpu_milli, settings.memory_bytes), (Some(500), Some(512 << 20)));
        assert_eq!(settings.replicas, Replicas::Range { min: 1, max: 8 });
        assert_eq!(settings.stop_wait, Duration::from_secs(30));
        for (key, value) in [
            ("cpu", "-1"),
            ("memory", "lots"),
            ("replicas", "8..=1"),
            ("idle", "2"),
            ("concurrency", "0"),
            ("awake", "0"),
            ("on", "arm"),
        ] {
            let error = settings.set(key, value).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value) && error.contains("takes"), "{error}");
        }
        let error = settings.set("maxrestarts", "1").unwrap_err().to_string();
        assert_eq!(error, "there is no key `maxrestarts`; did you mean `max-restarts`?");
    }
}
