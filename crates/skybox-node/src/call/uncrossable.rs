//! Results that cannot cross, and what the compiler says of each.
//!
//! Generated code names a result's type several times. So that a wrong one is one message and not many, it has a
//! [`Crossing`] all the same, which is never used: [`check_return`](crate::rt::check_return) refuses the type.

use std::fmt;
use std::marker::PhantomData;

use skybox_core::{CallError, Callee};

use super::crossing::{ByImage, BySerde, Crosses, Crossing, Returned, Returns};

/// A result that cannot cross, and why.
pub struct Uncrossable<R, Why>(PhantomData<fn() -> (R, Why)>);

/// It is no `Result`.
#[derive(Debug)]
pub enum NotAResult {}
/// Its value is not data.
#[derive(Debug)]
pub enum BadValue {}
/// Its error neither knows how to cross nor is data.
#[derive(Debug)]
pub enum BadError {}

/// Third choice of [`wire!`](crate::rt::wire).
pub trait PickBadError<R> {
    /// Picks.
    fn wire(&self) -> Uncrossable<R, BadError>;
}
/// Fourth choice.
pub trait PickBadValue<R> {
    /// Picks.
    fn wire(&self) -> Uncrossable<R, BadValue>;
}
/// Last choice.
pub trait PickNotAResult<R> {
    /// Picks.
    fn wire(&self) -> Uncrossable<R, NotAResult>;
}

impl<R: Returned<Ok: Crosses>> PickBadError<R> for &&Returns<R> {
    fn wire(&self) -> Uncrossable<R, BadError> {
        Uncrossable(PhantomData)
    }
}

impl<R: Returned> PickBadValue<R> for &Returns<R> {
    fn wire(&self) -> Uncrossable<R, BadValue> {
        Uncrossable(PhantomData)
    }
}

impl<R> PickNotAResult<R> for Returns<R> {
    fn wire(&self) -> Uncrossable<R, NotAResult> {
        Uncrossable(PhantomData)
    }
}

/// What was picked for something that is a `Result`.
#[diagnostic::on_unimplemented(
    message = "a call can fail, so a method returns a `Result`, not `{R}`",
    label = "this is not a `Result`",
    note = "write `-> skybox::Result<{R}>`, or a `Result` with your own error type"
)]
pub trait IsResult<R> {}

/// What was picked for a result whose value is data.
#[diagnostic::on_unimplemented(
    message = "the value of `{R}` cannot cross a call: it is not data",
    label = "this value cannot cross",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or return what it is made from"
)]
pub trait ValueCrosses<R> {}

/// What was picked for a result whose error can cross.
#[diagnostic::on_unimplemented(
    message = "the error of `{R}` does not know how to cross a call",
    label = "this error cannot cross",
    note = "use `skybox::Error` or `anyhow::Error` (feature `anyhow`), which take any error by `?`",
    note = "or `#[derive(skybox::WireError)]` on your error enum, with a variant `#[wire(call)]` and one `#[wire(rest)]`",
    note = "or derive serde's traits for it and write `impl From<skybox::CallError>`"
)]
pub trait ErrorCrosses<R> {}

impl<R> IsResult<R> for ByImage<R> {}
impl<R> IsResult<R> for BySerde<R> {}
impl<R> IsResult<R> for Uncrossable<R, BadValue> {}
impl<R> IsResult<R> for Uncrossable<R, BadError> {}
impl<R> ValueCrosses<R> for ByImage<R> {}
impl<R> ValueCrosses<R> for BySerde<R> {}
impl<R> ValueCrosses<R> for Uncrossable<R, NotAResult> {}
impl<R> ValueCrosses<R> for Uncrossable<R, BadError> {}
impl<R> ErrorCrosses<R> for ByImage<R> {}
impl<R> ErrorCrosses<R> for BySerde<R> {}
impl<R> ErrorCrosses<R> for Uncrossable<R, NotAResult> {}
impl<R> ErrorCrosses<R> for Uncrossable<R, BadValue> {}

const REFUSED: &str = "a program with such a result does not compile";

impl<R: 'static, Why: 'static> Crossing<R> for Uncrossable<R, Why> {
    type Ok = ();
    type Image = ();

    fn refuse(self, _: CallError) -> R {
        unreachable!("{REFUSED}")
    }

    fn split(self, _: R) -> Result<(), ()> {
        unreachable!("{REFUSED}")
    }

    fn join(self, _: Result<(), ()>) -> R {
        unreachable!("{REFUSED}")
    }

    fn cross(self, _: R, _: impl FnOnce() -> Callee) -> R {
        unreachable!("{REFUSED}")
    }
}

impl<R, Why> Clone for Uncrossable<R, Why> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R, Why> Copy for Uncrossable<R, Why> {}

impl<R, Why> fmt::Debug for Uncrossable<R, Why> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uncrossable")
    }
}
