//! `culex bridge test`: what is wrong between a bridge and the other broker.

use std::time::Duration;

use super::Written;
use super::hand::{Paused, Pausing};
use crate::bridge::diagnosis::{Options, Row, Verdict, diagnose};
use crate::cli::ctl::Which;
use crate::cli::human;
use crate::cli::interrupt::Interrupt;
use crate::config::{Bridge, Config};
use crate::exit::Exit;

/// Which bridge, and what may be done.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    culex bridge test -c culex.toml aws\n  \
    culex bridge test -c culex.toml aws --publish\n\n\
    A running bridge of this name is paused meanwhile, because the two have one client id.\n\
    Exit code 0 if everything works, 1 if not.")]
pub(super) struct Arguments {
    #[command(flatten)]
    written: Written,
    #[command(flatten)]
    which: Which,
    /// Publish a message to a topic of each [[bridge.out]]; whoever subscribes there gets it
    #[arg(long)]
    publish: bool,
    /// How long to wait for somebody else with the same client id, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    hold: u64,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (bridge, config) = match arguments.written.load() {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    crate::cli::run_async(test(arguments, &bridge, config))
}

async fn test(arguments: &Arguments, bridge: &Bridge, config: Config) -> Exit {
    let mut interrupt = Interrupt::catch();
    // Without a directory there is no socket, so nothing that could be paused.
    let socket = arguments.which.socket(config).ok();
    let paused = match &socket {
        None => None,
        Some(socket) => match Paused::begin(socket, &bridge.name).await {
            Ok(Pausing::Done(paused)) => {
                say(&format!(
                    "The running bridge {} is paused for this test; it goes on afterwards.\n",
                    bridge.name
                ));
                Some(paused)
            }
            Ok(Pausing::Needless(why)) => {
                say(&format!("Nothing to pause: {why}.\n"));
                None
            }
            Err(error) => {
                human::complain(format_args!(
                    "cannot pause the running bridge, and the two would throw each other out: {error}"
                ));
                return Exit::Failed;
            }
        },
    };
    let hold = Duration::from_secs(arguments.hold);
    let options = Options { publish: arguments.publish, hold, ..Options::default() };
    let rows = tokio::select! {
        rows = diagnose(bridge, &options, |row| say(&format!("{row}\n"))) => Some(rows),
        () = interrupt.wait() => None,
    };
    let was_paused = paused.is_some();
    let resumed = match paused {
        Some(paused) => paused.resume().await,
        None => Ok(()),
    };
    if was_paused && resumed.is_ok() && bridge.is_aws_iot() {
        say(
            "\nThe running bridge comes back in a second: AWS IoT takes one CONNECT a second of a client id.\n",
        );
    }
    if let Err(error) = resumed {
        human::complain(format_args!(
            "the bridge stays paused, `culex bridge resume {}` brings it back: {error}",
            bridge.name
        ));
    }
    rows.map_or(Exit::Failed, |rows| conclude(&rows))
}

fn conclude(rows: &[Row]) -> Exit {
    let mut wrong: Vec<_> = rows.iter().filter_map(|row| Some(row.finding.as_ref()?.cause.word())).collect();
    wrong.dedup();
    if !rows.iter().any(|row| row.verdict == Verdict::Bad) {
        say("\nEverything that was tried works.\n");
        return Exit::Ok;
    }
    say(&format!("\nWrong: {}.\n", wrong.join(", ")));
    Exit::Failed
}

/// A row as soon as it is known. Without a reader there is nobody to tell.
fn say(text: &str) {
    let _ = human::print(text);
}
