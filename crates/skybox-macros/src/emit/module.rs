//! A module: the block as it was, and beside it what makes it callable from elsewhere.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;

use super::annotations;
use super::method::{self, Callable, Owner, seen_at};
use crate::model::{Form, Module, Start, Stop, TakesApp};

/// Writes everything that the attribute stands for.
pub(crate) fn module(module: &Module) -> TokenStream {
    let Module { root, item, ident, methods, .. } = module;
    let this = &*item.self_ty;
    let bare = ident.unraw().to_string();
    let proxy = format_ident!("{bare}Proxy", span = ident.span());
    let descriptor = format_ident!("{}_MODULE", module.name.to_uppercase());
    let callables: Vec<_> = methods
        .iter()
        .enumerate()
        .map(|(index, method)| Callable {
            method,
            index,
            descriptor: &descriptor,
            owner: Owner::Module(this),
        })
        .collect();
    let described = describe(module, &descriptor, &callables);
    let statics = callables.iter().map(Callable::statics);
    let proxied = callables.iter().map(Callable::proxied);
    let (indices, served) = (callables.iter().map(Callable::index), callables.iter().map(Callable::serve));
    let (key, start, stop) = (key(&module.form), start(module), stop(module));
    let checks = method::checks(&callables);
    let neighbours = annotations::neighbours(&module.needs);
    let spawns = matches!(module.form, Form::Spawned(_)).then(|| quote!(impl skybox_rt::Spawns for #this {}));
    let doc = format!("The methods of `{bare}`, as a handle calls them.");
    quote! {
        #item

        #[allow(deprecated, clippy::all, clippy::pedantic)]
        const _: () = {
            use #root::rt as skybox_rt;

            #described
            #(#statics)*

            #[doc = #doc]
            pub struct #proxy(skybox_rt::Target<#this>);

            impl #proxy {
                #(#proxied)*
            }

            impl skybox_rt::Module for #this {
                type Proxy = #proxy;
                type Key = #key;

                fn descriptor() -> &'static skybox_rt::ModuleDescriptor {
                    &#descriptor
                }
                fn proxy(target: skybox_rt::Target<Self>) -> #proxy {
                    #proxy(target)
                }
                fn target(proxy: &#proxy) -> &skybox_rt::Target<Self> {
                    &proxy.0
                }
                #start
                #stop
                fn serve(call: skybox_rt::Incoming<Self>) -> skybox_rt::Serving {
                    match call.method() {
                        #(#indices => #served,)*
                        _ => call.unknown(),
                    }
                }
            }

            #spawns

            const _: fn() = || {
                #checks
                #neighbours
            };

            skybox_rt::inventory::submit!(skybox_rt::Registration::of::<#this>());
        };
    }
}

fn describe(module: &Module, descriptor: &Ident, callables: &[Callable<'_>]) -> TokenStream {
    let (name, needs) = (&module.name, annotations::needs(&module.needs));
    let kind = match module.form {
        Form::Replicated => quote!(Replicated),
        Form::Keyed(_) => quote!(Keyed),
        Form::Spawned(_) => quote!(Spawned),
    };
    let rows = callables.iter().map(Callable::row);
    quote! {
        static #descriptor: skybox_rt::ModuleDescriptor = skybox_rt::ModuleDescriptor {
            name: #name,
            path: ::core::module_path!(),
            kind: skybox_rt::ModuleKind::#kind,
            needs: #needs,
            methods: &[#(#rows),*],
        };
    }
}

fn key(form: &Form) -> TokenStream {
    match form {
        Form::Replicated => quote!(()),
        Form::Keyed(key) | Form::Spawned(key) => quote!(#key),
    }
}

fn start(module: &Module) -> TokenStream {
    let this = &*module.item.self_ty;
    let begun = match &module.start {
        Start::Default => {
            quote_spanned!(seen_at(this)=> skybox_rt::start_alone::<#this>())
        }
        Start::Function { span, is_async, argument_count, infallible } => {
            // A key is lent, what an instance is spawned with is given.
            let key = if matches!(module.form, Form::Spawned(_)) { quote!(key) } else { quote!(&key) };
            let arguments = [quote!(&app), key].into_iter().take(*argument_count);
            let wait = is_async.then(|| quote!(.await));
            let call = quote_spanned!(*span=> <#this>::start(#(#arguments),*) #wait);
            if *infallible {
                quote!(::core::result::Result::Ok(#call))
            } else {
                quote!(skybox_rt::started(#call))
            }
        }
    };
    let takes =
        |count| matches!(&module.start, Start::Function { argument_count, .. } if *argument_count >= count);
    let app = if takes(1) { quote!(app) } else { quote!(_app) };
    let key = if takes(2) { quote!(key) } else { quote!(_key) };
    quote! {
        async fn start(
            #app: skybox_rt::App,
            #key: <Self::Key as ::std::borrow::ToOwned>::Owned,
        ) -> ::core::result::Result<Self, skybox_rt::StartError> {
            #begun
        }
    }
}

fn stop(module: &Module) -> TokenStream {
    let this = &*module.item.self_ty;
    let Some(Stop { span, is_async, app }) = &module.stop else { return TokenStream::new() };
    let argument = app.map(|takes| match takes {
        TakesApp::Value => quote!(app),
        TakesApp::Reference => quote!(&app),
    });
    let wait = is_async.then(|| quote_spanned!(*span=> .await));
    let call = quote_spanned!(*span=> <#this>::stop(self, #argument) #wait);
    let stopped = quote_spanned!(*span=> skybox_rt::stopped(#call));
    let app = if app.is_some() { quote!(app) } else { quote!(_app) };
    quote! {
        const STOPS: bool = true;
        async fn stop(self, #app: skybox_rt::App) -> ::core::result::Result<(), skybox_rt::TextChain> {
            #stopped
        }
    }
}
