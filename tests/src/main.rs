//! Test programs that are not `cargo test`: `culex-tests conformance --broker HOST:PORT` and
//! `culex-tests sim --seeds A..B`.

use std::process::ExitCode;

use anyhow::bail;

#[path = "../conformance/suite.rs"]
mod suite;

const USAGE: &str = "\
usage: culex-tests conformance [--broker HOST:PORT] [--known NAME] [--markdown] [FILTER]
       culex-tests sim [--seeds A..B | --seed N] [--crashes | --failing-commit N] [--jobs N] [--trace]";

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("conformance") => conformance(arguments),
        Some("sim") => sim(arguments),
        Some(other) => bail!("unknown program {other}\n{USAGE}"),
        None => bail!("{USAGE}"),
    }
}

fn conformance(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    use culex_tests::{manifest::Manifest, report};
    let options = report::Options::parse(arguments)?;
    let manifest = Manifest::parse(include_str!("../conformance/manifest.toml"))?;
    let differences = toml::from_str(include_str!("../conformance/differences.toml"))?;
    let good = report::run(suite::all(), &options, &manifest.statements_by_test(), &differences)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sim(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    use culex_tests::sim::program;
    let good = program::program(&program::Options::parse(arguments)?)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
