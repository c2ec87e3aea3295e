//! `stop`, the last word of an instance.

use syn::{FnArg, ImplItemFn, Type};

use super::Refusals;
use super::marks::Marks;
use super::module::is_visible;
use super::types;
use crate::model::{Stop, TakesApp};

pub(super) const NO_STOP: &str = "`stop_wait` bounds `stop`, and this module has none: write \
                                  `async fn stop(self, app: &App)`, or leave it out";

/// Whether it is the last word: it is called `stop` and takes the instance itself, which no call can.
pub(super) fn is_stop(function: &ImplItemFn, marks: &Marks) -> bool {
    let by_value = |receiver: &syn::Receiver| receiver.reference.is_none() && !is_reference(&receiver.ty);
    marks.local.is_none() && function.sig.ident == "stop" && function.sig.receiver().is_some_and(by_value)
}

/// Reads it. `None` when something in it was refused.
pub(super) fn stop(function: &ImplItemFn, refusals: &mut Refusals) -> Option<Stop> {
    let signature = &function.sig;
    if is_visible(function) {
        refusals.at(
            &function.vis,
            "the runtime calls `stop`, when an instance is retired: leave `pub` out; or mark your own `#[local]`",
        );
        return None;
    }
    if let Some(receiver) = signature.receiver().filter(|receiver| receiver.colon_token.is_some()) {
        refusals.at(&receiver, "`stop` takes the instance itself: write `self`");
        return None;
    }
    if let Some(parameter) = signature.generics.params.first() {
        refusals.at(&parameter, "the runtime calls `stop`: it cannot be generic");
        return None;
    }
    if let Some(token) = &signature.unsafety {
        refusals.at(&token, "the runtime calls `stop`: it cannot be `unsafe`");
        return None;
    }
    if let Some(extra) = signature.inputs.iter().nth(2) {
        refusals.at(&extra, "`stop` takes `self`, and `app: &App` if it needs it");
        return None;
    }
    let app = signature.inputs.iter().nth(1).and_then(|input| match input {
        FnArg::Typed(typed) if is_reference(&typed.ty) => Some(TakesApp::Reference),
        FnArg::Typed(_) => Some(TakesApp::Value),
        FnArg::Receiver(_) => None,
    });
    Some(Stop { span: signature.ident.span(), is_async: signature.asyncness.is_some(), app })
}

fn is_reference(ty: &Type) -> bool {
    matches!(types::peel(ty), Type::Reference(_))
}
