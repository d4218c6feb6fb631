//! `culex store dump`: what is kept, a line for each, for people or for programs.

use std::path::PathBuf;

use culex_core::WallTime;
use culex_core::engine::publication::Publication;
use culex_core::engine::store::StoredSession;
use culex_core::store::{self, Inspection};
use serde_json::{Value, json};

use crate::cli::human;
use crate::exit::Exit;

/// What to list.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without one of the three, all are listed. Of a payload the first 64 bytes are shown; what is not \
                  printable is written \\xNN.\nWith --json each line is a JSON object. \
                  Exit code 5 if something of the store is damaged; the rest is listed."
)]
pub(super) struct Arguments {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Sessions with their subscriptions
    #[arg(long)]
    sessions: bool,
    /// Messages in the queues of sessions
    #[arg(long)]
    queues: bool,
    /// Retained messages
    #[arg(long)]
    retained: bool,
    /// A JSON object in each line
    #[arg(long)]
    json: bool,
}

/// Bytes of a payload that are shown.
const SHOWN_BYTES: usize = 64;
/// Characters of a name that are shown to people.
const SHOWN_CHARS: usize = 200;

pub(super) fn run(arguments: &Arguments) -> Exit {
    let found = match store::inspect(&arguments.directory) {
        Ok(found) => found,
        Err(error) => return super::refuse(&error),
    };
    let printed = list(arguments, &found).map_or_else(
        |error| {
            human::complain(format_args!("the list is cut short: {}", human::io(&error)));
            Exit::Failed
        },
        |()| Exit::Ok,
    );
    super::complain(&found.damages);
    if printed == Exit::Ok && !found.damages.is_empty() { Exit::Storage } else { printed }
}

fn list(arguments: &Arguments, found: &Inspection) -> std::io::Result<()> {
    let all = !(arguments.sessions || arguments.queues || arguments.retained);
    let stored = &found.stored;
    let print = |line: Value| {
        human::print(&if arguments.json { format!("{line}\n") } else { format!("{}\n", for_people(&line)) })
    };
    for session in stored.sessions.iter().filter(|_| all || arguments.sessions) {
        print(about(session))?;
        for subscription in &session.subscriptions {
            print(json!({
                "what": "subscription", "client": session.client_id, "filter": subscription.filter,
                "qos": subscription.qos.bits(),
            }))?;
        }
    }
    for session in stored.sessions.iter().filter(|_| all || arguments.queues) {
        let mut queue: Vec<_> = session.queue.iter().collect();
        queue.sort_by_key(|message| (message.sent.is_none(), message.sent, message.place()));
        for message in queue {
            let Some(body) = found.message(session.id, message.entry).map_err(std::io::Error::other)? else {
                continue;
            };
            let mut line = message_line("queued", &body);
            set(&mut line, "client", json!(session.client_id));
            set(&mut line, "qos", json!(message.qos.bits()));
            set(&mut line, "in flight", json!(message.sent.is_some()));
            print(line)?;
        }
    }
    for (_, publication) in stored.retained.iter().filter(|_| all || arguments.retained) {
        print(message_line("retained", publication))?;
    }
    Ok(())
}

fn about(session: &StoredSession) -> Value {
    let bytes: usize = session.queue.iter().map(|message| message.bytes).sum();
    let mut line = json!({
        "what": "session", "client": session.client_id, "subscriptions": session.subscriptions.len(),
        "queued": session.queue.len(), "queued bytes": bytes,
        "in flight": session.queue.iter().filter(|message| message.sent.is_some()).count() + session.received.len(),
        "unreleased": session.incoming.len(),
    });
    if let Some(user) = &session.user_name {
        set(&mut line, "user", json!(user));
    }
    if let Some(at) = session.left_at {
        set(&mut line, "left at", json!(seconds(at)));
    }
    if session.expiry_s != u32::MAX {
        set(&mut line, "expiry s", json!(session.expiry_s));
    }
    if let Some(will) = &session.will {
        set(&mut line, "will", json!(will.topic().as_str()));
    }
    line
}

fn message_line(what: &str, publication: &Publication) -> Value {
    let mut line = json!({
        "what": what, "topic": publication.topic().as_str(), "qos": publication.qos.bits(),
        "bytes": publication.payload.len(), "payload": shown(&publication.payload),
    });
    if let Some(at) = publication.expires_at {
        set(&mut line, "expires at", json!(seconds(at)));
    }
    line
}

fn set(line: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = line {
        fields.insert(name.to_owned(), value);
    }
}

/// Seconds since 1970.
const fn seconds(at: WallTime) -> u64 {
    at.0 / 1000
}

/// `what client="a" queued=3 …`: a line whatever the names are.
fn for_people(line: &Value) -> String {
    let Value::Object(fields) = line else { return line.to_string() };
    let what = fields.get("what").and_then(Value::as_str).unwrap_or_default();
    let mut text = what.to_owned();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "what") {
        let value = match value {
            Value::String(long) => format!("{:?}", long.chars().take(SHOWN_CHARS).collect::<String>()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        text.push_str(&format!(" {}={value}", name.replace(' ', "_")));
    }
    text
}

fn shown(payload: &[u8]) -> String {
    payload
        .iter()
        .take(SHOWN_BYTES)
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_is_one_line() {
        let line = json!({"what": "session", "client": "a\nb\u{7}", "queued bytes": 3});
        assert_eq!(for_people(&line), r#"session client="a\nb\u{7}" queued_bytes=3"#);
        assert_eq!(shown(b"\x00hi\"\xff"), r#"\x00hi\"\xff"#);
        assert_eq!(shown(&[b'x'; 100]).len(), SHOWN_BYTES);
    }
}
