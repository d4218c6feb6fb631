//! `culex bridge`: what an operator does about bridges. A file per sub-command.

use crate::exit::Exit;

mod emulate_aws;

/// What about bridges.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a strict local stand-in for AWS IoT Core, to try a bridge without an account
    EmulateAws(emulate_aws::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match &arguments.command {
        Command::EmulateAws(arguments) => emulate_aws::run(arguments),
    }
}
