//! Brokers side by side: every scenario against every broker, interleaved, with medians and spread, as a Markdown table.
//!
//! ```console
//! cargo build --release && cargo run --release -p culex-benches --bin compare
//! cargo run --release -p culex-benches --bin compare -- --brokers FILE.toml --repeat 5 --seconds 3 --only pub-sub
//! ```
//!
//! Each measurement starts the broker anew on a free port of 127.0.0.1 and ends it. Between two measurements of a
//! broker stands one of every other, so that a slow minute of the machine hits all alike. CPU time that neither the
//! broker nor the load generator spent is foreign and shown: a table from a busy machine says so itself.

mod broker;
mod scenario;
mod table;

use std::error::Error;
use std::path::PathBuf;

use broker::Running;
use scenario::{SCENARIOS, measure};
use table::Table;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the command line asks for.
struct Options {
    brokers: PathBuf,
    repeat: usize,
    seconds: u32,
    only: String,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "its result is what it prints")]
fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let brokers = broker::load(&options.brokers)?;
    let mut table = Table::default();
    for repetition in 1..=options.repeat {
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.name().contains(&options.only)) {
            for broker in &brokers {
                eprintln!("{repetition}/{} {} {}", options.repeat, scenario.name(), broker.name);
                let running = Running::start(broker)?;
                match measure(scenario, &running, options.seconds) {
                    Ok(figures) => table.add(&scenario.name(), &broker.name, figures),
                    Err(error) => eprintln!("  no figure: {error}"),
                }
                running.end()?;
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
            seconds: 3,
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
