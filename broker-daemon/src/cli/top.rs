//! `culex top`: what a broker does, second by second, over its control socket.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::ctl::Which;
use crate::cli::human;
use crate::config::Config;
use crate::control;
use crate::exit::Exit;

/// Which broker, and how often.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  culex top\n  culex top -p 1884 -d 5\n  culex top -n 1 | mail operator\n\nCtrl-C ends it."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    delay: u64,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Clients that are shown.
const CLIENTS: usize = 15;
/// Clears the screen, cursor to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What the broker said, and when.
struct Look {
    at: Instant,
    status: Value,
    clients: Value,
    bridges: Value,
    webhooks: Value,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    super::run_async(async {
        watch(arguments).await.unwrap_or_else(|message| {
            human::complain(message);
            Exit::Failed
        })
    })
}

async fn watch(arguments: &Arguments) -> Result<Exit, String> {
    let socket = arguments.which.socket(Config::default())?;
    let is_screen = std::io::stdout().is_terminal();
    let mut before: Option<Look> = None;
    let mut left = arguments.count;
    loop {
        let look = Look::take(&socket).await?;
        let mut text = String::from(if is_screen { CLEAR } else { "" });
        show(&mut text, &look, before.as_ref());
        if human::print(&text).is_err() {
            // Nobody reads it any more.
            return Ok(Exit::Ok);
        }
        before = Some(look);
        left = left.map(|left| left - 1);
        if left == Some(0) {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(Duration::from_secs(arguments.delay)).await;
    }
}

impl Look {
    async fn take(socket: &Path) -> Result<Self, String> {
        let ask = async |target: &str| {
            let reply = control::request(socket, "GET", target).await.map_err(|error| error.to_string())?;
            let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
            if reply.status == 200 {
                return Ok(body);
            }
            Err(body.get("detail").and_then(Value::as_str).unwrap_or("the broker refused").to_owned())
        };
        Ok(Self {
            at: Instant::now(),
            status: ask("/api/v1/status").await?,
            clients: ask(&format!("/api/v1/clients?limit={CLIENTS}")).await?,
            bridges: ask("/api/v1/bridges").await?,
            webhooks: ask("/api/v1/webhooks").await?,
        })
    }

    fn number(&self, name: &str) -> u64 {
        self.status.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// How much a number has grown in a second, since another look or else the start of the broker.
    fn rate(&self, name: &str, before: Option<&Self>) -> f64 {
        let (seconds, then) = match before {
            Some(before) => (self.at.duration_since(before.at).as_secs_f64(), before.number(name)),
            None => (self.number("uptime_seconds") as f64, 0),
        };
        let growth = self.number(name).saturating_sub(then);
        if seconds > 0.0 { growth as f64 / seconds } else { 0.0 }
    }
}

fn show(text: &mut String, look: &Look, before: Option<&Look>) {
    let number = |name: &str| look.number(name);
    let rate = |name: &str| look.rate(name, before);
    let version = look.status.get("version").and_then(Value::as_str).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "culex {version}, up {}", duration(number("uptime_seconds")));
    let _ = writeln!(
        text,
        "messages in {:.1}/s, out {:.1}/s    bytes in {:.0}/s, out {:.0}/s{}",
        rate("messages_received"),
        rate("messages_sent"),
        rate("bytes_received"),
        rate("bytes_sent"),
        if before.is_some() { "" } else { "    since the start" },
    );
    let _ = writeln!(
        text,
        "clients {}, sessions {}, subscriptions {}, retained {}, waiting {}, dropped {}",
        number("connections"),
        number("sessions"),
        number("subscriptions"),
        number("retained_messages"),
        number("queue_messages"),
        number("messages_dropped"),
    );
    let slowest = look.status.get("slowest").and_then(Value::as_array);
    let behind =
        [("WHO IS BEHIND", "/client_id"), ("MESSAGES", "/queue_messages"), ("BYTES", "/queue_bytes")];
    list(text, slowest, &behind);
    let items = |page: &Value| page.get("items").and_then(Value::as_array).cloned();
    let integration =
        |kind| [(kind, "/name"), ("STATE", "/state"), ("WAITING", "/queue/messages"), ("WHY", "/why")];
    list(text, items(&look.bridges).as_ref(), &integration("BRIDGES"));
    list(text, items(&look.webhooks).as_ref(), &integration("WEBHOOKS"));
    let client = [
        ("CLIENTS", "/client_id"),
        ("USER", "/user_name"),
        ("PEER", "/connection/peer"),
        ("WAITING", "/queue_messages"),
    ];
    list(text, items(&look.clients).as_ref(), &client);
    if look.clients.get("next").is_some_and(|next| !next.is_null()) {
        text.push_str("…\n");
    }
}

/// A headline and a line for each, if there is any.
fn list(text: &mut String, items: Option<&Vec<Value>>, columns: &[(&str, &str)]) {
    let Some(items) = items.filter(|items| !items.is_empty()) else { return };
    let mut line = |cells: Vec<String>| {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<28}")).collect();
        let _ = writeln!(text, "{}", cells.join(" ").trim_end());
    };
    line(vec![]);
    line(columns.iter().map(|(head, _)| (*head).to_owned()).collect());
    for item in items {
        line(columns.iter().map(|(_, at)| super::ctl::word(item.pointer(at))).collect());
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days} d {hours} h")
    } else {
        format!("{hours} h {minutes} min {} s", seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(messages: u64, at: Instant) -> Look {
        let client = json!({ "client_id": "a\u{1b}[2J", "user_name": null, "connection": { "peer": "127.0.0.1:1" }, "queue_messages": 3 });
        Look {
            at,
            status: json!({ "version": "1", "uptime_seconds": 61, "messages_received": messages, "slowest": [client] }),
            clients: json!({ "items": [client], "next": "x" }),
            bridges: json!({ "items": [] }),
            webhooks: json!({ "items": [{ "name": "hook", "state": "down", "why": "refused", "queue": { "messages": 7654 } }] }),
        }
    }

    #[test]
    fn rates_are_those_of_the_time_between_two_looks() {
        let began = Instant::now();
        let (first, second) = (look(100, began), look(150, began + Duration::from_secs(2)));
        let mut text = String::new();
        show(&mut text, &first, None);
        // 61 s after its start.
        assert!(text.contains("messages in 1.6/s") && text.contains("since the start"), "{text}");
        text.clear();
        show(&mut text, &second, Some(&first));
        assert!(!text.contains("since the start"), "{text}");
        assert!(text.contains("messages in 25.0/s, out 0.0/s"), "{text}");
        assert!(text.contains("up 0 h 1 min 1 s"), "{text}");
        for cell in ["hook", "down", "7654", "refused"] {
            assert!(text.contains(cell), "{cell}: {text}");
        }
        assert!(!text.contains("BRIDGES"), "{text}");
        assert!(!text.contains('\u{1b}'), "what a client is called does not reach the terminal: {text}");
    }
}
