//! Hours in minutes: clients that come and go, subscribe and unsubscribe, publish all that there is, leave queues behind and
//! drain them. Every delivery is verified; memory and files must not grow.
//!
//! ```console
//! cargo build --release && cargo run --release -p culex-benches --bin soak -- --minutes 20
//! ```
//!
//! `--minutes M` (20), `--cells N` (8), `--seed S` (from the clock; printed). The broker is `target/release/culex` with its
//! defaults and a directory of its own. The exit code is 1 if a delivery was wrong, or one of these does not hold:
//!
//! - files: at each sample at most twice the live data and 64 MiB. Live data is topic and payload of each message that waits for
//!   anybody, once, and of the Retained Messages, as the clients know it.
//! - memory: the slope of the resident bytes, by linear regression over the means of 20 equal parts of the time behind the first
//!   quarter, is not above zero with 95 % confidence; or it is less than 1 % of the mean in all that time. Below 5 minutes it is
//!   only told: buffers and caches are still filling.

mod cell;
mod growth;
mod member;
mod random;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime};

use culex_benches::Result;
use culex_benches::broker::{Broker, Running};
use culex_benches::disk::bytes_in;

use cell::{Cell, Counts};
use growth::Growth;

/// What the command line asks for.
struct Options {
    minutes: f64,
    cells: u64,
    seed: u64,
}

/// What all cells share.
#[derive(Default)]
pub(crate) struct Shared {
    is_over: AtomicBool,
    /// Bytes of live data, of all cells.
    pub(crate) live: AtomicU64,
    /// Messages published so far, and received.
    pub(crate) published: AtomicU64,
    pub(crate) received: AtomicU64,
}

impl Shared {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// What was true at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    resident: u64,
    files: u64,
    live: u64,
}

const SAMPLES_PER_SECOND: f64 = 2.0;
const PRINTED_EVERY: Duration = Duration::from_secs(30);
const JUDGED_FROM_SECONDS: f64 = 290.0;
const FILES_SLACK: u64 = 64 << 20;

fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("main.rs")) {
        return Ok(());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let folder = tempfile::tempdir()?;
    let command = ["target/release/culex", "-p", "{port}", "--data-dir", "{data}"];
    let broker = Running::start_in(&Broker::new("culex", &command), folder.path())?;
    say(format_args!("{} minutes, {} cells, seed {}", options.minutes, options.cells, options.seed));
    let shared = Shared::default();
    let (samples, outcomes) = thread::scope(|scope| {
        let cells: Vec<_> = (0..options.cells)
            .map(|number| {
                let (shared, address) = (&shared, broker.address);
                scope.spawn(move || Cell::new(number, address, options.seed).run(shared))
            })
            .collect();
        let samples = watch(&broker, &shared, &cells, Duration::try_from_secs_f64(options.minutes * 60.0));
        shared.is_over.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = cells.into_iter().map(ScopedJoinHandle::join).collect();
        (samples, outcomes)
    });
    let mut counts = Counts::default();
    let mut is_good = true;
    for outcome in outcomes {
        match outcome {
            Ok(Ok(of_cell)) => counts.add(&of_cell),
            Ok(Err(error)) => {
                is_good = false;
                say(format_args!("FAILED: {error}"));
            }
            Err(_) => return Err("a cell panicked".into()),
        }
    }
    let samples = samples?;
    broker.terminate()?;
    say(format_args!("{counts}"));
    is_good &= judge_files(&samples);
    is_good &= judge_memory(&samples);
    if is_good {
        say(format_args!("passed"));
        Ok(())
    } else {
        Err(format!("failed; again with --seed {}", options.seed).into())
    }
}

/// Samples until the time is over, or a cell has ended early because something was wrong.
fn watch<T>(
    broker: &Running,
    shared: &Shared,
    cells: &[ScopedJoinHandle<'_, T>],
    time: std::result::Result<Duration, std::time::TryFromFloatSecsError>,
) -> Result<Vec<Sample>> {
    let (time, begin) = (time?, Instant::now());
    let mut samples = Vec::new();
    let mut next_line = PRINTED_EVERY;
    while begin.elapsed() < time && !cells.iter().any(ScopedJoinHandle::is_finished) {
        thread::sleep(Duration::from_secs_f64(1.0 / SAMPLES_PER_SECOND));
        let sample = Sample {
            seconds: begin.elapsed().as_secs_f64(),
            resident: broker.resident_bytes()?,
            files: bytes_in(broker.data())?,
            live: shared.live.load(Ordering::Relaxed),
        };
        samples.push(sample);
        if begin.elapsed() >= next_line {
            next_line += PRINTED_EVERY;
            let (published, received) = (&shared.published, &shared.received);
            say(format_args!(
                "{:5.0} s: {} published, {} received, resident {:.1} MiB, files {:.1} MiB, live {:.1} MiB",
                sample.seconds,
                published.load(Ordering::Relaxed),
                received.load(Ordering::Relaxed),
                mib(sample.resident),
                mib(sample.files),
                mib(sample.live)
            ));
        }
    }
    Ok(samples)
}

/// The sample that comes nearest to the bound, or is farthest beyond.
fn judge_files(samples: &[Sample]) -> bool {
    let bound = |sample: &Sample| sample.live * 2 + FILES_SLACK;
    let Some(worst) = samples.iter().max_by_key(|sample| sample.files as i128 - bound(sample) as i128) else {
        say(format_args!("files: no sample"));
        return false;
    };
    let is_good = worst.files <= bound(worst);
    let largest = samples.iter().map(|sample| sample.files).max().unwrap_or_default();
    say(format_args!(
        "files: at most {:.1} MiB; nearest to the bound {:.1} MiB of {:.1} at {:.0} s, live {:.1}: {}",
        mib(largest),
        mib(worst.files),
        mib(bound(worst)),
        worst.seconds,
        mib(worst.live),
        verdict(is_good)
    ));
    is_good
}

fn judge_memory(samples: &[Sample]) -> bool {
    let points: Vec<_> = samples.iter().map(|sample| (sample.seconds, sample.resident as f64)).collect();
    let Some(growth) = Growth::of(&points) else {
        say(format_args!("memory: too few samples"));
        return false;
    };
    if samples.last().is_none_or(|sample| sample.seconds < JUDGED_FROM_SECONDS) {
        say(format_args!("memory: {growth}: too short to judge"));
        return true;
    }
    let is_good = growth.is_none();
    say(format_args!("memory: {growth}: {}", verdict(is_good)));
    is_good
}

fn verdict(is_good: bool) -> &'static str {
    if is_good { "passed" } else { "FAILED" }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn say(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut options = Self { minutes: 20.0, cells: 8, seed: now.as_secs() };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--minutes" => options.minutes = value.parse()?,
                "--cells" => options.cells = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => return Err(format!("{name}? There are --minutes --cells --seed").into()),
            }
        }
        Ok(options)
    }
}
