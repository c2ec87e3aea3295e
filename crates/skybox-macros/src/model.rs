//! What the attributes say, as plain structs.

use proc_macro2::{Ident, Span};
use syn::{Attribute, Expr, ItemFn, ItemImpl, ItemTrait, Member, PatType, Path, Type, Visibility};

/// `#[skybox::task]` on a function.
pub(crate) struct Task {
    /// Where the runtime is found.
    pub(crate) root: Path,
    /// The function as it was written, without our marks and its visibility.
    pub(crate) item: ItemFn,
    /// The name operators see.
    pub(crate) name: String,
    pub(crate) needs: Needs,
    /// The function itself; its name is the function's.
    pub(crate) call: Method,
}

/// `#[skybox::module]`, by what it stands on.
pub(crate) enum Annotated {
    Module(Box<Module>),
    Interface(Box<Interface>),
    Candidate(Box<Candidate>),
}

/// `#[skybox::module]` on a trait.
pub(crate) struct Interface {
    /// Where the runtime is found.
    pub(crate) root: Path,
    /// The trait as it was written, without our marks.
    pub(crate) item: ItemTrait,
    /// The name operators see.
    pub(crate) name: String,
    /// The type of its key, if its instances have one.
    pub(crate) key: Option<Type>,
    /// All its methods; a method's place here is its number on the wire.
    pub(crate) methods: Vec<Method>,
}

/// `#[skybox::module]` on an `impl` of an interface.
pub(crate) struct Candidate {
    /// Where the runtime is found.
    pub(crate) root: Path,
    /// The block as it was written.
    pub(crate) item: ItemImpl,
    /// What it implements.
    pub(crate) interface: Path,
    /// The name in the configuration.
    pub(crate) name: String,
    pub(crate) needs: Needs,
    pub(crate) keyed: bool,
    /// Where `stop_wait` stands.
    pub(crate) stop_wait: Option<Span>,
}

/// `#[skybox::module]` on an `impl` block without a trait.
pub(crate) struct Module {
    /// Where the runtime is found.
    pub(crate) root: Path,
    /// The block as it was written, without our marks.
    pub(crate) item: ItemImpl,
    /// The last part of the type's path: names of generated items begin with it.
    pub(crate) ident: Ident,
    /// The name operators see.
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) start: Start,
    pub(crate) stop: Option<Stop>,
    pub(crate) needs: Needs,
    /// The interface; a method's place here is its number on the wire.
    pub(crate) methods: Vec<Method>,
}

/// How a module is reached.
pub(crate) enum Form {
    Replicated,
    /// The type behind the reference that `start` takes.
    Keyed(Box<Type>),
    /// The type of what `start` takes beside the App.
    Spawned(Box<Type>),
}

/// How an instance comes to be.
pub(crate) enum Start {
    /// There is no `start`.
    Default,
    /// `start`, with `&App` and the key as far as it takes them.
    Function {
        span: Span,
        is_async: bool,
        argument_count: usize,
        /// It returns the instance itself, not a `Result`.
        infallible: bool,
    },
}

/// The last word of an instance.
pub(crate) struct Stop {
    pub(crate) span: Span,
    pub(crate) is_async: bool,
    pub(crate) app: Option<TakesApp>,
}

/// How `stop` takes its App.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesApp {
    Value,
    Reference,
}

/// One method of the interface, or the function of a task.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    /// What the proxy repeats: docs, `deprecated`, `allow`.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) is_async: bool,
    pub(crate) dispatch: Dispatch,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Type,
    /// The value of `output` is a stream.
    pub(crate) gives_stream: bool,
    pub(crate) idempotent: bool,
    pub(crate) cancel_on_drop: bool,
    pub(crate) compute: bool,
}

/// Which of the runtime's ways a call takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// In the caller's own task, beside others, arguments borrowed where they can be.
    Shared,
    /// Beside others, apart from the caller: on other threads, or to its end.
    Detached,
    /// One at a time.
    Exclusive,
}

/// One argument of a method.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) form: ArgumentForm,
}

/// How an argument is taken, and so what it becomes when it must be owned.
pub(crate) enum ArgumentForm {
    Value(Type),
    /// `&str`: a `String`.
    Str(Span),
    /// `&[T]`: a `Vec<T>`.
    Slice(Type),
    /// `&T`: what `ToOwned` makes of it.
    Reference(Type),
    /// `Stream<T, E>`, whose items come beside the call.
    Stream(Type),
}

/// The annotations, in the units of the descriptor.
#[derive(Default)]
pub(crate) struct Needs {
    pub(crate) cpu_milli: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) gpu: Option<u32>,
    pub(crate) near: Option<String>,
    pub(crate) with: Option<Path>,
    pub(crate) apart: Option<Path>,
    pub(crate) spread: Option<String>,
    pub(crate) on: Option<String>,
    pub(crate) replicas: Option<Replicas>,
    /// The variant's name in the runtime's enum, here and below.
    pub(crate) isolate: Option<&'static str>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) restart: Option<&'static str>,
    pub(crate) max_restarts: Option<u32>,
    pub(crate) within_ms: Option<u64>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) overrun_ms: Option<u64>,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) awake: Option<u32>,
    pub(crate) stop_wait_ms: Option<u64>,
    pub(crate) on_store_loss: Option<&'static str>,
}

pub(crate) enum Replicas {
    Range { min: u32, max: u32 },
    PerNode,
}

/// `#[derive(skybox::WireError)]` on an enum.
pub(crate) struct WireError {
    /// Where the runtime is found.
    pub(crate) root: Path,
    pub(crate) ident: Ident,
    /// The variant for failed calls.
    pub(crate) call: Holder,
    /// Whether somebody else makes that variant of a failed call: thiserror, by `#[from]`.
    pub(crate) call_is_made: bool,
    /// The variant for text.
    pub(crate) rest: Holder,
    /// Every other variant.
    pub(crate) variants: Vec<Variant>,
}

/// A variant with one field.
pub(crate) struct Holder {
    pub(crate) ident: Ident,
    pub(crate) member: Member,
    pub(crate) ty: Type,
}

/// A variant that may cross as itself.
pub(crate) struct Variant {
    pub(crate) ident: Ident,
    pub(crate) fields: Vec<VariantField>,
}

/// One field of a variant.
pub(crate) struct VariantField {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// It holds a reference, which nothing that arrives can be.
    pub(crate) borrows: bool,
}

/// `#[skybox::test]` on an async function.
pub(crate) struct Test {
    /// Where the runtime is found.
    pub(crate) root: Path,
    /// The function as it was written, without attributes on its arguments.
    pub(crate) item: ItemFn,
    /// Its arguments, in order.
    pub(crate) arguments: Vec<TestArgument>,
    /// What the app gets, in order.
    pub(crate) provided: Vec<Expr>,
    /// How it runs, as variants of the runtime's enum, in order.
    pub(crate) modes: Vec<&'static str>,
    /// Another attribute below builds the runtime.
    pub(crate) is_hosted: bool,
    /// It returns something, so a first failure ends it.
    pub(crate) is_fallible: bool,
}

/// One argument of a test.
pub(crate) enum TestArgument {
    /// `app: App` or `app: &App`.
    App { borrowed: bool },
    /// The test's own, from an attribute below; as the outer function takes it.
    Own { ident: Ident, typed: Box<PatType> },
}
