//! `culex acl`: what an access control list decides, and by which rule.

use std::path::PathBuf;

use culex_core::codec::{TopicFilter, TopicName};

use crate::acl::{Acl, AclError, Action};
use crate::cli::human;
use crate::config::{Config, Environment};
use crate::exit::Exit;

/// What about access control lists.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether a client may do something, and which rule decides
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  culex acl explain --acl-file acl --user ann --client c1 --topic sensors/1 publish\n\n\
    Exit code 0 if it may, 1 if not or if the list is wrong."
)]
struct Explain {
    /// The configuration file that names the list
    #[arg(short, long = "config", value_name = "FILE", required_unless_present = "acl_file")]
    config: Option<PathBuf>,
    /// The list itself
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    acl_file: Option<PathBuf>,
    /// The user name; without it, a client that sends none
    #[arg(long)]
    user: Option<String>,
    /// The ClientId
    #[arg(long, default_value = "client")]
    client: String,
    /// The topic; for `subscribe`, the filter
    #[arg(long)]
    topic: String,
    /// What the client wants to do
    #[arg(value_enum)]
    action: Wish,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wish {
    Publish,
    Subscribe,
    Receive,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Command::Explain(explain) = &arguments.command;
    match answer(explain) {
        Ok((text, true)) => super::print(&text),
        Ok((text, false)) => {
            super::print(&text);
            Exit::Failed
        }
        Err(message) => {
            human::complain(message);
            Exit::Failed
        }
    }
}

/// The sentence, and whether it is a yes.
fn answer(explain: &Explain) -> Result<(String, bool), String> {
    let (path, acl) = list_of(explain)?;
    let rights = acl.rights(explain.user.as_deref(), &explain.client);
    let topic = explain.topic.as_str();
    let name = || {
        TopicName::new(topic).map_err(|error| format!("`{}` is not a topic: {error}", topic.escape_debug()))
    };
    let (verb, decision) = match explain.action {
        Wish::Publish => ("publish to", rights.decide(Action::Publish, name()?)),
        Wish::Receive => ("receive from", rights.decide(Action::Receive, name()?)),
        Wish::Subscribe => {
            TopicFilter::new(topic)
                .map_err(|error| format!("`{}` is not a topic filter: {error}", topic.escape_debug()))?;
            ("subscribe to", rights.decide_subscribe(topic))
        }
    };
    let user = match &explain.user {
        Some(user) => format!("user {}", user.escape_debug()),
        None => "a client without a user name".to_owned(),
    };
    let may = if decision.is_allowed() { "may" } else { "may not" };
    let place = match decision.line() {
        Some(line) => format!("{}:{line}: ", path.display()),
        None => format!("{}: ", path.display()),
    };
    let client = explain.client.escape_debug();
    let text = format!("{user}, ClientId {client}, {may} {verb} {topic}\n{place}{}\n", decision.reason());
    Ok((text, decision.is_allowed()))
}

/// The list, and the file that it is in.
fn list_of(explain: &Explain) -> Result<(PathBuf, Acl), String> {
    let wrong = |error: AclError| error.to_string();
    if let Some(path) = &explain.acl_file {
        return Ok((path.clone(), Acl::load(path).map_err(wrong)?));
    }
    let config = Config::load(explain.config.as_deref(), &Environment::of_process())
        .map_err(|error| error.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let acl = Acl::configured(&config.acl).map_err(wrong)?.ok_or_else(|| {
        "the configuration has no access control list ([acl] file, [[acl.rule]]), so everything is allowed".to_owned()
    })?;
    Ok((config.acl.file.or_else(|| explain.config.clone()).unwrap_or_default(), acl))
}
