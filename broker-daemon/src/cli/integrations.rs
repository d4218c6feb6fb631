//! How the bridges or the webhooks of a running broker are: `culex bridge status`, `culex webhook status`.

use std::fmt::Write as _;

use serde_json::Value;

use super::ctl::{Which, body_of, table, word};
use super::human;
use crate::config::Config;
use crate::control;
use crate::exit::Exit;

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bridge,
    Webhook,
}

/// Which broker, and how it is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Print everything that the broker says, as JSON
    #[arg(long)]
    json: bool,
}

type Columns = &'static [(&'static str, &'static str)];

const BRIDGE: Columns = &[
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("CONNECTIONS", "/connections/up"),
    ("ADDRESS", "/address"),
    ("OUT", "/out/delivered"),
    ("IN", "/in/delivered"),
    ("WAITING", "/queue/messages"),
    ("IN FLIGHT", "/in_flight"),
    ("THROTTLED", "/throttled"),
    ("DEAD", "/out/dead_lettered"),
];
const WEBHOOK: Columns = &[
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("SENT", "/out/delivered"),
    ("RETRIED", "/out/retried"),
    ("WAITING", "/queue/messages"),
    ("IN FLIGHT", "/in_flight"),
    ("THROTTLED", "/throttled"),
    ("DEAD", "/out/dead_lettered"),
];

impl Kind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Webhook => "webhook",
        }
    }

    const fn columns(self) -> Columns {
        match self {
            Self::Bridge => BRIDGE,
            Self::Webhook => WEBHOOK,
        }
    }

    /// A webhook that had nothing to send yet is well; a bridge that has not connected yet is not.
    fn is_well(self, state: &str) -> bool {
        match self {
            Self::Bridge => matches!(state, "up" | "paused"),
            Self::Webhook => matches!(state, "starting" | "up" | "paused"),
        }
    }
}

/// Exit code 0 if all are well, 1 if not.
pub(super) fn run(kind: Kind, arguments: &Arguments) -> Exit {
    super::run_async(async {
        match ask(kind, arguments).await {
            Ok((text, is_well)) => {
                let printed = super::print(&text);
                if printed == Exit::Ok && !is_well { Exit::Failed } else { printed }
            }
            Err(error) => {
                human::complain(error);
                Exit::Failed
            }
        }
    })
}

async fn ask(kind: Kind, arguments: &Arguments) -> Result<(String, bool), String> {
    let socket = arguments.which.socket(Config::default())?;
    let reply = control::request(&socket, "GET", &format!("/api/v1/{}s", kind.noun())).await;
    let body = body_of(reply.map_err(|error| error.to_string())?)?;
    let items = body.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_well = items.iter().all(|item| kind.is_well(state(item)));
    let text = if arguments.json { format!("{body}\n") } else { told(kind, &body, items) };
    Ok((text, is_well))
}

fn state(item: &Value) -> &str {
    item.get("state").and_then(Value::as_str).unwrap_or_default()
}

/// A table, and below it what is wrong and what their owner should know.
fn told(kind: Kind, body: &Value, items: &[Value]) -> String {
    let noun = kind.noun();
    if items.is_empty() {
        return format!("this broker has no {noun}s\n");
    }
    let mut text = String::new();
    table(&mut text, body, kind.columns(), true);
    for item in items {
        let name = word(item.get("name"));
        let why = word(item.get("why"));
        if matches!(state(item), "down" | "disabled") && !why.is_empty() && why != "-" {
            let _ = writeln!(text, "{name}: {why}");
            let _ = writeln!(text, "{name}: `culex {noun} test -c FILE {name}` finds out what is wrong");
        }
        if item.pointer("/queue/publishers_wait").and_then(Value::as_bool) == Some(true) {
            let _ = writeln!(
                text,
                "{name}: its queue is full: whoever publishes there waits, and nothing is dropped"
            );
        }
        if let Some(advice) = item.get("advice").and_then(Value::as_str) {
            let _ = writeln!(text, "{name}: {advice}");
        }
        for list in ["/going_round/found", "/going_round/suspected"] {
            let said = item.pointer(list).and_then(Value::as_array);
            for said in said.into_iter().flatten().filter_map(Value::as_str) {
                let _ = writeln!(text, "{name}: {said}");
            }
        }
        if let Some(days) = item.get("certificate_days").and_then(Value::as_i64).filter(|days| *days < 30) {
            let _ = writeln!(text, "{name}: its certificate ends in {days} days");
        }
        let refused = item.get("refused_subscriptions").and_then(Value::as_array);
        if let Some(refused) = refused.filter(|refused| !refused.is_empty()) {
            let _ = writeln!(text, "{name}: refused subscriptions: {}", word(Some(&refused.clone().into())));
        }
    }
    text
}
