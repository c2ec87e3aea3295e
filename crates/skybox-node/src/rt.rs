//! What generated code calls. Public because it has to be; not for people, and free to change with any version.

mod begin;
mod end;
mod image;

pub use begin::*;
pub use end::*;
pub use image::*;

pub use inventory;
pub use skybox_core::{
    CallError, ErrorImage, FromText, Isolate, MethodDescriptor, Mode, ModuleDescriptor, ModuleKind, Needs,
    OnStoreLoss, Replicas, Restart, TextChain, WireError,
};

pub use crate::app::{App, Builder};
pub use crate::call::{
    Call, Crosses, Crossing, Handle, Incoming, JudgeAny, JudgeError, JudgeImage, JudgeSerde, JudgeValue,
    Judged, NoCall, Returned, Returns, SerdeCall, Serving, StartError, Target, TaskCall,
};
pub use crate::data;
pub use crate::host::{Exclusive, Shared};
pub use crate::interface::{
    Candidate, CandidateRegistration, ImplementedBy, Interface, Object, WithKey, WithoutKey,
};
pub use crate::module::{Callable, Key, Method, Module, Registration, Spawns, Task};
pub use crate::stream::{Holds, Live, Passing, Streaming};
pub use crate::test_run::{TestMode, block_on_test, run_test};

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;

use crate::call::{ErrorCrosses, IsResult, SaysWhatItIs, ValueCrosses};

/// What a proxy's method returns: the call, which gives an `R`.
pub trait Calling<'c, R>: Future<Output = R> + Send + 'c {}

impl<'c, R, F: Future<Output = R> + Send + 'c> Calling<'c, R> for F {}

/// The future of an interface's method, whoever implements it.
pub type Boxed<'c, R> = Pin<Box<dyn Future<Output = R> + Send + 'c>>;

/// What can cross as an argument: chosen by [`data!`], and explained where it is not.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot cross a call: it is not data",
    label = "this cannot be an argument",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or pass what it is made from",
    note = "a pool, a client or a file is given to every node with `App::builder().provide(…)` and taken with `app.value()`"
)]
pub trait CanCross<T> {}

impl<T> CanCross<T> for AsData<T> {}

/// Checks at its span that a type can be an argument.
pub fn check_argument<T, C: CanCross<T>>(_: C) {}

/// Checks at its span that a type can be what a method returns.
pub fn check_return<R, Why>(_: Judged<R, Why>)
where
    Judged<R, Why>: IsResult<R> + ValueCrosses<R> + ErrorCrosses<R> + SaysWhatItIs<R>,
{
}

/// As [`check_return`], of a method whose signature names a stream as its result.
pub fn check_stream_return<R, Why>(_: Judged<R, Why>)
where
    Judged<R, Why>: IsResult<R> + ValueCrosses<R> + ErrorCrosses<R>,
{
}

/// Checks at its span that a type is a module.
pub const fn check_module<M: Callable + ?Sized>() {}

/// Checks at its span that a type can be a key.
pub const fn check_key<K: Key + ?Sized>() {}

/// The outcome of a module's `start`, with the error as text.
pub fn started<T, E: Into<Box<dyn StdError + Send + Sync>>>(outcome: Result<T, E>) -> Result<T, StartError> {
    outcome.map_err(|error| StartError(TextChain::of(&*error.into())))
}

/// A module that starts without a `start` of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs `async fn start(app: &App) -> Result<Self>` or `Default`",
    label = "nothing makes an instance of this",
    note = "write `start` into the `impl` block, or derive `Default` for the type"
)]
pub trait StartsAlone {
    /// The instance.
    fn start_alone() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> StartsAlone for T {
    fn start_alone() -> T {
        T::default()
    }
}

/// A new instance of a module that has no `start`.
pub fn start_alone<T: StartsAlone>() -> Result<T, StartError> {
    Ok(T::start_alone())
}

/// Whether a method's result can cross, and if not, why.
#[doc(hidden)]
#[macro_export]
macro_rules! __judged {
    ($call:ident) => {{
        #[allow(unused_imports)]
        use $crate::rt::{JudgeAny as _, JudgeError as _, JudgeImage as _, JudgeSerde as _, JudgeValue as _};
        (&&&&&$crate::rt::Returns::of(&$call)).judged()
    }};
}
pub use crate::__judged as judged;
