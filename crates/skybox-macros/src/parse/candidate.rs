//! `#[skybox::module]` on the `impl` of an interface.

use proc_macro2::TokenStream;
use syn::{ImplItem, ItemImpl, PathArguments};

use super::marks::Marks;
use super::module::{check_block, type_name};
use super::{Refusals, annotations, snake_case};
use crate::model::Candidate;

pub(super) const NOT_SPAWNED: &str = "code that makes an instance names its type: an interface has no spawned ones; put \
                                      `spawned` on the `impl` block of the type itself";

/// Reads the attribute and its block.
pub(super) fn candidate(attribute: TokenStream, mut item: ItemImpl) -> syn::Result<Candidate> {
    let mut refusals = Refusals::default();
    let annotations = refusals.take(annotations::of_module(attribute));
    let ident = type_name(&item.self_ty)?;
    check_block(&item, &mut refusals);
    for member in &mut item.items {
        let ImplItem::Fn(function) = member else { continue };
        let marks = Marks::take(&mut function.attrs, &mut refusals);
        let marks = marks.of_calls().chain(marks.local.map(|span| ("local", span)));
        for (name, span) in marks {
            let words = format!("`#[{name}]` is part of the interface: it stands on the method of the trait");
            refusals.at_span(span, words);
        }
    }
    let Some((negative, interface, _)) = item.trait_.clone() else {
        unreachable!("a block without a trait is a module");
    };
    if let Some(token) = negative {
        refusals.at(&token, "this says that something is not implemented: leave `#[skybox::module]` out");
    }
    if interface.segments.iter().any(|segment| !matches!(segment.arguments, PathArguments::None)) {
        refusals.at(
            &interface,
            "an interface is not generic: `#[skybox::module]` stands on implementations of one",
        );
    }
    if let Some(span) = annotations.as_ref().and_then(|annotations| annotations.spawned) {
        refusals.at_span(span, NOT_SPAWNED);
    }
    refusals.finish()?;
    let Some(annotations) = annotations else { unreachable!("what is missing was refused above") };
    Ok(Candidate {
        root: annotations.root,
        interface,
        name: snake_case(&ident),
        needs: annotations.needs,
        keyed: annotations.keyed.is_some(),
        stop_wait: annotations.stop_wait,
        item,
    })
}
