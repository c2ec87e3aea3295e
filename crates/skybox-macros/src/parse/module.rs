//! `#[skybox::module]`, on an `impl` block; on other items it is another form, or refused.

use proc_macro2::{Ident, TokenStream};
use syn::spanned::Spanned;
use syn::{FnArg, ImplItem, ImplItemFn, Item, ItemImpl, PatType, ReturnType, Signature, Type, Visibility};

use super::annotations;
use super::marks::Marks;
use super::method::{self, Receiver};
use super::{Refusals, candidate, interface, snake_case, stop, types};
use crate::model::{Annotated, ArgumentForm, Form, Method, Module, Start};

/// Methods that every handle has, by itself or by a trait of the prelude: they would be called instead.
pub(super) const SHADOWED: [&str; 6] = ["with", "clone", "clone_from", "into", "try_into", "to_owned"];

const NO_START: &str = "a keyed module needs `async fn start(app: &App, key: &Key) -> Result<Self>`, which makes \
                        the instance of one key";

/// Reads the attribute and what it stands on.
pub(crate) fn module(attribute: TokenStream, item: TokenStream) -> syn::Result<Annotated> {
    let (span, words) = match syn::parse2(item)? {
        Item::Impl(item) if item.trait_.is_some() => {
            return Ok(Annotated::Candidate(Box::new(candidate::candidate(attribute, item)?)));
        }
        Item::Impl(item) => return Ok(Annotated::Module(Box::new(block(attribute, item)?))),
        Item::Trait(item) => {
            return Ok(Annotated::Interface(Box::new(interface::interface(attribute, item)?)));
        }
        Item::Fn(item) => (item.sig.ident.span(), "a function is a task: write `#[skybox::task]`"),
        Item::Struct(item) => (item.ident.span(), "put `#[skybox::module]` on the `impl` block of this type"),
        Item::Enum(item) => (item.ident.span(), "put `#[skybox::module]` on the `impl` block of this type"),
        other => (other.span(), "`#[skybox::module]` stands on an `impl` block or on a trait"),
    };
    Err(syn::Error::new(span, words))
}

/// Reads the attribute and its block.
fn block(attribute: TokenStream, mut item: ItemImpl) -> syn::Result<Module> {
    let mut refusals = Refusals::default();
    let annotations = refusals.take(annotations::of_module(attribute));
    let ident = type_name(&item.self_ty)?;
    check_block(&item, &mut refusals);
    let mut methods = Vec::new();
    let (mut start, mut stop) = (None, None);
    for function in item.items.iter_mut().filter_map(as_function) {
        let marks = Marks::take(&mut function.attrs, &mut refusals);
        let mut named = function.clone();
        types::name_self(&mut named.sig, &item.self_ty);
        if function.sig.receiver().is_none() && function.sig.ident == "start" {
            start = Some(named.clone());
        }
        if stop::is_stop(function, &marks) {
            check_outside(function, &marks, &mut refusals);
            stop = Some(stop::stop(function, &mut refusals));
        } else if is_interface(function, &marks) {
            methods.push(method_of(&named, &marks, &mut refusals));
        } else {
            check_outside(function, &marks, &mut refusals);
        }
    }
    if methods.is_empty() {
        let words = "this module has no method to call: make one `pub`, with `&self` or `&mut self`";
        refusals.at(&item.self_ty, words);
    }
    if let (None, Some(Some(span))) = (&stop, annotations.as_ref().map(|annotations| annotations.stop_wait)) {
        refusals.at_span(span, stop::NO_STOP);
    }
    let keyed = annotations.as_ref().map(|annotations| annotations.keyed);
    let spawned = annotations.as_ref().is_some_and(|annotations| annotations.spawned.is_some());
    let start = match (keyed, &start) {
        // Without annotations nobody knows which `start` is right.
        (None, _) => None,
        (Some(None), None) if spawned => {
            Some((Form::Spawned(Box::new(syn::parse_quote!(()))), Start::Default))
        }
        (Some(None), Some(start)) if spawned => spawned_with(start, &item.self_ty, &mut refusals),
        (Some(None), None) => Some((Form::Replicated, Start::Default)),
        (Some(None), Some(start)) => replicated(start, &item.self_ty, &mut refusals),
        (Some(Some(_)), Some(start)) => keyed_by(start, &item.self_ty, &mut refusals),
        (Some(Some(keyed)), None) => {
            refusals.at_span(keyed, NO_START);
            None
        }
    };
    let methods: Option<Vec<Method>> = methods.into_iter().collect();
    refusals.finish()?;
    let (Some(annotations), Some(methods), Some((form, start))) = (annotations, methods, start) else {
        unreachable!("what is missing was refused above");
    };
    Ok(Module {
        root: annotations.root,
        name: snake_case(&ident),
        ident,
        form,
        start,
        stop: stop.flatten(),
        needs: annotations.needs,
        methods,
        item,
    })
}

pub(super) fn type_name(this: &Type) -> syn::Result<Ident> {
    match types::peel(this) {
        Type::Path(path) if path.qself.is_none() => {
            Ok(path.path.segments.last().expect("a path has a segment").ident.clone())
        }
        other => Err(syn::Error::new(other.span(), "a module is a type of your own, written by its name")),
    }
}

pub(super) fn check_block(item: &ItemImpl, refusals: &mut Refusals) {
    if let Some(parameter) = item.generics.params.first() {
        refusals.at(
            &parameter,
            "each module is one type with one name: it cannot be generic; write the `impl` for a concrete type",
        );
    }
    if let Some(clause) = &item.generics.where_clause {
        refusals.at(&clause, "a module is one concrete type: it cannot have a `where` clause");
    }
    if let Some(token) = &item.unsafety {
        refusals.at(&token, "the `impl` block of a module cannot be `unsafe`");
    }
}

fn as_function(item: &mut ImplItem) -> Option<&mut ImplItemFn> {
    match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    }
}

fn is_interface(function: &ImplItemFn, marks: &Marks) -> bool {
    is_visible(function) && marks.local.is_none() && function.sig.receiver().is_some()
}

/// Whether it would be part of the interface, by its visibility.
pub(super) fn is_visible(function: &ImplItemFn) -> bool {
    match &function.vis {
        Visibility::Public(_) => true,
        Visibility::Restricted(restricted) => {
            restricted.in_token.is_none() && restricted.path.is_ident("crate")
        }
        Visibility::Inherited => false,
    }
}

/// A function that is not called through handles has no use for marks that say how calls run.
fn check_outside(function: &ImplItemFn, marks: &Marks, refusals: &mut Refusals) {
    let why = match marks.local {
        Some(_) => "is `#[local]`",
        None if function.sig.receiver().is_none() => "has no `self`",
        None => "is neither `pub` nor `pub(crate)`",
    };
    for (name, span) in marks.of_calls() {
        let words = format!(
            "`#[{name}]` says how calls run, but `{}` {why}: it is not called through handles",
            function.sig.ident
        );
        refusals.at_span(span, words);
    }
    if let (Some(span), None) = (marks.local, function.sig.receiver()) {
        refusals
            .at_span(span, "a function without `self` is never part of the interface: leave `#[local]` out");
    }
}

fn method_of(function: &ImplItemFn, marks: &Marks, refusals: &mut Refusals) -> Option<Method> {
    let name = &function.sig.ident;
    if SHADOWED.iter().any(|shadowed| name == shadowed) {
        refusals.at(
            &name,
            format!(
                "every handle has its own `{name}`, which would be called instead: rename this, or mark it \
                 `#[local]`"
            ),
        );
    }
    for attribute in &function.attrs {
        if attribute.path().is_ident("cfg") {
            refusals.at(
                &attribute,
                "an interface is the same in every build: put `#[cfg]` inside the body, or mark the method \
                 `#[local]`",
            );
        }
    }
    let receiver = receiver(&function.sig, refusals);
    method::method(&function.vis, &function.attrs, &function.sig, receiver?, marks, refusals)
}

/// Reads `&self` or `&mut self`.
pub(super) fn receiver(signature: &Signature, refusals: &mut Refusals) -> Option<Receiver> {
    let receiver = signature.receiver()?;
    if receiver.colon_token.is_some() || receiver.reference.is_none() {
        refusals.at(
            &receiver,
            "an instance stays where it is: take `&self` (beside others) or `&mut self` (one at a time)",
        );
        return None;
    }
    if let Some(lifetime) = receiver.lifetime() {
        refusals.at(&lifetime, "leave the lifetime out: results are owned");
        return None;
    }
    Some(if receiver.mutability.is_some() { Receiver::Exclusive } else { Receiver::Shared })
}

fn replicated(start: &ImplItemFn, this: &Type, refusals: &mut Refusals) -> Option<(Form, Start)> {
    let arguments = start_arguments(start);
    if let Some(extra) = arguments.get(1) {
        refusals.at(
            &extra,
            "`start` takes `app: &App` alone; with a key the module is `#[skybox::module(keyed)]`",
        );
        return None;
    }
    Some((Form::Replicated, start_function(start, arguments.len(), this, refusals)?))
}

fn keyed_by(start: &ImplItemFn, this: &Type, refusals: &mut Refusals) -> Option<(Form, Start)> {
    let arguments = start_arguments(start);
    let [_, key] = arguments[..] else {
        refusals.at(
            &start.sig.ident,
            "the `start` of a keyed module takes two arguments: `app: &App, key: &Key`",
        );
        return None;
    };
    let key = match types::key(key, refusals)? {
        ArgumentForm::Str(span) => Type::Verbatim(quote::quote_spanned!(span=> str)),
        ArgumentForm::Slice(item) => syn::parse_quote!([#item]),
        ArgumentForm::Reference(key) => key,
        ArgumentForm::Value(value) | ArgumentForm::Stream(value) => {
            let words = "`start` borrows its key, which stays with the instance's name: take it as `&…`";
            refusals.at(&value, words);
            return None;
        }
    };
    Some((Form::Keyed(Box::new(key)), start_function(start, arguments.len(), this, refusals)?))
}

fn spawned_with(start: &ImplItemFn, this: &Type, refusals: &mut Refusals) -> Option<(Form, Start)> {
    let arguments = start_arguments(start);
    if let Some(extra) = arguments.get(2) {
        refusals.at(
            &extra,
            "the `start` of a spawned module takes `app: &App` and one argument more: make these a struct or a tuple",
        );
        return None;
    }
    let given = match arguments.get(1) {
        None => syn::parse_quote!(()),
        Some(argument) => match types::key(argument, refusals)? {
            ArgumentForm::Value(given) => given,
            ArgumentForm::Stream(stream) => {
                refusals
                    .at(&stream, "an instance outlives the call that makes it: give it its stream in a call");
                return None;
            }
            _ => {
                refusals.at(&argument.ty, "`start` is given its argument, to keep: take it by value");
                return None;
            }
        },
    };
    Some((Form::Spawned(Box::new(given)), start_function(start, arguments.len(), this, refusals)?))
}

fn start_arguments(start: &ImplItemFn) -> Vec<&PatType> {
    let inputs = start.sig.inputs.iter();
    inputs
        .filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect()
}

fn start_function(
    start: &ImplItemFn,
    argument_count: usize,
    this: &Type,
    refusals: &mut Refusals,
) -> Option<Start> {
    let ReturnType::Type(_, output) = &start.sig.output else {
        refusals.at(
            &start.sig.ident,
            "`start` makes the instance: it returns `Result<Self>`, or `Self` if it cannot fail",
        );
        return None;
    };
    if let Some(parameter) = start.sig.generics.params.first() {
        refusals.at(&parameter, "the runtime calls `start`: it cannot be generic");
        return None;
    }
    Some(Start::Function {
        span: start.sig.ident.span(),
        is_async: start.sig.asyncness.is_some(),
        argument_count,
        infallible: types::peel(output) == types::peel(this),
    })
}
