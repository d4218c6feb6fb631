//! Routing and Retained Messages against plain lists.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| culex_tests::fuzz_targets::topic_filters(data));
