//! `culex store`: what is in a data directory, whether it is whole, and how it is made whole. Without a broker.

mod dump;

use std::path::{Path, PathBuf};

use culex_core::StoreError;
use culex_core::engine::store::Stored;
use culex_core::store::{self, Damage};

use crate::cli::human;
use crate::exit::Exit;

/// Which store, and what of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  culex store check /var/lib/culex\n  culex store dump DIR --queues\n  \
                  culex store repair DIR\n\nNo broker may be running on the directory.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read everything and name what is damaged; changes nothing
    #[command(after_help = "Exit code 0 if the store is whole, 5 if it is damaged or cannot be read.")]
    Check {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Make a new file of everything that can be read; the damaged files are kept
    #[command(
        after_help = "Says what is lost. The old files stay in the directory as culex.db.damaged-<time> and \
                      culex.db-wal.damaged-<time>.\nA store that is whole is left as it is. \
                      Exit code 0 if the store can be used now."
    )]
    Repair {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// List sessions, queued messages and retained messages; changes nothing
    Dump(dump::Arguments),
}

/// Lines about damage that are printed; the rest is counted.
const DAMAGES_MAX: usize = 200;

pub(super) fn run(arguments: &Arguments) -> Exit {
    match &arguments.command {
        Command::Check { directory } => check(directory),
        Command::Repair { directory } => repair(directory),
        Command::Dump(arguments) => dump::run(arguments),
    }
}

fn check(directory: &Path) -> Exit {
    let found = match store::inspect(directory) {
        Ok(found) => found,
        Err(error) => return refuse(&error),
    };
    if found.damages.is_empty() {
        return super::print(&format!("The store is whole: {}.\n", summary(&found.stored)));
    }
    complain(&found.damages);
    human::note(format_args!(
        "\nWhat can be read: {}.\n`culex store repair {}` goes on with it and keeps the damaged files.",
        summary(&found.stored),
        directory.display()
    ));
    Exit::Storage
}

fn repair(directory: &Path) -> Exit {
    let done = match store::repair(directory) {
        Ok(done) => done,
        Err(error) => return refuse(&error),
    };
    if done.damages.is_empty() {
        return super::print(&format!("Nothing to repair: {}.\n", summary(&done.stored)));
    }
    complain(&done.damages);
    let mut text = format!("\nThe store has {} now.\n", summary(&done.stored));
    for file in &done.aside {
        text.push_str(&format!("The damaged file is {}.\n", file.display()));
    }
    super::print(&text)
}

fn refuse(error: &StoreError) -> Exit {
    if let StoreError::InUse { path, holder } = error {
        human::complain(format_args!("{} is in use by {holder}; stop that broker first", path.display()));
    } else {
        human::complain(error);
    }
    Exit::Storage
}

fn complain(damages: &[Damage]) {
    for damage in damages.iter().take(DAMAGES_MAX) {
        human::note(format_args!("damaged: {damage}"));
    }
    if let more @ 1.. = damages.len().saturating_sub(DAMAGES_MAX) {
        human::note(format_args!("and {more} more"));
    }
}

fn summary(stored: &Stored) -> String {
    let sum = |count: fn(&culex_core::engine::store::StoredSession) -> usize| -> usize {
        stored.sessions.iter().map(count).sum()
    };
    format!(
        "{} sessions, {} subscriptions, {} messages in queues, {} retained messages",
        stored.sessions.len(),
        sum(|session| session.subscriptions.len()),
        sum(|session| session.queue.len()),
        stored.retained.len()
    )
}
