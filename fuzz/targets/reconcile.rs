//! The fuzz target of [`fuzz::reconcile`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::reconcile(data));
