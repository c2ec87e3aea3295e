//! libFuzzer's bytes for `check/handshake.rs`.

#![no_main]

#[path = "../check/handshake.rs"]
mod handshake;
#[path = "../check/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| handshake::check(bytes));
