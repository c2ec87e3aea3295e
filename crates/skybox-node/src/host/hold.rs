//! How a call holds its instance: alive, in its turn, and as the reference that its code gets.
//!
//! [`Taken`] is the call's; [`Shared`] and [`Exclusive`] are what the method's code is given, and no more than
//! pointers. A call drops its code before its `Taken`: each of its futures says so by the order of its fields.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use skybox_core::Mode;

use super::instance::{Instance, InstanceCore};
use super::slot::Slot;

/// What keeps an instance alive for a call. Most calls end in their first poll, and for that the name in the
/// thread's record is enough; one that waits has to count the instance.
///
/// One word, with two flags in the bits that an instance's alignment leaves free: what is written as several fields
/// and read as one soon after makes the processor wait for its own stores.
pub(crate) struct Hold<T>(NonNull<Instance<T>>);

/// The hold is a count.
const COUNTED: usize = 1;
/// The turn that comes with it is for `&mut self`.
const EXCLUSIVE: usize = 2;

// SAFETY: it is an `Arc<Instance<T>>` once it is counted, and stays within its poll before.
unsafe impl<T: Send> Send for Hold<T> {}

impl<T> Hold<T> {
    pub(crate) fn counted(instance: Arc<Instance<T>>) -> Hold<T> {
        let instance = NonNull::new(Arc::into_raw(instance).cast_mut());
        Hold(instance.expect("an `Arc` is never null")).with(COUNTED)
    }

    /// Not counted yet.
    ///
    /// # Safety
    /// `instance` is alive as long as some name in this thread's record is kept, and until that is dropped the hold is
    /// dropped or counted ([`count`](Hold::count)).
    #[inline(always)]
    pub(crate) unsafe fn named(instance: NonNull<Instance<T>>) -> Hold<T> {
        Hold(instance)
    }

    /// Counts the instance, if it is not yet.
    pub(crate) fn count(&mut self) {
        if !self.has(COUNTED) {
            // SAFETY: the address of an `Arc`'s value, which still lives: see `named`.
            unsafe { Arc::increment_strong_count(self.instance().as_ptr()) };
            self.0 = self.0.map_addr(|address| address | COUNTED);
        }
    }

    #[inline(always)]
    fn with(self, flag: usize) -> Hold<T> {
        const { assert!(align_of::<Instance<T>>() > COUNTED | EXCLUSIVE) };
        let flagged = Hold(self.0.map_addr(|address| address | flag));
        std::mem::forget(self);
        flagged
    }

    #[inline(always)]
    fn has(&self, flag: usize) -> bool {
        self.0.addr().get() & flag != 0
    }

    #[inline(always)]
    fn instance(&self) -> NonNull<Instance<T>> {
        let address = self.0.as_ptr().map_addr(|address| address & !(COUNTED | EXCLUSIVE));
        // SAFETY: what the flags were added to was not null, and has those bits clear.
        unsafe { NonNull::new_unchecked(address) }
    }
}

impl<T> Deref for Hold<T> {
    type Target = Instance<T>;

    #[inline(always)]
    fn deref(&self) -> &Instance<T> {
        // SAFETY: counted, or named for as long as this lives.
        unsafe { self.instance().as_ref() }
    }
}

impl<T> Drop for Hold<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.has(COUNTED) {
            // SAFETY: the count that `counted` or `count` has taken, given back once.
            drop(unsafe { Arc::from_raw(self.instance().as_ptr()) });
        }
    }
}

impl<T> fmt::Debug for Hold<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.id).finish()
    }
}

/// An instance that a call holds, and its turn there.
#[derive(Debug)]
pub(crate) struct Taken<T>(Hold<T>);

impl<T> Taken<T> {
    /// If the instance has turns, the caller has taken one of this mode.
    #[inline(always)]
    pub(crate) fn new(hold: Hold<T>, mode: Mode) -> Taken<T> {
        debug_assert!(
            mode == Mode::Shared || hold.turn.is_some(),
            "a module with `&mut self` methods has a turn"
        );
        match mode {
            Mode::Shared => Taken(hold),
            Mode::Exclusive => Taken(hold.with(EXCLUSIVE)),
        }
    }

    #[inline(always)]
    pub(crate) fn mode(&self) -> Mode {
        if self.0.has(EXCLUSIVE) { Mode::Exclusive } else { Mode::Shared }
    }

    /// The call goes on after this poll: see [`Hold::count`].
    pub(crate) fn count(&mut self) {
        self.0.count();
    }

    /// The call has ended: gives back the turn and lets go of the instance, as dropping it does. `mode` is the one it
    /// was made with, which its caller knows without looking.
    #[inline(always)]
    pub(crate) fn end(self, mode: Mode) {
        debug_assert_eq!(self.mode(), mode);
        if self.0.has(COUNTED) {
            drop(self);
            return;
        }
        // Once, also if that wakes somebody whose waker panics.
        let taken = ManuallyDrop::new(self);
        if let Some(turn) = &taken.0.turn {
            turn.give_back(mode);
        }
    }

    /// The instance, for the code of a `&self` method.
    ///
    /// # Safety
    /// What this returns, and all that is made from it, is dropped before `self`.
    #[inline(always)]
    pub(crate) unsafe fn shared(&self) -> Shared<T> {
        debug_assert_eq!(self.mode(), Mode::Shared);
        Shared(self.0.instance())
    }

    /// The instance, for the code of a `&mut self` method.
    ///
    /// # Safety
    /// What this returns, and all that is made from it, is dropped before `self`; and it is called once.
    #[inline(always)]
    pub(crate) unsafe fn exclusive(&self) -> Exclusive<T> {
        debug_assert_eq!(self.mode(), Mode::Exclusive);
        Exclusive(self.0.instance())
    }

    /// Where the code of a `&mut self` call lives.
    #[inline(always)]
    pub(crate) fn slot(&self) -> &Slot {
        &self.0.slot
    }
}

impl<T> Deref for Taken<T> {
    type Target = InstanceCore;

    #[inline(always)]
    fn deref(&self) -> &InstanceCore {
        &self.0
    }
}

impl<T> Drop for Taken<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(turn) = &self.0.turn {
            turn.give_back(self.mode());
        }
    }
}

/// An instance as `&T`, as long as the call runs.
pub struct Shared<T>(NonNull<Instance<T>>);

// SAFETY: it is a `&T`.
unsafe impl<T: Sync> Send for Shared<T> {}
// SAFETY: it is a `&T`.
unsafe impl<T: Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The instance, for what goes on after the call.
    pub(crate) fn keep(&self) -> Arc<Instance<T>> {
        keep(self.0)
    }
}

impl<T: Sync> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the call's `Taken` outlives this, so the instance lives. A module with `&mut self` methods has
        // turns, and that `Taken` has one of them for `&self`, so no `&mut T` exists; a module without has no way
        // to make one.
        unsafe { &*self.0.as_ref().value.get() }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// An instance as `&mut T`, as long as the call runs.
pub struct Exclusive<T>(NonNull<Instance<T>>);

// SAFETY: it is a `&mut T`.
unsafe impl<T: Send> Send for Exclusive<T> {}
// SAFETY: it is a `&mut T`.
unsafe impl<T: Sync> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// The instance, for what goes on after the call.
    pub(crate) fn keep(&self) -> Arc<Instance<T>> {
        keep(self.0)
    }
}

impl<T> Deref for Exclusive<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the call's `Taken` outlives this and has the exclusive turn, and there is one `Exclusive` of each:
        // no other reference exists.
        unsafe { &*self.0.as_ref().value.get() }
    }
}

impl<T> DerefMut for Exclusive<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.0.as_ref().value.get() }
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exclusive")
    }
}

/// Counts an instance that a call holds.
fn keep<T>(instance: NonNull<Instance<T>>) -> Arc<Instance<T>> {
    // SAFETY: the address of an `Arc`'s value, which the call's `Taken` keeps alive; the count is taken for what is made.
    unsafe {
        Arc::increment_strong_count(instance.as_ptr());
        Arc::from_raw(instance.as_ptr())
    }
}
