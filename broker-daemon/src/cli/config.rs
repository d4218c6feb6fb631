//! `culex config`: help with writing a configuration.

use std::path::{Path, PathBuf};

use crate::cli::human;
use crate::config::{Config, ConfigError, Environment, reference};
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
    /// Print what becomes of mosquitto's options (docs/mosquitto.md)
    Mosquitto,
    /// Print a configuration of mosquitto as culex.toml, with what is left out as comments
    Translate {
        /// The file of mosquitto
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match &arguments.command {
        Command::Reference => super::print(&reference::page()),
        Command::Mosquitto => super::print(&reference::mosquitto_page()),
        Command::Translate { file } => match translated(file) {
            Ok(text) => super::print(&text),
            Err(error) => {
                human::complain_all(&error);
                Exit::Failed
            }
        },
    }
}

/// The file as TOML. What the environment says is not part of it.
fn translated(file: &Path) -> Result<String, ConfigError> {
    let (config, notes) = Config::load_with_notes(Some(file), &Environment::default())?;
    let mut text = String::new();
    for note in notes {
        text.push_str(&format!("# {note}\n"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    Ok(text + &config.to_toml())
}
