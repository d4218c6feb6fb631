//! The fuzz target `shard` on random input, so that every run of the tests explores something.

use std::panic::catch_unwind;

use culex_tests::fuzz_targets::shard;

const RUNS: u64 = 400;
const BYTES: usize = 1500;

/// SplitMix64: every seed gives another, well mixed sequence.
fn random_bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()[0]
    };
    (0..BYTES).map(|_| next()).collect()
}

/// `CULEX_SEED` replays one seed; without it the runs start at a new one each time, which is printed.
#[test]
fn random_operations_break_nothing() {
    let fixed = std::env::var("CULEX_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (first, runs) = fixed.map_or((clock * RUNS, RUNS), |seed| (seed, 1));
    for seed in first..first + runs {
        let input = random_bytes(seed);
        assert!(catch_unwind(|| shard(&input)).is_ok(), "run again with CULEX_SEED={seed}");
    }
}
