//! What generated code calls. Public because it has to be; not for people, and free to change with any version.

mod image;

pub use image::*;

pub use inventory;
pub use skybox_core::{
    CallError, ErrorImage, FromText, Isolate, MethodDescriptor, Mode, ModuleDescriptor, ModuleKind, Needs,
    OnStoreLoss, Replicas, Restart, TextChain, WireError,
};

pub use crate::app::{App, Builder};
pub use crate::call::{
    ByImage, BySerde, Crosses, Crossing, Handle, Incoming, PickBadError, PickBadValue, PickImage,
    PickNotAResult, PickSerde, Returned, Returns, Serving, StartError, Target, TaskCall, Uncrossable,
};
pub use crate::data;
pub use crate::host::{Exclusive, Shared};
pub use crate::module::{Key, Method, Module, Registration};
pub use crate::test_run::{TestMode, block_on_test, run_test};

use std::error::Error as StdError;

use crate::call::{ErrorCrosses, IsResult, ValueCrosses};

/// An owned copy of a borrowed argument.
#[inline]
pub fn own<T: ToOwned + ?Sized>(borrowed: &T) -> T::Owned {
    borrowed.to_owned()
}

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
pub fn check_return<R, W: IsResult<R> + ValueCrosses<R> + ErrorCrosses<R>>(_: W) {}

/// Checks at its span that a type is a module.
pub const fn check_module<M: Module>() {}

/// Checks at its span that a type can be a key.
pub const fn check_key<K: Key + ?Sized>() {}

/// The outcome of a module's `start`, with the error as text.
pub fn started<T, E: Into<Box<dyn StdError + Send + Sync>>>(outcome: Result<T, E>) -> Result<T, StartError> {
    outcome.map_err(|error| StartError(TextChain::of(&*error.into())))
}

/// [`started`], as generated code writes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __started {
    ($outcome:expr) => {
        $crate::rt::started($outcome)
    };
}
pub use crate::__started as started;

/// The way in which results of a type cross.
#[doc(hidden)]
#[macro_export]
macro_rules! __wire {
    ($result:ty) => {{
        #[allow(unused_imports)]
        use $crate::rt::{
            PickBadError as _, PickBadValue as _, PickImage as _, PickNotAResult as _, PickSerde as _,
        };
        (&&&&&$crate::rt::Returns::<$result>::NEW).wire()
    }};
}
pub use crate::__wire as wire;
