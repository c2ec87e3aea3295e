//! What callers of the codec see when a value cannot be written or read.

use super::Form;
use super::fault::Fault;

/// Why a value could not be written. Nothing was sent, and the call did not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its `Serialize` failed, or the value is nested too deeply.
    #[error("`{type_name}` cannot be written at `value{path}`: {reason}; change the value, or its Serialize")]
    Unwritable { type_name: &'static str, path: String, reason: String },
    /// Its `Deserialize` does not read what its `Serialize` writes, in any form.
    #[error(
        "`{type_name}` cannot cross a call: what Serialize writes at `value{path}`, Deserialize does not read: \
         {reason}; derive both, or give skipped fields #[serde(default)]"
    )]
    Unreadable { type_name: &'static str, path: String, reason: String },
    /// Its `Deserialize` reads what its `Serialize` writes, but makes another value of it.
    #[error(
        "`{type_name}` cannot cross a call: it would arrive as another value, because `value{path}` is not read \
         as it is written; look for skip_deserializing, two flattened maps, or untagged variants that \
         look alike"
    )]
    Altered { type_name: &'static str, path: String },
}

impl EncodeError {
    #[cold]
    pub(super) fn unwritable<T: ?Sized>(fault: &Fault) -> Self {
        Self::Unwritable {
            type_name: std::any::type_name::<T>(),
            path: fault.path(),
            reason: fault.reason().to_owned(),
        }
    }

    #[cold]
    pub(super) fn unreadable<T: ?Sized>(fault: &Fault) -> Self {
        Self::Unreadable {
            type_name: std::any::type_name::<T>(),
            path: fault.path(),
            reason: fault.reason().to_owned(),
        }
    }

    #[cold]
    pub(super) fn altered<T: ?Sized>(path: String) -> Self {
        Self::Altered { type_name: std::any::type_name::<T>(), path }
    }
}

/// Why bytes could not be read. The peer's version of the type differs, or the bytes are not what an
/// [`encode`](super::encode) wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    #[error("{form} bytes are no `{type_name}`, at `value{path}`: {reason}")]
    Invalid { type_name: &'static str, form: Form, path: String, reason: String },
    /// The form's byte is none that this version knows.
    #[error("{0} is not the number of a form")]
    UnknownForm(u8),
    /// An operator's arguments do not fit the method's parameters.
    #[error("arguments: {0}")]
    Arguments(String),
}

impl DecodeError {
    #[cold]
    pub(super) fn invalid<T: ?Sized>(form: Form, fault: &Fault) -> Self {
        Self::Invalid {
            type_name: std::any::type_name::<T>(),
            form,
            path: fault.path(),
            reason: fault.reason().to_owned(),
        }
    }
}
