//! `#[skybox::task]` on a function.

use proc_macro2::TokenStream;
use syn::spanned::Spanned;
use syn::{Item, ItemFn};

use super::marks::Marks;
use super::method::{self, Receiver};
use super::{Refusals, annotations, snake_case};
use crate::model::Task;

/// Reads the attribute and its function.
pub(crate) fn task(attribute: TokenStream, item: TokenStream) -> syn::Result<Task> {
    let mut refusals = Refusals::default();
    let mut item = function(item)?;
    let mut marks = Marks::take(&mut item.attrs, &mut refusals);
    let annotations = refusals.take(annotations::of_task(attribute, &mut marks));
    if let Some(span) = marks.local {
        refusals.at_span(span, "a task is there to be called: `#[local]` stands on methods of modules");
    }
    let call = method::method(&item.vis, &item.attrs, &item.sig, Receiver::None, &marks, &mut refusals);
    // Inside the generated function the argument would hide the original, which has the task's name.
    let namesake =
        call.iter().flat_map(|call| &call.arguments).find(|argument| argument.ident == item.sig.ident);
    if let Some(argument) = namesake {
        refusals.at(&argument.ident, "this is the task's own name: give the argument another one");
    }
    refusals.finish()?;
    let (Some(annotations), Some(call)) = (annotations, call) else {
        unreachable!("what is missing was refused above");
    };
    Ok(Task {
        root: annotations.root,
        name: snake_case(&item.sig.ident),
        needs: annotations.needs,
        call,
        item,
    })
}

fn function(item: TokenStream) -> syn::Result<ItemFn> {
    let (span, words) = match syn::parse2(item)? {
        Item::Fn(function) => match function.sig.receiver() {
            None => return Ok(function),
            Some(receiver) => {
                (receiver.span(), "a task has no `self`: put `#[skybox::module]` on the `impl` block instead")
            }
        },
        Item::Impl(block) => (block.self_ty.span(), "an `impl` block is a module: write `#[skybox::module]`"),
        other => (other.span(), "`#[skybox::task]` stands on a function"),
    };
    Err(syn::Error::new(span, words))
}
