//! The annotations as a constant.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::Path;

use crate::model::{Needs, Replicas};
use crate::parse::snake_case;

/// `skybox_rt::Needs { cpu_milli: Some(1000), ..skybox_rt::Needs::NONE }`.
pub(super) fn needs(needs: &Needs) -> TokenStream {
    let mut fields = TokenStream::new();
    let mut field = |name: &str, value: Option<TokenStream>| {
        if let Some(value) = value {
            let name = Ident::new(name, Span::call_site());
            fields.extend(quote!(#name: ::core::option::Option::Some(#value),));
        }
    };
    field("cpu_milli", tokens(&needs.cpu_milli));
    field("memory_bytes", tokens(&needs.memory_bytes));
    field("gpu", tokens(&needs.gpu));
    field("near", tokens(&needs.near));
    field("with", needs.with.as_ref().map(module_name));
    field("apart", needs.apart.as_ref().map(module_name));
    field("spread", tokens(&needs.spread));
    field("on", tokens(&needs.on));
    field("replicas", needs.replicas.as_ref().map(replicas));
    field("isolate", needs.isolate.map(|name| variant("Isolate", name)));
    field("concurrency", tokens(&needs.concurrency));
    field("restart", needs.restart.map(|name| variant("Restart", name)));
    field("max_restarts", tokens(&needs.max_restarts));
    field("within_ms", tokens(&needs.within_ms));
    field("deadline_ms", tokens(&needs.deadline_ms));
    field("overrun_ms", tokens(&needs.overrun_ms));
    field("idle_ms", tokens(&needs.idle_ms));
    field("awake", tokens(&needs.awake));
    field("stop_wait_ms", tokens(&needs.stop_wait_ms));
    field("on_store_loss", needs.on_store_loss.map(|name| variant("OnStoreLoss", name)));
    if fields.is_empty() {
        quote!(skybox_rt::Needs::NONE)
    } else {
        quote!(skybox_rt::Needs { #fields ..skybox_rt::Needs::NONE })
    }
}

/// Checks that the types behind `with` and `apart` are modules: their names alone would not tell.
pub(super) fn neighbours(needs: &Needs) -> TokenStream {
    let checks =
        needs.with.iter().chain(&needs.apart).map(|other| quote!(skybox_rt::check_module::<#other>();));
    quote!(#(#checks)*)
}

fn tokens<T: ToTokens>(value: &Option<T>) -> Option<TokenStream> {
    value.as_ref().map(ToTokens::to_token_stream)
}

fn module_name(path: &Path) -> TokenStream {
    path.segments.last().map(|last| snake_case(&last.ident)).into_token_stream()
}

fn replicas(replicas: &Replicas) -> TokenStream {
    match replicas {
        Replicas::Range { min, max } => quote!(skybox_rt::Replicas::Range { min: #min, max: #max }),
        Replicas::PerNode => quote!(skybox_rt::Replicas::PerNode),
    }
}

fn variant(of: &str, name: &str) -> TokenStream {
    let (of, name) = (format_ident!("{of}"), format_ident!("{name}"));
    quote!(skybox_rt::#of::#name)
}
