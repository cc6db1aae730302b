//! The fuzz target of [`fuzz::job_file`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::job_file(data));
