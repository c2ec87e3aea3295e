//! An implementation of an interface: the block as it was, and beside it what lets configuration choose it.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::annotations;
use super::method::seen_at;
use crate::model::Candidate;

/// Writes everything that the attribute stands for.
pub(crate) fn candidate(candidate: &Candidate) -> TokenStream {
    let Candidate { root, item, interface, name, needs, keyed, stop_wait } = candidate;
    let this = &*item.self_ty;
    let (needs, neighbours) = (annotations::needs(needs), annotations::neighbours(needs));
    let at = seen_at(this);
    let (fallback, key, start, check) = if *keyed {
        (
            quote!(NoStartByKey),
            quote!(key),
            quote_spanned!(at=> <#this>::start(&app, &key)),
            quote!(check_keyed),
        )
    } else {
        (quote!(NoStart), quote!(_key), quote_spanned!(at=> <#this>::start(&app)), quote!(check_unkeyed))
    };
    let interface_at = seen_at(interface);
    let has_stop = quote_spanned!(at=> skybox_rt::has_stop::<Self, _, _>(&<#this>::stop));
    let say_last = quote_spanned!(at=> skybox_rt::say_last(<#this>::stop, self, &app).await);
    let check_stop = stop_wait.map(|span| {
        quote_spanned!(span=> const _: () = skybox_rt::check_stop_wait(<#this as skybox_rt::Candidate>::STOPS);)
    });
    let begun = quote_spanned!(at=> skybox_rt::begun(#start).await);
    let check =
        quote_spanned!(interface_at=> skybox_rt::#check::<<dyn #interface as skybox_rt::Interface>::Form>(););
    quote! {
        #item

        #[allow(deprecated, clippy::all, clippy::pedantic)]
        const _: () = {
            use #root::rt as skybox_rt;

            impl skybox_rt::Candidate for #this {
                type Interface = dyn #interface;
                const NAME: &'static str = #name;
                const PATH: &'static str = ::core::module_path!();
                const NEEDS: skybox_rt::Needs = #needs;
                const STOPS: bool = {
                    use skybox_rt::NoStop as _;

                    #has_stop
                };

                async fn begin(
                    app: skybox_rt::App,
                    #key: <<dyn #interface as skybox_rt::Interface>::Key as ::std::borrow::ToOwned>::Owned,
                ) -> ::core::result::Result<Self, skybox_rt::StartError> {
                    use skybox_rt::#fallback as _;

                    #begun
                }

                async fn end(
                    self,
                    app: skybox_rt::App,
                ) -> ::core::result::Result<(), skybox_rt::TextChain> {
                    use skybox_rt::NoStop as _;

                    #say_last
                }
            }

            #check_stop

            const _: fn() = || {
                #check
                #neighbours
            };

            skybox_rt::inventory::submit!(skybox_rt::CandidateRegistration::of::<#this>());
        };
    }
}
