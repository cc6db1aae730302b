//! The fuzz target of [`fuzz::call`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::call(data));
