//! What an implementation's `start` may look like.
//!
//! It stands in an `impl` block of its own, where generated code cannot see its signature; so generated code calls
//! it by name, and what it gives is told apart by type: an instance, a `Result`, or a future of either. Where there
//! is no `start`, the name finds that of a trait here.

use std::error::Error as StdError;
use std::future::Future;
use std::marker::PhantomData;

use super::{StartsAlone, started};
use crate::app::App;
use crate::call::StartError;

/// What `start` gives: an instance, a `Result` of one, or a future of either. `How` keeps these apart.
#[diagnostic::on_unimplemented(
    message = "`start` makes the instance: it returns `Result<Self>`, or `Self` if it cannot fail",
    label = "this `start` does not return its type"
)]
pub trait Begins<T, How> {
    /// The instance, or why there is none.
    fn begin(self) -> impl Future<Output = Result<T, StartError>> + Send;
}

/// The instance itself.
#[derive(Debug)]
pub enum Itself {}
/// A `Result` of it.
#[derive(Debug)]
pub enum Fallible {}
/// A future of what `How` says.
#[derive(Debug)]
pub struct Waiting<How>(PhantomData<How>);

impl<T: Send> Begins<T, Itself> for T {
    async fn begin(self) -> Result<T, StartError> {
        Ok(self)
    }
}

impl<T: Send, E: Into<Box<dyn StdError + Send + Sync>>> Begins<T, Fallible> for Result<T, E> {
    fn begin(self) -> impl Future<Output = Result<T, StartError>> + Send {
        std::future::ready(started(self))
    }
}

impl<T: Send, F: Future<Output = T> + Send> Begins<T, Waiting<Itself>> for F {
    async fn begin(self) -> Result<T, StartError> {
        Ok(self.await)
    }
}

impl<T, E, F> Begins<T, Waiting<Fallible>> for F
where
    E: Into<Box<dyn StdError + Send + Sync>>,
    F: Future<Output = Result<T, E>> + Send,
{
    async fn begin(self) -> Result<T, StartError> {
        started(self.await)
    }
}

/// Found under the name `start` where an implementation has none: `Default` is used.
pub trait NoStart: Sized {
    /// In place of the implementation's.
    fn start(_: &App) -> Self
    where
        Self: StartsAlone,
    {
        Self::start_alone()
    }
}

impl<T> NoStart for T {}

/// Never so: only a `start` of the implementation knows what a key means.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs `async fn start(app: &App, key: &Key) -> Result<Self>`, which makes the instance of one key",
    label = "nothing makes an instance of this"
)]
pub trait StartsByKey: Sized {
    /// The instance.
    fn start_by_key<K: ?Sized>(key: &K) -> Self;
}

/// Found under the name `start` where an implementation of a keyed interface has none.
pub trait NoStartByKey: Sized {
    /// In place of the implementation's.
    fn start<K: ?Sized>(_: &App, key: &K) -> Self
    where
        Self: StartsByKey,
    {
        Self::start_by_key(key)
    }
}

impl<T> NoStartByKey for T {}

/// The instance that `start` makes.
pub fn begun<T, How>(start: impl Begins<T, How>) -> impl Future<Output = Result<T, StartError>> + Send {
    start.begin()
}

/// Checks at its span that an interface has no key.
pub const fn check_unkeyed<Form: Unkeyed>() {}

/// Checks at its span that an interface has a key.
pub const fn check_keyed<Form: Keyed>() {}

/// An interface without a key.
#[diagnostic::on_unimplemented(
    message = "the instances of this interface have keys",
    label = "this interface is keyed",
    note = "write `#[skybox::module(keyed)]` on its implementations, and `start(app: &App, key: &Key)`"
)]
pub trait Unkeyed {}

impl Unkeyed for crate::interface::WithoutKey {}

/// An interface with a key.
#[diagnostic::on_unimplemented(
    message = "the instances of this interface have no keys",
    label = "this interface is not keyed",
    note = "leave `keyed` out; or write `#[skybox::module(keyed = Key)]` on the trait"
)]
pub trait Keyed {}

impl Keyed for crate::interface::WithKey {}
