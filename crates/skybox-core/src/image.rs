//! How a method's own error crosses a call.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CallError, Error};

/// Causes kept of one error. An endless `source` chain is a bug in somebody's crate; it ends here.
const CAUSES_MAX: usize = 32;

/// The text of an error and of its causes, outermost first: what is left of an error that is not data.
///
/// It is an error itself, with the same chain of causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextChain {
    message: String,
    cause: Option<Box<TextChain>>,
}

impl TextChain {
    /// A chain of one message.
    pub fn message(message: impl Into<String>) -> TextChain {
        TextChain { message: message.into(), cause: None }
    }

    /// The texts of an error and of its causes, at most 32 of them.
    pub fn of(error: &(dyn StdError + 'static)) -> TextChain {
        let mut messages = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            if messages.len() == CAUSES_MAX {
                break;
            }
            messages.push(error.to_string());
            cause = error.source();
        }
        let last = messages.pop().expect("the first message is always there");
        messages.into_iter().rev().fold(TextChain::message(last), |cause, message| cause.under(message))
    }

    /// Puts a message in front.
    #[must_use]
    pub fn under(self, message: impl Into<String>) -> TextChain {
        TextChain { message: message.into(), cause: Some(Box::new(self)) }
    }

    /// The whole chain on one line: `a: b: c`. A message that already ends in its cause's is not said twice.
    pub fn joined(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.cause.as_deref();
        while let Some(link) = cause {
            if !text.ends_with(&link.message) {
                text.push_str(": ");
                text.push_str(&link.message);
            }
            cause = link.cause.as_deref();
        }
        text
    }
}

impl fmt::Display for TextChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for TextChain {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// An error type that a method may return: it can say that its call failed, and it can cross.
///
/// Derived for enums with `#[derive(skybox::WireError)]`, implemented for [`Error`] and (with the feature
/// `anyhow`) for `anyhow::Error`. A type with serde's two traits and `From<CallError>` needs no impl.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a method: it does not know how to cross a call",
    note = "use `skybox::Error` or `anyhow::Error`, which take any error by `?`",
    note = "or `#[derive(skybox::WireError)]` on your error enum, with one variant marked `#[wire(call)]` and one `#[wire(rest)]`",
    note = "or derive serde's `Serialize` and `Deserialize` and write `impl From<skybox::CallError>`"
)]
pub trait WireError: From<CallError> + Sized {
    /// What goes over the wire.
    type Image: Serialize + serde::de::DeserializeOwned + Send;

    /// Turns the error into what crosses. What is not data becomes text.
    fn into_image(self) -> Self::Image;

    /// Turns what crossed back into the error.
    fn from_image(image: Self::Image) -> Self;
}

impl WireError for Error {
    type Image = TextChain;

    fn into_image(self) -> TextChain {
        TextChain::of(self.as_ref())
    }

    fn from_image(image: TextChain) -> Error {
        image.into()
    }
}

#[cfg(feature = "anyhow")]
impl WireError for anyhow::Error {
    type Image = TextChain;

    fn into_image(self) -> TextChain {
        TextChain::of(self.as_ref())
    }

    fn from_image(image: TextChain) -> anyhow::Error {
        image.into()
    }
}

/// What crosses of an enum that derives [`WireError`]: a variant whose fields are data, or text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorImage {
    /// The variant's name and each field, encoded on its own.
    Variant { name: String, fields: Vec<Vec<u8>> },
    /// A variant with a field that is not data, or the one marked `#[wire(rest)]`.
    Text(TextChain),
}

/// What the field of a variant marked `#[wire(rest)]` can be.
#[diagnostic::on_unimplemented(
    message = "the field of a variant marked `#[wire(rest)]` holds text; it cannot be a `{Self}`",
    note = "make it a `String`, a `skybox::Error` or an `anyhow::Error`"
)]
pub trait FromText {
    /// Makes the field from the text of an error that could not cross as itself.
    fn from_text(text: TextChain) -> Self;
    /// The field's own text, to cross again.
    fn to_text(&self) -> TextChain;
}

impl FromText for String {
    fn from_text(text: TextChain) -> String {
        text.joined()
    }

    fn to_text(&self) -> TextChain {
        TextChain::message(self)
    }
}

impl FromText for Error {
    fn from_text(text: TextChain) -> Error {
        text.into()
    }

    fn to_text(&self) -> TextChain {
        TextChain::of(self.as_ref())
    }
}

// The hint above names it with or without the feature; a list of impls would differ.
#[cfg(feature = "anyhow")]
#[diagnostic::do_not_recommend]
impl FromText for anyhow::Error {
    fn from_text(text: TextChain) -> anyhow::Error {
        text.into()
    }

    fn to_text(&self) -> TextChain {
        TextChain::of(self.as_ref())
    }
}
