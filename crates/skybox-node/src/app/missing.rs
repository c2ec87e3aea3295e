//! What an App is asked for and does not have.

use skybox_core::Code;

/// Something asked of the App that it does not have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// No value of that type.
    #[error("{code}: no value of type `{0}` was provided: add `.provide(…)` to `App::builder()`", code = Code::NO_VALUE)]
    Value(&'static str),
    /// No such module.
    #[error(
        "{code}: the module `{0}` is not part of this program: its crate is listed but never named; name it once, as in \
         `use … as _;`",
        code = Code::NO_MODULE
    )]
    Module(&'static str),
    /// Not this form.
    #[error("{}: `{module}` is {is}: reach it with `{with}`", Code::OTHER_FORM)]
    Form {
        /// The module.
        module: &'static str,
        /// What it is.
        is: &'static str,
        /// How it is reached.
        with: &'static str,
    },
    /// A key that cannot be encoded.
    #[error("{}: a key of `{module}` cannot be encoded", Code::BAD_KEY)]
    Key {
        /// The module.
        module: &'static str,
        /// Why.
        source: skybox_wire::codec::EncodeError,
    },
    /// No such table.
    #[error("{code}: skybox.toml has no `[config.{0}]`", code = Code::OWN_CONFIG)]
    Config(String),
    /// A table of another form.
    #[error("{}: `[config.{name}]` in skybox.toml is not what the program reads", Code::OWN_CONFIG)]
    ConfigForm {
        /// The table.
        name: String,
        /// What is wrong with it.
        source: toml::de::Error,
    },
    /// No such resource.
    #[error("{code}: skybox.toml has no `[resources.{0}] address`", code = Code::NO_RESOURCE)]
    Resource(String),
    /// The running code is not that of an instance of this module.
    #[error(
        "{code}: the code that asks is not that of an instance of {0}: ask in a method or `start` of it, before the code \
         is wrapped or given to a task",
        code = Code::NO_INSTANCE
    )]
    Instance(&'static str),
    /// The running code is not that of an instance with a key, or nobody counts who has had its keys.
    #[error(
        "{code}: there is no epoch here: ask in a method or `start` of a keyed instance, before the code is wrapped or \
         given to a task; nodes that are listed by hand have none",
        code = Code::NO_INSTANCE
    )]
    Epoch,
}

impl Missing {
    /// Its stable code, which its text begins with.
    pub fn code(&self) -> Code {
        match self {
            Missing::Value(_) => Code::NO_VALUE,
            Missing::Module(_) => Code::NO_MODULE,
            Missing::Form { .. } => Code::OTHER_FORM,
            Missing::Key { .. } => Code::BAD_KEY,
            Missing::Config(_) | Missing::ConfigForm { .. } => Code::OWN_CONFIG,
            Missing::Resource(_) => Code::NO_RESOURCE,
            Missing::Instance(_) | Missing::Epoch => Code::NO_INSTANCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;
    use skybox_core::TextChain;

    use super::*;
    use crate::app::{App, NoApp};

    /// Whatever is asked for, the text begins with the code, which is this one.
    fn check(error: &Missing, code: Code) {
        let text = TextChain::of(error).joined();
        assert_eq!(error.code(), code, "{text}");
        assert!(text.starts_with(&format!("{code}: ")), "{text}");
    }

    #[tokio::test]
    async fn what_is_missing_has_a_code() {
        let app = App::builder().aside().start().await.unwrap();
        check(&app.value::<u8>().unwrap_err(), Code::NO_VALUE);
        check(&app.config::<IgnoredAny>("absent").unwrap_err(), Code::OWN_CONFIG);
        check(&app.resource("absent").unwrap_err(), Code::NO_RESOURCE);
        let form = Missing::Form { module: "cart", is: "keyed", with: "app.at::<T>(&key)" };
        check(&form, Code::OTHER_FORM);
        check(&Missing::Module("cart"), Code::NO_MODULE);
        check(&app.end_this().unwrap_err(), Code::NO_INSTANCE);
    }

    #[test]
    fn an_app_that_cannot_be_told_has_a_code() {
        for error in [NoApp::None, NoApp::Several, NoApp::Ended] {
            assert!(error.to_string().starts_with(&format!("{}: ", error.code())), "{error}");
        }
    }
}
