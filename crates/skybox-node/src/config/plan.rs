//! `[plan]`: how much a move has to be worth to whoever plans.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{ConfigError, Reader};

/// The keys of `[plan]`.
const KEYS: [&str; 5] = ["min-stay", "settle", "moves", "shrink-after", "auto-place"];

/// `[plan]`: how much a move has to be worth, and how many there may be. What must move, since its node is gone or leaves,
/// moves whatever this says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanConfig {
    /// How long an instance stays where it is before load or distance may move it; five minutes when absent.
    pub min_stay: Option<Duration>,
    /// How long another place has to have been better before an instance goes there; ten seconds when absent.
    pub settle: Option<Duration>,
    /// Moves of that kind in a minute, of all modules; ten when absent.
    pub moves: Option<u32>,
    /// How long a range has to have had too little to do before it shrinks; five minutes when absent.
    pub shrink_after: Option<Duration>,
    /// Whether modules are moved to where they make, or get, the most calls; otherwise that is only proposed.
    pub auto_place: bool,
}

impl PlanConfig {
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let key = key.replace('_', "-");
        let duration = || {
            let parsed = skybox_core::parse_duration(value);
            parsed.ok_or_else(|| format!("`{key}` takes a duration such as \"30s\" or \"5m\", not `{value}`"))
        };
        match key.as_str() {
            "min-stay" => self.min_stay = Some(duration()?),
            "settle" => self.settle = Some(duration()?),
            "shrink-after" => self.shrink_after = Some(duration()?),
            "auto-place" => {
                let wrong = |_| format!("`auto-place` is true or false, not `{value}`");
                self.auto_place = value.parse().map_err(wrong)?;
            }
            "moves" => {
                let wrong = |_| format!("`moves` takes a whole number, not `{value}`");
                self.moves = Some(value.parse().map_err(wrong)?);
            }
            _ => return Err(format!("there is no key `{key}`; the keys are {}", KEYS.join(", "))),
        }
        Ok(())
    }
}

pub(super) fn read(
    plan: &mut PlanConfig,
    reader: &Reader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    for (key, value) in reader.table("plan", value)? {
        let set = plan.set(key.get_ref(), &reader.text(value)?);
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
    fn it_is_read_from_the_file_and_the_environment() {
        let text = "[plan]\nmin-stay = \"1m\"\nmoves = 3\n";
        let mut config = Config::parse(Path::new("skybox.toml"), text).expect("well formed");
        config.set_variable("SKYBOX_PLAN__MIN_STAY", "2s".to_owned()).expect("a known variable");
        config.set_variable("SKYBOX_PLAN__AUTO_PLACE", "true".to_owned()).expect("a known variable");
        let plan = PlanConfig {
            min_stay: Some(Duration::from_secs(2)),
            moves: Some(3),
            auto_place: true,
            ..PlanConfig::default()
        };
        assert_eq!(*config.plan(), plan);
        for (line, message) in [
            ("settle = \"soon\"", "`settle` takes a duration such as \"30s\" or \"5m\", not `soon`"),
            ("moves = -1", "`moves` takes a whole number, not `-1`"),
            (
                "stay = \"1s\"",
                "there is no key `stay`; the keys are min-stay, settle, moves, shrink-after, auto-place",
            ),
            ("auto-place = \"yes\"", "`auto-place` is true or false, not `yes`"),
        ] {
            let error = Config::parse(Path::new("skybox.toml"), &format!("[plan]\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("skybox.toml:2: {message}"));
        }
    }
}
