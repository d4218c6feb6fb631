//! `culex ctl`: asks a running broker, and tells it what to do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cli::human;
use crate::cli::state::{OF_SERVICES, State};
use crate::config::Config;
use crate::control::{self, Reply};
use crate::exit::Exit;

/// Which broker, and what.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  culex ctl status\n  culex ctl -p 1884 clients\n  culex ctl disconnect sensor-7\n\n\
    Exit code 0 if it was done, 1 if not."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    command: Command,
}

/// `culex webhook dlq`, which is `culex ctl dead-letters`.
#[derive(Debug, clap::Args)]
pub(super) struct DeadLetterArguments {
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    command: DeadLetters,
}

/// Which broker, and how its answer is shown.
#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    which: Which,
    /// Print what the broker answers, as JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Which of the brokers on this computer.
#[derive(Debug, Default, clap::Args)]
#[group(id = "which")]
pub(super) struct Which {
    /// The control socket; the banner of the broker says where it is
    #[arg(long, value_name = "FILE", global = true)]
    socket: Option<PathBuf>,
    /// The data directory of the broker
    #[arg(long, value_name = "DIR", conflicts_with = "socket", global = true)]
    data_dir: Option<PathBuf>,
    /// The port of a broker that was started without a data directory
    #[arg(short, long, conflicts_with_all = ["socket", "data_dir"], global = true)]
    port: Option<u16>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How the broker is
    Status,
    /// Who is connected
    Clients,
    /// One client with its session
    Client {
        /// Its ClientId
        client_id: String,
    },
    /// All sessions, with and without a connection
    Sessions,
    /// What a session is subscribed to
    Subscriptions {
        /// Its ClientId
        client_id: String,
    },
    /// Retained messages
    Retained {
        /// Only topics that match this filter
        #[arg(default_value = "#")]
        filter: String,
    },
    /// End a connection; its session stays
    Disconnect {
        /// Its ClientId
        client_id: String,
    },
    /// End a session with all that waits for it
    EndSession {
        /// Its ClientId
        client_id: String,
    },
    /// Messages that a bridge or a webhook gave up on
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Read the configuration again: all of it, or nothing if it has a mistake
    Reload,
    /// Every counter
    Metrics,
}

#[derive(Debug, clap::Subcommand)]
enum DeadLetters {
    /// What there is, with the reasons
    List {
        /// Only those of one, such as bridge/aws or webhook/sensors
        integration: Option<String>,
    },
    /// One with its payload and what the other side answered
    Show {
        /// As `list` says it: webhook/sensors/0123456789abcdef01234567
        letter: String,
    },
    /// Try again; what the other side takes is no dead letter any more
    Replay {
        /// One letter, or an integration for all of its
        letter: String,
        /// Publish to the topic that it had, where every subscriber receives it once more
        #[arg(long)]
        to_topic: bool,
    },
    /// Throw away
    Purge {
        /// One letter, or an integration for all of its
        letter: String,
    },
}

/// Method, target, and how the answer is shown.
type Request = (&'static str, String, Shape);

/// How an answer is shown.
enum Shape {
    /// `name  value` lines.
    Fields,
    /// A table with these columns, page by page.
    Table(&'static [(&'static str, &'static str)]),
    /// A sentence.
    Done(&'static str),
    /// What a reload changed.
    Changes,
    /// What was tried again.
    Replayed,
}

const SESSION: &[(&str, &str)] = &[
    ("CLIENT ID", "/client_id"),
    ("USER", "/user_name"),
    ("PEER", "/connection/peer"),
    ("VERSION", "/connection/version"),
    ("SUBSCRIPTIONS", "/subscriptions"),
    ("QUEUED", "/queue_messages"),
];

pub(super) fn run(arguments: &Arguments) -> Exit {
    ask_and_print(&arguments.how, request(&arguments.command))
}

pub(super) fn run_dead_letters(arguments: &DeadLetterArguments) -> Exit {
    ask_and_print(&arguments.how, dead_letters(&arguments.command))
}

fn ask_and_print(how: &How, request: Request) -> Exit {
    if let Err(error) = how.which.is_one() {
        human::complain(error);
        return Exit::Usage;
    }
    super::run_async(async {
        match ask(how, request).await {
            Ok(text) => super::print(&text),
            Err(message) => {
                human::complain(message);
                Exit::Failed
            }
        }
    })
}

async fn ask(how: &How, (method, target, shape): Request) -> Result<String, String> {
    let socket = how.which.socket(Config::default())?;
    let mut text = String::new();
    let mut after = String::new();
    loop {
        let reply = control::request(&socket, method, &format!("{target}{after}")).await;
        let body = body_of(reply.map_err(|error| error.to_string())?)?;
        let next = body.get("next").and_then(Value::as_str).map(str::to_owned);
        if how.json {
            // One line a page.
            text.push_str(&body.to_string());
            text.push('\n');
        } else {
            show(&mut text, &body, &shape, after.is_empty());
        }
        let Some(next) = next else { return Ok(text) };
        let mark = if target.contains('?') { '&' } else { '?' };
        after = format!("{mark}after={}", encode(&next));
    }
}

impl Which {
    /// Whether at most one broker is named: `clap` does not compare what stands before a sub-command with what stands behind
    /// it.
    ///
    /// # Errors
    /// Which two options name brokers.
    fn is_one(&self) -> Result<(), String> {
        let options = [
            ("--socket", self.socket.is_some()),
            ("--data-dir", self.data_dir.is_some()),
            ("--port", self.port.is_some()),
        ];
        let mut said = options.iter().filter(|(_, is_said)| *is_said).map(|(option, _)| option);
        match (said.next(), said.next()) {
            (Some(first), Some(second)) => Err(format!(
                "{first} and {second} cannot be used together: each of them says which broker is meant; leave one out"
            )),
            _ => Ok(()),
        }
    }

    /// Its control socket, where nothing was said that of this configuration.
    pub(super) fn socket(&self, mut config: Config) -> Result<PathBuf, String> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if self.data_dir.is_some() {
            config.store.directory.clone_from(&self.data_dir);
        }
        if let (Some(port), Some(listener)) = (self.port, config.listeners.first_mut()) {
            listener.address.set_port(port);
        }
        let state = State::choose(&config, |name| std::env::var_os(name));
        let directory =
            state.directory().ok_or("name the control socket with `--socket`, or the data directory")?;
        let (own, of_service) = (directory.join(control::FILE), Path::new(OF_SERVICES).join(control::FILE));
        // Whoever has no broker of his own means that of the computer.
        let is_said = config.store.directory.is_some() || self.port.is_some();
        Ok(if is_said || own.exists() || !of_service.exists() { own } else { of_service })
    }
}

fn request(command: &Command) -> Request {
    let of = |list: &str, id: &str| format!("/api/v1/{list}/{}", encode(id));
    let list = |list: &str| format!("/api/v1/{list}?limit=1000");
    match command {
        Command::Status => ("GET", "/api/v1/status".to_owned(), Shape::Fields),
        Command::Metrics => ("GET", "/api/v1/metrics".to_owned(), Shape::Fields),
        Command::Clients => ("GET", list("clients"), Shape::Table(SESSION)),
        Command::Sessions => ("GET", list("sessions"), Shape::Table(SESSION)),
        Command::Client { client_id } => ("GET", of("clients", client_id), Shape::Fields),
        Command::Subscriptions { client_id } => {
            let target = format!("{}/subscriptions?limit=1000", of("sessions", client_id));
            ("GET", target, Shape::Table(&[("FILTER", "/filter")]))
        }
        Command::Retained { filter } => {
            let target = format!("/api/v1/retained?limit=1000&filter={}", encode(filter));
            let columns =
                &[("TOPIC", "/topic"), ("QOS", "/qos"), ("BYTES", "/bytes"), ("PAYLOAD", "/payload")];
            ("GET", target, Shape::Table(columns))
        }
        Command::Disconnect { client_id } => {
            ("DELETE", of("clients", client_id), Shape::Done("disconnected"))
        }
        Command::EndSession { client_id } => ("DELETE", of("sessions", client_id), Shape::Done("ended")),
        Command::Reload => ("POST", "/api/v1/reload".to_owned(), Shape::Changes),
        Command::DeadLetters(command) => dead_letters(command),
    }
}

fn dead_letters(command: &DeadLetters) -> Request {
    const ALL: &str = "/api/v1/dead-letters";
    const COLUMNS: &[(&str, &str)] = &[
        ("LETTER", "/letter"),
        ("AT", "/at"),
        ("TOPIC", "/topic"),
        ("BYTES", "/bytes"),
        ("ATTEMPTS", "/attempts"),
        ("REASON", "/reason"),
    ];
    match command {
        DeadLetters::List { integration } => {
            let of = encode(integration.as_deref().unwrap_or_default());
            ("GET", format!("{ALL}?limit=1000&of={of}"), Shape::Table(COLUMNS))
        }
        DeadLetters::Show { letter } => {
            let parts: Vec<_> = letter.split('/').map(encode).collect();
            ("GET", format!("{ALL}/{}", parts.join("/")), Shape::Fields)
        }
        DeadLetters::Replay { letter, to_topic } => {
            let to = if *to_topic { "topic" } else { "integration" };
            ("POST", format!("{ALL}/replay?limit=100&of={}&to={to}", encode(letter)), Shape::Replayed)
        }
        DeadLetters::Purge { letter } => ("DELETE", format!("{ALL}?of={}", encode(letter)), Shape::Fields),
    }
}

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

pub(super) fn body_of(reply: Reply) -> Result<Value, String> {
    let body: Value = if reply.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&reply.body).map_err(|_| format!("the broker answered {}", reply.status))?
    };
    if (200..300).contains(&reply.status) {
        return Ok(body);
    }
    Err(body.get("detail").and_then(Value::as_str).unwrap_or("the broker refused").to_owned())
}

fn show(text: &mut String, body: &Value, shape: &Shape, is_first: bool) {
    match shape {
        Shape::Done(what) => text.push_str(&format!("{what}\n")),
        Shape::Fields => fields(text, body, ""),
        Shape::Table(columns) => table(text, body, columns, is_first),
        Shape::Replayed => {
            for failure in body.get("failed").and_then(Value::as_array).into_iter().flatten() {
                let part = |name: &str| word(failure.get(name));
                let _ = writeln!(text, "{}: {}", part("letter"), part("why"));
            }
            let _ = writeln!(text, "{} replayed", word(body.get("replayed")));
        }
        Shape::Changes => {
            let changes =
                body.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if changes.is_empty() {
                text.push_str("read again; no setting has changed\n");
            }
            for change in changes {
                let part = |name: &str| word(change.get(name));
                let when = change.get("holds").and_then(Value::as_str).filter(|when| !when.is_empty());
                let when = when.map(|when| format!(" ({when})")).unwrap_or_default();
                let _ = writeln!(text, "{}: {} -> {}{when}", part("key"), part("old"), part("new"));
            }
        }
    }
}

fn fields(text: &mut String, body: &Value, prefix: &str) {
    for (name, value) in body.as_object().into_iter().flatten() {
        let name = format!("{prefix}{}", name.replace('_', " "));
        if value.is_object() {
            fields(text, value, &format!("{name}: "));
        } else {
            let _ = writeln!(text, "{name:<28} {}", word(Some(value)));
        }
    }
}

pub(super) fn table(text: &mut String, body: &Value, columns: &[(&str, &str)], is_first: bool) {
    let items = body.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let cells = |item: &Value| columns.iter().map(|(_, at)| word(item.pointer(at))).collect::<Vec<_>>();
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(items.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows.iter().skip(usize::from(!is_first)) {
        let line: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
}

/// A value for people; control characters of clients do not reach the terminal.
pub(super) fn word(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => {
            let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
            text.chars().map(escaped).collect()
        }
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| word(Some(item))).collect::<Vec<_>>().join(", "),
        Some(value) => value.to_string(),
    }
}
