//! Memory in which an instance keeps the code of its one running `&mut self` call, from one call to the next.
//!
//! A started call may outlive its caller, so its future cannot live in the caller's; a box for each call would cost
//! more than all the rest of it.

use std::alloc::{self, Layout};
use std::cell::UnsafeCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Memory for one value at a time, of any type; as large as the largest so far.
#[derive(Debug, Default)]
pub(crate) struct Slot(UnsafeCell<Memory>);

/// Nothing at first: no bytes, which is room for a value without any.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

/// What memory is aligned to at least, so that most values need not ask.
const ALIGN_MIN: usize = align_of::<u128>();

// SAFETY: the memory is this value's alone, and holds nothing between two tenants.
unsafe impl Send for Memory {}

impl Slot {
    /// Moves a value in.
    ///
    /// # Safety
    /// The slot is empty, nobody else uses it before the tenant is dropped, and it outlives the tenant: the caller
    /// holds the exclusive turn of the slot's instance, and keeps both for longer than what this returns.
    #[inline(always)]
    pub(crate) unsafe fn put<F>(&self, value: F) -> Tenant<F> {
        // SAFETY: the caller is the only one to use the slot.
        let memory = unsafe { &mut *self.0.get() };
        let layout = Layout::new::<F>();
        let is_aligned = layout.align() <= ALIGN_MIN || layout.align() <= memory.layout.align();
        if memory.layout.size() < layout.size() || !is_aligned {
            memory.grow(layout);
        }
        let place = memory.start.cast::<F>();
        // SAFETY: the memory fits an `F`, is aligned for it, and holds no other value.
        unsafe { place.write(value) };
        Tenant { place, owned: PhantomData }
    }
}

impl Memory {
    const NOTHING: Layout = match Layout::from_size_align(0, ALIGN_MIN) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two is an alignment"),
    };

    /// Never smaller or less aligned than before, so that it fits whoever was here before as well.
    #[cold]
    fn grow(&mut self, layout: Layout) {
        let before = self.layout;
        // A type that only asks for its alignment needs a byte: nothing cannot be allocated.
        let size = layout.size().max(before.size()).max(1);
        let layout = Layout::from_size_align(size, layout.align().max(before.align()))
            .expect("the larger size and the larger alignment of two types that exist");
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc::alloc(layout) });
        let start = start.unwrap_or_else(|| alloc::handle_alloc_error(layout));
        *self = Memory { start, layout };
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { start: NonNull::<u128>::dangling().cast(), layout: Memory::NOTHING }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated in `grow` with this layout; its tenant is gone.
            unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

/// A value in a slot, owned as by a box.
#[derive(Debug)]
pub(crate) struct Tenant<F> {
    place: NonNull<F>,
    owned: PhantomData<F>,
}

// SAFETY: it owns its `F`, as a box does.
unsafe impl<F: Send> Send for Tenant<F> {}

/// The value stays where it is.
impl<F> Unpin for Tenant<F> {}

impl<F: Future> Future for Tenant<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the value is this tenant's alone, and is dropped before its memory is used again.
        unsafe { Pin::new_unchecked(self.place.as_mut()) }.poll(cx)
    }
}

impl<F> Drop for Tenant<F> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the value was written in `put` and is dropped once.
        unsafe { self.place.drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;

    #[repr(align(64))]
    struct Wide {
        _room: [u8; 200],
        _alive: Arc<()>,
    }

    #[test]
    fn one_value_after_the_other_lives_in_the_same_memory() {
        let (slot, alive) = (Slot::default(), Arc::new(()));
        // SAFETY: one tenant at a time, each dropped before the slot.
        unsafe {
            drop(slot.put(()));
            drop(slot.put(alive.clone()));
            let wide = slot.put(Wide { _room: [7; 200], _alive: alive.clone() });
            assert_eq!((wide.place.addr().get() % 64, Arc::strong_count(&alive)), (0, 2));
            let place = wide.place.addr();
            drop(wide);
            let mut small: Tenant<Ready<u8>> = slot.put(ready(3));
            assert_eq!(small.place.addr(), place, "it does not grow again");
            let polled = Pin::new(&mut small).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!((polled, Arc::strong_count(&alive)), (Poll::Ready(3), 1));
        }
    }
}
