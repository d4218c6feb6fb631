//! 500 seeds of the simulator, and the proof that a seed replays.
//!
//! A seed means something else as soon as the simulator draws one number more. So what a seed has found is told again
//! without chance, in `tests/tests/shard*.rs`.

use culex_tests::sim::program::{Options, describe, run_all};
use culex_tests::sim::run;

/// Seeds of every run of the tests.
const SEEDS: u64 = 500;

#[test]
fn five_hundred_seeds_without_a_violation() {
    let options = Options { seeds: 0..SEEDS, jobs: 2, is_trace_printed: false };
    let (failure, _, done) = run_all(&options);
    if let Some((seed, outcome)) = failure {
        panic!("{}", describe(seed, &outcome));
    }
    assert_eq!(done, SEEDS);
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in [0, 1, 7, 4711] {
        let (first, second) = (run(seed, true), run(seed, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_ne!(first.hash, run(seed + 1, false).hash, "the trace depends on the seed");
        assert_eq!(first.hash, run(seed, false).hash, "keeping the trace changes nothing");
    }
}
