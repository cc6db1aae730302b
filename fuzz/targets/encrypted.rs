//! The fuzz target of [`fuzz::encrypted`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::encrypted(data));
