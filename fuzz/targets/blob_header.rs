//! The fuzz target of [`fuzz::blob_header`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::blob_header(data));
