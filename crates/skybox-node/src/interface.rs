//! Interfaces: modules whose callers know a trait, and whose instances are one of its implementations.
//!
//! To everything below a handle an interface is a module like any other: its instances are [`Object`]s, which hold
//! whichever implementation was chosen when the App started. Its name, its methods and their order are the trait's,
//! so that is what crosses; how its instances are kept is said where they are implemented.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;

use skybox_core::{ModuleDescriptor, Needs, TextChain};

use crate::app::App;
use crate::call::{Handle, Incoming, Serving, StartError, Target};
use crate::module::{Callable, Key, Module};

/// An interface, as `dyn` its trait. Implemented by the attribute on the trait; never by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an interface",
    note = "put `#[skybox::module]` on the trait"
)]
pub trait Interface: Send + Sync + 'static {
    /// What a `Handle` dereferences to: one method for each of the trait's.
    type Proxy: Send + Sync;
    /// A keyed interface's key; `()` for the others.
    type Key: Key + ?Sized;
    /// Whether it has a key: [`WithKey`] or [`WithoutKey`].
    type Form;
    /// The interface as written.
    const DESCRIPTOR: &'static ModuleDescriptor;

    /// Wraps a target in the proxy.
    fn proxy(target: Target<Object<Self>>) -> Self::Proxy;
    /// The target in a proxy.
    fn target(proxy: &Self::Proxy) -> &Target<Object<Self>>;
    /// Runs a call that came from elsewhere.
    fn serve(call: Incoming<Object<Self>>) -> Serving;
    /// The value that stands for it, whose type somebody knows.
    fn into_any(object: Box<Self>) -> Box<dyn Any + Send>;
}

/// The form of an interface whose instances have keys.
#[derive(Debug)]
pub enum WithKey {}

/// The form of an interface whose instances are equal.
#[derive(Debug)]
pub enum WithoutKey {}

/// What values can stand for an interface: all that implement its trait.
#[diagnostic::on_unimplemented(
    message = "`{V}` does not implement the interface `{Self}`",
    label = "not an implementation"
)]
pub trait ImplementedBy<V>: Interface {
    /// The value, as the interface.
    fn object(value: V) -> Box<Self>;
}

/// An instance of an interface: a value of whichever type implements it here.
pub struct Object<I: Interface + ?Sized>(Box<I>);

impl<I: Interface + ?Sized> Deref for Object<I> {
    type Target = I;

    #[inline]
    fn deref(&self) -> &I {
        &self.0
    }
}

impl<I: Interface + ?Sized> DerefMut for Object<I> {
    #[inline]
    fn deref_mut(&mut self) -> &mut I {
        &mut self.0
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Object<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", I::DESCRIPTOR.name)
    }
}

impl<I: Interface + ?Sized> Module for Object<I> {
    type Proxy = I::Proxy;
    type Key = I::Key;

    fn descriptor() -> &'static ModuleDescriptor {
        I::DESCRIPTOR
    }

    fn proxy(target: Target<Self>) -> I::Proxy {
        I::proxy(target)
    }

    fn target(proxy: &I::Proxy) -> &Target<Self> {
        I::target(proxy)
    }

    async fn start(app: App, key: <I::Key as ToOwned>::Owned) -> Result<Self, StartError> {
        let Chosen { start, .. } = chosen(&app);
        start(app, key).await
    }

    // `STOPS` says what its own type has, and that has none: whoever is chosen may have one.
    async fn stop(self, app: App) -> Result<(), TextChain> {
        let Chosen { stop, .. } = chosen(&app);
        stop(self, app).await
    }

    fn serve(call: Incoming<Self>) -> Serving {
        I::serve(call)
    }
}

impl<I: Callable<Module = Object<I>> + Interface + ?Sized> Handle<I> {
    /// Wraps an implementation of an interface, for unit tests of code that takes handles: a plain `impl` of the
    /// trait, without attribute, and no App. As [`Handle::of`] does for modules.
    ///
    /// `Handle::<dyn Payments>::from_impl(Fake)`, or `Handle::from_impl(Fake)` where a `&Handle<dyn Payments>` is
    /// expected.
    ///
    /// # Panics
    /// Outside of a tokio runtime: calls need one.
    pub fn from_impl<V>(implementation: V) -> Handle<I>
    where
        I: ImplementedBy<V>,
    {
        Handle::alone(Object(I::object(implementation)))
    }
}

/// An implementation of an interface that configuration can choose. Implemented by the attribute on
/// `impl Payments for Stripe`; never by hand. A type is a candidate for one interface.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a candidate of any interface",
    note = "put `#[skybox::module]` on the `impl` of the interface for it"
)]
pub trait Candidate: Sized + Send + 'static {
    /// What it implements, as `dyn` the trait.
    type Interface: ImplementedBy<Self> + ?Sized;
    /// Its name in `skybox.toml`.
    const NAME: &'static str;
    /// Where it is written.
    const PATH: &'static str;
    /// How its instances are kept.
    const NEEDS: Needs;
    /// Whether its instances have a last word: `stop`.
    const STOPS: bool;

    /// Starts an instance.
    fn begin(
        app: App,
        key: <<Self::Interface as Interface>::Key as ToOwned>::Owned,
    ) -> impl Future<Output = Result<Self, StartError>> + Send;
    /// The last word of an instance: the text of its error if it fails.
    fn end(self, app: App) -> impl Future<Output = Result<(), TextChain>> + Send;
}

type Starting<I> = Pin<Box<dyn Future<Output = Result<Object<I>, StartError>> + Send>>;
type Stopping = Pin<Box<dyn Future<Output = Result<(), TextChain>> + Send>>;

/// Starts and stops instances of an interface by one of its implementations.
struct Chosen<I: Interface + ?Sized> {
    start: fn(App, <I::Key as ToOwned>::Owned) -> Starting<I>,
    stop: fn(Object<I>, App) -> Stopping,
}

impl<I: Interface + ?Sized> Chosen<I> {
    const fn of<T: Candidate<Interface = I>>() -> Chosen<I>
    where
        I: ImplementedBy<T>,
    {
        Chosen {
            start: |app, key| Box::pin(async { Ok(Object(I::object(T::begin(app, key).await?))) }),
            stop: |Object(object), app| {
                let value = I::into_any(object).downcast::<T>();
                let value = value.expect("the implementation that has started it is asked to stop it");
                Box::pin(value.end(app))
            },
        }
    }
}

/// The implementation whose instances stand for an interface in this App.
fn chosen<I: Interface + ?Sized>(app: &App) -> &'static Chosen<I> {
    let chosen = app.inner().chosen.get(&TypeId::of::<Object<I>>());
    let chosen = chosen.and_then(|chosen| chosen.implementation.downcast_ref::<Chosen<I>>());
    // An App with an interface for which nothing was chosen does not start.
    chosen.expect("an implementation was chosen when the App started")
}

/// A candidate as the linker collects it.
pub struct CandidateRegistration {
    /// The module whose instances it can be.
    pub(crate) interface: fn() -> TypeId,
    pub(crate) type_id: fn() -> TypeId,
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) needs: &'static Needs,
    /// Whether its instances have a last word.
    pub(crate) stops: bool,
    /// A [`Chosen`] of that interface.
    implementation: &'static (dyn Any + Send + Sync),
}

inventory::collect!(CandidateRegistration);

impl CandidateRegistration {
    /// Registers `T`.
    pub const fn of<T: Candidate>() -> CandidateRegistration {
        CandidateRegistration {
            interface: TypeId::of::<Object<T::Interface>>,
            type_id: TypeId::of::<T>,
            name: T::NAME,
            path: T::PATH,
            needs: const { &T::NEEDS },
            stops: T::STOPS,
            implementation: const { &Chosen::<T::Interface>::of::<T>() },
        }
    }
}

#[cfg(test)]
impl CandidateRegistration {
    /// One that can be chosen, but starts nothing.
    pub(crate) const fn unstartable(name: &'static str, needs: &'static Needs) -> CandidateRegistration {
        let id = TypeId::of::<()>;
        CandidateRegistration {
            interface: id,
            type_id: id,
            name,
            path: "test",
            needs,
            stops: false,
            implementation: &(),
        }
    }
}

impl fmt::Debug for CandidateRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CandidateRegistration({})", self.name)
    }
}
