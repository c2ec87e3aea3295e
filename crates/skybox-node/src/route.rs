//! The pointer to what is live, read by every call and replaced once in a while.
//!
//! A reader says which value it is about to use in a place of its own thread (a *hazard pointer*), looks again
//! whether the route still leads there, and uses the value without touching a counter that others touch. Whoever
//! replaces the value drops the old one when no thread names it any more. Naming takes two plain stores; the memory
//! barrier that this asks for is paid by the one who replaces ([`barrier`]).
//!
//! Unsafe code: here and in [`hazard`]. `tests/loom.rs` runs both through every interleaving.

mod barrier;
mod hazard;
mod local;

/// What `tests/loom.rs` replaces.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
}

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use hazard::Retired;
pub(crate) use local::Name;

/// A pointer that is read often and replaced seldom; empty at first.
pub(crate) struct Route<V> {
    /// What readers see: the address of what `owner` holds, or null.
    current: AtomicPtr<V>,
    /// Keeps it alive. Changed together with `current`, under this lock.
    owner: Mutex<Option<Arc<V>>>,
}

impl<V: Send + Sync + 'static> Route<V> {
    pub(crate) fn new(value: Option<Arc<V>>) -> Route<V> {
        Route { current: AtomicPtr::new(address(value.as_ref())), owner: Mutex::new(value) }
    }

    /// Whether it leads anywhere, at this moment.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.current.load(Ordering::Acquire).is_null()
    }

    /// The value, for the thread that asks and while it keeps the guard; `None` if there is none, or if this thread
    /// uses as many already as it has places to name them, which is what [`load`](Route::load) is for.
    #[inline(always)]
    pub(crate) fn protect(&self) -> Option<Protected<'_, V>> {
        let (value, name) = Name::of(&self.current)?;
        Some(Protected { value, name, route: PhantomData })
    }

    /// The value, counted.
    pub(crate) fn load(&self) -> Option<Arc<V>> {
        self.lock().clone()
    }

    /// Looks at the value without counting it: whoever looks is never the one that drops it. It is not replaced meanwhile.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.lock().as_deref().map(look)
    }

    /// Replaces the value; gives back what was there.
    pub(crate) fn swap(&self, value: Option<Arc<V>>) -> Option<Arc<V>> {
        self.replace(&mut self.lock(), value)
    }

    /// Replaces the value.
    pub(crate) fn store(&self, value: Option<Arc<V>>) {
        drop(self.swap(value));
    }

    /// Empties a route that is the caller's alone: nobody can name what it leads to, so that nobody has to be asked.
    pub(crate) fn take(&mut self) -> Option<Arc<V>> {
        // Guards borrow the route; whoever takes one apart keeps the borrow for as long as the name.
        *self.current.get_mut() = ptr::null_mut();
        self.owner.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Empties the route if `which` is true of what it leads to; says whether it did.
    pub(crate) fn clear_if(&self, which: impl FnOnce(&V) -> bool) -> bool {
        let mut owner = self.lock();
        if !owner.as_deref().is_some_and(which) {
            return false;
        }
        let old = self.replace(&mut owner, None);
        drop(owner);
        // Outside the lock: it may be the last count, and a `Drop` may take its time.
        drop(old);
        true
    }

    fn replace(&self, owner: &mut Option<Arc<V>>, value: Option<Arc<V>>) -> Option<Arc<V>> {
        self.current.store(address(value.as_ref()), Ordering::Release);
        let old = std::mem::replace(owner, value)?;
        // One count goes to the list of what is retired, and lives there as long as a thread names it.
        let retired: Arc<dyn Any + Send + Sync> = old.clone();
        local::retire(Retired::new(Arc::as_ptr(&old).cast(), retired));
        Some(old)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<V>>> {
        self.owner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<V> Drop for Route<V> {
    fn drop(&mut self) {
        // Guards borrow the route, so no thread names the value on its behalf.
        *self.current.get_mut() = ptr::null_mut();
    }
}

impl<V> fmt::Debug for Route<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

fn address<V>(value: Option<&Arc<V>>) -> *mut V {
    value.map_or(ptr::null_mut(), |value| Arc::as_ptr(value).cast_mut())
}

/// A value that this thread names.
pub(crate) struct Protected<'r, V> {
    value: NonNull<V>,
    name: Name,
    route: PhantomData<&'r Route<V>>,
}

impl<V> Protected<'_, V> {
    /// The value's address, good as long as the name is kept, or the value is counted as well. The route stays where it
    /// is for as long as the name is kept.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (NonNull<V>, Name) {
        (self.value, self.name)
    }
}

impl<V> Deref for Protected<'_, V> {
    type Target = V;

    #[inline(always)]
    fn deref(&self) -> &V {
        // SAFETY: the record named the value before the route was seen to lead to it still, and names it until
        // this guard is dropped; until then `retire` keeps the count that it took over from the route.
        unsafe { self.value.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;

    fn route(value: u32) -> (Route<u32>, Weak<u32>) {
        let value = Arc::new(value);
        let weak = Arc::downgrade(&value);
        (Route::new(Some(value)), weak)
    }

    #[test]
    fn what_a_thread_names_outlives_its_route() {
        let (route, first) = route(1);
        let one = route.protect().unwrap();
        route.store(Some(Arc::new(2)));
        assert_eq!((*one, *route.protect().unwrap()), (1, 2));
        assert!(first.upgrade().is_some());
        drop(one);
        assert!(first.upgrade().is_none(), "the last one to name it lets go of it");
    }

    #[test]
    fn nobody_names_it_and_it_is_gone_at_once() {
        let (route, first) = route(1);
        drop(route.protect());
        assert!(route.clear_if(|value| *value == 1) && !route.clear_if(|_| true));
        assert!(first.upgrade().is_none() && route.protect().is_none() && route.is_empty());
    }

    #[test]
    fn what_is_taken_is_the_takers_alone() {
        let (mut route, weak) = route(1);
        drop(route.protect());
        let taken = route.take();
        assert_eq!((taken.as_deref(), weak.strong_count()), (Some(&1), 1));
        assert!(route.take().is_none() && route.protect().is_none() && route.load().is_none());
    }

    #[test]
    fn a_thread_that_has_no_place_left_counts() {
        let (route, _) = route(1);
        let names: Vec<_> = (0..hazard::PLACES).map(|_| route.protect().unwrap()).collect();
        assert!(route.protect().is_none());
        assert_eq!(route.load().as_deref(), Some(&1));
        let mut names = names.into_iter();
        drop(names.next());
        assert!(route.protect().is_none(), "its place is below others");
        drop(names.rev().collect::<Vec<_>>());
        let again: Vec<_> = (0..hazard::PLACES).map(|_| route.protect().unwrap()).collect();
        assert!(route.protect().is_none() && again.len() == hazard::PLACES);
    }

    #[test]
    fn threads_read_while_others_replace() {
        let route = Route::new(Some(Arc::new(vec![0_u64; 8])));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let value = route.protect().unwrap();
                        assert!(value.iter().all(|n| *n == value[0]), "{:?}", *value);
                    }
                });
            }
            for n in 1..2_000 {
                route.store(Some(Arc::new(vec![n; 8])));
            }
        });
    }
}
