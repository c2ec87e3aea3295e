//! Handles, and what a proxy holds.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::CallOptions;
use crate::host::Host;
use crate::module::{Callable, Module};

/// A reference to a module: call its methods on it.
///
/// Cheap to clone; an argument and a result like any other value. It stays valid when instances are replaced or
/// move: it names the module (and the key), not an instance. The only method it has of its own is
/// [`with`](Handle::with); everything else is an associated function, so that it shadows none of yours.
pub struct Handle<T: Callable + ?Sized> {
    proxy: <T::Module as Module>::Proxy,
}

impl<T: Module> Handle<T> {
    /// Wraps a plain value, for unit tests of code that takes handles: no App, no supervision, no `stop`; a call that
    /// panics leaves the value as it is.
    ///
    /// # Panics
    /// Outside of a tokio runtime: calls need one.
    pub fn of(value: T) -> Handle<T> {
        Handle::alone(value)
    }
}

impl<T: Callable + ?Sized> Handle<T> {
    pub(crate) fn new(target: Target<T::Module>) -> Handle<T> {
        Handle { proxy: T::Module::proxy(target) }
    }

    pub(crate) fn alone(value: T::Module) -> Handle<T> {
        Handle::new(Target { host: Host::alone(value), key: None, options: CallOptions::new() })
    }

    /// The same handle with options for its calls.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Handle<T> {
        Handle::new(Target { options, ..self.target().clone() })
    }

    fn target(&self) -> &Target<T::Module> {
        T::Module::target(&self.proxy)
    }
}

impl<T: Callable + ?Sized> Deref for Handle<T> {
    type Target = <T::Module as Module>::Proxy;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.proxy
    }
}

impl<T: Callable + ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Handle<T> {
        Handle::new(self.target().clone())
    }
}

impl<T: Callable + ?Sized> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", T::Module::descriptor().name)
    }
}

/// A handle crosses as the module's name and the key.
impl<T: Callable + ?Sized> Serialize for Handle<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = self.target().key.as_deref().map(<[u8]>::to_vec);
        (T::Module::descriptor().name, key).serialize(serializer)
    }
}

impl<'de, T: Callable + ?Sized> serde::Deserialize<'de> for Handle<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Handle<T>, D::Error> {
        use serde::de::Error;
        let (name, key) = <(String, Option<Vec<u8>>)>::deserialize(deserializer)?;
        let app = crate::app::App::current().map_err(D::Error::custom)?;
        let own = T::Module::descriptor().name;
        if name != own {
            return Err(D::Error::custom(format!("a handle of `{name}` is not one of `{own}`")));
        }
        let host = app.host::<T::Module>().map_err(D::Error::custom)?;
        Ok(Handle::new(Target { host, key: key.map(Bytes::from), options: CallOptions::new() }))
    }
}

/// What a proxy holds: which module, which key, which options.
pub struct Target<T: Module> {
    pub(crate) host: Arc<Host<T>>,
    pub(crate) key: Option<Bytes>,
    pub(crate) options: CallOptions,
}

impl<T: Module> Clone for Target<T> {
    fn clone(&self) -> Target<T> {
        Target { host: self.host.clone(), key: self.key.clone(), options: self.options }
    }
}

impl<T: Module> fmt::Debug for Target<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", T::descriptor().name)
    }
}
