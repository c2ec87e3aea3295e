//! How many keyed instances of a module may be awake in a node at once, and who makes room for the next.
//!
//! Whoever is to be started takes a [`Place`] first, and it is given back when nothing is left of the instance. Where
//! there is none, whoever needs it has another instance put to sleep, and waits. A call of one that is awake has nothing
//! to do with all this.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use skybox_core::{CallErrorKind, Isolate, Settings};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{HostCore, lock};

/// How many are awake if nothing is said.
const AWAKE: u32 = 10_000;
/// The same, where each is a process.
const AWAKE_CELLS: u32 = 256;

/// How soon those who wait look again whether some instance has no calls any more. Nobody counts the calls of each
/// instance where they run, so nobody tells.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The places of one module in one node.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    bound: u32,
    demand: Arc<Mutex<Demand>>,
}

/// As many fall asleep as others wait for, and not one more for looking twice.
#[derive(Debug, Default)]
struct Demand {
    /// Those who wait for a place.
    waiting: usize,
    /// Places of those who fall asleep for them.
    coming: usize,
}

/// What an instance has that is awake.
#[derive(Debug)]
#[must_use = "another one may be awake when this is dropped"]
pub(super) struct Place {
    // Given back first: whoever counts afterwards has it counted at least once.
    _permit: OwnedSemaphorePermit,
    coming: Option<Coming>,
}

impl Place {
    /// Its instance falls asleep for somebody who waits.
    pub(super) fn comes(&mut self, coming: Coming) {
        self.coming = Some(coming);
    }
}

/// A place on its way; or an attempt at one, until it has failed.
#[derive(Debug)]
pub(super) struct Coming(Arc<Mutex<Demand>>);

impl Drop for Coming {
    fn drop(&mut self) {
        lock(&self.0).coming -= 1;
    }
}

/// One who waits.
struct Waiting<'r>(&'r Mutex<Demand>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(self.0).waiting -= 1;
    }
}

impl Room {
    pub(super) fn of(settings: &Settings, in_cells: bool) -> Room {
        let is_cell_each = in_cells && settings.isolate == Some(Isolate::Process);
        let bound = settings.awake.unwrap_or(if is_cell_each { AWAKE_CELLS } else { AWAKE });
        Room { places: Arc::new(Semaphore::new(bound as usize)), bound, demand: Arc::default() }
    }

    /// How many there are.
    pub(super) fn bound(&self) -> usize {
        self.bound as usize
    }

    /// A place, once there is one. `make_room` puts an instance to sleep that has no calls, and marks its place as
    /// coming; where there is none it drops what it was given. A place goes to whoever has waited longest.
    ///
    /// # Errors
    /// `Overloaded` if all instances are busy for as long as a start may take, `Deadline`.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait; who was put to sleep sleeps.
    pub(super) async fn place(
        &self,
        core: &HostCore,
        deadline: Option<Instant>,
        until: Instant,
        make_room: impl Fn(Coming),
    ) -> Result<Place, CallErrorKind> {
        let mut free = std::pin::pin!(self.places.clone().acquire_owned());
        let place = |permit: Result<_, _>| Place { _permit: permit.expect("nobody closes it"), coming: None };
        // Asked first: what is given back then finds it waiting, and nobody else takes it.
        if let Poll::Ready(permit) = poll_fn(|cx| Poll::Ready(free.as_mut().poll(cx))).await {
            return Ok(place(permit));
        }
        let _waiting = self.wait();
        let waiting = async {
            loop {
                if let Some(coming) = self.wanted() {
                    make_room(coming);
                }
                tokio::select! {
                    biased;
                    permit = &mut free => return place(permit),
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        };
        match tokio::time::timeout_at(until.into(), waiting).await {
            Ok(place) => Ok(place),
            Err(_) => match core.waited_out(deadline, "") {
                time_is_up @ CallErrorKind::Deadline { .. } => Err(time_is_up),
                _ => Err(self.full()),
            },
        }
    }

    fn wait(&self) -> Waiting<'_> {
        lock(&self.demand).waiting += 1;
        Waiting(&self.demand)
    }

    /// One more place is to come, if more wait than do.
    fn wanted(&self) -> Option<Coming> {
        let mut demand = lock(&self.demand);
        (demand.coming < demand.waiting).then(|| {
            demand.coming += 1;
            Coming(self.demand.clone())
        })
    }

    fn full(&self) -> CallErrorKind {
        let what = format!(
            "of its instances {} may be awake in a node, and all of them are busy, or have yet to stop: raise `awake` if memory allows",
            self.bound
        );
        CallErrorKind::Overloaded { what }
    }
}
