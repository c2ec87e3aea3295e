//! `[trace]`: where spans go.

use toml::Spanned;
use toml::de::DeValue;

use super::{ConfigError, Place, Reader};

/// The keys of `[trace]`.
pub(super) const KEYS: [&str; 3] = ["endpoint", "sample", "filter"];

/// `[trace]`: where spans go, and which. The feature `otel` reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceConfig {
    /// The collector, such as `http://localhost:4318`; `/v1/traces` is appended. Nothing is sent when absent.
    pub endpoint: Option<String>,
    /// Which share of the traces that begin here is recorded, from 0 to 1; all when absent.
    pub sample: Option<f64>,
    /// Which spans are sent, as targets with their levels: `info,skybox::call=debug`.
    pub filter: Option<(String, Place)>,
}

impl TraceConfig {
    pub(super) fn set(&mut self, key: &str, value: String, place: Place) -> Result<(), String> {
        match key {
            "endpoint" if value.starts_with("http://") || value.starts_with("https://") => {
                self.endpoint = Some(value);
            }
            "endpoint" => {
                return Err(format!("`endpoint` takes a URL such as http://localhost:4318, not `{value}`"));
            }
            "sample" => {
                let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                let wrong = || format!("`sample` takes a share from 0 to 1, not `{value}`");
                self.sample = Some(share.ok_or_else(wrong)?);
            }
            "filter" => self.filter = Some((value, place)),
            _ => return Err(format!("there is no key `{key}`; the keys are {}", KEYS.join(", "))),
        }
        Ok(())
    }
}

pub(super) fn read(
    trace: &mut TraceConfig,
    reader: &Reader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), ConfigError> {
    for (key, value) in reader.table("trace", value)? {
        let place = reader.place(key.span().start);
        let set = trace.set(key.get_ref(), reader.text(value)?, place);
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
    fn the_environment_overrides_the_file() {
        let text = "[trace]\nendpoint = \"http://a:4318\"\nsample = 0.5\n";
        let mut config = Config::parse(Path::new("skybox.toml"), text).expect("well formed");
        config.set_variable("SKYBOX_TRACE__ENDPOINT", "http://b:4318".to_owned()).expect("a known variable");
        let TraceConfig { endpoint, sample, filter } = config.trace().clone();
        assert_eq!((endpoint.as_deref(), sample, filter), (Some("http://b:4318"), Some(0.5), None));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let wrong = [
            ("sample = 2", "`sample` takes a share from 0 to 1, not `2`"),
            ("endpoint = \"b:4318\"", "`endpoint` takes a URL such as http://localhost:4318, not `b:4318`"),
            ("url = \"x\"", "there is no key `url`; the keys are endpoint, sample, filter"),
        ];
        for (line, message) in wrong {
            let error = Config::parse(Path::new("skybox.toml"), &format!("[trace]\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("skybox.toml:2: {message}"));
        }
    }
}
