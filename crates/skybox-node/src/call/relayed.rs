//! The answer of a call from the command line, on its way to the person: JSON, whatever its types are.

use std::fmt;

use serde_json::Value;
use skybox_core::{CallError, Callee, TextChain, WireError};

use super::Reply;
use crate::host::HostCore;
use crate::stream::{Passing, ReplyWay, Stream, arriving};

/// The only key of a result that is a stream; its value is the stream's position.
pub(crate) const STREAM_KEY: &str = "$skybox::stream";

/// The answer of a call from the command line.
pub(crate) enum Relayed {
    /// It returned this.
    Returned(Value),
    /// It returned its own error.
    Failed(Value),
    /// It returned a stream.
    Items(Stream<Value, ItemError>),
}

impl Relayed {
    pub(crate) fn read(core: &HostCore, method: u16, reply: &Reply, way: ReplyWay<'_>) -> Relayed {
        let value = serde_json::from_slice(&reply.payload).unwrap_or(Value::Null);
        if reply.own_error {
            return Relayed::Failed(value);
        }
        let method = core.descriptor.methods.get(usize::from(method)).filter(|method| method.streams);
        let Some((method, position)) = method.zip(value.get(STREAM_KEY)) else {
            return Relayed::Returned(value);
        };
        let callee = Callee::new(core.descriptor.name, method.name);
        let read = || serde_json::from_value::<Passing<Value, ItemError>>(position.clone());
        match way.landing(callee, core.app_id, None).map(|landing| arriving(landing, read)) {
            Some(Ok(passing)) => Relayed::Items(passing.into_stream()),
            // It is data that looks like a stream.
            _ => Relayed::Returned(value),
        }
    }
}

/// An error among the items of a stream that is read as JSON.
#[derive(Debug)]
#[non_exhaustive]
pub enum ItemError {
    /// One of the stream's own; more items may follow.
    Own(Value),
    /// Why the stream broke off; nothing follows.
    Broken(CallError),
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ItemError::Own(error) => error.fmt(f),
            ItemError::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ItemError {}

impl From<CallError> for ItemError {
    fn from(error: CallError) -> ItemError {
        ItemError::Broken(error)
    }
}

// For the command line: nobody's methods return it.
#[diagnostic::do_not_recommend]
impl WireError for ItemError {
    type Image = Value;

    fn into_image(self) -> Value {
        match self {
            ItemError::Own(error) => error,
            ItemError::Broken(error) => serde_json::to_value(TextChain::of(&error)).unwrap_or(Value::Null),
        }
    }

    fn from_image(image: Value) -> ItemError {
        ItemError::Own(image)
    }
}
