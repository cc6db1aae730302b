//! The fuzz target of [`fuzz::parcel`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::parcel(data));
