//! The fuzz target `bridge` on its corpus, changed at random: a remote broker that nearly keeps to the protocol.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these functions are a test, though clippy sees functions"
)]

use std::fs;
use std::panic::catch_unwind;

use culex_tests::fuzz_targets::bridge;
use culex_tests::tools::workspace;

const RUNS: u64 = 400;
const BYTES_MAX: usize = 4096;

/// SplitMix64: every seed gives another, well mixed sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// In the same order on every machine.
fn corpus() -> Vec<Vec<u8>> {
    let folder = workspace().join("fuzz/corpus/bridge");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).filter(|input| !input.is_empty()).collect()
}

/// One input with a few changes: bytes set, put in, left out, said twice, or another input from there on.
fn changed(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len());
        let end = at + random.below((input.len() - at).min(32) + 1);
        match random.below(6) {
            0 => input[at] = u8::try_from(random.next() & 0xff).unwrap(),
            1 => input[at] ^= 1 << random.below(8),
            2 => input.insert(at, u8::try_from(random.next() & 0xff).unwrap()),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                input.splice(end..end, again);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                input.splice(at.., other[random.below(other.len())..].iter().copied());
            }
        }
        if input.is_empty() {
            input.push(0);
        }
        input.truncate(BYTES_MAX);
    }
    input
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `CULEX_SEED` replays one seed; without it `CULEX_RUNS` of them, or a few, start at a new one each time, which is printed.
#[test]
fn a_remote_that_nearly_keeps_to_the_protocol_harms_nothing() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let runs = number("CULEX_RUNS").unwrap_or(RUNS);
    let (first, runs) = number("CULEX_SEED").map_or((clock << 20, runs), |seed| (seed, 1));
    let corpus = corpus();
    for seed in first..first + runs {
        let input = changed(&corpus, seed);
        assert!(catch_unwind(|| bridge(&input)).is_ok(), "run again with CULEX_SEED={seed}");
    }
    println!("{runs} runs from CULEX_SEED={first}");
}
