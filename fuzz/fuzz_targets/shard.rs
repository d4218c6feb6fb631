//! Operations on a broker without sockets.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| culex_tests::fuzz_targets::shard(data));
