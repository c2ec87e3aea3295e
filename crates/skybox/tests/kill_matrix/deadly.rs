//! What ends a process, or holds a thread of it for ever.

/// What no program should do.
pub(crate) fn null_dereference() {
    // SAFETY: none; this is what the cell is for.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
}

/// On a thread of its own, whose stack is known not to be the test's.
pub(crate) fn overflow_the_stack() {
    #[expect(unconditional_recursion, reason = "this is what uses up a stack")]
    fn overflow(n: u64) -> u64 {
        std::hint::black_box(n + overflow(std::hint::black_box(n)))
    }
    drop(std::thread::spawn(|| overflow(1)).join());
}

pub(crate) fn turn() {
    let mut turns = 0u64;
    while std::hint::black_box(turns) < u64::MAX {
        turns += 1;
    }
}
