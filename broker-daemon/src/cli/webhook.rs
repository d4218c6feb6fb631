//! `culex webhook`: tries a webhook, and looks at what it gave up on.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{ctl, human, integrations};
use crate::config::{Config, Environment, Webhook};
use crate::exit::Exit;
use crate::webhook::trial::{self, Trial};

/// Bytes of a reply that are shown.
const REPLY_SHOWN: usize = 2048;
const TOPIC: &str = "culex/webhook/test";
const PAYLOAD: &str = r#"{"hello": "from culex", "temperature": 21.5}"#;

/// What about a webhook.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  culex webhook test sensors -c culex.toml\n  culex webhook status\n  culex webhook dlq list webhook/sensors"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send one message, and show request, answer and what is wrong; no broker has to run
    Test(Test),
    /// How the webhooks of a running broker are
    #[command(after_help = "Exit code 0 unless a service does not take what it is sent; then 1.")]
    Status(integrations::Arguments),
    /// Messages that were given up
    Dlq(ctl::DeadLetterArguments),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 if the service has taken it, 1 if not.")]
struct Test {
    /// Name of the webhook
    name: String,
    /// The configuration file that has it
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Topic of the message
    #[arg(long, default_value = TOPIC)]
    topic: String,
    /// Payload of the message
    #[arg(long, default_value = PAYLOAD)]
    payload: String,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match &arguments.command {
        Command::Test(test) => try_it(test),
        Command::Status(arguments) => integrations::run(integrations::Kind::Webhook, arguments),
        Command::Dlq(arguments) => ctl::run_dead_letters(arguments),
    }
}

fn try_it(test: &Test) -> Exit {
    let config = match Config::load(Some(&test.config), &Environment::of_process()) {
        Ok(config) => config,
        Err(error) => {
            human::complain_all(&error);
            return Exit::Failed;
        }
    };
    let Some(webhook) = config.webhooks.iter().find(|webhook| webhook.name == test.name) else {
        let names: Vec<_> = config.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
        let there =
            if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        let (name, file) = (test.name.escape_debug(), test.config.display());
        human::complain(format_args!("there is no [[webhook]] with the name \"{name}\" in {file}; {there}"));
        return Exit::Failed;
    };
    super::run_async(async {
        match trial::attempt(webhook, &test.topic, test.payload.as_bytes()).await {
            Ok(trial) => {
                let printed = super::print(&report(webhook, &trial));
                if trial.is_taken() { printed } else { Exit::Failed }
            }
            Err(error) => {
                human::complain_all(&error);
                Exit::Failed
            }
        }
    })
}

fn report(webhook: &Webhook, trial: &Trial) -> String {
    let Trial { request, outcome, took } = trial;
    let mut text = format!("{} {}\n", request.method, webhook.url);
    for (name, value) in &request.headers {
        // Those of the configuration may be passwords.
        let value = if value.is_sensitive() { "(hidden)" } else { value.to_str().unwrap_or("(not text)") };
        let _ = writeln!(text, "  {name}: {value}");
    }
    let _ = writeln!(text, "\n{}\n", shown(&request.body));
    match outcome {
        Ok(answer) => {
            let (reply, took) = (&answer.reply, took.as_millis());
            let _ = writeln!(text, "answer {} from {} after {took} ms", reply.status, answer.address);
            for (name, value) in [("content-type", &reply.content_type), ("location", &reply.location)] {
                if let Some(value) = value {
                    let _ = writeln!(text, "  {name}: {}", value.escape_debug());
                }
            }
            if !reply.body.is_empty() {
                let _ = writeln!(text, "\n{}", shown(&reply.body));
            }
        }
        Err(error) => {
            let _ = writeln!(text, "no answer: {error}");
        }
    }
    match trial.hint() {
        Some(hint) => {
            let _ = writeln!(text, "\nhint: {hint}");
        }
        None => text.push_str("\nthe service has taken it\n"),
    }
    text
}

/// The beginning of a body, for a terminal.
fn shown(body: &[u8]) -> String {
    let beginning = body.get(..REPLY_SHOWN).unwrap_or(body);
    let is_harmless = |c: &char| matches!(c, '\n' | '\t') || !c.is_control();
    let text = String::from_utf8_lossy(beginning).chars().filter(is_harmless).collect::<String>();
    if body.len() > REPLY_SHOWN { format!("{text}… ({} bytes in all)", body.len()) } else { text }
}
