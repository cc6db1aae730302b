//! The fuzz target of [`fuzz::matching`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::matching(data));
