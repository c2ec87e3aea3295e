//! `#[skybox::module]` on a trait.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ItemTrait, Path, Signature, TraitItem, TraitItemFn, TypeParamBound};

use super::marks::Marks;
use super::module::{SHADOWED, receiver};
use super::{Refusals, annotations, method, snake_case};
use crate::model::{Interface, Method};

/// Reads the attribute and its trait.
pub(super) fn interface(attribute: TokenStream, mut item: ItemTrait) -> syn::Result<Interface> {
    let mut refusals = Refusals::default();
    let annotations = refusals.take(annotations::of_interface(attribute));
    check_trait(&item, &mut refusals);
    let mut methods = Vec::new();
    for member in &mut item.items {
        match member {
            TraitItem::Fn(function) => {
                let marks = Marks::take(&mut function.attrs, &mut refusals);
                methods.push(method_of(&item.vis, function, &marks, &mut refusals));
            }
            TraitItem::Const(member) => refuse_member(&member.ident, "const", &mut refusals),
            TraitItem::Type(member) => refuse_member(&member.ident, "type", &mut refusals),
            other => refusals.at(&other, "an interface has methods alone, written out"),
        }
    }
    if item.items.is_empty() {
        refusals.at(&item.ident, "this interface has no method to call: write one, `async fn`, with `&self`");
    }
    let methods: Option<Vec<Method>> = methods.into_iter().collect();
    refusals.finish()?;
    let (Some((root, key)), Some(methods)) = (annotations, methods) else {
        unreachable!("what is missing was refused above");
    };
    Ok(Interface { root, name: snake_case(&item.ident), key, methods, item })
}

fn check_trait(item: &ItemTrait, refusals: &mut Refusals) {
    if let Some(parameter) = item.generics.params.first() {
        let words = "an interface is one type, `dyn` its name, with one name: it cannot be generic";
        refusals.at(&parameter, words);
    }
    if let Some(clause) = &item.generics.where_clause {
        refusals
            .at(&clause, "an interface asks nothing of its implementations but methods: leave `where` out");
    }
    if let Some(token) = &item.unsafety {
        refusals.at(&token, "nobody can vouch for an implementation in another process: leave `unsafe` out");
    }
    for bound in item.supertraits.iter().filter(|bound| !is_implied(bound)) {
        let words = "callers know an interface by its own methods alone: leave this out, and name it where the \
                     implementation needs it";
        refusals.at(&bound, words);
    }
}

/// What every implementation is anyway.
fn is_implied(bound: &TypeParamBound) -> bool {
    let named = |path: &Path, name: &str| path.segments.last().is_some_and(|last| last.ident == name);
    match bound {
        TypeParamBound::Lifetime(lifetime) => lifetime.ident == "static",
        TypeParamBound::Trait(bound) => named(&bound.path, "Send") || named(&bound.path, "Sync"),
        _ => false,
    }
}

fn refuse_member(ident: &syn::Ident, what: &str, refusals: &mut Refusals) {
    let words = format!("callers know an interface by its methods alone: it cannot have a `{what}`");
    refusals.at(ident, words);
}

fn method_of(
    vis: &syn::Visibility,
    function: &TraitItemFn,
    marks: &Marks,
    refusals: &mut Refusals,
) -> Option<Method> {
    let (signature, name) = (&function.sig, &function.sig.ident);
    if SHADOWED.iter().any(|shadowed| name == shadowed) {
        let words = format!("every handle has its own `{name}`, which would be called instead: rename this");
        refusals.at(&name, words);
    }
    if name == "start" {
        refusals.at(&name, "`start` makes an instance of an implementation: give this method another name");
    }
    if name == "stop" {
        refusals.at(&name, "`stop` is the last word of an implementation: give this method another name");
    }
    if let Some(span) = marks.local {
        refusals.at_span(span, "an interface is what callers see: `#[local]` stands on methods of modules");
    }
    for attribute in function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")) {
        refusals.at(&attribute, "an interface is the same in every build: leave `#[cfg]` out");
    }
    if signature.receiver().is_none() {
        let words = format!("callers have an instance: `{name}` takes `&self` or `&mut self`");
        refusals.at(&name, words);
        return None;
    }
    if signature.asyncness.is_none() {
        let words = format!("an implementation may be in another process: write `async fn {name}`");
        refusals.at(&signature.fn_token, words);
        return None;
    }
    refuse_self(signature, refusals);
    let receiver = receiver(signature, refusals);
    method::method(vis, &function.attrs, signature, receiver?, marks, refusals)
}

/// Refuses `Self` in arguments and results: callers do not know that type.
fn refuse_self(signature: &Signature, refusals: &mut Refusals) {
    struct Found(Vec<syn::Error>);
    impl Visit<'_> for Found {
        fn visit_receiver(&mut self, _: &syn::Receiver) {}

        fn visit_path(&mut self, path: &Path) {
            if path.segments.first().is_some_and(|first| first.ident == "Self") {
                let words = "callers know `dyn` the interface, not which type implements it: write a type here \
                             that both sides know";
                self.0.push(syn::Error::new(path.to_token_stream().span(), words));
            }
            visit::visit_path(self, path);
        }
    }
    let mut found = Found(Vec::new());
    found.visit_signature(signature);
    found.0.into_iter().for_each(|error| refusals.add(error));
}
