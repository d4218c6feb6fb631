//! What bridges, webhooks and the HTTP API cost, and what they carry; tables in Markdown.
//!
//! ```console
//! cargo build --release && cargo build --release -p culex-benches --bin integrations
//! target/release/integrations                                   # all sections
//! target/release/integrations bridge webhook --repeat 7 --seconds 2 --culex target/release/culex
//! ```
//!
//! `bridge` and `webhook` measure the latency of local clients, without the integration and with it in each state of the
//! other side, interleaved; `webhooks`, `publish` and `stream` measure throughput. Each measurement starts the broker anew
//! with an empty directory, and its defaults otherwise: what it acknowledges is on the disk. All run on this machine,
//! receivers in this process. CPU time of others is foreign and shown.

mod hooks;
mod http;
mod latency;
mod receiver;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use culex_benches::Result;
use culex_benches::broker::{Broker, Running};
use culex_benches::cpu::{Jiffies, seconds_of};
use culex_benches::disk::syncs_per_second;
use tokio::runtime::Runtime;

use table::Table;

const SECTIONS: [&str; 5] = ["bridge", "webhook", "webhooks", "publish", "stream"];

/// What the command line asks for, and what all sections need.
struct Bench {
    sections: Vec<String>,
    culex: PathBuf,
    repeat: usize,
    seconds: f64,
    runtime: Runtime,
}

/// What a part of a measurement took.
struct Cost {
    seconds: f64,
    broker_cpu_s: f64,
    foreign_cores: f64,
}

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("main.rs")) {
        return Ok(());
    }
    let bench = Bench::parse(std::env::args().skip(1))?;
    let folder = tempfile::tempdir()?;
    let syncs = syncs_per_second(folder.path(), Duration::from_secs(1))?;
    println!(
        "{} interleaved runs of {} s, median (range). A single writer gets {syncs:.0} syncs per second.\n",
        bench.repeat, bench.seconds
    );
    for section in &bench.sections {
        let table = match section.as_str() {
            "bridge" => latency::bridge(&bench)?,
            "webhook" => latency::webhook(&bench)?,
            "webhooks" => hooks::throughput(&bench)?,
            "publish" => http::publish(&bench)?,
            _ => http::stream(&bench)?,
        };
        println!("`{section}`\n\n{}", table.markdown());
    }
    Ok(())
}

impl Bench {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let culex = PathBuf::from("target/release/culex");
        let mut bench = Self { sections: Vec::new(), culex, repeat: 5, seconds: 2.0, runtime };
        while let Some(word) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--culex" => bench.culex = value()?.into(),
                "--repeat" => bench.repeat = value()?.parse()?,
                "--seconds" => bench.seconds = value()?.parse()?,
                section if SECTIONS.contains(&section) => bench.sections.push(word),
                _ => {
                    let all = SECTIONS.join(" ");
                    return Err(format!("{word}? There are {all}, --culex --repeat --seconds").into());
                }
            }
        }
        if bench.sections.is_empty() {
            bench.sections = SECTIONS.map(str::to_owned).to_vec();
        }
        Ok(bench)
    }

    /// Starts the broker with its directory, and more lines of configuration.
    fn broker(&self, more: &str) -> Result<Running> {
        let config = "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[store]\ndirectory = \"{data}\"\n";
        self.start(&["-c", "{config}"], &format!("{config}{more}"))
    }

    /// Starts a broker that keeps nothing, and does nothing but MQTT.
    fn remote(&self) -> Result<Running> {
        self.start(&["-c", "{config}", "--ephemeral"], "[[listener]]\naddress = \"127.0.0.1:{port}\"\n")
    }

    fn start(&self, words: &[&str], config: &str) -> Result<Running> {
        let program = self.culex.display().to_string();
        let command: Vec<&str> = std::iter::once(program.as_str()).chain(words.iter().copied()).collect();
        Running::start(&Broker::new("culex", &command).with_config(config))
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Runs a measurement of each row so many times, each once before any again.
    fn interleave<C>(
        &self,
        table: &mut Table,
        rows: &[C],
        names: impl Fn(&C) -> [String; 2],
        measure: impl Fn(&C) -> Result<Vec<f64>>,
    ) -> Result<()> {
        for repetition in 1..=self.repeat {
            for row in rows {
                let [group, name] = names(row);
                tell(&format!("{repetition}/{} {group} {name}", self.repeat));
                table.add(&group, &name, measure(row)?);
            }
        }
        Ok(())
    }
}

impl Cost {
    /// Of what is done meanwhile; `processes` belong to the measurement, the first is the broker.
    fn of<T>(processes: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(T, Self)> {
        let broker = processes.first().copied().ok_or("no broker")?;
        let (before, cpu, began) = (Jiffies::now(processes)?, seconds_of(broker)?, std::time::Instant::now());
        let result = work()?;
        let seconds = began.elapsed().as_secs_f64();
        let foreign_cores = Jiffies::now(processes)?.foreign_since(&before) / seconds;
        Ok((result, Self { seconds, broker_cpu_s: seconds_of(broker)? - cpu, foreign_cores }))
    }
}

/// A port where nobody listens.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[expect(clippy::print_stderr, reason = "it tells the person who waits how far it is")]
fn tell(what: &str) {
    eprintln!("{what}");
}
