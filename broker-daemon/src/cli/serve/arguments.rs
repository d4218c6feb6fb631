//! The command line of the broker, and the configuration with what it says on top.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Environment, LogFormat, LogLevel, Note, Place, Problem, StoreMode};

/// How to serve.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Configuration file, TOML or mosquitto's; without it, 127.0.0.1:1883 and the defaults
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Port of the (only) listener
    #[arg(short, long)]
    port: Option<u16>,
    /// Keep sessions and retained messages in this directory; otherwise in the system's place for such, see the banner
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// Keep nothing: sessions and retained messages end with the broker
    #[arg(long)]
    ephemeral: bool,
    /// Log each decision
    #[arg(short, long)]
    verbose: bool,
    /// Log lines for people or for programs
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<Format>,
    /// What mosquitto does with it is explained.
    #[arg(short, long, hide = true)]
    pub(super) daemon: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Arguments {
    /// Whether `-p`, if it was given, has a port to set.
    pub(super) fn can_set_port(&self, config: &Config) -> bool {
        self.port.is_none() || matches!(config.listeners.as_slice(), [one] if one.address.ip().is_some())
    }

    /// The configuration, with what the command line says on top.
    pub(super) fn configure(&self) -> Result<(Config, Vec<Note>), ConfigError> {
        let (mut config, notes) =
            Config::load_with_notes(self.config.as_deref(), &Environment::of_process())?;
        if let (Some(port), [listener]) = (self.port, config.listeners.as_mut_slice()) {
            listener.address.set_port(port);
            // Whoever takes any port wants no other fixed one.
            if let Some(http) = config.http.as_mut().filter(|_| port == 0 && self.config.is_none()) {
                http.address.set_port(0);
            }
        }
        if self.ephemeral {
            config.store.durability = StoreMode::None;
        } else if let Some(directory) = &self.data_dir {
            config.store.directory = Some(directory.clone());
        }
        if self.verbose {
            config.log.level = config.log.level.max(LogLevel::Debug);
        }
        match self.log_format {
            Some(Format::Text) => config.log.format = LogFormat::Text,
            Some(Format::Json) => config.log.format = LogFormat::Json,
            None => {}
        }
        Ok((config, notes))
    }

    /// The same at a reload, when a listener may have been added.
    pub(super) fn configure_again(&self) -> Result<Config, ConfigError> {
        let (config, _) = self.configure()?;
        if !self.can_set_port(&config) {
            let message = NOT_ONE_PORT.to_owned();
            return Err(ConfigError::alone(Problem { place: Place::CommandLine, message, help: None }));
        }
        Ok(config)
    }
}

pub(super) const NOT_ONE_PORT: &str =
    "-p sets the port of one listener, and the configuration has several, or a Unix socket";
