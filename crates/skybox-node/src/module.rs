//! What the macros tell the runtime about a module: the seam between generated code and everything else.

use std::any::TypeId;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{MethodDescriptor, ModuleDescriptor, TextChain};
use skybox_wire::codec::Proof;

use crate::app::App;
use crate::call::{Incoming, Serving, StartError, Target};
use crate::host::{AnyHost, Host, HostSeed};
use crate::interface::{Interface, Object};

/// What a [`Handle`](crate::Handle) can be of: a module's type, or `dyn` an interface. Implemented by the attributes;
/// never by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "put `#[skybox::module]` on its `impl` block; of an interface, on the trait"
)]
pub trait Callable {
    /// What instances of it are: the type itself; for an interface, whichever implementation was chosen.
    type Module: Module;
}

#[diagnostic::do_not_recommend]
impl<M: Module> Callable for M {
    type Module = M;
}

/// The key by which a keyed module's instances are told apart.
pub type KeyOf<T> = <<T as Callable>::Module as Module>::Key;

/// A module or task. Implemented by the attributes; never by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "put `#[skybox::module]` on its `impl` block"
)]
pub trait Module: Sized + Send + 'static {
    /// What a `Handle` dereferences to: one method for each public method.
    type Proxy: Send + Sync;
    /// A keyed module's key; what a spawned module's instances are started with; `()` for the others.
    type Key: Key + ?Sized;

    /// The module as written.
    fn descriptor() -> &'static ModuleDescriptor;
    /// Wraps a target in the proxy.
    fn proxy(target: Target<Self>) -> Self::Proxy;
    /// The target in a proxy.
    fn target(proxy: &Self::Proxy) -> &Target<Self>;
    /// Starts an instance.
    fn start(
        app: App,
        key: <Self::Key as ToOwned>::Owned,
    ) -> impl Future<Output = Result<Self, StartError>> + Send;
    /// Whether its instances have a last word, `stop`; of an interface, its candidates say that.
    const STOPS: bool = false;
    /// The last word of an instance, if `STOPS`: the text of its error if it fails.
    fn stop(self, app: App) -> impl Future<Output = Result<(), TextChain>> + Send {
        drop((self, app));
        std::future::ready(Ok(()))
    }
    /// Runs a call that came from elsewhere.
    fn serve(call: Incoming<Self>) -> Serving;
}

/// A module whose instances code makes while it runs. Implemented by the attribute; never by hand.
#[diagnostic::on_unimplemented(
    message = "the instances of `{Self}` are not made by code",
    label = "not a spawned module",
    note = "write `#[skybox::module(spawned)]` on its `impl` block"
)]
pub trait Spawns: Module {}

/// A task: a module of one method and no state, so that this is all that has to be said of it.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a task")]
pub trait Task: Default + Send + Sync + 'static {
    /// The task as written.
    const DESCRIPTOR: &'static ModuleDescriptor;
    /// Runs a call that came from elsewhere.
    fn serve(call: Incoming<Self>) -> Serving;
}

#[diagnostic::do_not_recommend]
impl<T: Task> Module for T {
    type Proxy = Target<T>;
    type Key = ();

    fn descriptor() -> &'static ModuleDescriptor {
        T::DESCRIPTOR
    }

    fn proxy(target: Target<T>) -> Target<T> {
        target
    }

    fn target(proxy: &Target<T>) -> &Target<T> {
        proxy
    }

    async fn start(_: App, (): ()) -> Result<T, StartError> {
        Ok(T::default())
    }

    fn serve(call: Incoming<T>) -> Serving {
        match call.method() {
            0 => <T as Task>::serve(call),
            _ => call.unknown(),
        }
    }
}

/// What can be the key of a keyed module, or what an instance is spawned with: data that can be cloned. Two keys are
/// the same if they encode the same.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of an instance, nor what one is spawned with",
    note = "that is data: derive `Clone`, `serde::Serialize` and `serde::Deserialize`"
)]
pub trait Key:
    Serialize + ToOwned<Owned: DeserializeOwned + Serialize + Send + Sync> + Sync + 'static
{
}

impl<K> Key for K where
    K: Serialize + ToOwned<Owned: DeserializeOwned + Serialize + Send + Sync> + Sync + ?Sized + 'static
{
}

/// One method of a module: its arguments as owned types, its declared result, and what has been proven about
/// how both cross.
pub struct Method<O, R> {
    module: &'static ModuleDescriptor,
    row: &'static MethodDescriptor,
    index: u16,
    pub(crate) arguments: Proof,
    pub(crate) result: Proof,
    pub(crate) error: Proof,
    /// In debug builds: the first inline call has been encoded and decoded as well.
    pub(crate) tried: [AtomicBool; 2],
    types: PhantomData<fn(O) -> R>,
}

impl<O, R> Method<O, R> {
    /// The `index`-th method of `module`.
    pub const fn new(module: &'static ModuleDescriptor, index: u16) -> Method<O, R> {
        Method {
            module,
            row: &module.methods[index as usize],
            index,
            arguments: Proof::new(),
            result: Proof::new(),
            error: Proof::new(),
            tried: [const { AtomicBool::new(false) }; 2],
            types: PhantomData,
        }
    }

    /// Its row in the module's descriptor.
    #[inline]
    pub fn descriptor(&self) -> &'static MethodDescriptor {
        self.row
    }

    /// Its number.
    #[inline]
    pub fn index(&self) -> u16 {
        self.index
    }

    pub(crate) fn callee(&self) -> skybox_core::Callee {
        skybox_core::Callee::new(self.module.name, self.row.name)
    }
}

impl<O, R> std::fmt::Debug for Method<O, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Method({})", self.callee())
    }
}

/// A module as the linker collects it.
pub struct Registration {
    pub(crate) descriptor: fn() -> &'static ModuleDescriptor,
    pub(crate) type_id: fn() -> TypeId,
    pub(crate) host: fn(HostSeed) -> Arc<dyn AnyHost>,
    /// Whether its instances have a last word.
    pub(crate) stops: bool,
    /// Its instances are those of one of its candidates.
    pub(crate) is_interface: bool,
}

inventory::collect!(Registration);

impl Registration {
    /// Registers `T`.
    pub const fn of<T: Module>() -> Registration {
        let (descriptor, type_id, host) = (T::descriptor, TypeId::of::<T>, Host::<T>::plant);
        Registration { descriptor, type_id, host, stops: T::STOPS, is_interface: false }
    }

    /// Registers the interface `I`.
    pub const fn interface<I: Interface + ?Sized>() -> Registration {
        Registration { is_interface: true, ..Registration::of::<Object<I>>() }
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registration({})", (self.descriptor)().name)
    }
}
