//! `skybox::Error`: any error, by `?`.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;

use crate::{CallError, TextChain};

/// Any error, made by `?` from any [`std::error::Error`], as with anyhow's.
///
/// When it crosses a call it becomes its text, cause by cause, in every mode: what a caller in the same process
/// sees is what a caller in another one sees. `{}` prints the outermost message, `{:#}` the whole chain.
pub struct Error(Box<dyn StdError + Send + Sync>);

/// The result of most methods: any error, by `?`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that is a message and nothing else.
    pub fn msg(message: impl fmt::Display) -> Error {
        Error(Box::new(TextChain::message(message.to_string())))
    }

    /// Puts a sentence in front: what was being done when this went wrong.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Error {
        Error(Box::new(TextChain::of(&*self.0).under(what.to_string())))
    }

    /// The failed call, if this error is one's own call's: not one that a callee passed on.
    pub fn call_error(&self) -> Option<&CallError> {
        self.0.downcast_ref()
    }

    /// The concrete error, if it is an `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        Error(Box::new(error))
    }
}

/// For whoever takes any error: a module's `start`, `once`, another crate's `?`.
impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        error.0
    }
}

impl Deref for Error {
    type Target = dyn StdError + Send + Sync + 'static;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl AsRef<dyn StdError + Send + Sync + 'static> for Error {
    fn as_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            write!(f, "{}", TextChain::of(&*self.0).joined())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// As anyhow does, so that `fn main() -> skybox::Result<()>` ends in something a person can read.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        if cause.is_some() {
            write!(f, "\n\nCaused by:")?;
        }
        while let Some(error) = cause {
            write!(f, "\n    {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
