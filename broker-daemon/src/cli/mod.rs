//! What a user types.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::Exit;

mod acl;
mod banner;
mod bench;
mod bridge;
mod check;
mod config;
mod ctl;
mod documents;
pub mod human;
mod init;
mod integrations;
mod interrupt;
mod output;
mod passwd;
mod publish;
mod remote;
mod secret;
mod secure;
mod serve;
mod state;
mod stdin;
#[cfg(feature = "store-sqlite")]
mod store;
mod subscribe;
mod top;
mod webhook;

/// An MQTT broker: one command to run.
#[derive(Debug, Parser)]
#[command(
    name = "culex",
    version,
    about = "An MQTT broker. Without arguments it serves this computer on port 1883.",
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        culex                            serve 127.0.0.1:1883\n  \
        culex -p 11883                   serve another port\n  \
        culex -c culex.toml              serve what the file says\n  \
        culex sub -t 'hello/#' -v        print what is published there\n  \
        culex pub -t hello/world -m hi   publish a message"
)]
struct Cli {
    #[command(flatten)]
    serve: serve::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish messages, with mosquitto_pub's options
    Pub(publish::Arguments),
    /// Subscribe and print messages, with mosquitto_sub's options
    Sub(subscribe::Arguments),
    /// Measure a broker, and verify each delivery
    Bench(bench::Arguments),
    /// Set up a broker with a password, and with TLS
    Init(init::Arguments),
    /// Add, change and remove users of a password file, with mosquitto_passwd's options
    Passwd(passwd::Arguments),
    /// Name all mistakes in a configuration file; starts nothing
    Check(check::Arguments),
    /// Say what an access control list decides
    Acl(acl::Arguments),
    /// Ask a running broker, or tell it what to do
    Ctl(ctl::Arguments),
    /// See what a running broker does, second by second
    Top(top::Arguments),
    /// Bridges to other brokers, and a local stand-in for AWS IoT Core
    Bridge(bridge::Arguments),
    /// Try a webhook, or look at what it gave up on
    Webhook(webhook::Arguments),
    /// Help with writing a configuration
    Config(config::Arguments),
    /// Look into a data directory without a broker, or repair it
    #[cfg(feature = "store-sqlite")]
    Store(store::Arguments),
    /// Print the completions of a shell
    Completions(documents::Completions),
    /// Write the man pages
    Man(documents::Man),
}

/// Runs the command line of this process and says how it ended.
pub fn run() -> Exit {
    run_with(std::env::args_os())
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with code 0. Output that cannot be written has no reader.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Pub(arguments)) => publish::run(arguments),
        Some(Command::Sub(arguments)) => subscribe::run(arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
        Some(Command::Init(arguments)) => init::run(&arguments),
        Some(Command::Passwd(arguments)) => passwd::run(&arguments),
        Some(Command::Check(arguments)) => check::run(&arguments),
        Some(Command::Acl(arguments)) => acl::run(&arguments),
        Some(Command::Ctl(arguments)) => ctl::run(&arguments),
        Some(Command::Top(arguments)) => top::run(&arguments),
        Some(Command::Bridge(arguments)) => bridge::run(&arguments),
        Some(Command::Webhook(arguments)) => webhook::run(&arguments),
        Some(Command::Config(arguments)) => config::run(&arguments),
        #[cfg(feature = "store-sqlite")]
        Some(Command::Store(arguments)) => store::run(&arguments),
        Some(Command::Completions(arguments)) => documents::completions(&arguments, Cli::command()),
        Some(Command::Man(arguments)) => documents::man(&arguments, Cli::command()),
    }
}

/// Runs `work` on a runtime of this thread alone.
fn run_async(work: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(work);
            // A name lookup that hangs must not keep the program.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            human::complain(format_args!("cannot start: {}", human::io(&error)));
            Exit::Internal
        }
    }
}

/// Prints a document to standard output.
fn print(text: &str) -> Exit {
    match human::print(text) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            human::complain(format_args!("cannot write to standard output: {}", human::io(&error)));
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
