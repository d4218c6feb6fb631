//! Seeds of the simulator in every run of the tests, and the proof that a seed replays.
//!
//! A seed means something else as soon as the simulator draws one number more. So what a seed has found is told again
//! without chance, in `tests/tests/shard*.rs` and `tests/tests/store_restart.rs`.

use culex_tests::sim::program::{Options, describe, run_all};
use culex_tests::sim::{Family, run};

/// Seeds without crashes.
const STEADY_SEEDS: u64 = 500;
/// Seeds with crashes.
const CRASHING_SEEDS: u64 = 300;
/// Seeds with crashes in which an oracle was wrong, because a client read what a broker had sent before it crashed: a
/// CONNACK twice, then what had been in the queue behind messages that it had dropped.
const READ_AFTER_THE_CRASH: [u64; 3] = [5552, 15094, 32104];

#[test]
fn five_hundred_seeds_without_a_violation() {
    check(Family::Steady, STEADY_SEEDS);
}

#[test]
fn three_hundred_seeds_with_crashes_without_a_violation() {
    check(Family::Crashes, CRASHING_SEEDS);
}

#[test]
fn what_was_sent_before_a_crash_is_judged_by_the_broker_before_it() {
    for seed in READ_AFTER_THE_CRASH {
        let outcome = run(seed, Family::Crashes, false);
        assert!(outcome.violation.is_none(), "{}", describe(seed, Family::Crashes, &outcome));
    }
}

/// Nothing is acknowledged from the failure on, and everything before it is there after the restart, whichever transaction
/// fails.
#[test]
fn every_transaction_of_a_run_may_fail() {
    for seed in 0..2 {
        for number in 1.. {
            let family = Family::FailingCommit(number);
            let outcome = run(seed, family, false);
            assert!(outcome.violation.is_none(), "{}", describe(seed, family, &outcome));
            if outcome.commits < number {
                assert!(number > 50, "too few transactions to mean anything");
                assert_eq!(outcome.crashes, 0, "nothing has failed");
                break;
            }
            assert_eq!(outcome.crashes, 1, "seed {seed}, transaction {number}");
        }
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for family in [Family::Steady, Family::Crashes] {
        for seed in [0, 1, 7, 4711] {
            let (first, second) = (run(seed, family, true), run(seed, family, true));
            assert_eq!(first.hash, second.hash, "seed {seed}");
            assert_eq!(first.trace, second.trace, "seed {seed}");
            assert_ne!(first.hash, run(seed + 1, family, false).hash, "the trace depends on the seed");
            assert_eq!(first.hash, run(seed, family, false).hash, "keeping the trace changes nothing");
        }
    }
}

fn check(family: Family, seeds: u64) {
    let options = Options { seeds: 0..seeds, family, jobs: 2, is_trace_printed: false };
    let sum = run_all(&options);
    let failure = sum.failure.map(|(seed, outcome)| describe(seed, family, &outcome));
    assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    assert_eq!(sum.seeds, seeds);
    assert!(family == Family::Steady || sum.crashes_min >= 2, "each seed crashes");
}
