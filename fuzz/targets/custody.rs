//! The fuzz target of [`fuzz::custody`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::custody(data));
