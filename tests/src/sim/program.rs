//! `culex-tests sim --seeds A..B`: many seeds on all cores, and what they reached.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, bail};

use super::{Counts, Family, Outcome, run};

/// From so many seeds on, a branch that none of them reaches is a failure.
const SEEDS_FOR_REACH: u64 = 1000;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Seeds, the last one excluded.
    pub seeds: Range<u64>,
    /// What happens to the broker. Default: nothing.
    pub family: Family,
    /// Threads. Default: one for each core.
    pub jobs: usize,
    /// Print the whole trace of each seed.
    pub is_trace_printed: bool,
}

impl Options {
    /// Reads `--seeds A..B`, `--seed N`, `--crashes`, `--failing-commit N`, `--jobs N` and `--trace`.
    ///
    /// # Errors
    /// An argument is unknown or no number.
    pub fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { seeds: 0..1000, family: Family::Steady, jobs, is_trace_printed: false };
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
                "--crashes" => options.family = Family::Crashes,
                "--failing-commit" => options.family = Family::FailingCommit(value()?.parse()?),
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
    let Sum { failure, counts, seeds: done, crashes, crashes_min } = run_all(options);
    if options.is_trace_printed {
        for seed in options.seeds.clone() {
            let outcome = run(seed, options.family, true);
            for line in &outcome.trace {
                writeln!(output, "{line}")?;
            }
            writeln!(output, "seed {seed}: trace {:016x}", outcome.hash)?;
        }
    }
    if let Some((seed, outcome)) = failure {
        write!(output, "{}", describe(seed, options.family, &outcome))?;
        return Ok(false);
    }
    let width = counts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, count) in counts.iter() {
        writeln!(output, "{name:<width$} {count:>12}")?;
    }
    writeln!(output, "{done} seeds, {crashes} crashes, {crashes_min} or more in each; no violation")?;
    let missing = counts.missing(options.family);
    if !missing.is_empty() {
        writeln!(output, "never reached: {}", missing.join("; "))?;
    }
    Ok(missing.is_empty() || done < SEEDS_FOR_REACH)
}

/// A failed seed for a reader: what did not hold, the end of the trace, how to have it again.
pub fn describe(seed: u64, family: Family, outcome: &Outcome) -> String {
    let mut text = String::new();
    for line in &outcome.trace {
        text += line;
        text.push('\n');
    }
    let family = match family {
        Family::Steady => String::new(),
        Family::Crashes => " --crashes".to_owned(),
        Family::FailingCommit(number) => format!(" --failing-commit {number}"),
    };
    text += &format!(
        "seed {seed}: {}\ntrace {:016x}\nreplay: cargo run --release -p culex-tests -- sim{family} --seed {seed} --trace\n",
        outcome.violation.as_deref().unwrap_or("no violation"),
        outcome.hash,
    );
    text
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Sum {
    /// The failure with the lowest seed that ran, if there is one.
    pub failure: Option<(u64, Outcome)>,
    /// Sums of the counts.
    pub counts: Counts,
    /// How many seeds ran.
    pub seeds: u64,
    /// How often a broker was started again.
    pub crashes: u64,
    /// The same for the seed with the fewest.
    pub crashes_min: u64,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        let crashes = u64::from(outcome.crashes);
        self.counts.merge(&outcome.counts);
        self.crashes_min = if self.seeds == 0 { crashes } else { crashes.min(self.crashes_min) };
        self.crashes += crashes;
        self.seeds += 1;
        if outcome.violation.is_some() && self.failure.as_ref().is_none_or(|(first, _)| seed < *first) {
            self.failure = Some((seed, outcome));
        }
    }
}

/// Runs the seeds until one fails.
pub fn run_all(options: &Options) -> Sum {
    let next = AtomicU64::new(options.seeds.start);
    let has_failed = AtomicBool::new(false);
    let shared: Mutex<Sum> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        break;
                    }
                    let outcome = run(seed, options.family, false);
                    has_failed.fetch_or(outcome.violation.is_some(), Ordering::Relaxed);
                    let Ok(mut shared) = shared.lock() else { return };
                    shared.add(seed, outcome);
                }
            });
        }
    });
    shared.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}
