//! Seats whose instances are in their `start`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use skybox_core::{CallErrorKind, InstanceId};

use super::{SEATS_MAX, Seat};
use crate::app::App;
use crate::cell::Word;
use crate::host::replicated::start;
use crate::host::{Host, Instance, lock};
use crate::module::Module;

/// A seat whose first instance has not started: dropped, nothing is left of it.
pub(super) struct Planted<'h, T: Module> {
    host: &'h Arc<Host<T>>,
    pub(super) seat: Arc<Seat<T>>,
    taken: bool,
}

impl<'h, T: Module> Planted<'h, T> {
    pub(super) fn new(host: &'h Arc<Host<T>>, id: InstanceId) -> Result<Planted<'h, T>, CallErrorKind> {
        if host.spawned.count.fetch_add(1, Ordering::Relaxed) >= SEATS_MAX {
            host.spawned.count.fetch_sub(1, Ordering::Relaxed);
            let what = format!("{SEATS_MAX} instances of it live in this node already");
            return Err(CallErrorKind::Overloaded { what });
        }
        let seat = Arc::new(Seat::new(id, None, false));
        lock(host.spawned.stripe(id.count)).insert(id.count, seat.clone());
        let planted = Planted { host, seat, taken: false };
        // Asked with the seat in the table: whoever closes it later finds it there.
        if host.spawned.closed.load(Ordering::Acquire) {
            return Err(CallErrorKind::Gone);
        }
        Ok(planted)
    }

    pub(super) fn take(mut self, instance: Arc<Instance<T>>) -> Result<Arc<Seat<T>>, CallErrorKind> {
        self.seat.local.store(Some(instance));
        if self.seat.settle(&self.host.core) {
            // It has been stopped in its `start`, or the node has begun to leave.
            return Err(CallErrorKind::Gone);
        }
        self.taken = true;
        Ok(self.seat.clone())
    }
}

impl<T: Module> Drop for Planted<'_, T> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        // What has started, and is not wanted, ends as ever: it frees its names itself, after its last word.
        if self.seat.is_settled() {
            drop(self.host.end(&self.seat));
            return;
        }
        self.seat.is_no_more();
        let (host, seat) = (self.host.clone(), self.seat.clone());
        let over = move || {
            seat.settle(&host.core);
            drop(host.end(&seat));
        };
        // Its `start` may have given it a name.
        let (core, id) = (self.host.core.clone(), self.seat.id);
        if !core.is_named(id) {
            return over();
        }
        core.runtime.clone().spawn(async move {
            core.free_names(id).await;
            over();
        });
    }
}

/// In a cell: starts an instance in a seat of its node's, and has that told of its end.
///
/// # Errors
/// As those of [`Host::seat`]. `Gone` if it has started and was to end meanwhile: that end is told too.
pub(in crate::host) async fn sit_down<T: Module>(
    host: &Arc<Host<T>>,
    id: InstanceId,
    arguments: <T::Key as ToOwned>::Owned,
) -> Result<(), CallErrorKind> {
    let core = &host.core;
    let app = core.app.upgrade().map(App::from_inner).ok_or(CallErrorKind::Gone)?;
    let node = core
        .endings
        .node()
        .ok_or_else(|| CallErrorKind::Mismatch { why: "a node gives seats to its cells alone".to_owned() })?;
    let planted = Planted::new(host, id)?;
    let instance = start::<T>(core, app, arguments, id, None).await;
    let instance = instance.map_err(|cause| CallErrorKind::NotStarted { cause })?;
    let ended = instance.ended();
    let taken = planted.take(instance).map(drop);
    // Also of one that was to end in its `start`: it has its last word, and its node keeps its names until then.
    core.runtime.spawn(async move {
        let exit = ended.wait().await;
        // In vain only if the node is gone.
        drop(node.tell(&Word::Gone { seat: id, exit }).await);
    });
    taken
}
