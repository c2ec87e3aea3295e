//! libFuzzer's bytes for `check/codec.rs`.

#![no_main]

#[path = "../check/codec.rs"]
mod codec;
#[path = "../check/memory.rs"]
mod memory;
#[path = "../check/tree.rs"]
mod tree;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codec::check(bytes));
