//! The error inside the codec: a reason, and the way from the value to the field it speaks of.

use std::fmt::{self, Display};

/// Why a value could not be written or read; boxed, so that `Result<(), Fault>` is one word.
pub(crate) struct Fault(Box<Inner>);

struct Inner {
    reason: String,
    /// Steps from the inside out: each level adds its own as the fault passes, so that the way that
    /// succeeds keeps no path at all.
    steps: Vec<String>,
    needs_names: bool,
}

impl Fault {
    #[cold]
    pub(super) fn new(reason: impl Display) -> Self {
        Self(Box::new(Inner { reason: reason.to_string(), steps: Vec::new(), needs_names: false }))
    }

    /// The value cannot be written compactly, but may be written with names.
    #[cold]
    pub(super) fn needs_names(reason: &str) -> Self {
        Self(Box::new(Inner { reason: reason.to_owned(), steps: Vec::new(), needs_names: true }))
    }

    #[cold]
    pub(super) fn truncated() -> Self {
        Self::new("the bytes end inside the value")
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::new(format_args!("values are nested deeper than {} levels", super::DEPTH_MAX))
    }

    #[cold]
    pub(super) fn in_field(mut self, name: &str) -> Self {
        self.0.steps.push(format!(".{name}"));
        self
    }

    #[cold]
    pub(super) fn in_item(mut self, index: usize) -> Self {
        self.0.steps.push(format!("[{index}]"));
        self
    }

    #[cold]
    pub(super) fn in_variant(mut self, name: &str) -> Self {
        self.0.steps.push(format!("::{name}"));
        self
    }

    pub(super) fn wants_names(&self) -> bool {
        self.0.needs_names
    }

    /// The field, as an expression on the value: `.items[3]::Card.number`; empty for the value itself.
    pub(super) fn path(&self) -> String {
        self.0.steps.iter().rev().map(String::as_str).collect()
    }

    pub(super) fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("path", &self.path()).field("reason", &self.0.reason).finish()
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message)
    }
}

impl serde::de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message)
    }
}

impl From<postcard::Error> for Fault {
    #[cold]
    fn from(error: postcard::Error) -> Self {
        match error {
            postcard::Error::DeserializeUnexpectedEnd => Self::truncated(),
            other => Self::new(other),
        }
    }
}
