//! `culex check`: all mistakes of a configuration at once, without starting or writing anything.

use std::path::PathBuf;

use crate::acl::Acl;
use crate::bridge;
use crate::cli::human;
use crate::config::{Config, ConfigError, Environment, Place, Problem, WithFaults};
use crate::exit::Exit;
use crate::tls::{HttpTls, Secured};
use crate::users::PasswordFile;
use crate::webhook;

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
    let WithFaults { config, notes, wrong } = match Config::load_with_faults(file, &Environment::of_process())
    {
        Ok(read) => read,
        Err(error) => return complain(&faults_of(Exit::Failed, &error)),
    };
    let faults = faults(&config, wrong.as_ref());
    if !faults.is_empty() {
        return complain(&faults);
    }
    for note in notes {
        human::note(format_args!("note: {note}"));
    }
    let name = file.map(|file| file.display().to_string()).unwrap_or_default();
    let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    super::print(&format!("{name} is correct; it listens on {}\n", listeners.join(", ")))
}

/// What is wrong, and the exit code that it stands for.
type Fault = (Exit, String);

/// What is wrong with the configuration, and with the files that it names: all that a start would read are read, as far as
/// it says which.
fn faults(config: &Config, wrong: Option<&ConfigError>) -> Vec<Fault> {
    let written = wrong.map(ConfigError::problems).unwrap_or_default();
    let mut faults = wrong.map(|wrong| faults_of(Exit::Failed, wrong)).unwrap_or_default();
    let mut add = |exit, read: Result<(), ConfigError>| {
        if let Err(error) = read {
            let new =
                error.problems().iter().filter(|found| !written.iter().any(|known| is_same(known, found)));
            faults.extend(new.map(|problem| (exit, problem.to_string())));
        }
    };
    add(Exit::Failed, read_users(config));
    add(Exit::Tls, Secured::load(config).map(drop));
    add(Exit::Tls, HttpTls::load(config).map(drop));
    add(Exit::Tls, bridge::Prepared::read(config).map(drop));
    add(Exit::Tls, webhook::Prepared::read(&config.webhooks).map(drop));
    if let Err(error) = Acl::configured(&config.acl) {
        faults.push((Exit::Failed, error.to_string()));
    }
    faults
}

/// Whether what is wrong with a file was said where the configuration names it.
fn is_same(known: &Problem, found: &Problem) -> bool {
    let Place::File { file } = &found.place else { return false };
    known.help == found.help && known.message.contains(file)
}

fn faults_of(exit: Exit, error: &ConfigError) -> Vec<Fault> {
    error.problems().iter().map(|problem| (exit, problem.to_string())).collect()
}

fn read_users(config: &Config) -> Result<(), ConfigError> {
    if let Some(path) = &config.auth.password_file
        && let Some(warning) = PasswordFile::read(path)?.warning()
    {
        human::note(format_args!("warning: {warning}"));
    }
    Ok(())
}

/// Names them all. Where not all of them are about certificates and keys, that is no exit code for it.
fn complain(faults: &[Fault]) -> Exit {
    for (_, message) in faults {
        human::complain(message);
    }
    if let count @ 2.. = faults.len() {
        human::note(format_args!("{count} errors"));
    }
    if faults.iter().all(|(exit, _)| *exit == Exit::Tls) { Exit::Tls } else { Exit::Failed }
}
