//! The fuzz target of [`fuzz::statement`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::statement(data));
