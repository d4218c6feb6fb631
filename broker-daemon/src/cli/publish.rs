//! `culex pub`: publishes one message, or one a line of standard input.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use culex_core::client::{ClientError, Connection, Event, Publication, Session};
use tokio::sync::mpsc;

use crate::cli::human;
use crate::cli::interrupt::Interrupt;
use crate::cli::remote::{Remote, topic_name};
use crate::cli::stdin::read_beside;
use crate::exit::Exit;

/// What to publish.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "culex pub -t TOPIC (-m MESSAGE | -f FILE | -l | -s | -n) [OPTIONS]",
    after_help = "Examples:\n  \
        culex pub -t home/lamp -m on\n  \
        culex pub -t home/lamp -m on -r -q 1           retained, acknowledged\n  \
        culex pub -t home/lamp -n -r                   clear the retained message\n  \
        sensor | culex pub -t home/temperature -l      one message a line\n  \
        culex pub -h broker.example -u me -P secret -t a -f photo.jpg"
)]
pub(super) struct Arguments {
    /// Topic to publish to
    #[arg(short, long, value_parser = topic_name)]
    topic: String,
    #[command(flatten)]
    what: What,
    /// Retain the message: the broker gives it to later subscribers
    #[arg(short, long)]
    retain: bool,
    /// Publish the message so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "stdin_line")]
    repeat: u32,
    /// Seconds between them
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    repeat_delay: Duration,
    /// QoS 1 and 2 messages that may wait for an acknowledgement
    #[arg(short = 'M', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    max_inflight: u16,
    #[command(flatten)]
    remote: Remote,
}

/// Exactly one of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The message
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,
    /// The content of a file is the message
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Each line of standard input is a message
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// All of standard input is the message
    #[arg(short = 's', long)]
    stdin_file: bool,
    /// An empty message
    #[arg(short = 'n', long)]
    null_message: bool,
}

/// The largest payload of any packet, so that a device file or an endless pipe ends in an error.
const PAYLOAD_BYTES_MAX: u64 = 268_435_455;
/// Lines read ahead.
const LINES_AHEAD: usize = 64;

pub(super) fn run(arguments: Arguments) -> Exit {
    let source = match Source::open(&arguments) {
        Ok(source) => source,
        Err(message) => {
            arguments.remote.complain(message);
            return Exit::Failed;
        }
    };
    arguments.remote.run(async {
        let mut interrupt = Interrupt::catch();
        tokio::select! {
            exit = publish(&arguments, source) => exit,
            () = interrupt.wait() => {
                arguments.remote.complain("interrupted");
                Exit::Failed
            }
        }
    })
}

async fn publish(arguments: &Arguments, mut source: Source) -> Exit {
    let mut options = arguments.remote.options();
    options.in_flight = arguments.max_inflight;
    let way = match arguments.remote.way() {
        Ok(way) => way,
        Err(exit) => return exit,
    };
    let mut connection = match way.connect(&options, &mut Session::default()).await {
        Ok(connection) => connection,
        Err(error) => return arguments.remote.report(&error),
    };
    match pump(arguments, &mut connection, &mut source).await {
        Ok(exit) => match connection.disconnect().await {
            Ok(()) => exit,
            Err(error) => arguments.remote.report(&error),
        },
        Err(Stop::Client(error)) => {
            let exit = arguments.remote.report(&error);
            if let waiting @ 1.. = connection.in_flight() {
                arguments.remote.complain(format_args!("{waiting} messages were not acknowledged"));
            }
            exit
        }
        Err(Stop::Input(message)) => {
            arguments.remote.complain(message);
            Exit::Failed
        }
    }
}

/// Why publishing stopped early.
enum Stop {
    Client(ClientError),
    Input(String),
}

/// Publishes until the source is at its end and all is acknowledged.
async fn pump(arguments: &Arguments, connection: &mut Connection, source: &mut Source) -> Result<Exit, Stop> {
    let mut exit = Exit::Ok;
    let mut is_ended = false;
    while !(is_ended && connection.is_idle()) {
        let has_room = connection.has_room();
        tokio::select! {
            event = connection.event() => {
                if let Event::Published { reason, .. } = event.map_err(Stop::Client)?
                    && reason.is_error()
                {
                    arguments.remote.complain(format_args!("the broker did not take the message: {reason}"));
                    exit = Exit::Failed;
                }
            }
            payload = source.next(), if has_room && !is_ended => match payload {
                Some(payload) => {
                    let payload = payload.map_err(Stop::Input)?;
                    let message = Publication::new(&arguments.topic, payload, arguments.remote.qos);
                    let publication = Publication { is_retained: arguments.retain, ..message };
                    connection.publish(publication).map_err(Stop::Client)?;
                }
                None => is_ended = true,
            },
        }
    }
    Ok(exit)
}

/// Where payloads come from.
enum Source {
    /// One payload, some times.
    Fixed { payload: Bytes, left: u32, delay: Duration, is_first: bool },
    /// Of standard input.
    Lines(mpsc::Receiver<Result<Bytes, String>>),
}

impl Source {
    fn open(arguments: &Arguments) -> Result<Self, String> {
        let What { message, file, stdin_line, stdin_file, null_message: _ } = &arguments.what;
        let payload = match (message, file) {
            (Some(message), _) => Bytes::from(message.clone()),
            (None, Some(file)) => read_file(file)?,
            (None, None) if *stdin_line => {
                return Ok(Self::Lines(read_beside(LINES_AHEAD, |input| read_line(input))));
            }
            (None, None) if *stdin_file => read_all(io::stdin().lock(), "standard input")?,
            (None, None) => Bytes::new(),
        };
        Ok(Self::Fixed { payload, left: arguments.repeat, delay: arguments.repeat_delay, is_first: true })
    }

    /// The next payload; dropping the future loses none.
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match self {
            Self::Fixed { payload, left, delay, is_first } => {
                let next_left = left.checked_sub(1)?;
                if !*is_first && !delay.is_zero() {
                    tokio::time::sleep(*delay).await;
                }
                (*is_first, *left) = (false, next_left);
                Some(Ok(payload.clone()))
            }
            Self::Lines(lines) => lines.recv().await,
        }
    }
}

fn read_file(path: &Path) -> Result<Bytes, String> {
    let name = path.display().to_string();
    let file =
        std::fs::File::open(path).map_err(|error| format!("cannot open {name}: {}", human::io(&error)))?;
    read_all(file, &name)
}

fn read_all(input: impl Read, name: &str) -> Result<Bytes, String> {
    let mut payload = Vec::new();
    input
        .take(PAYLOAD_BYTES_MAX + 1)
        .read_to_end(&mut payload)
        .map_err(|error| format!("cannot read {name}: {}", human::io(&error)))?;
    if payload.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(format!("{name} is larger than the largest MQTT packet (256 MiB)"));
    }
    Ok(Bytes::from(payload))
}

/// The next line without its end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> Option<Result<Bytes, String>> {
    let mut line = Vec::new();
    match input.take(PAYLOAD_BYTES_MAX).read_until(b'\n', &mut line) {
        Ok(0) => None,
        Ok(_) if line.ends_with(b"\n") => {
            line.pop();
            Some(Ok(Bytes::from(line)))
        }
        Ok(read) if read as u64 == PAYLOAD_BYTES_MAX => {
            Some(Err("a line of standard input is larger than the largest MQTT packet (256 MiB)".to_owned()))
        }
        Ok(_) => Some(Ok(Bytes::from(line))),
        Err(error) => Some(Err(format!("cannot read standard input: {}", human::io(&error)))),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a number of seconds, such as 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_the_input_says() {
        let mut input: &[u8] = b"a\n\nb\r\nc";
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input) {
            lines.push(line.unwrap());
        }
        assert_eq!(lines, ["a", "", "b\r", "c"]);
    }

    #[test]
    fn delays_are_numbers() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["-1", "x", "NaN", "inf", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
