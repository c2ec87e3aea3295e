//! How a method's result crosses: which error types can, and how each is made.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallError, CallErrorKind, Callee, WireError};

use skybox_wire::frame::PayloadOf;

use super::far::data_code;
use crate::stream::{Passing, Stream};

/// A `Result`, by whatever alias.
#[diagnostic::on_unimplemented(
    message = "a call can fail, so a method returns a `Result`, not `{Self}`",
    note = "write `-> skybox::Result<{Self}>`, or a `Result` with your own error type"
)]
pub trait Returned {
    /// What it holds when all went well.
    type Ok;
    /// What it holds otherwise.
    type Err;
    /// Whether it holds an error.
    fn is_err(&self) -> bool;
    /// As a plain `Result`.
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
    /// From a plain `Result`.
    fn from_result(result: Result<Self::Ok, Self::Err>) -> Self;
}

impl<T, E> Returned for Result<T, E> {
    type Ok = T;
    type Err = E;

    #[inline(always)]
    fn is_err(&self) -> bool {
        Result::is_err(self)
    }

    #[inline(always)]
    fn into_result(self) -> Result<T, E> {
        self
    }

    #[inline(always)]
    fn from_result(result: Result<T, E>) -> Result<T, E> {
        result
    }
}

/// A value that can be an argument or a result.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross a call: it is not data",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or pass what it is made from",
    note = "a pool, a client or a file is given to every node with `App::builder().provide(…)` and taken with `app.value()`"
)]
pub trait Crosses: Serialize + DeserializeOwned + Send {}

impl<T: Serialize + DeserializeOwned + Send> Crosses for T {}

/// What a result holds when all went well: data, or a stream of it.
pub trait ResultValue: Send {
    /// What is encoded of it.
    type Data: Crosses;
    /// [`Whole`], or [`InItems`] if it is a stream, whose items come afterwards.
    type Comes;
    /// The latter.
    const IS_STREAM: bool;
    /// As what is encoded.
    fn into_data(self) -> Self::Data;
    /// From what was decoded.
    fn from_data(data: Self::Data) -> Self;
}

/// Of a value that is there at once.
#[derive(Debug)]
pub enum Whole {}
/// Of a stream.
#[derive(Debug)]
pub enum InItems {}

impl<T: Crosses> ResultValue for T {
    type Data = T;
    type Comes = Whole;
    const IS_STREAM: bool = false;

    #[inline]
    fn into_data(self) -> T {
        self
    }

    #[inline]
    fn from_data(data: T) -> T {
        data
    }
}

impl<T: Crosses + 'static, E: WireError + 'static> ResultValue for Stream<T, E> {
    type Data = Passing<T, E>;
    type Comes = InItems;
    const IS_STREAM: bool = true;

    fn into_data(self) -> Passing<T, E> {
        Passing::of(PayloadOf::Reply, self)
    }

    fn from_data(data: Passing<T, E>) -> Stream<T, E> {
        data.into_stream()
    }
}

/// The way in which results of type `R` cross. Chosen by `judged!`, which generated code writes.
pub trait Crossing<R>: Copy + Send + Sync + 'static {
    /// The value when all went well.
    type Ok: Serialize + DeserializeOwned + Send;
    /// The error as data.
    type Image: Serialize + DeserializeOwned + Send;
    /// Whether the value is a stream.
    const IS_STREAM: bool;
    /// Whether the method returned an error.
    fn is_own_error(self, result: &R) -> bool;
    /// The result of a call that failed.
    fn refuse(self, error: CallError) -> R;
    /// The result as data.
    fn split(self, result: R) -> Result<Self::Ok, Self::Image>;
    /// The result from data.
    fn join(self, data: Result<Self::Ok, Self::Image>) -> R;
    /// The result as it would arrive elsewhere: an error that is not data loses what a remote caller would not
    /// see. `own_error` is called if it is an error, and says whose.
    fn cross(self, result: R, own_error: impl FnOnce() -> Callee) -> R;
}

/// The error is a [`WireError`].
pub(crate) struct ByImage<R>(PhantomData<fn() -> R>);
/// The error is data.
pub(crate) struct BySerde<R>(PhantomData<fn() -> R>);

impl<R> ByImage<R> {
    pub(super) const NEW: ByImage<R> = ByImage(PhantomData);
}

impl<R> BySerde<R> {
    pub(super) const NEW: BySerde<R> = BySerde(PhantomData);
}

impl<R: Returned<Ok: ResultValue, Err: WireError> + 'static> Crossing<R> for ByImage<R> {
    type Ok = <R::Ok as ResultValue>::Data;
    type Image = <R::Err as WireError>::Image;
    const IS_STREAM: bool = R::Ok::IS_STREAM;

    #[inline(always)]
    fn is_own_error(self, result: &R) -> bool {
        result.is_err()
    }

    fn refuse(self, error: CallError) -> R {
        R::from_result(Err(error.into()))
    }

    fn split(self, result: R) -> Result<Self::Ok, Self::Image> {
        result.into_result().map(ResultValue::into_data).map_err(WireError::into_image)
    }

    fn join(self, data: Result<Self::Ok, Self::Image>) -> R {
        R::from_result(data.map(ResultValue::from_data).map_err(WireError::from_image))
    }

    #[inline(always)]
    fn cross(self, result: R, own_error: impl FnOnce() -> Callee) -> R {
        R::from_result(result.into_result().map_err(|error| through_image(error, own_error())))
    }
}

/// An error as it would arrive elsewhere.
#[cold]
fn through_image<E: WireError>(error: E, callee: Callee) -> E {
    match data_code(|| Ok::<_, Infallible>(error.into_image())) {
        Ok(image) => E::from_image(image),
        Err(why) => CallError::new(callee, CallErrorKind::BadReply { why }).into(),
    }
}

impl<R: Returned<Ok: ResultValue, Err: Crosses + From<CallError>> + 'static> Crossing<R> for BySerde<R> {
    type Ok = <R::Ok as ResultValue>::Data;
    type Image = R::Err;
    const IS_STREAM: bool = R::Ok::IS_STREAM;

    #[inline(always)]
    fn is_own_error(self, result: &R) -> bool {
        result.is_err()
    }

    fn refuse(self, error: CallError) -> R {
        R::from_result(Err(error.into()))
    }

    fn split(self, result: R) -> Result<Self::Ok, Self::Image> {
        result.into_result().map(ResultValue::into_data)
    }

    fn join(self, data: Result<Self::Ok, Self::Image>) -> R {
        R::from_result(data.map(ResultValue::from_data))
    }

    #[inline(always)]
    fn cross(self, result: R, own_error: impl FnOnce() -> Callee) -> R {
        R::from_result(result.into_result().inspect_err(|_| {
            own_error();
        }))
    }
}

impl<R> Clone for ByImage<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for ByImage<R> {}
impl<R> Clone for BySerde<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for BySerde<R> {}

impl<R> fmt::Debug for ByImage<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByImage")
    }
}
impl<R> fmt::Debug for BySerde<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BySerde")
    }
}
