//! `culex check`: all mistakes of a configuration at once, without starting or writing anything.

use std::path::PathBuf;

use crate::acl::Acl;
use crate::cli::human;
use crate::config::{Config, ConfigError, Environment};
use crate::exit::Exit;
use crate::users::PasswordFile;

/// What to check.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "culex check [-c] FILE",
    after_help = "Example:\n  culex check -c culex.toml\n\nExit code 0 if the file is correct, 1 if not, 4 if a certificate or key cannot be used."
)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same without -c
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let file = arguments.config.as_deref().or(arguments.file.as_deref());
    let loaded = Config::load_with_notes(file, &Environment::of_process());
    match loaded.and_then(|(config, notes)| Ok((with_users(config)?, notes))) {
        Ok((config, notes)) => {
            if let Err(error) = Acl::configured(&config.acl) {
                human::complain(error);
                return Exit::Failed;
            }
            let secured = crate::tls::Secured::load(&config).map(drop);
            if let Err(error) = secured.and_then(|()| crate::bridge::Prepared::read(&config).map(drop)) {
                complain(&error);
                return Exit::Tls;
            }
            for note in notes {
                human::note(format_args!("note: {note}"));
            }
            let name = file.map(|file| file.display().to_string()).unwrap_or_default();
            let listeners: Vec<_> =
                config.listeners.iter().map(|listener| listener.address.to_string()).collect();
            super::print(&format!("{name} is correct; it listens on {}\n", listeners.join(", ")))
        }
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}

/// A configuration is as correct as the files that it names.
fn with_users(config: Config) -> Result<Config, ConfigError> {
    if let Some(path) = &config.auth.password_file
        && let Some(warning) = PasswordFile::read(path)?.warning()
    {
        human::note(format_args!("warning: {warning}"));
    }
    Ok(config)
}

fn complain(error: &ConfigError) {
    human::complain_all(error);
    if let count @ 2.. = error.problems().len() {
        human::note(format_args!("{count} errors"));
    }
}
