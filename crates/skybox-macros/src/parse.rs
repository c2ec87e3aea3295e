//! Tokens to [`crate::model`], and every refusal with its words.

mod annotations;
mod candidate;
mod interface;
mod marks;
mod method;
mod module;
mod stop;
mod task;
mod test;
mod types;
mod wire_error;

pub(crate) use marks::without_marks;
pub(crate) use module::module;
pub(crate) use task::task;
pub(crate) use test::test;
pub(crate) use types::type_arguments;
pub(crate) use wire_error::wire_error;

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::ext::IdentExt;

/// Errors of one item, all of them: whoever made three mistakes is told of three.
#[derive(Default)]
struct Refusals(Option<syn::Error>);

impl Refusals {
    fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Refuses some tokens, all of them underlined.
    fn at(&mut self, tokens: &impl ToTokens, message: impl std::fmt::Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    fn at_span(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(syn::Error::new(span, message));
    }

    /// Keeps the value, or the errors that stood in its way.
    fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// `HttpCache`, `HTTPCache` and `http_cache` are all `http_cache`: the name in `skybox.toml`.
pub(crate) fn snake_case(ident: &Ident) -> String {
    let text = ident.unraw().to_string();
    let chars: Vec<char> = text.chars().collect();
    let mut name = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && (chars[i - 1].is_lowercase() || chars[i - 1].is_ascii_digit());
        let before_lower =
            i > 0 && chars[i - 1].is_uppercase() && chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_become_names_of_modules() {
        let names = [
            ("Catalog", "catalog"),
            ("HttpCache", "http_cache"),
            ("HTTPCache", "http_cache"),
            ("S3Client", "s3_client"),
            ("thumbnail", "thumbnail"),
            ("r#type", "type"),
            ("A", "a"),
        ];
        for (ident, name) in names {
            let ident = syn::parse_str(ident).expect("the table holds identifiers");
            assert_eq!(snake_case(&ident), name);
        }
    }
}
