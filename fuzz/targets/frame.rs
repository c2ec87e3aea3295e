//! libFuzzer's bytes for `check/frame.rs`.

#![no_main]

#[path = "../check/frame.rs"]
mod frame;
#[path = "../check/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frame::check(bytes));
