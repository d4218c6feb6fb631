//! `culex-tests conformance`: runs the cases against any broker and prints a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::broker::Broker;
use crate::conformance::{Case, Scope, resolve};

/// `differences.toml`: where brokers are known to differ from the suite.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Differences {
    /// One row per broker and case.
    #[serde(default)]
    pub difference: Vec<Difference>,
}

/// One row of [`Differences`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Name of the broker, as `--known` takes it.
    pub broker: String,
    /// Version on which it was seen.
    pub version: String,
    /// `module::name` of the case.
    pub test: String,
    /// The statements concerned; empty where the standard leaves the choice.
    pub statements: Vec<String>,
    /// What that broker does.
    pub does: String,
    /// Why that differs from the suite.
    pub why: String,
}

/// What the command line of `conformance` asked for.
#[derive(Debug, Default)]
pub struct Options {
    broker: Option<SocketAddr>,
    known: Option<String>,
    filter: Option<String>,
    markdown: bool,
}

impl Options {
    /// Reads `[--broker HOST:PORT] [--known NAME] [--markdown] [FILTER]`.
    ///
    /// # Errors
    ///
    /// An unknown option, a missing value or an address that cannot be resolved.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--broker" => {
                    let address = arguments.next().context("--broker wants HOST:PORT")?;
                    let resolved =
                        resolve(&address).with_context(|| format!("{address} is not HOST:PORT"))?;
                    options.broker = Some(resolved);
                }
                "--known" => options.known = Some(arguments.next().context("--known wants a name")?),
                "--markdown" => options.markdown = true,
                _ if argument.starts_with('-') => bail!("unknown option {argument}"),
                _ => options.filter = Some(argument),
            }
        }
        Ok(options)
    }
}

enum Outcome {
    Passed,
    Skipped,
    Failed(String),
}

/// Runs the cases and prints one row each and a summary. `statements` maps a case to the statements that the
/// manifest says it tests. Returns true when no case failed except those that are known to.
///
/// # Errors
///
/// When the output cannot be written, or the broker cannot be reached at all.
pub fn run(
    cases: impl Iterator<Item = &'static Case>,
    options: &Options,
    statements: &BTreeMap<String, Vec<String>>,
    differences: &Differences,
) -> anyhow::Result<bool> {
    let own = if options.broker.is_none() { Some(Broker::start(&[])) } else { None };
    let addr = options.broker.or(own.as_ref().map(|broker| broker.addr)).context("no broker")?;
    std::net::TcpStream::connect(addr).with_context(|| format!("no broker at {addr}"))?;
    // Failed cases are rows of the table, not traces on stderr.
    panic::set_hook(Box::new(|_| ()));
    let (mut passed, mut skipped, mut known, mut failed) = (0, 0, 0, 0);
    let mut output = std::io::stdout().lock();
    for case in cases {
        let name = case.full_name();
        if options.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let outcome = run_case(case, addr, own.is_some());
        let difference = differences.difference.iter().find(|row| {
            row.test == name && options.known.as_ref().is_some_and(|broker| *broker == row.broker)
        });
        let (word, note) = match (outcome, difference) {
            (Outcome::Passed, None) => {
                passed += 1;
                ("ok", String::new())
            }
            (Outcome::Passed, Some(_)) => {
                failed += 1;
                ("FAIL", "passes, but differences.toml has a row for it".to_owned())
            }
            (Outcome::Skipped, _) => {
                skipped += 1;
                ("skip", "needs a configuration of its own".to_owned())
            }
            (Outcome::Failed(_), Some(row)) => {
                known += 1;
                ("known", row.does.clone())
            }
            (Outcome::Failed(message), None) => {
                failed += 1;
                ("FAIL", message)
            }
        };
        let ids = statements.get(&name).map(|ids| ids.join(" ")).unwrap_or_default();
        let mut line = String::new();
        if options.markdown {
            writeln!(line, "| {word} | {name} | {ids} | {} |", note.replace('\n', " ").replace('|', "\\|"))?;
        } else {
            writeln!(line, "{word:5} {name:70} {ids}")?;
            for note in note.lines() {
                writeln!(line, "      {note}")?;
            }
        }
        output.write_all(line.as_bytes())?;
    }
    drop(panic::take_hook());
    writeln!(output, "\n{passed} passed, {known} known differences, {skipped} skipped, {failed} failed")?;
    Ok(failed == 0)
}

fn run_case(case: &Case, addr: SocketAddr, is_ours: bool) -> Outcome {
    if case.config.is_some() && !is_ours {
        return Outcome::Skipped;
    }
    let run = || match case.config {
        Some(config) => (case.run)(&Scope::new(Broker::start_with_config(config).addr)),
        None => (case.run)(&Scope::new(addr)),
    };
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(()) => Outcome::Passed,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome::Failed(text.unwrap_or_default())
        }
    }
}
