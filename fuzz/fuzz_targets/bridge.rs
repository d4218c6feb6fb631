//! A bridge to a broker that says anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| culex_tests::fuzz_targets::bridge(data));
