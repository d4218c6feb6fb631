//! `culex-tests sim --seeds A..B`: many seeds on all cores, and what they reached.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, bail};

use super::{Counts, Outcome, run};

/// From so many seeds on, a branch that none of them reaches is a failure.
const SEEDS_FOR_REACH: u64 = 1000;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Seeds, the last one excluded.
    pub seeds: Range<u64>,
    /// Threads. Default: one for each core.
    pub jobs: usize,
    /// Print the whole trace of each seed.
    pub is_trace_printed: bool,
}

impl Options {
    /// Reads `--seeds A..B`, `--seed N`, `--jobs N` and `--trace`.
    ///
    /// # Errors
    /// An argument is unknown or no number.
    pub fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { seeds: 0..1000, jobs, is_trace_printed: false };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--seeds" => {
                    let text = value()?;
                    let (first, end) = text.split_once("..").context("--seeds is A..B")?;
                    options.seeds = first.parse()?..end.parse()?;
                }
                "--seed" => {
                    let seed: u64 = value()?.parse()?;
                    options.seeds = seed..seed.saturating_add(1);
                }
                "--jobs" => options.jobs = value()?.parse::<usize>()?.max(1),
                "--trace" => options.is_trace_printed = true,
                _ => bail!("unknown argument {argument}"),
            }
        }
        Ok(options)
    }
}

/// Runs the seeds and prints what came of it. `false` if something did not hold.
///
/// # Errors
/// The output cannot be written.
pub fn program(options: &Options) -> std::io::Result<bool> {
    let mut output = std::io::stdout().lock();
    let (failure, counts, done) = run_all(options);
    if options.is_trace_printed {
        for seed in options.seeds.clone() {
            let outcome = run(seed, true);
            for line in &outcome.trace {
                writeln!(output, "{line}")?;
            }
            writeln!(output, "seed {seed}: trace {:016x}", outcome.hash)?;
        }
    }
    if let Some((seed, outcome)) = failure {
        write!(output, "{}", describe(seed, &outcome))?;
        return Ok(false);
    }
    let width = counts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, count) in counts.iter() {
        writeln!(output, "{name:<width$} {count:>12}")?;
    }
    writeln!(output, "{done} seeds, no violation")?;
    let missing = counts.missing();
    if !missing.is_empty() {
        writeln!(output, "never reached: {}", missing.join("; "))?;
    }
    Ok(missing.is_empty() || done < SEEDS_FOR_REACH)
}

/// A failed seed for a reader: what did not hold, the end of the trace, how to have it again.
pub fn describe(seed: u64, outcome: &Outcome) -> String {
    let mut text = String::new();
    for line in &outcome.trace {
        text += line;
        text.push('\n');
    }
    text += &format!(
        "seed {seed}: {}\ntrace {:016x}\nreplay: cargo run --release -p culex-tests -- sim --seed {seed} --trace\n",
        outcome.violation.as_deref().unwrap_or("no violation"),
        outcome.hash,
    );
    text
}

/// The failure with the lowest seed that ran, if there is one, the sum of the counts, and how many seeds ran.
pub type Sum = (Option<(u64, Outcome)>, Counts, u64);

/// Runs the seeds until one fails.
pub fn run_all(options: &Options) -> Sum {
    let next = AtomicU64::new(options.seeds.start);
    let has_failed = AtomicBool::new(false);
    let shared: Mutex<Sum> = Mutex::new((None, Counts::default(), 0));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                let mut counts = Counts::default();
                let mut done = 0;
                let mut failure = None;
                while !has_failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        break;
                    }
                    let outcome = run(seed, false);
                    counts.merge(&outcome.counts);
                    done += 1;
                    if outcome.violation.is_some() {
                        has_failed.store(true, Ordering::Relaxed);
                        failure = Some((seed, outcome));
                    }
                }
                let Ok(mut shared) = shared.lock() else { return };
                shared.1.merge(&counts);
                shared.2 += done;
                if let Some((seed, outcome)) = failure
                    && shared.0.as_ref().is_none_or(|(first, _)| seed < *first)
                {
                    shared.0 = Some((seed, outcome));
                }
            });
        }
    });
    shared.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}
