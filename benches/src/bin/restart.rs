//! How long a broker with much to remember takes to start: sessions that left, messages that wait for them, Retained
//! Messages. It is filled by clients, so any broker can be measured; whether it remembers is looked at.
//!
//! ```console
//! cargo build --release
//! cargo run --release -p culex-benches --bin restart -- --sessions 10000 --queued 100000
//! cargo run --release -p culex-benches --bin restart -- --sessions 100000 --queued 1000000 --retained 1000000
//! ```
//!
//! `--brokers FILE.toml` (benches/compare/store.toml), `--only NAME` (culex power), `--repeat N` (3). Time is from the start of
//! the process to an accepted CONNECT. The files are in the system's cache.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use culex_benches::Result;
use culex_benches::broker::{Broker, Brokers, Running};
use culex_benches::client::{Client, Unreleased};
use culex_benches::disk::bytes_in;
use culex_tests::wire::Publish;

/// What the command line asks for.
struct Options {
    brokers: PathBuf,
    only: String,
    sessions: usize,
    queued: usize,
    retained: usize,
    repeat: usize,
}

/// Clients that fill the broker at a time: what they wait for is stored together.
const THREADS: usize = 64;
/// Messages that each has in flight.
const IN_FLIGHT: usize = 100;
const PAYLOAD: [u8; 100] = [b'x'; 100];

/// Starts after an end by SIGTERM, and by SIGKILL.
#[derive(Default)]
struct Starts {
    orderly: Vec<Duration>,
    killed: Vec<Duration>,
}

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("restart.rs")) {
        return Ok(());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let Options { sessions, queued, retained, repeat, .. } = options;
    println!(
        "{sessions} sessions with a subscription each, {queued} messages of 100 bytes that wait for them, {retained} Retained \
         Messages; {repeat} starts each, median (range).\n\n\
         | broker | filled in s | files MiB | resident MiB | start after SIGTERM, ms | after SIGKILL, ms |\n\
         | --- | --- | --- | --- | --- | --- |"
    );
    let brokers = Brokers::load(&options.brokers)?.broker;
    for broker in brokers.iter().filter(|broker| broker.keeps() && broker.name.contains(&options.only)) {
        println!("{}", measure(broker, &options)?);
    }
    Ok(())
}

fn measure(broker: &Broker, options: &Options) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let running = Running::start_in(broker, folder.path())?;
    fill(&running, options)?;
    let filled = began.elapsed().as_secs_f64();
    running.terminate()?;
    let bytes = bytes_in(folder.path())?;

    let (mut starts, mut resident) = (Starts::default(), 0);
    for _ in 0..options.repeat {
        let (running, took) = start(broker, folder.path())?;
        starts.orderly.push(took);
        resident = running.resident_bytes()?;
        check(&running, options)?;
        running.kill()?;
        let (running, took) = start(broker, folder.path())?;
        starts.killed.push(took);
        check(&running, options)?;
        running.terminate()?;
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (orderly, killed) = (shown(&mut starts.orderly), shown(&mut starts.killed));
    Ok(format!(
        "| {} | {filled:.1} | {:.1} | {:.1} | {orderly} | {killed} |",
        broker.name,
        mib(bytes),
        mib(resident)
    ))
}

fn start(broker: &Broker, data: &Path) -> Result<(Running, Duration)> {
    let began = Instant::now();
    let running = Running::start_in(broker, data)?;
    let (client, _) = Client::connect(running.address, "first", true, Unreleased::new())?;
    let took = began.elapsed();
    client.disconnect()?;
    Ok((running, took))
}

fn fill(broker: &Running, options: &Options) -> Result<()> {
    in_threads(options.sessions, |numbers| {
        for number in numbers {
            let (mut client, _) =
                Client::connect(broker.address, &format!("s{number}"), false, Unreleased::new())?;
            client.subscribe(&format!("queue/{number}"), 1)?;
            client.disconnect()?;
        }
        Ok(())
    })?;
    let queue = |number: usize| Publish::new(&format!("queue/{}", number % options.sessions.max(1)), PAYLOAD);
    publish(broker, options.queued, queue)?;
    publish(broker, options.retained, |number| Publish::new(&format!("kept/{number}"), PAYLOAD).retained())
}

fn publish(broker: &Running, count: usize, message: impl Fn(usize) -> Publish + Sync) -> Result<()> {
    in_threads(count, |numbers| {
        let (mut client, _) =
            Client::connect(broker.address, &format!("p{}", numbers.start), true, Unreleased::new())?;
        for first in numbers.clone().step_by(IN_FLIGHT) {
            let batch = first..(first + IN_FLIGHT).min(numbers.end);
            client.publish_all(batch.map(|number| message(number).qos(1, 1)).collect())?;
        }
        client.disconnect().map(drop)
    })
}

/// Deals `count` numbers out.
fn in_threads(count: usize, work: impl Fn(std::ops::Range<usize>) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let bound = |thread: usize| count * thread / THREADS;
        // Without a share of it, a thread would be a client with the name of another.
        let shares =
            (0..THREADS).map(|thread| bound(thread)..bound(thread + 1)).filter(|share| !share.is_empty());
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a client panicked")?)
    })
}

/// The first and the last session are there with their queues, and so is a Retained Message. Nothing is acknowledged.
fn check(broker: &Running, options: &Options) -> Result<()> {
    let Options { sessions, queued, retained, .. } = *options;
    for number in [0, sessions.saturating_sub(1)].into_iter().take(sessions) {
        let (mut client, is_there) =
            Client::connect(broker.address, &format!("s{number}"), false, Unreleased::new())?;
        if !is_there {
            return Err(format!("session {number} is gone").into());
        }
        // Those behind the in-flight window come only when it moves.
        let expected = (queued / sessions + usize::from(number < queued % sessions)).min(IN_FLIGHT);
        for _ in 0..expected {
            client.look()?;
        }
        client.vanish();
    }
    if retained > 0 {
        let (mut client, _) = Client::connect(broker.address, "looks", true, Unreleased::new())?;
        client.subscribe(&format!("kept/{}", retained - 1), 0)?;
        client.receive()?;
        client.disconnect()?;
    }
    Ok(())
}

fn shown(times: &mut [Duration]) -> String {
    times.sort();
    let at = |place: usize| times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    format!("{:.0} ({:.0}–{:.0})", at(times.len() / 2), at(0), at(times.len().saturating_sub(1)))
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            brokers: "benches/compare/store.toml".into(),
            only: "culex power".into(),
            sessions: 10_000,
            queued: 100_000,
            retained: 0,
            repeat: 3,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--brokers" => options.brokers = value.into(),
                "--only" => options.only = value,
                "--sessions" => options.sessions = value.parse()?,
                "--queued" => options.queued = value.parse()?,
                "--retained" => options.retained = value.parse()?,
                "--repeat" => options.repeat = value.parse()?,
                _ => {
                    let known = "--brokers --only --sessions --queued --retained --repeat";
                    return Err(format!("{name}? There are {known}").into());
                }
            }
        }
        if options.queued > 0 && options.sessions == 0 {
            return Err("messages need sessions to wait for".into());
        }
        Ok(options)
    }
}
