//! A test: its function inside one that runs it in each mode.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::{ItemFn, Visibility};

use crate::model::{Test, TestArgument};

/// Writes everything that the attribute stands for.
pub(crate) fn test(test: &Test) -> TokenStream {
    let Test { root, item, is_hosted, is_fallible, modes, .. } = test;
    let ItemFn { attrs, vis, sig, block } = item;
    let original =
        ItemFn { attrs: Vec::new(), vis: Visibility::Inherited, sig: sig.clone(), block: block.clone() };
    let (ident, output) = (&sig.ident, &sig.output);
    let outer = test.arguments.iter().filter_map(|argument| match argument {
        TestArgument::Own { typed, .. } => Some(typed),
        TestArgument::App { .. } => None,
    });
    let runs = modes.iter().enumerate().map(|(index, mode)| {
        let last = index + 1 == modes.len();
        let (run, end) = (run(test, mode, last), if *is_fallible { quote!(?;) } else { quote!(;) });
        if last { run } else { quote!(#run #end) }
    });
    let (harness, asyncness, body) = if *is_hosted {
        (None, Some(quote!(async)), quote!(#(#runs)*))
    } else {
        let harness = quote!(#[::core::prelude::v1::test]);
        (Some(harness), None, quote!(skybox_rt::block_on_test(async move { #(#runs)* })))
    };
    quote! {
        #harness
        #(#attrs)*
        #vis #asyncness fn #ident(#(#outer),*) #output {
            use #root::rt as skybox_rt;

            #original

            #body
        }
    }
}

/// One run: `skybox_rt::run_test(skybox_rt::TestMode::Inline, |builder| builder, async move |app| …).await`.
fn run(test: &Test, mode: &str, last: bool) -> TokenStream {
    // Of a hygiene of their own: arguments may have these names.
    let (app, builder) = (Ident::new("app", Span::mixed_site()), Ident::new("builder", Span::mixed_site()));
    let (mode, ident) = (Ident::new(mode, Span::call_site()), &test.item.sig.ident);
    let own: Vec<_> = test
        .arguments
        .iter()
        .filter_map(|argument| match argument {
            TestArgument::Own { ident, .. } => Some(ident),
            TestArgument::App { .. } => None,
        })
        .collect();
    let arguments = test.arguments.iter().map(|argument| match argument {
        TestArgument::App { borrowed: true } => quote!(&#app),
        TestArgument::App { borrowed: false } => quote!(#app),
        TestArgument::Own { ident, .. } => quote!(#ident),
    });
    let takes_app = test.arguments.len() > own.len();
    let parameter = if takes_app { quote!(#app) } else { quote!(_) };
    let clones = quote!(#(let #own = ::core::clone::Clone::clone(&#own);)*);
    let provided = &test.provided;
    let build = match (provided.is_empty(), own.is_empty()) {
        (true, _) => quote!(|#builder| #builder),
        (false, true) => quote!(|#builder| #builder #(.provide(#provided))*),
        (false, false) => quote!({ #clones move |#builder| #builder #(.provide(#provided))* }),
    };
    let body = quote!(async move |#parameter| #ident(#(#arguments),*).await);
    let body = if last || own.is_empty() { body } else { quote!({ #clones #body }) };
    quote!(skybox_rt::run_test(skybox_rt::TestMode::#mode, #build, #body).await)
}
