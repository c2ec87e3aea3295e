//! Panics of code that others wrote: caught, with what they said and where.

use std::any::Any;
use std::cell::RefCell;
use std::mem;
use std::panic::{self, AssertUnwindSafe, UnwindSafe};
use std::sync::Once;

use crate::thread;

/// What a panic said, and where.
#[derive(Debug)]
pub(crate) struct Panicked {
    pub(crate) message: String,
    pub(crate) place: String,
}

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs code that may panic.
#[inline(always)]
pub(crate) fn catch<R>(code: impl FnOnce() -> R + UnwindSafe) -> Result<R, Panicked> {
    panic::catch_unwind(code).map_err(panicked)
}

/// What the payload of a panic says. It is dropped, however often that panics.
#[cold]
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Panicked {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    let place = PLACE.take();
    drop_guarded(payload);
    Panicked { message, place }
}

/// What is thrown is a user's value, and dropping it their code, which may throw in turn.
fn drop_guarded(mut thrown: Box<dyn Any + Send>) {
    /// Each further one is a panic in the `Drop` of what a panic in a `Drop` has thrown.
    const DROPS_MAX: usize = 8;

    for _ in 0..DROPS_MAX {
        match panic::catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
            Ok(()) => return,
            Err(next) => thrown = next,
        }
    }
    mem::forget(thrown);
}

/// Remembers where panics of calls happen. What was installed before still gets them.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current(|frame| frame.is_some()) {
                let place = info.location().map_or_else(String::new, ToString::to_string);
                PLACE.with_borrow_mut(|at| *at = place);
            }
            before(info);
        }));
    });
}
