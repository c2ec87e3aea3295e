//! Types of arguments and results: what can cross a call, and what the proxy takes for it.

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprPath, FnArg, Lifetime, Pat, PatType, QSelf, ReturnType, Type, TypePath, TypeReference};

use super::Refusals;
use crate::model::{Argument, ArgumentForm};

/// Reads one argument. `None` when it was refused.
pub(super) fn argument(typed: &PatType, refusals: &mut Refusals) -> Option<Argument> {
    for attribute in &typed.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            refusals.at(
                &attribute,
                "the arguments of a call are the same in every build: `#[cfg]` cannot stand here",
            );
        }
    }
    let ident = match &*typed.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => name.ident.clone(),
        other => {
            refusals.at(&other, "an argument of a call needs a name: take the value apart in the body");
            return None;
        }
    };
    Some(Argument { ident, form: form(&typed.ty, refusals)? })
}

/// Reads the key that `start` takes; it needs no name there.
pub(super) fn key(typed: &PatType, refusals: &mut Refusals) -> Option<ArgumentForm> {
    form(&typed.ty, refusals)
}

fn form(ty: &Type, refusals: &mut Refusals) -> Option<ArgumentForm> {
    match peel(ty) {
        Type::Reference(reference) => borrowed(reference, refusals),
        Type::Path(path) if is_stream(path) => {
            check_arguments(path, Place::Argument, refusals)?;
            Some(ArgumentForm::Stream(Type::Path(path.clone())))
        }
        owned => {
            check(owned, Place::Argument, refusals)?;
            Some(ArgumentForm::Value(owned.clone()))
        }
    }
}

/// `&str`, `&[T]`, `&T`.
fn borrowed(reference: &TypeReference, refusals: &mut Refusals) -> Option<ArgumentForm> {
    if matches!(peel(&reference.elem), Type::Path(path) if is_stream(path)) {
        refusals.at(&reference, "whoever reads a stream uses it up: take it by value");
        return None;
    }
    if reference.mutability.is_some() {
        refusals.at(
            &reference,
            "a call cannot change a value of its caller: take it by value, and return what became of it",
        );
        return None;
    }
    if let Some(lifetime) = &reference.lifetime {
        refusals.at(
            &lifetime,
            format!(
                "leave `{lifetime}` out: the argument is borrowed for the call, and owned where it must be"
            ),
        );
        return None;
    }
    let inner = peel(&reference.elem);
    match inner {
        Type::Path(path) if path.path.is_ident("str") => Some(ArgumentForm::Str(reference.span())),
        Type::Slice(slice) => {
            check(&slice.elem, Place::Argument, refusals)?;
            Some(ArgumentForm::Slice((*slice.elem).clone()))
        }
        Type::TraitObject(object) => {
            refusals.at(
                &object,
                "an argument of a call is encoded, so its type must be known: take a concrete type instead \
                 of `dyn`",
            );
            None
        }
        _ => {
            check(inner, Place::Argument, refusals)?;
            Some(ArgumentForm::Reference(inner.clone()))
        }
    }
}

/// Reads the type that a call returns, and whether its value is a stream. `None` when it was refused.
pub(super) fn output(
    output: &ReturnType,
    name: &syn::Ident,
    refusals: &mut Refusals,
) -> Option<(Type, bool)> {
    let ReturnType::Type(_, ty) = output else {
        refusals.at(
            &name,
            format!("a call can fail, so `{name}` must return a `Result`, such as `skybox::Result<()>`"),
        );
        return None;
    };
    let value = match peel(ty) {
        Type::Path(path) if is_stream(path) => {
            let words =
                format!("a call can fail before its stream begins: write `skybox::Result<{}>`", text(ty));
            refusals.at(ty, words);
            return None;
        }
        Type::Path(path) => type_arguments(path).next(),
        _ => None,
    };
    let (Some(Type::Path(stream)), Type::Path(result)) = (value.map(peel), peel(ty)) else {
        check(ty, Place::Output, refusals)?;
        return Some(((**ty).clone(), false));
    };
    if !is_stream(stream) {
        check(ty, Place::Output, refusals)?;
        return Some(((**ty).clone(), false));
    }
    check_arguments(stream, Place::Output, refusals)?;
    for error in type_arguments(result).skip(1) {
        check(error, Place::Output, refusals)?;
    }
    Some(((**ty).clone(), true))
}

/// Whether a type is a stream, by its name: that is all a macro sees.
fn is_stream(path: &TypePath) -> bool {
    path.qself.is_none() && path.path.segments.last().is_some_and(|last| last.ident == "Stream")
}

/// `T` and `E` of `Stream<T, E>`.
pub(crate) fn type_arguments(path: &TypePath) -> impl Iterator<Item = &Type> {
    let last = path.path.segments.last().map(|last| &last.arguments);
    let arguments = match last {
        Some(syn::PathArguments::AngleBracketed(arguments)) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn check_arguments(path: &TypePath, place: Place, refusals: &mut Refusals) -> Option<()> {
    type_arguments(path).map(|ty| check(ty, place, refusals)).collect()
}

/// Where a type stands: the words differ.
#[derive(Clone, Copy)]
enum Place {
    Argument,
    Output,
}

/// Refuses what cannot cross, wherever it is inside the type.
fn check(ty: &Type, place: Place, refusals: &mut Refusals) -> Option<()> {
    let mut crossing = Crossing { place, found: Vec::new() };
    crossing.visit_type_mut(&mut ty.clone());
    let sound = crossing.found.is_empty();
    crossing.found.into_iter().for_each(|error| refusals.add(error));
    sound.then_some(())
}

struct Crossing {
    place: Place,
    found: Vec<syn::Error>,
}

impl VisitMut for Crossing {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        let instead = match peel(&reference.elem) {
            Type::Path(path) if path.path.is_ident("str") => "`String`".to_owned(),
            Type::Slice(slice) => format!("`Vec<{}>`", text(&slice.elem)),
            Type::Reference(_) => "the value itself".to_owned(),
            owned => format!("`{}`", text(owned)),
        };
        let words = match self.place {
            Place::Argument => {
                format!(
                    "only a whole argument can be borrowed, as `&str`, `&[T]` or `&T`: write {instead} here"
                )
            }
            Place::Output => {
                format!("a result comes back owned, perhaps from another process: write {instead}")
            }
        };
        self.found.push(syn::Error::new_spanned(reference, words));
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            let words = match self.place {
                Place::Argument => {
                    "a type that borrows cannot be an argument of a call: take an owned one (`String` for \
                     `Cow<'_, str>`)"
                }
                Place::Output => {
                    "a result comes back owned, perhaps from another process: return a type without lifetimes"
                }
            };
            self.found.push(syn::Error::new_spanned(lifetime, words));
        }
    }

    fn visit_type_impl_trait_mut(&mut self, node: &mut syn::TypeImplTrait) {
        let words = match self.place {
            Place::Output if is_future(node) => "a call waits for its result: write this as `async fn`",
            Place::Argument => {
                "an argument of a call is encoded, so its type must be known: name it instead of `impl`"
            }
            Place::Output => "a result is encoded, so its type must be known: name it instead of `impl`",
        };
        self.found.push(syn::Error::new_spanned(node, words));
    }

    fn visit_type_path_mut(&mut self, node: &mut TypePath) {
        if is_stream(node) {
            let words = match self.place {
                Place::Argument => {
                    "a stream is an argument of its own, and no part of another: its items come beside the call"
                }
                Place::Output => {
                    "a stream is the whole value of a result, and no part of it: its items come after the call"
                }
            };
            self.found.push(syn::Error::new_spanned(node, words));
            return;
        }
        visit_mut::visit_type_path_mut(self, node);
    }
}

fn is_future(node: &syn::TypeImplTrait) -> bool {
    node.bounds.iter().any(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => {
            bound.path.segments.last().is_some_and(|last| last.ident == "Future")
        }
        _ => false,
    })
}

/// Writes the module's type wherever a signature says `Self`: in the proxy that word means the proxy.
pub(super) fn name_self(signature: &mut syn::Signature, this: &Type) {
    let mut naming = Naming(this);
    for input in &mut signature.inputs {
        if let FnArg::Typed(typed) = input {
            naming.visit_type_mut(&mut typed.ty);
        }
    }
    naming.visit_return_type_mut(&mut signature.output);
}

struct Naming<'a>(&'a Type);

impl Naming<'_> {
    /// `Self::N` is `<This>::N`.
    fn qualify(&self, qself: &mut Option<QSelf>, path: &mut syn::Path) {
        let starts_with_self =
            path.leading_colon.is_none() && path.segments.first().is_some_and(|s| s.ident == "Self");
        if qself.is_none() && starts_with_self && path.segments.len() > 1 {
            let this = self.0;
            let rest = path.segments.iter().skip(1);
            let named: TypePath = syn::parse_quote!(<#this>::#(#rest)::*);
            (*qself, *path) = (named.qself, named.path);
        }
    }
}

impl VisitMut for Naming<'_> {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Path(path) if path.qself.is_none() && path.path.is_ident("Self") => *ty = self.0.clone(),
            Type::Path(path) => {
                visit_mut::visit_type_path_mut(self, path);
                self.qualify(&mut path.qself, &mut path.path);
            }
            other => visit_mut::visit_type_mut(self, other),
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        visit_mut::visit_expr_mut(self, expr);
        if let Expr::Path(ExprPath { qself, path, .. }) = expr {
            self.qualify(qself, path);
        }
    }
}

/// A type without the groups and parentheses around it.
pub(super) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        other => other,
    }
}

/// A type as one writes it, without the spaces that tokens print with.
fn text(node: &impl ToTokens) -> String {
    node.to_token_stream()
        .to_string()
        .replace(" :: ", "::")
        .replace(" < ", "<")
        .replace(" >", ">")
        .replace(" ,", ",")
}
