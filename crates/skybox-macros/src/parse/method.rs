//! One method of an interface, or the function of a task.

use proc_macro2::Span;
use syn::{Attribute, FnArg, Signature, Visibility};

use super::marks::Marks;
use super::{Refusals, types};
use crate::model::{Dispatch, Method};

/// Arguments of one call. The runtime's traits are written out up to this many.
const ARGUMENT_COUNT_MAX: usize = 12;

/// A method's receiver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// A task has none.
    None,
    Shared,
    Exclusive,
}

/// Reads a callable. `None` when something in it was refused.
pub(super) fn method(
    vis: &Visibility,
    attributes: &[Attribute],
    signature: &Signature,
    receiver: Receiver,
    marks: &Marks,
    refusals: &mut Refusals,
) -> Option<Method> {
    check_signature(signature, refusals);
    check_marks(signature, receiver, marks, refusals);
    let arguments: Vec<_> = signature
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Receiver(_) => None,
            FnArg::Typed(typed) => Some(types::argument(typed, refusals)),
        })
        .collect();
    if arguments.len() > ARGUMENT_COUNT_MAX {
        refusals.at(
            &signature.ident,
            format!("a call takes up to {ARGUMENT_COUNT_MAX} arguments: put these into a struct"),
        );
    }
    let (output, gives_stream) = types::output(&signature.output, &signature.ident, refusals)?;
    let is_async = signature.asyncness.is_some();
    let compute = !is_async || marks.compute.is_some();
    let to_completion = marks.to_completion.is_some();
    let cancel_on_drop = match receiver {
        Receiver::Exclusive => marks.cancel_on_drop.is_some(),
        Receiver::None | Receiver::Shared => is_async && !to_completion,
    };
    Some(Method {
        ident: signature.ident.clone(),
        vis: vis.clone(),
        attributes: attributes.iter().filter(|attribute| is_forwarded(attribute)).cloned().collect(),
        is_async,
        dispatch: match receiver {
            Receiver::Exclusive => Dispatch::Exclusive,
            _ if compute || to_completion => Dispatch::Detached,
            _ => Dispatch::Shared,
        },
        arguments: arguments.into_iter().collect::<Option<_>>()?,
        output,
        gives_stream,
        idempotent: marks.idempotent.is_some(),
        cancel_on_drop,
        compute,
    })
}

/// What counts for the proxy as for the method.
fn is_forwarded(attribute: &Attribute) -> bool {
    ["doc", "deprecated", "allow"].iter().any(|name| attribute.path().is_ident(name))
}

fn check_signature(signature: &Signature, refusals: &mut Refusals) {
    let name = &signature.ident;
    if let Some(token) = &signature.constness {
        refusals.at(&token, format!("a call is made at run time: `{name}` cannot be `const`"));
    }
    if let Some(token) = &signature.unsafety {
        refusals.at(
            &token,
            format!("nobody can vouch for a caller in another process: `{name}` cannot be `unsafe`"),
        );
    }
    if let Some(abi) = &signature.abi {
        refusals.at(&abi, "a call goes through Skybox's own protocol: leave `extern` out");
    }
    if let Some(variadic) = &signature.variadic {
        refusals.at(&variadic, "a call has a fixed number of arguments");
    }
    if let Some(parameter) = signature.generics.params.first() {
        let words = match parameter {
            syn::GenericParam::Lifetime(_) => {
                "leave the lifetimes out: arguments are borrowed for the call, results are owned".to_owned()
            }
            _ => format!("each call crosses with known types: `{name}` cannot be generic"),
        };
        refusals.at(&parameter, words);
    }
    if let Some(clause) = &signature.generics.where_clause {
        refusals.at(
            &clause,
            format!("each call crosses with known types: `{name}` cannot have a `where` clause"),
        );
    }
}

fn check_marks(signature: &Signature, receiver: Receiver, marks: &Marks, refusals: &mut Refusals) {
    let is_async = signature.asyncness.is_some();
    let mut refuse = |span: Option<Span>, words: &str| {
        if let Some(span) = span {
            refusals.at_span(span, words);
        }
    };
    if marks.cancel_on_drop.is_some() && marks.to_completion.is_some() {
        refuse(
            marks.to_completion,
            "`#[cancel_on_drop]` and `#[to_completion]` contradict each other: keep one",
        );
        return;
    }
    if is_async {
        match receiver {
            Receiver::Exclusive => {
                refuse(marks.to_completion, "a `&mut self` method already runs to its end once started");
                refuse(
                    marks.compute,
                    "`#[compute]` stands on `&self` methods and tasks: a `&mut self` method runs where its \
                     state is",
                );
            }
            Receiver::None | Receiver::Shared => {
                refuse(
                    marks.cancel_on_drop,
                    "this already stops at its next await when its caller stops waiting",
                );
            }
        }
    } else {
        refuse(
            marks.cancel_on_drop,
            "without an await there is nowhere to stop: only async methods can be cancelled",
        );
        refuse(marks.to_completion, "a method that is not async always runs to its end");
        refuse(marks.compute, "a method that is not async is always taken for computing");
    }
}
