//! The value of one key, in the form that key takes.

use quote::ToTokens;
use syn::{Expr, ExprRange, Lit, Path, RangeLimits};

use super::units;
use crate::model::Replicas;

/// What stands behind `=`. Each reader gives `None` for a form that is not its own.
pub(super) struct Value(pub(super) Expr);

impl Value {
    pub(super) fn refuse(&self, words: impl std::fmt::Display) -> syn::Error {
        let mut written = self.0.to_token_stream().to_string();
        if self.literal().is_none() {
            written.retain(|c| c != ' ');
        }
        syn::Error::new_spanned(&self.0, format!("{words}, not `{written}`"))
    }

    fn literal(&self) -> Option<&Lit> {
        match &self.0 {
            Expr::Lit(literal) => Some(&literal.lit),
            _ => None,
        }
    }

    /// `"text"`, not empty.
    pub(super) fn text(&self) -> Option<String> {
        match self.literal()? {
            Lit::Str(text) => Some(text.value()).filter(|text| !text.trim().is_empty()),
            _ => None,
        }
    }

    /// A label's name: without a value.
    pub(super) fn label(&self) -> Option<String> {
        self.text().filter(|text| !text.contains('='))
    }

    /// `"name=value"`.
    pub(super) fn label_value(&self) -> Option<String> {
        let text = self.text()?;
        let (name, value) = text.split_once('=')?;
        (!name.trim().is_empty() && !value.trim().is_empty()).then_some(text)
    }

    /// `3`.
    pub(super) fn count(&self) -> Option<u32> {
        match self.literal()? {
            Lit::Int(number) if number.suffix().is_empty() => number.base10_parse().ok(),
            _ => None,
        }
    }

    /// `2`, `0.5` or `"0.5"` cores, in thousandths.
    pub(super) fn cpu_milli(&self) -> Option<u32> {
        match self.literal()? {
            Lit::Int(number) => units::cpu_milli(&number.to_string()),
            Lit::Float(number) => units::cpu_milli(&number.to_string()),
            Lit::Str(text) => units::cpu_milli(&text.value()),
            _ => None,
        }
    }

    /// `"512MiB"`.
    pub(super) fn bytes(&self) -> Option<u64> {
        units::bytes(&self.text()?)
    }

    /// `"250ms"`.
    pub(super) fn ms(&self) -> Option<u64> {
        units::ms(&self.text()?)
    }

    /// `3`, `1..=8`, `"1..=8"` or `"per-node"`.
    pub(super) fn replicas(&self) -> Option<Replicas> {
        let (min, max) = match &self.0 {
            Expr::Range(ExprRange {
                start: Some(start),
                limits: RangeLimits::Closed(_),
                end: Some(end),
                ..
            }) => (Value((**start).clone()).count()?, Value((**end).clone()).count()?),
            _ => match self.text().as_deref() {
                Some("per-node") => return Some(Replicas::PerNode),
                Some(text) => {
                    let (min, max) = text.split_once("..=").unwrap_or((text, text));
                    (min.trim().parse().ok()?, max.trim().parse().ok()?)
                }
                None => (self.count()?, self.count()?),
            },
        };
        (0 < min && min <= max).then_some(Replicas::Range { min, max })
    }

    /// `Other` or `crate::cart::Cart`.
    pub(super) fn path(&self) -> Option<Path> {
        match &self.0 {
            Expr::Path(path) if path.qself.is_none() => Some(path.path.clone()),
            _ => None,
        }
    }

    /// A path, as such or in quotes.
    pub(super) fn path_or_text(&self) -> Option<Path> {
        self.path().or_else(|| syn::parse_str(&self.text()?).ok())
    }

    /// One of some words, as the variant it stands for.
    pub(super) fn one_of(&self, words: &[(&str, &'static str)]) -> Option<&'static str> {
        let text = self.text()?;
        words.iter().find(|(word, _)| *word == text).map(|(_, variant)| *variant)
    }
}
