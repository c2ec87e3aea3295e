//! The pieces of one method: its static, its row, how it is called and how it is served.

use std::collections::HashSet;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::model::{Argument, ArgumentForm, Dispatch, Method};

/// A method, or the function of a task, in its place.
pub(super) struct Callable<'a> {
    pub(super) method: &'a Method,
    /// Its number.
    pub(super) index: usize,
    /// The name of the module's descriptor.
    pub(super) descriptor: &'a Ident,
    /// The module's type; a task's function stands alone.
    pub(super) owner: Option<&'a Type>,
}

impl Callable<'_> {
    /// `static GET_METHOD: skybox_rt::Method<(String,), Result<Item>> = …`.
    pub(super) fn statics(&self) -> TokenStream {
        let (name, descriptor, index, output) =
            (self.name(), self.descriptor, self.index(), &self.method.output);
        let arguments = self.method.arguments.iter().map(owned_type);
        quote! {
            static #name: skybox_rt::Method<(#(#arguments,)*), #output> =
                skybox_rt::Method::new(&#descriptor, #index);
        }
    }

    /// The method's row in the descriptor.
    pub(super) fn row(&self) -> TokenStream {
        let Method { ident, arguments, dispatch, idempotent, cancel_on_drop, compute, .. } = self.method;
        let name = match self.owner {
            Some(_) => ident.unraw().to_string(),
            None => "call".to_owned(),
        };
        let parameters = arguments.iter().map(|argument| argument.ident.unraw().to_string());
        let mode = match dispatch {
            Dispatch::Exclusive => quote!(skybox_rt::Mode::Exclusive),
            Dispatch::Shared | Dispatch::Detached => quote!(skybox_rt::Mode::Shared),
        };
        quote! {
            skybox_rt::MethodDescriptor {
                name: #name,
                parameters: &[#(#parameters),*],
                mode: #mode,
                idempotent: #idempotent,
                cancel_on_drop: #cancel_on_drop,
                compute: #compute,
            }
        }
    }

    /// What the proxy does: `shared(&GET_METHOD, …)`.
    pub(super) fn call(&self) -> TokenStream {
        let (way, name, output) = (self.way(), self.name(), &self.method.output);
        let arguments = self.method.arguments.iter().map(|argument| &argument.ident);
        let (own, run) = match self.method.dispatch {
            Dispatch::Shared => (None, self.run(Held::Lent)),
            Dispatch::Detached | Dispatch::Exclusive => (Some(self.own()), self.run(Held::Owned)),
        };
        quote!(#way(&#name, skybox_rt::wire!(#output), (#(#arguments,)*), #own #run))
    }

    /// What is done with a call from elsewhere: `0 => call.shared(&GET_METHOD, …)`.
    pub(super) fn serve(&self) -> TokenStream {
        let (index, way, name, output) = (self.index(), self.way(), self.name(), &self.method.output);
        let run = self.run(Held::Owned);
        quote!(#index => call.#way(&#name, skybox_rt::wire!(#output), #run),)
    }

    /// `GET_METHOD`.
    fn name(&self) -> Ident {
        format_ident!(
            "{}_METHOD",
            self.method.ident.unraw().to_string().to_uppercase(),
            span = Span::call_site()
        )
    }

    fn index(&self) -> Literal {
        Literal::usize_unsuffixed(self.index)
    }

    /// Where generated code is seen: at the user's own name, so that compiler errors about it point there.
    fn at(&self) -> Span {
        Span::mixed_site().located_at(self.method.ident.span())
    }

    /// The runtime's way for this kind of call.
    fn way(&self) -> Ident {
        let name = match self.method.dispatch {
            Dispatch::Shared => "shared",
            Dispatch::Detached => "detached",
            Dispatch::Exclusive => "exclusive",
        };
        Ident::new(name, self.at())
    }

    /// `|this, (id,)| async move { <Catalog>::get(&*this, &id).await }`.
    fn run(&self, held: Held) -> TokenStream {
        let Method { ident, arguments, is_async, dispatch, .. } = self.method;
        // Of a hygiene of its own: an argument may be called `this`.
        let this = Ident::new("this", self.at());
        let names: Vec<_> = arguments.iter().map(|argument| &argument.ident).collect();
        let values = arguments.iter().map(|Argument { ident, form }| match (held, form) {
            (Held::Lent, _) | (_, ArgumentForm::Value(_)) => quote!(#ident),
            (Held::Owned, _) => quote!(&#ident),
        });
        let wait = is_async.then(|| quote!(.await));
        let (pattern, body) = match (self.owner, dispatch) {
            (None, _) => {
                let held = Ident::new("_held", self.at());
                (quote!(#this), quote!(let #held = #this; #ident(#(#values),*) #wait))
            }
            (Some(owner), Dispatch::Exclusive) => {
                (quote!(mut #this), quote!(<#owner>::#ident(&mut *#this #(, #values)*) #wait))
            }
            (Some(owner), _) => (quote!(#this), quote!(<#owner>::#ident(&*#this #(, #values)*) #wait)),
        };
        quote_spanned!(self.at()=> |#pattern, (#(#names,)*)| async move { #body })
    }

    /// `|(item, note)| (item, skybox_rt::own(note)),`.
    fn own(&self) -> TokenStream {
        let arguments = &self.method.arguments;
        if !borrows(self.method) {
            return quote!(|arguments| arguments,);
        }
        let names = arguments.iter().map(|argument| &argument.ident);
        let owned = arguments.iter().map(|Argument { ident, form }| match form {
            ArgumentForm::Value(_) => quote!(#ident),
            _ => quote!(skybox_rt::own(#ident)),
        });
        quote!(|(#(#names,)*)| (#(#owned,)*),)
    }
}

/// Whether borrowed arguments are still the caller's.
#[derive(Clone, Copy)]
enum Held {
    Lent,
    Owned,
}

/// Whether callers lend something, so that the future cannot outlive it.
pub(super) fn borrows(method: &Method) -> bool {
    method.arguments.iter().any(|argument| !matches!(argument.form, ArgumentForm::Value(_)))
}

/// `item: Item`, `note: &'call str`.
pub(super) fn parameter(argument: &Argument) -> TokenStream {
    let Argument { ident, form } = argument;
    match form {
        ArgumentForm::Value(ty) => quote!(#ident: #ty),
        ArgumentForm::Str(span) => quote_spanned!(*span=> #ident: &'call str),
        ArgumentForm::Slice(item) => quote!(#ident: &'call [#item]),
        ArgumentForm::Reference(ty) => quote!(#ident: &'call #ty),
    }
}

/// Where the user wrote a type, for generated code around it.
fn seen_at(ty: &impl Spanned) -> Span {
    Span::call_site().located_at(ty.span())
}

/// The type an argument has when nobody lends it.
fn owned_type(argument: &Argument) -> TokenStream {
    match &argument.form {
        ArgumentForm::Value(ty) => ty.to_token_stream(),
        ArgumentForm::Str(span) => quote_spanned!(*span=> ::std::string::String),
        ArgumentForm::Slice(item) => quote_spanned!(seen_at(item)=> ::std::vec::Vec<#item>),
        ArgumentForm::Reference(ty) => quote_spanned!(seen_at(ty)=> <#ty as ::std::borrow::ToOwned>::Owned),
    }
}

/// `impl Future<Output = Result<Item>> + Send + 'call`.
pub(super) fn future(method: &Method, lends: bool) -> TokenStream {
    let output = &method.output;
    let call = lends.then(|| quote!(+ 'call));
    quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send #call)
}

/// Lines that name each type which must be able to cross, where the user wrote it first.
pub(super) fn checks<'a>(methods: impl IntoIterator<Item = &'a Method>) -> TokenStream {
    let mut seen = HashSet::new();
    let mut checks = TokenStream::new();
    for method in methods {
        let texts = |argument: &&Argument| matches!(argument.form, ArgumentForm::Str(_));
        for ty in method.arguments.iter().filter(|argument| !texts(argument)).map(owned_type) {
            if seen.insert((true, ty.to_string())) {
                let at = Span::call_site().located_at(ty.span());
                checks
                    .extend(quote_spanned!(at=> skybox_rt::check_argument::<#ty, _>(skybox_rt::data!(#ty));));
            }
        }
        let ty = &method.output;
        if seen.insert((false, ty.to_token_stream().to_string())) {
            checks.extend(
                quote_spanned!(seen_at(ty)=> skybox_rt::check_return::<#ty, _>(skybox_rt::wire!(#ty));),
            );
        }
    }
    checks
}
