//! libFuzzer's bytes for `check/stream.rs`.

#![no_main]

#[path = "../check/memory.rs"]
mod memory;
#[path = "../check/stream.rs"]
mod stream;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stream::check(bytes));
