//! `culex bridge status`: how the bridges of a running broker are.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::ctl::{Which, body_of, table, word};
use crate::cli::human;
use crate::config::Config;
use crate::control;
use crate::exit::Exit;

/// Which broker, and how it is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 if every bridge is connected or paused, 1 if not.")]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Print everything that the broker says, as JSON
    #[arg(long)]
    json: bool,
}

const COLUMNS: &[(&str, &str)] = &[
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

pub(super) fn run(arguments: &Arguments) -> Exit {
    crate::cli::run_async(async {
        match ask(arguments).await {
            Ok((text, is_well)) => {
                let printed = super::super::print(&text);
                if printed == Exit::Ok && !is_well { Exit::Failed } else { printed }
            }
            Err(error) => {
                human::complain(error);
                Exit::Failed
            }
        }
    })
}

async fn ask(arguments: &Arguments) -> Result<(String, bool), String> {
    let socket = arguments.which.socket(Config::default())?;
    let reply = control::request(&socket, "GET", "/api/v1/bridges").await;
    let body = body_of(reply.map_err(|error| error.to_string())?)?;
    let bridges = body.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let state = |bridge: &Value| bridge.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_well = bridges.iter().all(|bridge| matches!(state(bridge).as_str(), "up" | "paused"));
    if arguments.json {
        return Ok((format!("{body}\n"), is_well));
    }
    let mut text = String::new();
    if bridges.is_empty() {
        text.push_str("this broker has no bridges\n");
        return Ok((text, is_well));
    }
    table(&mut text, &body, COLUMNS, true);
    for bridge in bridges {
        let name = word(bridge.get("name"));
        // Why it is not connected, and what its owner should know.
        let why = Some(word(bridge.get("why"))).filter(|why| !why.is_empty() && why != "-");
        let is_down = matches!(state(bridge).as_str(), "down" | "disabled");
        if let Some(why) = why.filter(|_| is_down) {
            let _ = writeln!(text, "{name}: {why}");
            let _ = writeln!(text, "{name}: `culex bridge test -c FILE {name}` finds out what is wrong");
        }
        if bridge.pointer("/queue/publishers_wait").and_then(Value::as_bool) == Some(true) {
            let _ = writeln!(
                text,
                "{name}: its queue is full: whoever publishes there waits, and nothing is dropped"
            );
        }
        if let Some(advice) = bridge.get("advice").and_then(Value::as_str) {
            let _ = writeln!(text, "{name}: {advice}");
        }
        for list in ["/going_round/found", "/going_round/suspected"] {
            let said = bridge.pointer(list).and_then(Value::as_array);
            for said in said.into_iter().flatten().filter_map(Value::as_str) {
                let _ = writeln!(text, "{name}: {said}");
            }
        }
        if let Some(days) = bridge.get("certificate_days").and_then(Value::as_i64).filter(|days| *days < 30) {
            let _ = writeln!(text, "{name}: its certificate ends in {days} days");
        }
        let refused = bridge.get("refused_subscriptions").and_then(Value::as_array);
        if let Some(refused) = refused.filter(|refused| !refused.is_empty()) {
            let _ = writeln!(text, "{name}: refused subscriptions: {}", word(Some(&refused.clone().into())));
        }
    }
    Ok((text, is_well))
}
