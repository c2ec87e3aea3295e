//! Handles, and what a proxy holds.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use skybox_core::ModuleKind;

use super::CallOptions;
use crate::host::{Host, HostCore, SEAT_BYTES, Seat, Which, seat_bytes};
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
        Handle::new(Target::new(Host::alone(value), To::Module))
    }

    /// The same handle with options for its calls.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Handle<T> {
        Handle::new(Target { options, ..self.target().clone() })
    }

    pub(crate) fn target(&self) -> &Target<T::Module> {
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

/// A handle crosses as the module's name and the key; of a spawned instance, as its id and its node.
impl<T: Callable + ?Sized> Serialize for Handle<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = match &self.target().to {
            To::Module => None,
            To::Key(key) => Some(key.to_vec()),
            // What is in a cell is its node's to everybody else.
            To::Seat(seat) => Some(seat.written(self.target().host.core.home())),
        };
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
        let to = match key {
            None => To::Module,
            Some(key) if host.core.descriptor.kind == ModuleKind::Spawned => {
                To::Seat(host.seat_written(&key).map_err(D::Error::custom)?)
            }
            Some(key) => To::Key(Bytes::from(key)),
        };
        Ok(Handle::new(Target::new(host, to)))
    }
}

/// What a proxy holds: which module, which of its instances, which options.
pub struct Target<T: Module> {
    pub(crate) host: Arc<Host<T>>,
    pub(crate) to: To<T>,
    pub(crate) options: CallOptions,
}

/// Which instance of its module a call is for.
pub(crate) enum To<T> {
    /// Whichever is the nearest.
    Module,
    /// That of a key.
    Key(Bytes),
    /// One that code has made.
    Seat(Arc<Seat<T>>),
}

/// How an instance is named in a call that leaves this process.
pub(crate) enum Named<'t> {
    Key(&'t Bytes),
    Seat([u8; SEAT_BYTES]),
    /// In a cell: one of another node, which its node has to know.
    SeatElsewhere(Vec<u8>),
}

impl Deref for Named<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Named::Key(key) => key,
            Named::Seat(id) => id,
            Named::SeatElsewhere(bytes) => bytes,
        }
    }
}

impl<T: Module> Target<T> {
    pub(crate) fn new(host: Arc<Host<T>>, to: To<T>) -> Target<T> {
        Target { host, to, options: CallOptions::new() }
    }

    /// A call of it has failed here, or returned an error: that is put down to its instance, if somebody looks and it is
    /// one of several.
    #[cold]
    pub(super) fn note_error(&self) {
        if let Some(which) = self.which_here() {
            self.host.core.tallies.error(which);
        }
    }

    /// As [`note_error`](Target::note_error), of a call that was timed.
    #[cold]
    pub(super) fn note_time(&self, time: Duration) {
        if let Some(which) = self.which_here() {
            self.host.core.tallies.took(which, time);
        }
    }

    fn which_here(&self) -> Option<Which> {
        let is_here = match &self.to {
            To::Module => false,
            To::Key(key) => self.host.core.owns(key),
            To::Seat(seat) => seat.node.is_none(),
        };
        if is_here { self.to.looked_at(&self.host.core) } else { None }
    }

    /// The bytes that name the instance to others.
    #[inline]
    pub(crate) fn named(&self) -> Option<Named<'_>> {
        match &self.to {
            To::Module => None,
            To::Key(key) => Some(Named::Key(key)),
            To::Seat(seat) => Some(match (&self.host.core.cell_of, &seat.node) {
                (Some(home), Some(node)) if node.node != *home => Named::SeatElsewhere(seat.written(home)),
                _ => Named::Seat(seat_bytes(seat.id)),
            }),
        }
    }
}

impl<T> To<T> {
    /// Which of several instances it is, if somebody looks at what becomes of each.
    pub(super) fn looked_at(&self, core: &HostCore) -> Option<Which> {
        match self {
            To::Module => None,
            _ if !core.tallies.is_looked_at() => None,
            To::Key(key) => Some(Which::Key(key.clone())),
            To::Seat(seat) => Some(Which::Seat(seat.id.count)),
        }
    }
}

impl<T> Clone for To<T> {
    fn clone(&self) -> To<T> {
        match self {
            To::Module => To::Module,
            To::Key(key) => To::Key(key.clone()),
            To::Seat(seat) => To::Seat(seat.clone()),
        }
    }
}

impl<T: Module> Clone for Target<T> {
    fn clone(&self) -> Target<T> {
        Target { host: self.host.clone(), to: self.to.clone(), options: self.options }
    }
}

impl<T: Module> fmt::Debug for Target<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", T::descriptor().name)
    }
}
