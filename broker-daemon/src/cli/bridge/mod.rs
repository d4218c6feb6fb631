//! `culex bridge`: what an operator does about bridges. A file per sub-command.

use std::path::PathBuf;

use crate::cli::{human, integrations};
use crate::config::{Bridge, Config, Environment};
use crate::exit::Exit;

mod emulate_aws;
mod hand;
mod policy;
mod test;

/// What about bridges.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    culex bridge test -c culex.toml aws       what works, and what is wrong with what does not\n  \
    culex bridge status                       of the running broker\n  \
    culex bridge emulate-aws                  to try it without an account")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Find out what is wrong between a bridge and the other broker
    Test(test::Arguments),
    /// Print the least policy that AWS IoT needs for a bridge
    Policy(policy::Arguments),
    /// How the bridges of a running broker are
    #[command(after_help = "Exit code 0 if every bridge is connected or paused, 1 if not.")]
    Status(integrations::Arguments),
    /// End the connections of a bridge; messages wait meanwhile
    Pause(hand::Arguments),
    /// Connect a bridge again that was paused
    Resume(hand::Arguments),
    /// Run a strict local stand-in for AWS IoT Core, to try a bridge without an account
    EmulateAws(emulate_aws::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match &arguments.command {
        Command::Test(arguments) => test::run(arguments),
        Command::Policy(arguments) => policy::run(arguments),
        Command::Status(arguments) => integrations::run(integrations::Kind::Bridge, arguments),
        Command::Pause(arguments) => hand::run(arguments, hand::Order::Pause),
        Command::Resume(arguments) => hand::run(arguments, hand::Order::Resume),
        Command::EmulateAws(arguments) => emulate_aws::run(arguments),
    }
}

/// A bridge of a configuration.
#[derive(Debug, clap::Args)]
struct Written {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The name of the bridge; needless if there is one alone
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Written {
    /// The bridge, and all of the configuration. Complains if there is none.
    fn load(&self) -> Result<(Bridge, Config), Exit> {
        let config = Config::load(Some(&self.config), &Environment::of_process()).map_err(|error| {
            human::complain_all(&error);
            Exit::Failed
        })?;
        let found = match (&self.name, config.bridges.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), bridges) => bridges.iter().find(|bridge| bridge.name == *name),
        };
        if let Some(bridge) = found {
            return Ok((bridge.clone(), config));
        }
        let names: Vec<_> = config.bridges.iter().map(|bridge| bridge.name.as_str()).collect();
        let file = self.config.display();
        human::complain(match (&self.name, names.is_empty()) {
            (_, true) => format!("{file} has no bridge"),
            (Some(name), false) => {
                format!("{file} has no bridge \"{}\"; it has {}", name.escape_debug(), names.join(", "))
            }
            (None, false) => format!("name one of the bridges: {}", names.join(", ")),
        });
        Err(Exit::Usage)
    }
}
