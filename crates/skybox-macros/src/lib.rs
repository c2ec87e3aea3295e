//! The attributes of Skybox: [`macro@task`], [`macro@module`], [`macro@test`] and
//! [`WireError`](derive@WireError).
//!
//! They register and forward, nothing else: what they write calls `skybox::rt`, where behaviour lives in
//! ordinary functions. What is written stays what it was: the function or `impl` block goes through unchanged,
//! and deleting the attribute leaves a plain Rust program.
//!
//! Each attribute is read in two steps: `parse` turns tokens into the plain structs of `model` and holds every
//! refusal, `emit` turns those into tokens again. Start reading at `model`.

mod emit;
mod model;
mod parse;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;

/// Makes a function a task: callers write the same call plus `.await`, and it runs where there is room for it.
///
/// `#[skybox::task(cpu = 1, idempotent)]` stands on a free `fn` or `async fn` whose arguments are owned values,
/// `&str`, `&[T]` or `&T`, and whose result is a `Result`-like type.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand_task(attribute.into(), item.into()).into()
}

/// Makes a type with state a module: its `pub` methods can be called from anywhere in the cloud.
///
/// `#[skybox::module(cpu = 1, replicas = 2)]` or `#[skybox::module(keyed, idle = "2m")]` stands on the type's
/// `impl` block. `&self` methods run concurrently, `&mut self` methods one at a time; `#[local]` keeps a method
/// out of the interface.
#[proc_macro_attribute]
pub fn module(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand_module(attribute.into(), item.into()).into()
}

/// Lets an error enum be the error of a method: failed calls, data and text each find their variant.
///
/// One variant is marked `#[wire(call)]` and holds a `CallError`; one is marked `#[wire(rest)]` and holds text
/// (`String`, `skybox::Error` or `anyhow::Error`). Of the others, those whose fields are all data (serde, both
/// ways) cross as themselves; the rest cross as their message and its causes, and arrive in `#[wire(rest)]`.
#[proc_macro_derive(WireError, attributes(wire))]
pub fn wire_error(item: TokenStream) -> TokenStream {
    expand_wire_error(item.into()).into()
}

fn expand_wire_error(item: Tokens) -> Tokens {
    match parse::wire_error(item) {
        Ok(error) => emit::wire_error(&error),
        Err(error) => error.into_compile_error(),
    }
}

/// Runs an async test twice: with every call as it is in one process, and with every call encoded, decoded and
/// delayed, as between processes.
///
/// An argument of type `App` or `&App` is the app; `#[skybox::test(provide = value)]` gives it values. Other
/// arguments come from a further test attribute below, such as `#[sqlx::test]`, and are cloned for each run.
/// `modes = "inline"` and `modes = "strict"` choose one run.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand_test(attribute.into(), item.into()).into()
}

fn expand_test(attribute: Tokens, item: Tokens) -> Tokens {
    match parse::test(attribute, item.clone()) {
        Ok(test) => emit::test(&test),
        Err(error) => with_errors(error, item),
    }
}

fn expand_task(attribute: Tokens, item: Tokens) -> Tokens {
    match parse::task(attribute, item.clone()) {
        Ok(task) => emit::task(&task),
        Err(error) => with_errors(error, parse::without_marks(item)),
    }
}

fn expand_module(attribute: Tokens, item: Tokens) -> Tokens {
    match parse::module(attribute, item.clone()) {
        Ok(module) => emit::module(&module),
        Err(error) => with_errors(error, parse::without_marks(item)),
    }
}

/// The item stays, so that the compiler does not also complain about everything that uses it.
fn with_errors(error: syn::Error, item: Tokens) -> Tokens {
    let errors = error.into_compile_error();
    quote::quote!(#errors #item)
}
