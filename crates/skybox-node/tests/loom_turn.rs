//! The turns of `src/host/turn.rs`, in every interleaving that the memory model allows.
//!
//! The file itself is compiled in here, over loom's atomics and lock. What the turns keep apart is a cell that loom
//! watches: a use of it beside a change, or one that does not know of the change before it, is an error. A call that
//! would never get its turn is a deadlock, which is an error too.

#![expect(dead_code, reason = "the runtime uses more of the file than the models do")]

#[path = "../src/host/pace.rs"]
mod pace;
#[path = "../src/host/turn.rs"]
mod turn;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Notify};
use loom::thread;
use skybox_core::Chain;
use skybox_core::Mode::{self, Exclusive, Shared};
use turn::{NoTurn, Turn, Wait};

/// An instance: what it holds is reached in turn.
struct World {
    turn: Turn,
    value: UnsafeCell<u32>,
}

// SAFETY: the turns are to keep uses and changes apart; loom checks that they do.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

/// Wakes the thread that waits for it.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: StdArc<Bell>) {
        self.0.notify();
    }
}

fn poll(wait: &mut Wait<'_>, bell: &StdArc<Bell>) -> Poll<Result<(), NoTurn>> {
    Pin::new(wait).poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

impl World {
    fn new(concurrency: Option<u32>) -> Arc<World> {
        Arc::new(World { turn: Turn::new(concurrency, 8), value: UnsafeCell::new(0) })
    }

    /// Takes the turn as a call does, waiting for it if it has to.
    fn take(&self, mode: Mode) -> Result<(), NoTurn> {
        if self.turn.try_take(mode, false) {
            return Ok(());
        }
        let mut wait = self.turn.wait(mode, &Chain::none())?;
        let bell = StdArc::new(Bell(Notify::new()));
        loop {
            match poll(&mut wait, &bell) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => bell.0.wait(),
            }
        }
    }

    /// A `&mut self` call.
    fn change(&self) {
        self.take(Exclusive).expect("it is never closed");
        // SAFETY: it has the turn; loom checks it.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.turn.give_back(Exclusive);
    }

    /// A `&self` call.
    fn read(&self) -> u32 {
        self.take(Shared).expect("it is never closed");
        // SAFETY: as above.
        let value = self.value.with(|value| unsafe { *value });
        self.turn.give_back(Shared);
        value
    }

    /// A call that comes, and is dropped while it waits or before it uses its turn.
    fn give_up(&self, mode: Mode) {
        if self.turn.try_take(mode, false) {
            return self.turn.give_back(mode);
        }
        let mut wait = self.turn.wait(mode, &Chain::none()).expect("it is never closed");
        let bell = StdArc::new(Bell(Notify::new()));
        if poll(&mut wait, &bell).is_ready() {
            self.turn.give_back(mode);
        }
    }

    /// Nobody holds it, and nobody waits.
    fn assert_free(&self) {
        assert_eq!((self.turn.holding(), self.turn.waiting()), (0, 0));
        assert!(self.turn.try_take(Exclusive, false), "nothing is left behind");
    }
}

/// Follows every order of these calls, with as many switches of threads as are allowed in the midst of one.
fn model<const N: usize>(
    concurrency: Option<u32>,
    preemptions: usize,
    calls: [fn(&World); N],
    end: fn(&World),
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let world = World::new(concurrency);
        let (first, others) = calls.split_first().expect("there are some");
        let threads = others.iter().map(|call| {
            let (world, call) = (world.clone(), *call);
            thread::spawn(move || call(&world))
        });
        let threads: Vec<_> = threads.collect();
        first(&world);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.assert_free();
        end(&world);
    });
}

fn assert_changes(world: &World, count: u32) {
    // SAFETY: the threads have ended.
    assert_eq!(world.value.with(|value| unsafe { *value }), count);
}

#[test]
fn changes_come_one_after_the_other() {
    model(None, 2, [World::change, World::change, World::change], |world| assert_changes(world, 3));
}

#[test]
fn a_change_beside_two_readers() {
    let read = |world: &World| assert!(world.read() <= 1);
    model(None, 2, [World::change, read, read], |world| assert_changes(world, 1));
}

#[test]
fn concurrency_is_exact() {
    // With one place, `&self` calls are as alone as `&mut self` ones.
    let alone = |world: &World| {
        world.take(Shared).expect("it is never closed");
        // SAFETY: it has the only place; loom checks it.
        world.value.with_mut(|value| unsafe { *value += 1 });
        world.turn.give_back(Shared);
    };
    model(Some(1), 2, [alone, alone, alone], |world| assert_changes(world, 3));
}

#[test]
fn who_gives_up_keeps_nobody_from_their_turn() {
    let give_up = |world: &World| world.give_up(Exclusive);
    model(None, 2, [World::change, give_up, World::change], |world| assert_changes(world, 2));
}

/// Though nobody gives a turn back who could look: the one who reads goes on until the other has read.
#[test]
fn a_reader_behind_a_writer_who_gives_up_gets_in() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let world = World::new(None);
        world.take(Shared).expect("it is never closed");
        let calls: [fn(&World); 2] = [|world| world.give_up(Exclusive), |world| assert_eq!(world.read(), 0)];
        let threads = calls.map(|call| {
            let world = world.clone();
            thread::spawn(move || call(&world))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.turn.give_back(Shared);
        world.assert_free();
    });
}

/// The call above holds it `&self`, a writer waits, and the call below passes it.
#[test]
fn a_nested_call_passes_a_writer_who_waits() {
    let nested = |world: &World| {
        world.take(Shared).expect("it is never closed");
        assert!(world.turn.try_take(Shared, true));
        // SAFETY: it has the turn; loom checks it.
        world.value.with(|value| assert!(unsafe { *value } <= 1));
        world.turn.give_back(Shared);
        world.turn.give_back(Shared);
    };
    model(None, 3, [nested, World::change], |world| assert_changes(world, 1));
}

/// What a crashed call leaves half done is seen by nobody: neither by who waits, nor by who comes then.
#[test]
fn nobody_comes_after_a_crash() {
    const HALF_DONE: u32 = 13;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let world = World::new(None);
        let crash = |world: &World| {
            world.take(Exclusive).expect("nobody else crashes");
            // SAFETY: it has the turn; loom checks it.
            world.value.with_mut(|value| unsafe { *value = HALF_DONE });
            world.turn.close();
            world.turn.give_back(Exclusive);
        };
        let other = |world: &World, mode: Mode| match world.take(mode) {
            Ok(()) => {
                // SAFETY: as above.
                world.value.with(|value| assert_ne!(unsafe { *value }, HALF_DONE));
                world.turn.give_back(mode);
            }
            Err(reason) => assert_eq!(reason, NoTurn::Closed),
        };
        let threads = [Shared, Exclusive].map(|mode| {
            let world = world.clone();
            thread::spawn(move || other(&world, mode))
        });
        crash(&world);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((world.turn.holding(), world.turn.waiting()), (0, 0));
        assert!(!world.turn.try_take(Shared, false) && !world.turn.try_take(Shared, true));
    });
}
