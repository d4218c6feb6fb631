//! Brokers side by side: every scenario against every broker, interleaved, with medians and spread, as a Markdown table.
//!
//! ```console
//! cargo build --release && cargo run --release -p culex-benches --bin compare
//! cargo run --release -p culex-benches --bin compare -- --brokers FILE.toml --repeat 5 --seconds 3 --only pub-sub
//! cargo run --release -p culex-benches --bin compare -- --brokers benches/compare/store.toml
//! cargo run --release -p culex-benches --bin compare -- --brokers benches/compare/tls.toml
//! ```
//!
//! Each measurement starts the broker anew on a free port of 127.0.0.1, with an empty directory, and ends it. Between two
//! measurements of a broker stands one of every other, so that a slow minute of the machine hits all alike. CPU time that neither
//! the broker nor the load generator spent is foreign and shown: a table from a busy machine says so itself.

mod scenario;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use culex_benches::Result;
use culex_benches::broker::{Broker, Brokers, Running};
use culex_benches::disk::syncs_per_second;

use scenario::{SCENARIOS, Scenario, measure};
use table::Table;

/// What the command line asks for.
struct Options {
    brokers: PathBuf,
    repeat: usize,
    seconds: f64,
    only: String,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "its result is what it prints")]
fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let Brokers { scenarios, options: more, broker: brokers } = Brokers::load(&options.brokers)?;
    let usual = SCENARIOS.iter().map(|text| Scenario::new(text));
    let scenarios: Vec<_> = match scenarios.as_slice() {
        [] => usual.collect(),
        others => others.iter().map(|text| Scenario::new(text)).collect(),
    };
    let folder = tempfile::tempdir()?;
    let mut table = Table::default();
    for repetition in 1..=options.repeat {
        if brokers.iter().any(Broker::keeps) {
            table.add_syncs(syncs_per_second(folder.path(), Duration::from_secs(1))?);
        }
        for scenario in scenarios.iter().filter(|scenario| scenario.name().contains(&options.only)) {
            let meant = |broker: &&Broker| !broker.without.iter().any(|word| scenario.name().contains(word));
            for broker in brokers.iter().filter(meant) {
                eprintln!("{repetition}/{} {} {}", options.repeat, scenario.name(), broker.name);
                let running = Running::start(broker)?;
                match measure(scenario, &more, broker, &running, options.seconds) {
                    Ok(figures) => table.add(scenario.name(), &broker.name, figures),
                    Err(error) => eprintln!("  no figure: {error}"),
                }
                running.kill()?;
            }
        }
    }
    println!("{}", table.markdown(options.repeat, options.seconds));
    Ok(())
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            brokers: "benches/compare/brokers.toml".into(),
            repeat: 3,
            seconds: 3.0,
            only: String::new(),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--brokers" => options.brokers = value.into(),
                "--repeat" => options.repeat = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--only" => options.only = value,
                _ => return Err(format!("{name}? There are --brokers --repeat --seconds --only").into()),
            }
        }
        Ok(options)
    }
}
