//! `culex config`: help with writing a configuration.

use crate::config::reference;
use crate::exit::Exit;

/// Which help.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the reference of all settings (docs/configuration.md)
    Reference,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match arguments.command {
        Command::Reference => super::print(&reference::page()),
    }
}
