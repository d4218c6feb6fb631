//! Counts the instructions of the hot path and compares them with `benches/instructions.toml`.
//!
//! ```console
//! cargo run -p culex-instructions                            # exit code 1 beyond 3 %
//! cargo run -p culex-instructions -- --write "what changed"  # writes the file
//! ```
//!
//! `benches/hot_path.rs` is what is counted, by Callgrind through gungraun: the same program and C library give the same count on any
//! machine, however busy. Counts are not times; they show what a change of the code does to them, which times here cannot.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde::Deserialize;
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Counts = BTreeMap<String, u64>;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.toml");
/// How far a count may be from what is written down.
const TOLERANCE_PERCENT: u64 = 3;

/// `benches/instructions.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// What the code was compiled with.
    compiler: String,
    /// Why the counts are what they are.
    #[serde(rename = "reason")]
    _reason: String,
    instructions: Counts,
}

#[expect(clippy::print_stderr, reason = "it talks to the person who started it")]
fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<bool> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => check(),
        (Some("--write"), Some(reason), None) if !reason.trim().is_empty() => {
            std::fs::write(FILE, document(&compiler()?, reason.trim(), &count()?))?;
            Ok(true)
        }
        _ => Err("either nothing, or --write and the reason, in quotes".into()),
    }
}

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn check() -> Result<bool> {
    let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let expected: Expected = toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?;
    let (lines, is_kept) = compare(&expected.instructions, &count()?);
    print!("{lines}");
    if !is_kept {
        println!(
            "The counts differ by more than {TOLERANCE_PERCENT} %. If that is meant, write them down and commit them with the change:\n\
             \x20 cargo run -p culex-instructions -- --write \"what changed\""
        );
        let compiler = compiler()?;
        if compiler != expected.compiler {
            println!("They were counted with {}; this is {compiler}.", expected.compiler);
        }
    }
    Ok(is_kept)
}

/// A line for each, and whether all are what they should be.
fn compare(expected: &Counts, counted: &Counts) -> (String, bool) {
    let mut lines = String::new();
    let mut is_kept = true;
    for name in expected.keys().chain(counted.keys().filter(|name| !expected.contains_key(*name))) {
        let (wanted, is) = (expected.get(name).copied(), counted.get(name).copied());
        let both = wanted.zip(is);
        let percent = both.map(|(wanted, is)| (is as f64 / wanted as f64 - 1.0) * 100.0);
        // In whole numbers: 1030 of 1000 is 3 %, and a little more as a fraction.
        let is_good = both.is_some_and(|(wanted, is)| {
            is.abs_diff(wanted).saturating_mul(100) <= wanted.saturating_mul(TOLERANCE_PERCENT)
        });
        is_kept &= is_good;
        let mark = if is_good { ' ' } else { '!' };
        let figure = |count: Option<u64>| count.map_or("–".to_owned(), |count| count.to_string());
        let change = percent.map_or("new or gone".to_owned(), |percent| format!("{percent:+.2} %"));
        lines += &format!("{mark} {name:<28} {:>12} → {:>12}  {change}\n", figure(wanted), figure(is));
    }
    (lines, is_kept)
}

fn document(compiler: &str, reason: &str, counts: &Counts) -> String {
    // A basic string of TOML escapes as Rust does.
    let text = |text: &str| format!("{text:?}");
    let mut document = format!(
        "# Instructions of the hot path, as Callgrind counts them: `cargo run -p culex-instructions` compares, `.ci/run instructions`\n\
         # fails beyond {TOLERANCE_PERCENT} %. A change that is meant is written down with `-- --write REASON`, in the same commit.\n\
         compiler = {}\n\
         reason = {}\n\n\
         [instructions]\n",
        text(compiler),
        text(reason),
    );
    for (name, count) in counts {
        document += &format!("{} = {count}\n", text(name));
    }
    document
}

/// Builds and runs the bench. It needs valgrind and gungraun-runner.
fn count() -> Result<Counts> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "-p", "culex-instructions", "--bench", "hot_path"])
        .args(["--", "--output-format=json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(
            "the bench failed. It needs valgrind and gungraun-runner, which .ci/install brings".into()
        );
    }
    let counts: Counts = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter::<Value>()
        .map(|summary| count_of(&summary?).ok_or_else(|| "a summary without a count of instructions".into()))
        .collect::<Result<_>>()?;
    if counts.is_empty() { Err("the bench has counted nothing".into()) } else { Ok(counts) }
}

/// The name and count of one benchmark in gungraun's summary.
fn count_of(summary: &Value) -> Option<(String, u64)> {
    let text = |name| summary.get(name).and_then(Value::as_str);
    let count = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new")?.as_u64()?;
    Some((format!("{}/{}", text("function_name")?, text("id")?), count))
}

fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn three_percent_are_kept_and_more_is_not() {
        let expected = counts(&[("a", 1000)]);
        for (count, is_kept) in [(1000, true), (1030, true), (970, true), (1031, false), (969, false)] {
            assert_eq!(compare(&expected, &counts(&[("a", count)])).1, is_kept, "{count}");
        }
        assert!(!compare(&expected, &counts(&[])).1, "a count that is gone");
        assert!(!compare(&expected, &counts(&[("a", 1000), ("b", 1)])).1, "a count that nobody wrote down");
    }

    #[test]
    fn the_document_is_read_back() {
        let counts = counts(&[("publish/qos0_to_1", 12_345)]);
        let text = document("rustc 1.95.0", "a \"reason\"", &counts);
        let read: Expected = toml::from_str(&text).unwrap();
        assert_eq!((read.compiler.as_str(), read.instructions), ("rustc 1.95.0", counts));
    }

    #[test]
    fn the_file_names_its_compiler() {
        let text = std::fs::read_to_string(FILE).unwrap();
        let read: Expected = toml::from_str(&text).unwrap();
        assert!(read.compiler.starts_with("rustc ") && !read.instructions.is_empty());
    }
}
