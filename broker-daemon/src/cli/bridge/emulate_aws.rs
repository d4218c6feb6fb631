//! `culex bridge emulate-aws`: a strict local stand-in for AWS IoT Core.

use std::path::PathBuf;

use crate::cli::human;
use crate::exit::Exit;

/// Where it keeps its certificates, and where it listens.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder of certificates and registry; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "aws-emulator")]
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    human::complain(format_args!("{}: the emulator cannot be run yet", arguments.directory.display()));
    Exit::Failed
}
