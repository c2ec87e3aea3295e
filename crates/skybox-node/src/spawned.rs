//! Instances that code makes while it runs: what it does with them.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{CallError, CallErrorKind, Callee, Exit, InstanceId, NodeName};

use crate::between::{self, Named};
use crate::call::{Handle, Target, To};
use crate::host::{Host, Seat, encoded_arguments};
use crate::module::{Module, Spawns};
use crate::monitor::{Monitor, Monitors};

/// A spawned instance, owned: dropped, the instance stops once the calls that it has taken have ended.
///
/// It is a [`Handle`] to call through; handles that are made from it own nothing, wherever they go, and calls through
/// them fail with `Gone` once the instance has ended. [`Spawned::keep`] gives the instance up to itself.
pub struct Spawned<T: Module>(Option<Handle<T>>);

impl<T: Module> Spawned<T> {
    fn new(target: Target<T>) -> Spawned<T> {
        Spawned(Some(Handle::new(target)))
    }

    fn owned(&self) -> &Handle<T> {
        self.0.as_ref().expect("it is there until it is kept or dropped")
    }

    /// A handle of the instance, which does not own it.
    pub fn handle(this: &Spawned<T>) -> Handle<T> {
        this.owned().clone()
    }

    /// Lets the instance live until it is stopped or crashes, or its node ends.
    ///
    /// # Errors
    /// `Unreachable` or `Lost`, if it lives on another node that did not answer. Then it stops, as if this had been
    /// dropped.
    pub async fn keep(mut this: Spawned<T>) -> Result<Handle<T>, CallError> {
        let Target { host, to, .. } = this.owned().target();
        if let To::Seat(seat) = to
            && let (Some(node), Some(app)) = (&seat.node, host.core.app.upgrade())
        {
            let named = Named { module: T::descriptor().name.to_owned(), seat: seat.id };
            let kept = between::keep(&app, node, named).await;
            kept.map_err(|kind| CallError::new(Callee::new(T::descriptor().name, "keep"), kind))?;
        }
        Ok(this.0.take().expect("it is there until it is kept or dropped"))
    }
}

impl<T: Module> Deref for Spawned<T> {
    type Target = Handle<T>;

    #[inline]
    fn deref(&self) -> &Handle<T> {
        self.owned()
    }
}

impl<T: Module> Drop for Spawned<T> {
    fn drop(&mut self) {
        let Some(handle) = self.0.take() else { return };
        let Target { host, to: To::Seat(seat), .. } = handle.target() else { return };
        match &seat.node {
            None => {
                let (host, seat) = (host.clone(), seat.clone());
                drop(handle);
                host.end_abandoned(seat);
            }
            Some(node) => {
                seat.is_no_more();
                let named = Named { module: T::descriptor().name.to_owned(), seat: seat.id };
                let core = &host.core;
                core.runtime.spawn(between::end_at_last(core.app.clone(), node.clone(), named));
            }
        }
    }
}

impl<T: Module> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spawned({})", T::descriptor().name)
    }
}

impl<T: Spawns> Handle<T> {
    /// Stops the instance, whoever owns it, and waits until nothing of it is left; gives how it ended, also if that was
    /// before. New calls fail with `Gone` at once, those in progress have until `limit`; then it is killed. Its `stop`
    /// comes after the last call, and has `stop_wait` for itself.
    ///
    /// # Errors
    /// `Unreachable` or `Lost`, if it lives on another node that did not answer.
    ///
    /// # Cancel safety
    /// Dropped, the instance is still to end, but nobody kills what goes on at the limit; on another node it may not have
    /// been told.
    pub async fn stop(this: &Handle<T>, limit: Duration) -> Result<Exit, CallError> {
        Handle::end_by(this, Some(limit), "stop").await
    }

    /// Kills the instance, whoever owns it: its calls end with `Cancelled` where they next wait, and its `stop` does not
    /// run. Gives how it ended, also if that was before. Code that holds its thread cannot be killed, and goes on.
    ///
    /// # Errors
    /// As those of [`stop`](Handle::stop).
    pub async fn kill(this: &Handle<T>) -> Result<Exit, CallError> {
        Handle::end_by(this, None, "kill").await
    }

    /// Its id; of a plain value, none.
    pub(crate) fn instance(this: &Handle<T>) -> Option<InstanceId> {
        match &this.target().to {
            To::Seat(seat) => Some(seat.id),
            To::Module | To::Key(_) => None,
        }
    }

    /// Whether calls through it are known to fail, since its instance has ended.
    pub(crate) fn has_ended(this: &Handle<T>) -> bool {
        let Target { host, to, .. } = this.target();
        matches!(to, To::Seat(seat) if seat.has_ended(host))
    }

    async fn end_by(
        this: &Handle<T>,
        limit: Option<Duration>,
        what: &'static str,
    ) -> Result<Exit, CallError> {
        let Target { host, to, .. } = this.target();
        let To::Seat(seat) = to else { return Ok(Exit::NoSuchInstance) };
        let Some(node) = &seat.node else {
            return Ok(match limit {
                Some(limit) => host.stop(seat, limit).await,
                None => host.kill_seated(seat).await,
            });
        };
        let module = T::descriptor().name;
        let failed = |kind| CallError::new(Callee::new(module, what), kind);
        let app = host.core.app.upgrade().ok_or_else(|| failed(CallErrorKind::Gone))?;
        if node.is_in_another_life(seat.id.node) {
            return Ok(Exit::NodeLost { node: node.node.to_string() });
        }
        let named = Named { module: module.to_owned(), seat: seat.id };
        between::stop(&app, node, named, limit).await.map_err(failed)
    }

    /// Tells of the end of the instance, wherever it is: once, also if it has ended already, and if its node is lost.
    ///
    /// [`Exit::NoSuchInstance`](skybox_core::Exit) is told of one that ended so long ago that nobody remembers why: a
    /// node remembers about the last 16,000 crashes and kills of each module, and about a thousand ends in order.
    /// [`Exit::NodeLost`](skybox_core::Exit) is no proof of its death: the node may merely have been unreachable for a
    /// second. When it is reached again, it kills the instance if that is owned by this node, where it counts as lost
    /// from now on.
    pub fn monitor(this: &Handle<T>) -> Monitor {
        let Target { host, to, .. } = this.target();
        // A handle of a spawned module has a seat, unless it is of a plain value, which nobody ends.
        let To::Seat(seat) = to else { return Monitor::known(Exit::NoSuchInstance) };
        match (&seat.node, host.core.app.upgrade()) {
            (None, _) => host.watch(seat),
            (Some(node), Some(app)) => {
                let named = Named { module: T::descriptor().name.to_owned(), seat: seat.id };
                Monitor::elsewhere(Monitors::of(&app, node, seat.id.node), named, seat.clone())
            }
            (Some(_), None) => Monitor::known(Exit::NoSuchInstance),
        }
    }
}

/// An instance that is to be made: await it.
#[must_use = "nothing is spawned before this is awaited"]
pub struct Spawning<T: Module> {
    host: Arc<Host<T>>,
    arguments: <T::Key as ToOwned>::Owned,
    node: Option<NodeName>,
}

impl<T: Spawns> Spawning<T> {
    pub(crate) fn new(host: Arc<Host<T>>, arguments: <T::Key as ToOwned>::Owned) -> Spawning<T> {
        Spawning { host, arguments, node: None }
    }

    /// Makes the instance on the node of that name; else it is made where it is asked for. A node that this one has not
    /// heard of yet is waited for, for a second.
    pub fn on(self, node: &str) -> Spawning<T> {
        Spawning { node: Some(NodeName::new(node)), ..self }
    }

    async fn spawn(self) -> Result<Spawned<T>, CallError> {
        let Spawning { host, arguments, node } = self;
        // Code in a cell spawns where its node is.
        let node = node.or_else(|| host.core.cell_of.clone());
        let seated = match node.filter(|node| *node != host.core.node) {
            None => host.seat(arguments).await,
            Some(node) => spawn_on(&host, &node, &arguments).await,
        };
        match seated {
            Ok(seat) => Ok(Spawned::new(Target::new(host, To::Seat(seat)))),
            Err(kind) => Err(CallError::new(Callee::new(T::descriptor().name, "start"), kind)),
        }
    }
}

async fn spawn_on<T: Module>(
    host: &Host<T>,
    node: &NodeName,
    arguments: &<T::Key as ToOwned>::Owned,
) -> Result<Arc<Seat<T>>, CallErrorKind> {
    let app = host.core.app.upgrade().ok_or(CallErrorKind::Gone)?;
    let arguments = encoded_arguments::<T>(arguments)?;
    let peer = app.links.peer(node);
    peer.comes_up().await;
    let id = between::spawn(&app, &peer, T::descriptor().name, arguments).await?;
    Ok(host.seat_elsewhere(id, peer))
}

impl<T: Spawns> IntoFuture for Spawning<T> {
    type Output = Result<Spawned<T>, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.spawn())
    }
}

impl<T: Module> fmt::Debug for Spawning<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spawning({})", T::descriptor().name)
    }
}
