//! The fuzz target of [`fuzz::proxy_request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proxy_request(data));
