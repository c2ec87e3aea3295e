//! A task: a function of the same name that carries the original inside it, so that nothing else appears in
//! the user's namespace, and recursion stays what it was.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{ItemFn, Visibility};

use super::annotations;
use super::method::{self, Callable, Owner};
use crate::model::{Method, Task};

/// Writes everything that the attribute stands for.
pub(crate) fn task(task: &Task) -> TokenStream {
    let Task { root, item, name, call: method, .. } = task;
    let Method { ident, vis, attributes, arguments, .. } = method;
    let mut original = ItemFn { vis: Visibility::Inherited, ..item.clone() };
    original.attrs.retain(|attribute| !attributes.contains(attribute));
    let kind = format_ident!("{}Task", pascal_case(&ident.unraw().to_string()), span = ident.span());
    let descriptor = format_ident!("{}_TASK", name.to_uppercase());
    let callable = Callable { method, index: 0, descriptor: &descriptor, owner: Owner::Task };
    let lends = method::borrows(method);
    let lifetime = lends.then(|| quote!(<'c>));
    let parameters = arguments.iter().map(method::parameter);
    let future = method::future(method, &quote!(#root::rt), lends);
    let call = callable.call(&quote!(#kind));
    let (statics, row, served) = (callable.statics(), callable.row(), callable.serve());
    let needs = annotations::needs(&task.needs);
    let (checks, neighbours) =
        (method::checks(std::slice::from_ref(&callable)), annotations::neighbours(&task.needs));
    quote! {
        #(#attributes)*
        #vis fn #ident #lifetime (#(#parameters),*) -> #future {
            use #root::rt as skybox_rt;

            #original

            static #descriptor: skybox_rt::ModuleDescriptor = skybox_rt::ModuleDescriptor {
                name: #name,
                path: ::core::module_path!(),
                kind: skybox_rt::ModuleKind::Task,
                needs: #needs,
                methods: &[#row],
            };
            #statics

            #[derive(::core::default::Default)]
            pub struct #kind;

            impl skybox_rt::Task for #kind {
                const DESCRIPTOR: &'static skybox_rt::ModuleDescriptor = &#descriptor;

                fn serve(call: skybox_rt::Incoming<Self>) -> skybox_rt::Serving {
                    #served
                }
            }

            const _: fn() = || {
                #checks
                #neighbours
            };

            skybox_rt::inventory::submit!(skybox_rt::Registration::of::<#kind>());

            #call
        }
    }
}

/// `make_thumbnail` is `MakeThumbnail`.
fn pascal_case(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
