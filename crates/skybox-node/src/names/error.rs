//! Why a name was not given, or not found.

use serde::{Deserialize, Serialize};
use skybox_core::{CallError, CallErrorKind, Code, TextChain};
use skybox_plan::names::{Holder, NAME_BYTES_MAX};

use crate::control::ControlError;

/// What was asked about a name and could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Another instance has it.
    #[error(
        "{}: the name `{name}` is taken by the instance {instance} of {module} on {node}: use that (`app.whereis`), wait for \
         its end (`Handle::monitor`), or choose another name",
        Code::NAME_TAKEN
    )]
    Taken {
        /// The name.
        name: String,
        /// Who has it, as `skybox ps` shows it.
        instance: String,
        /// Of which module.
        module: String,
        /// On which node.
        node: String,
    },
    /// It is empty or too long.
    #[error("{code}: a name is text of 1 to {NAME_BYTES_MAX} bytes, and this one has {bytes}", code = Code::NOT_A_NAME)]
    NotAName {
        /// Its length.
        bytes: usize,
    },
    /// An instance of another module has it.
    #[error(
        "{}: the name `{name}` is that of an instance of {module}, and was asked for as one of {wanted}: it is {instance} on \
         {node}",
        Code::NAME_OF_ANOTHER
    )]
    OtherModule {
        /// The name.
        name: String,
        /// The module that was asked for.
        wanted: &'static str,
        /// Who has it, as `skybox ps` shows it.
        instance: String,
        /// Of which module.
        module: String,
        /// On which node.
        node: String,
    },
    /// Nobody keeps names for this program.
    #[error("{}: {why}", Code::NO_NAMES)]
    NoStore {
        /// Why.
        why: String,
    },
    /// The instance has ended, there are too many names, or somebody did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl NameError {
    /// Its stable code, which its text has.
    pub fn code(&self) -> Code {
        match self {
            NameError::Taken { .. } => Code::NAME_TAKEN,
            NameError::NotAName { .. } => Code::NOT_A_NAME,
            NameError::OtherModule { .. } => Code::NAME_OF_ANOTHER,
            NameError::NoStore { .. } => Code::NO_NAMES,
            NameError::Call(error) => error.code(),
        }
    }

    pub(super) fn other_module(name: &str, holder: Holder, wanted: &'static str) -> NameError {
        let (instance, node) = (holder.instance.to_string(), holder.node.to_string());
        NameError::OtherModule { name: name.to_owned(), wanted, instance, module: holder.module, node }
    }
}

/// Why a name was not given, as nodes say it to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// It has one.
    Taken(Holder),
    /// It is no name; so many bytes are none.
    NotAName(usize),
    /// Nobody keeps names.
    NoStore(String),
    /// It could not be asked for.
    Failed(CallErrorKind),
}

impl Refusal {
    /// As the code that asked for this name sees it.
    pub(super) fn of(self, name: String, failed: impl Fn(CallErrorKind) -> NameError) -> NameError {
        match self {
            Refusal::Taken(Holder { instance, module, node }) => {
                NameError::Taken { name, instance: instance.to_string(), module, node: node.to_string() }
            }
            Refusal::NotAName(bytes) => NameError::NotAName { bytes },
            Refusal::NoStore(why) => NameError::NoStore { why },
            Refusal::Failed(kind) => failed(kind),
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Refusal {
        let why = || TextChain::of(&error).joined();
        match error {
            ControlError::Refused(why) => Refusal::NoStore(why),
            ControlError::Failed(kind) => Refusal::Failed(kind),
            // Asked and not answered, it may be carried out still.
            ControlError::Store { asked: true, .. } => Refusal::Failed(CallErrorKind::Lost { why: why() }),
            _ => Refusal::Failed(CallErrorKind::Unreachable { why: why() }),
        }
    }
}
