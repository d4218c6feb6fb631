//! Brokers side by side: every scenario against every broker, interleaved, with medians and spread, as a Markdown table.
//!
//! ```console
//! cargo build --release && cargo run --release -p culex-benches --bin compare
//! cargo run --release -p culex-benches --bin compare -- --repeat 5 --seconds 3 --only pub-sub
//! cargo run --release -p culex-benches --bin compare -- --brokers benches/compare/store.toml
//! cargo run --release -p culex-benches --bin compare -- \
//!     --brokers benches/compare/goals.toml --brokers benches/compare/tls.toml --plots docs/plots
//! ```
//!
//! Each measurement starts the broker anew on a free port of 127.0.0.1, with an empty directory, and ends it. Between two
//! measurements of a broker stands one of every other, so that a slow minute of the machine hits all alike. CPU time that neither
//! the broker nor the load generator spent is foreign and shown: a table from a busy machine says so itself.

mod goal;
mod measure;
mod plot;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use culex_benches::Result;
use culex_benches::broker::{Broker, Brokers, Running};
use culex_benches::disk::syncs_per_second;

use measure::measure;
use table::Table;

/// What the command line asks for.
struct Options {
    brokers: Vec<PathBuf>,
    repeat: usize,
    seconds: f64,
    only: String,
    plots: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("main.rs")) {
        return Ok(());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let usual = [PathBuf::from("benches/compare/goals.toml")];
    let files = if options.brokers.is_empty() { usual.as_slice() } else { &options.brokers };
    for file in files {
        let table = compare(file, &options)?;
        println!("{}", table.markdown(options.repeat, options.seconds));
        if let Some(folder) = &options.plots {
            std::fs::create_dir_all(folder)?;
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            plot::draw(&table, &folder.join(format!("{name}.svg")))?;
        }
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "it tells the person who waits how far it is")]
fn compare(file: &Path, options: &Options) -> Result<Table> {
    let Brokers { scenarios, options: more, broker: brokers } = Brokers::load(file)?;
    let folder = tempfile::tempdir()?;
    let mut table = Table::new(&brokers);
    for repetition in 1..=options.repeat {
        if brokers.iter().any(Broker::keeps) {
            table.add_syncs(syncs_per_second(folder.path(), Duration::from_secs(1))?);
        }
        for scenario in scenarios.iter().filter(|scenario| scenario.run.contains(&options.only)) {
            let run = scenario.run.as_str();
            for broker in brokers.iter().filter(|broker| broker.takes(run)) {
                eprintln!("{repetition}/{} {run} {}", options.repeat, broker.name);
                let running = Running::start(broker)?;
                match measure(run, &more, broker, &running, options.seconds) {
                    Ok(figures) => table.add(scenario, &broker.name, figures),
                    Err(error) => eprintln!("  no figure: {error}"),
                }
                running.kill()?;
            }
        }
    }
    Ok(table)
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Self { brokers: Vec::new(), repeat: 3, seconds: 3.0, only: String::new(), plots: None };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--brokers" => options.brokers.push(value.into()),
                "--repeat" => options.repeat = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--only" => options.only = value,
                "--plots" => options.plots = Some(value.into()),
                _ => {
                    return Err(
                        format!("{name}? There are --brokers --repeat --seconds --only --plots").into()
                    );
                }
            }
        }
        Ok(options)
    }
}
