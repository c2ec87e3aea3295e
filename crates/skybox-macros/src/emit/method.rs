//! The pieces of one method: its static, its row, how it is called and how it is served.

use std::collections::HashSet;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::model::{Argument, ArgumentForm, Dispatch, Method};
use crate::parse::type_arguments;

/// A method, or the function of a task, in its place.
pub(super) struct Callable<'a> {
    pub(super) method: &'a Method,
    /// Its number.
    pub(super) index: usize,
    /// The name of the module's descriptor.
    pub(super) descriptor: &'a Ident,
    pub(super) owner: Owner<'a>,
}

/// Whose method it is.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    /// A function stands alone.
    Task,
    /// The module's type.
    Module(&'a Type),
    /// An interface: what is called are the methods of its hidden trait.
    Interface,
}

impl Callable<'_> {
    /// `static GET_CALL: skybox_rt::Call<(String,), Result<Item>> = …`.
    pub(super) fn statics(&self) -> TokenStream {
        let (name, descriptor, index, output) =
            (self.name(), self.descriptor, self.index(), &self.method.output);
        let arguments = self.method.arguments.iter().map(owned_type);
        quote! {
            static #name: skybox_rt::Call<(#(#arguments,)*), #output> =
                skybox_rt::Call::new(&#descriptor, #index);
        }
    }

    /// The method's row in the descriptor: `skybox_rt::MethodDescriptor::shared("get", &["id"])`.
    pub(super) fn row(&self) -> TokenStream {
        let Method { ident, arguments, is_async, dispatch, idempotent, cancel_on_drop, compute, .. } =
            self.method;
        let name = match self.owner {
            Owner::Task => "call".to_owned(),
            Owner::Module(_) | Owner::Interface => ident.unraw().to_string(),
        };
        let parameters = arguments.iter().map(|argument| argument.ident.unraw().to_string());
        let exclusive = *dispatch == Dispatch::Exclusive;
        let (mode, said) = match (exclusive, is_async) {
            (true, _) => (quote!(exclusive), false),
            (false, true) => (quote!(shared), false),
            // That it computes, and to its end, goes without saying.
            (false, false) => (quote!(sync), true),
        };
        let compute = (*compute && !said).then(|| quote!(.compute()));
        let cancel = match (exclusive, cancel_on_drop) {
            (true, true) => quote!(.cancel_on_drop()),
            (false, false) if !said => quote!(.to_completion()),
            _ => quote!(),
        };
        let idempotent = idempotent.then(|| quote!(.idempotent()));
        // More than a call may have is refused when it is made.
        let taken = u8::try_from(arguments.iter().filter(|argument| is_stream(argument)).count());
        let taken = taken.unwrap_or(u8::MAX);
        let count = proc_macro2::Literal::u8_unsuffixed(taken);
        let takes = (taken > 0).then(|| quote!(.takes_streams(#count)));
        let gives = self.method.gives_stream.then(|| quote!(.gives_stream()));
        quote! {
            skybox_rt::MethodDescriptor::#mode(#name, &[#(#parameters),*])
                #compute #cancel #idempotent #takes #gives
        }
    }

    /// What the proxy does: `GET_CALL.shared(&self.0, …)`; a task: `FETCH_CALL.shared_task(FetchTask, …)`.
    pub(super) fn call(&self, target: &TokenStream) -> TokenStream {
        let (name, way) = (self.name(), self.way(""));
        let arguments = self.method.arguments.iter().map(|Argument { ident, form }| match form {
            ArgumentForm::Stream(_) => quote_spanned!(self.at()=> #name.passing(#ident)),
            _ => quote!(#ident),
        });
        let lent = self.method.dispatch == Dispatch::Shared
            && !(matches!(self.owner, Owner::Task) && streams(self.method));
        let run = self.run(if lent { Held::Lent } else { Held::Owned });
        quote!(#name.#way(#target, (#(#arguments,)*), #run))
    }

    /// The method as a handle has it. It is not `async`: what a call inherits is taken where the call is written.
    pub(super) fn proxied(&self) -> TokenStream {
        let Method { ident, vis, attributes, arguments, .. } = self.method;
        let parameters = arguments.iter().map(parameter);
        let future = future(self.method, &quote!(skybox_rt), true);
        let call = self.call(&quote!(&self.0));
        quote! {
            #(#attributes)*
            #vis fn #ident<'c>(&'c self #(, #parameters)*) -> #future {
                #call
            }
        }
    }

    /// What is done with a call from elsewhere: `GET_CALL.serve_shared(call, …)`.
    pub(super) fn serve(&self) -> TokenStream {
        let (name, way, run) = (self.name(), self.way("serve_"), self.run(Held::Owned));
        quote!(#name.#way(call, #run))
    }

    /// `GET_CALL`.
    fn name(&self) -> Ident {
        format_ident!(
            "{}_CALL",
            self.method.ident.unraw().to_string().to_uppercase(),
            span = Span::call_site()
        )
    }

    /// Its number, as it is written.
    pub(super) fn index(&self) -> Literal {
        Literal::usize_unsuffixed(self.index)
    }

    /// Where generated code is seen: at the user's own name, so that compiler errors about it point there.
    fn at(&self) -> Span {
        Span::mixed_site().located_at(self.method.ident.span())
    }

    /// The runtime's way for this kind of call.
    fn way(&self, prefix: &str) -> Ident {
        let kind = match (self.method.dispatch, self.owner) {
            (_, Owner::Task) if streams(self.method) => "streaming_task",
            (Dispatch::Shared, Owner::Task) => "shared_task",
            (Dispatch::Detached, Owner::Task) if self.method.is_async => "detached_task",
            (Dispatch::Detached, Owner::Task) => "sync_task",
            (Dispatch::Shared, _) => "shared",
            (Dispatch::Detached, _) => "detached",
            (Dispatch::Exclusive, _) => "exclusive",
        };
        format_ident!("{prefix}{kind}", span = self.at())
    }

    /// `|this, (id,)| async move { <Catalog>::get(&this, &id).await }`; of a task that is not async
    /// `|(id,)| thumbnail(id)`.
    fn run(&self, held: Held) -> TokenStream {
        let Method { ident, arguments, is_async, dispatch, gives_stream, .. } = self.method;
        // Of a hygiene of their own: an argument may be called `this`.
        let (this, live) = (Ident::new("this", self.at()), Ident::new("live", self.at()));
        let names: Vec<_> = arguments.iter().map(|argument| &argument.ident).collect();
        let values = arguments.iter().map(|Argument { ident, form }| match (held, form) {
            (_, ArgumentForm::Stream(_)) => quote!(#live.argument(#ident)),
            (Held::Lent, _) | (_, ArgumentForm::Value(_)) => quote!(#ident),
            (Held::Owned, _) => quote!(&#ident),
        });
        let wait = is_async.then(|| quote!(.await));
        let exclusive = (*dispatch == Dispatch::Exclusive).then(|| quote!(mut));
        let call = match self.owner {
            Owner::Module(owner) => quote!(<#owner>::#ident(&#exclusive #this #(, #values)*)),
            Owner::Interface => {
                let boxed = self.method.boxed_ident();
                quote!(#this.#boxed(#(#values),*))
            }
            Owner::Task if streams(self.method) => quote!(#ident(#(#values),*)),
            Owner::Task => {
                let call = quote!(#ident(#(#values),*));
                // A block of its own, which takes along what the task borrows; and where a future that is not
                // `Send` is refused, once.
                let block = || quote_spanned!(self.at()=> async move { #call.await });
                let body = if *is_async { block() } else { call };
                return quote_spanned!(self.at()=> |(#(#names,)*)| #body);
            }
        };
        let body = if *gives_stream { quote!(#live.result(#call #wait)) } else { quote!(#call #wait) };
        let name = self.name();
        let (first, alive) = match self.owner {
            Owner::Task => (quote!(#live), None),
            _ if streams(self.method) => {
                (quote!(#exclusive #this), Some(quote!(let #live = #name.live(&#this);)))
            }
            _ => (quote!(#exclusive #this), None),
        };
        quote_spanned!(self.at()=> |#first, (#(#names,)*)| async move { #alive #body })
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
    let owned = |form: &ArgumentForm| matches!(form, ArgumentForm::Value(_) | ArgumentForm::Stream(_));
    method.arguments.iter().any(|argument| !owned(&argument.form))
}

/// Whether something of the call goes on beside it.
fn streams(method: &Method) -> bool {
    method.gives_stream || method.arguments.iter().any(is_stream)
}

fn is_stream(argument: &Argument) -> bool {
    matches!(argument.form, ArgumentForm::Stream(_))
}

/// `item: Item`, `note: &'c str`.
pub(super) fn parameter(argument: &Argument) -> TokenStream {
    let Argument { ident, form } = argument;
    match form {
        ArgumentForm::Value(ty) | ArgumentForm::Stream(ty) => quote!(#ident: #ty),
        ArgumentForm::Str(span) => quote_spanned!(*span=> #ident: &'c str),
        ArgumentForm::Slice(item) => quote!(#ident: &'c [#item]),
        ArgumentForm::Reference(ty) => quote!(#ident: &'c #ty),
    }
}

/// Where the user wrote a type, for generated code around it.
pub(super) fn seen_at(ty: &impl Spanned) -> Span {
    Span::call_site().located_at(ty.span())
}

/// The type an argument has when nobody lends it.
fn owned_type(argument: &Argument) -> TokenStream {
    match &argument.form {
        ArgumentForm::Value(ty) => ty.to_token_stream(),
        ArgumentForm::Str(span) => quote_spanned!(*span=> ::std::string::String),
        ArgumentForm::Slice(item) => quote_spanned!(seen_at(item)=> ::std::vec::Vec<#item>),
        ArgumentForm::Reference(ty) => quote_spanned!(seen_at(ty)=> <#ty as ::std::borrow::ToOwned>::Owned),
        ArgumentForm::Stream(ty) => quote_spanned!(seen_at(ty)=> <#ty as skybox_rt::Streaming>::Passing),
    }
}

/// `impl skybox_rt::Calling<'c, Result<Item>>`.
pub(super) fn future(method: &Method, root: &TokenStream, lends: bool) -> TokenStream {
    let output = &method.output;
    let lifetime = if lends { quote!('c) } else { quote!('static) };
    quote!(impl #root::Calling<#lifetime, #output>)
}

/// Lines that name each type which must be able to cross, where the user wrote it first.
pub(super) fn checks(callables: &[Callable<'_>]) -> TokenStream {
    let mut seen = HashSet::new();
    let mut checks = TokenStream::new();
    for callable in callables {
        let Method { arguments, output, gives_stream, .. } = callable.method;
        let texts = |argument: &&Argument| matches!(argument.form, ArgumentForm::Str(_));
        // Of a stream, its items.
        let crossing = |argument: &Argument| match &argument.form {
            ArgumentForm::Stream(Type::Path(stream)) => {
                type_arguments(stream).next().map(Type::to_token_stream)
            }
            _ => Some(owned_type(argument)),
        };
        for ty in arguments.iter().filter(|argument| !texts(argument)).filter_map(crossing) {
            if seen.insert((true, ty.to_string())) {
                checks.extend(quote_spanned! {seen_at(&ty)=>
                    skybox_rt::check_argument::<#ty, _>(skybox_rt::data!(#ty));
                });
            }
        }
        if seen.insert((false, output.to_token_stream().to_string())) {
            let name = callable.name();
            // With the span of the result, as all of the check: that is what the compiler points to.
            let check = if *gives_stream { "check_stream_return" } else { "check_return" };
            let check = Ident::new(check, seen_at(output));
            checks.extend(quote_spanned! {seen_at(output)=>
                skybox_rt::#check(skybox_rt::judged!(#name));
            });
        }
    }
    checks
}
