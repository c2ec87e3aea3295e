//! An interface: the trait with futures that can be sent, a hidden trait beside it that boxes them, and what makes
//! `dyn` the trait callable.
//!
//! A trait whose methods are `async` is no type of its own, since each implementation's futures are of other types.
//! So every method is `where Self: Sized`, which leaves it out of `dyn Payments`; there its place is taken by the
//! method of the hidden supertrait, which every implementation has by a blanket `impl`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{ItemTrait, TraitItem, TraitItemFn, Type};

use super::method::{self, Callable, Owner};
use crate::model::{Interface, Method};

/// Writes everything that the attribute stands for.
pub(crate) fn interface(interface: &Interface) -> TokenStream {
    let Interface { root, item, name, key, methods } = interface;
    let (ident, vis) = (&item.ident, &item.vis);
    let bare = ident.unraw().to_string();
    let [boxed, proxy, any] =
        ["Boxed", "Proxy", "Impl"].map(|end| format_ident!("{bare}{end}", span = ident.span()));
    let descriptor = format_ident!("{}_MODULE", name.to_uppercase());
    let object: Type = syn::parse_quote!(dyn #ident);
    let callables: Vec<_> = methods
        .iter()
        .enumerate()
        .map(|(index, method)| Callable { method, index, descriptor: &descriptor, owner: Owner::Interface })
        .collect();
    let (rows, statics) = (callables.iter().map(Callable::row), callables.iter().map(Callable::statics));
    let (indices, served) = (callables.iter().map(Callable::index), callables.iter().map(Callable::serve));
    let proxied = callables.iter().map(Callable::proxied);
    let kind = if key.is_some() { quote!(Keyed) } else { quote!(Replicated) };
    let form = if key.is_some() { quote!(WithKey) } else { quote!(WithoutKey) };
    let key_type = key.as_ref().map_or_else(|| quote!(()), |key| quote!(#key));
    let (checks, check_key) = (method::checks(&callables), key.as_ref().map(check_key));
    let written = written(item, &boxed);
    let declared = methods.iter().map(|method| boxed_signature(method, &quote!(#root::rt)));
    let implemented = methods.iter().map(|method| boxing(method, ident, &any));
    let boxed_doc = format!("The methods of `{bare}`, as `dyn {bare}` has them: their futures are boxed.");
    let proxy_doc = format!("The methods of `{bare}`, as a handle calls them.");
    quote! {
        #written

        #[doc = #boxed_doc]
        #[doc(hidden)]
        #vis trait #boxed: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#declared;)*
            fn into_any_value(
                self: ::std::boxed::Box<Self>,
            ) -> ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send>;
        }

        #[allow(deprecated, clippy::all, clippy::pedantic)]
        const _: () = {
            use #root::rt as skybox_rt;

            static #descriptor: skybox_rt::ModuleDescriptor = skybox_rt::ModuleDescriptor {
                name: #name,
                path: ::core::module_path!(),
                kind: skybox_rt::ModuleKind::#kind,
                needs: skybox_rt::Needs::NONE,
                methods: &[#(#rows),*],
            };
            #(#statics)*

            #[doc = #proxy_doc]
            pub struct #proxy(skybox_rt::Target<skybox_rt::Object<#object>>);

            impl #proxy {
                #(#proxied)*
            }

            impl<#any: #ident> #boxed for #any {
                #(#implemented)*
                fn into_any_value(
                    self: ::std::boxed::Box<Self>,
                ) -> ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send> {
                    self
                }
            }

            impl<#any: #ident> skybox_rt::ImplementedBy<#any> for #object {
                fn object(value: #any) -> ::std::boxed::Box<#object> {
                    ::std::boxed::Box::new(value)
                }
            }

            impl skybox_rt::Callable for dyn #ident + '_ {
                type Module = skybox_rt::Object<#object>;
            }

            impl skybox_rt::Interface for #object {
                type Proxy = #proxy;
                type Key = #key_type;
                type Form = skybox_rt::#form;
                const DESCRIPTOR: &'static skybox_rt::ModuleDescriptor = &#descriptor;

                fn proxy(target: skybox_rt::Target<skybox_rt::Object<#object>>) -> #proxy {
                    #proxy(target)
                }
                fn target(proxy: &#proxy) -> &skybox_rt::Target<skybox_rt::Object<#object>> {
                    &proxy.0
                }
                fn serve(call: skybox_rt::Incoming<skybox_rt::Object<#object>>) -> skybox_rt::Serving {
                    match call.method() {
                        #(#indices => #served,)*
                        _ => call.unknown(),
                    }
                }
                fn into_any(
                    object: ::std::boxed::Box<#object>,
                ) -> ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send> {
                    object.into_any_value()
                }
            }

            const _: fn() = || {
                #check_key
                #checks
            };

            skybox_rt::inventory::submit!(skybox_rt::Registration::interface::<#object>());
        };
    }
}

/// The trait as it was, with futures in place of `async`: `where Self: Sized`, so that `dyn` of it is a type.
fn written(item: &ItemTrait, boxed: &Ident) -> TokenStream {
    let mut item = item.clone();
    item.colon_token.get_or_insert_default();
    item.supertraits.insert(0, syn::parse_quote!(#boxed));
    let futures = item.items.iter_mut().filter_map(|member| match member {
        TraitItem::Fn(function) => Some(function),
        _ => None,
    });
    futures.for_each(future);
    quote!(#item)
}

fn future(TraitItemFn { sig, default, .. }: &mut TraitItemFn) {
    sig.asyncness = None;
    if let syn::ReturnType::Type(_, output) = &mut sig.output {
        **output = syn::parse_quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    }
    sig.generics.make_where_clause().predicates.push(syn::parse_quote!(Self: ::core::marker::Sized));
    if let Some(body) = default {
        *body = syn::parse_quote!({ async move #body });
    }
}

/// `fn pay_boxed<'c>(&'c self, order: &'c str) -> skybox_rt::Boxed<'c, Result<Receipt>>`.
fn boxed_signature(method: &Method, root: &TokenStream) -> TokenStream {
    let (name, output) = (method.boxed_ident(), &method.output);
    let exclusive = (method.dispatch == crate::model::Dispatch::Exclusive).then(|| quote!(mut));
    let parameters = method.arguments.iter().map(method::parameter);
    quote!(fn #name<'c>(&'c #exclusive self #(, #parameters)*) -> #root::Boxed<'c, #output>)
}

fn boxing(method: &Method, interface: &Ident, any: &Ident) -> TokenStream {
    let (signature, ident) = (boxed_signature(method, &quote!(skybox_rt)), &method.ident);
    let arguments = method.arguments.iter().map(|argument| &argument.ident);
    quote! {
        #signature {
            ::std::boxed::Box::pin(<#any as #interface>::#ident(self #(, #arguments)*))
        }
    }
}

fn check_key(key: &Type) -> TokenStream {
    quote_spanned!(method::seen_at(key)=> skybox_rt::check_key::<#key>();)
}

impl Method {
    /// The method's name in the hidden trait: another one, since both traits may be in scope.
    pub(super) fn boxed_ident(&self) -> Ident {
        format_ident!("{}_boxed", self.ident.unraw(), span = Span::call_site().located_at(self.ident.span()))
    }
}
