//! Results that cannot cross, and what the compiler says of each.

use std::fmt;
use std::marker::PhantomData;

use skybox_core::{CallError, WireError};

use super::crossing::{Crosses, ResultValue, Returned, Whole};
use super::ways::Call;

/// A result type, and whether it can cross.
pub struct Judged<R, Why>(PhantomData<fn() -> (R, Why)>);

/// It can.
#[derive(Debug)]
pub enum Sound {}
/// It is no `Result`.
#[derive(Debug)]
pub enum NotAResult {}
/// Its value is not data.
#[derive(Debug)]
pub enum BadValue {}
/// Its error neither knows how to cross nor is data.
#[derive(Debug)]
pub enum BadError {}

/// A result type to be judged, by [`judged!`](crate::rt::judged). The order is that of method lookup: the impl on
/// the outermost reference comes first.
pub struct Returns<R>(PhantomData<fn() -> R>);

impl<R> Returns<R> {
    /// What a method returns.
    pub const fn of<O>(_: &Call<O, R>) -> Returns<R> {
        Returns(PhantomData)
    }
}

/// First choice.
pub trait JudgeImage<R> {
    /// Judges.
    fn judged(&self) -> Judged<R, Sound>;
}
/// Second choice.
pub trait JudgeSerde<R> {
    /// Judges.
    fn judged(&self) -> Judged<R, Sound>;
}
/// Third choice.
pub trait JudgeError<R> {
    /// Judges.
    fn judged(&self) -> Judged<R, BadError>;
}
/// Fourth choice.
pub trait JudgeValue<R> {
    /// Judges.
    fn judged(&self) -> Judged<R, BadValue>;
}
/// Last choice.
pub trait JudgeAny<R> {
    /// Judges.
    fn judged(&self) -> Judged<R, NotAResult>;
}

impl<R: Returned<Ok: ResultValue, Err: WireError>> JudgeImage<R> for &&&&Returns<R> {
    fn judged(&self) -> Judged<R, Sound> {
        Judged(PhantomData)
    }
}

impl<R: Returned<Ok: ResultValue, Err: Crosses + From<CallError>>> JudgeSerde<R> for &&&Returns<R> {
    fn judged(&self) -> Judged<R, Sound> {
        Judged(PhantomData)
    }
}

impl<R: Returned<Ok: ResultValue>> JudgeError<R> for &&Returns<R> {
    fn judged(&self) -> Judged<R, BadError> {
        Judged(PhantomData)
    }
}

impl<R: Returned> JudgeValue<R> for &Returns<R> {
    fn judged(&self) -> Judged<R, BadValue> {
        Judged(PhantomData)
    }
}

impl<R> JudgeAny<R> for Returns<R> {
    fn judged(&self) -> Judged<R, NotAResult> {
        Judged(PhantomData)
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

/// How the value comes of a result whose signature names no stream.
#[diagnostic::on_unimplemented(
    message = "this result is a stream under another name",
    label = "this is a `skybox::Stream`, and does not say so",
    note = "write `Stream<…>` in the signature: attributes see names and not what they stand for, and a stream keeps its instance alive"
)]
pub trait AtOnce {}

impl AtOnce for Whole {}

/// What was picked for a result without a stream, or for one that is refused for another reason.
pub trait SaysWhatItIs<R> {}

impl<R: Returned<Ok: ResultValue<Comes: AtOnce>>> SaysWhatItIs<R> for Judged<R, Sound> {}
impl<R> SaysWhatItIs<R> for Judged<R, NotAResult> {}
impl<R> SaysWhatItIs<R> for Judged<R, BadValue> {}
impl<R> SaysWhatItIs<R> for Judged<R, BadError> {}
impl<R> IsResult<R> for Judged<R, Sound> {}
impl<R> IsResult<R> for Judged<R, BadValue> {}
impl<R> IsResult<R> for Judged<R, BadError> {}
impl<R> ValueCrosses<R> for Judged<R, Sound> {}
impl<R> ValueCrosses<R> for Judged<R, NotAResult> {}
impl<R> ValueCrosses<R> for Judged<R, BadError> {}
impl<R> ErrorCrosses<R> for Judged<R, Sound> {}
impl<R> ErrorCrosses<R> for Judged<R, NotAResult> {}
impl<R> ErrorCrosses<R> for Judged<R, BadValue> {}

impl<R> fmt::Debug for Returns<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Returns")
    }
}

impl<R, Why> fmt::Debug for Judged<R, Why> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}
