//! 500 seeds of the simulator, those that once failed, and the proof that a seed replays.

use culex_tests::sim::program::{Options, describe, run_all};
use culex_tests::sim::run;

/// Seeds of every run of the tests.
const SEEDS: u64 = 500;

fn check(seed: u64) {
    let outcome = run(seed, false);
    assert!(outcome.violation.is_none(), "{}", describe(seed, &outcome));
}

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

#[test]
fn a_subscription_that_ends_while_a_retained_message_is_on_its_way() {
    check(1264);
}

#[test]
fn an_unsuback_that_comes_after_the_next_subscribe() {
    check(15_631);
}

#[test]
fn an_old_attempt_gets_in_after_a_newer_one_was_refused() {
    check(54_667);
}
