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
/// `#[skybox::task(cpu = 1)]` stands on a free `fn` or `async fn`. Its arguments are owned values, `&str`, `&[T]`
/// or `&T`; it returns a `Result`, by whatever alias. Calling it gives a future, which captures deadline, trace
/// and callers at once; nothing else appears in the caller's namespace, and a task that calls itself calls the
/// plain function.
///
/// It takes the keys of [`module`](macro@module) that need no state, and these, in the attribute or as attributes
/// below it: `idempotent` (a call that may have run is sent again), `compute` (an async task runs on the threads
/// that `cpu` sets aside, as one that is not async does), `to_completion` (a started call runs to its end when
/// its caller stops waiting).
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand_task(attribute.into(), item.into()).into()
}

/// Makes a type with state a module: its `pub` methods can be called from anywhere in the cloud.
///
/// `#[skybox::module(replicas = 2)]` or `#[skybox::module(keyed, idle = "2m")]` stands on the type's `impl` block,
/// which goes through unchanged. `pub` and `pub(crate)` methods are the interface: `&self` methods run
/// concurrently, `&mut self` methods one at a time. Arguments are owned values, `&str`, `&[T]` or `&T`; results
/// are a `Result`, by whatever alias.
///
/// `start(app: &App)`, or `start(app: &App, key: &Key)` when keyed, makes an instance: `async` or not, returning
/// a `Result<Self>` or `Self`; `start(app: &App, arguments: Arguments)` when spawned. A module that is not keyed and
/// implements `Default` needs none.
///
/// `stop(self, app: &App)`, or `stop(self)`, is the last word of an instance that is retired: `async` or not, not
/// `pub`, returning nothing or a `Result<()>` whose error is logged. It runs once, after the last call, and never for an
/// instance that has crashed. A function of that name that is something else is marked `#[local]`, or does not take
/// `self` by value.
///
/// # Keys
/// | key | meaning |
/// |---|---|
/// | `keyed` | one instance for each key, started by the first call |
/// | `spawned` | instances are made by code: `app.spawn::<T>(arguments)` |
/// | `cpu = 2`, `memory = "512MiB"`, `gpu = 1` | reserved for each instance; `cpu` also sizes its threads |
/// | `near = "db"` | lowest measured round trip to that resource or module |
/// | `with = Other`, `apart = Other` | on the same nodes as that module, or never on the same |
/// | `spread = "zone"`, `on = "arch=arm64"` | instances differ in the label, or only where it has that value |
/// | `replicas = 3`, `1..=8`, `"per-node"` | how many; a range follows measured load |
/// | `isolate = "process"`, `"process:shared"` | in a process of its own, or in one for all |
/// | `concurrency = 16` | calls that one instance runs at once |
/// | `restart = "always"`, `"on-crash"`, `"never"` | when an ended instance is started again |
/// | `max_restarts = 5`, `within = "30s"` | failed starts that are borne: one more, and it is given up |
/// | `deadline = "2s"`, `overrun = "5s"` | the longest a call may take, and a `&mut self` call past that |
/// | `stop_wait = "10s"` | how long `stop` may take before it is cut off |
/// | `idle = "2m"` | keyed: how long an instance without calls stays awake |
/// | `awake = 1000` | keyed: how many instances are awake in a node at once |
/// | `on_store_loss = "stop"`, `"continue"` | keyed: what to do when the store cannot be reached |
/// | `crate = "path"` | where `skybox` is found, if it has another name |
///
/// # Interfaces
/// On a trait, `#[skybox::module]` makes `dyn Payments` a module: `app.get::<dyn Payments>()`, or with
/// `#[skybox::module(keyed = UserId)]` `app.at::<dyn Payments>(&user)`. Its methods are `async`; those with a body
/// are optional. On an `impl` of it, the attribute makes a type a candidate, which `[modules.payments] use` names in
/// `skybox.toml` if there are several; keys as above, but for the key's type, say how its instances are kept. Its
/// `start`, if `Default` is not enough, stands in an `impl` block of its own. A plain `impl` will do for a fake:
/// `Handle::<dyn Payments>::from_impl(Fake)`.
///
/// # Marks
/// On methods: `#[local]` keeps one out of the interface; `#[idempotent]`, `#[compute]` and `#[to_completion]` as
/// on a [`task`](macro@task); `#[cancel_on_drop]` stops a started `&mut self` call at its next await when its
/// caller stops waiting.
#[proc_macro_attribute]
pub fn module(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand_module(attribute.into(), item.into()).into()
}

/// Lets an error enum be the error of a method: failed calls, data and text each find their variant.
///
/// One variant is marked `#[wire(call)]` and holds a `CallError`; one is marked `#[wire(rest)]` and holds text
/// (`String`, `skybox::Error` or `anyhow::Error`). An `Internal(#[from] anyhow::Error)` can be both:
/// `#[wire(call, rest)]`. Of the others, those whose fields are all data (serde, both ways) cross as themselves;
/// the rest cross as their message and its causes, and arrive in `#[wire(rest)]`.
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
        Ok(model::Annotated::Module(module)) => emit::module(&module),
        Ok(model::Annotated::Interface(interface)) => emit::interface(&interface),
        Ok(model::Annotated::Candidate(candidate)) => emit::candidate(&candidate),
        Err(error) => with_errors(error, parse::without_marks(item)),
    }
}

/// The item stays, so that the compiler does not also complain about everything that uses it.
fn with_errors(error: syn::Error, item: Tokens) -> Tokens {
    let errors = error.into_compile_error();
    quote::quote!(#errors #item)
}
