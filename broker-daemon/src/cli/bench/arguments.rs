//! The command line of `culex bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;
use culex_codec::QoS;

use crate::bench::Version;

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        culex bench pub-sub -n 50 -q 1              50 pairs, 100 messages in flight each\n  \
        culex bench pub-sub -w 1                    ping-pong\n  \
        culex bench fan-out -n 1000 --broker-pid 7  with the broker's CPU time and memory\n  \
        culex bench offline -n 16 --sessions 1000   1000 messages for 1000 sessions that are not there\n  \
        culex bench rate -n 20 -r 20000             latency at a given rate, from when each message was due\n  \
        culex bench subscriptions -n 1000000        a million, then messages through them\n  \
        culex bench retained -n 100000              to one wildcard subscriber\n  \
        culex bench connect -n 50 --cafile ca.crt   full TLS handshakes; with --resume shortened ones\n  \
        culex bench relay -p 1884                   the limit of this machine, to be measured like a broker\n\
        \n\
        The exit code is 1 if a message was lost, duplicated or out of order.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// N publishers, each with a subscriber of its own
    PubSub(Live),
    /// One publisher, N subscribers
    FanOut(Live),
    /// N publishers, one subscriber
    FanIn(Live),
    /// Sessions subscribe and leave, N publishers fill their queues, the sessions come back and drain them
    Offline(Offline),
    /// N pairs, messages at a given rate whether or not the broker keeps up; latency from when each was due
    Rate(Rate),
    /// N subscriptions (exact, +, #) of some clients, then one publisher whose messages go through them in turn
    Subscriptions(Subscriptions),
    /// N retained messages, then one subscriber who takes them all
    Retained(Retained),
    /// N connections that say nothing
    Idle(Idle),
    /// N clients that connect, disconnect, and connect again
    Connect(Connect),
    /// A server for 3.1.1 that only copies bytes: what no broker can beat
    Relay(RelayArguments),
}

/// Options of all scenarios.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Broker to connect to
    #[arg(short = 'h', long, default_value = "localhost")]
    pub(super) host: String,
    /// Its port; 1883, or 8883 with TLS, if it is not said
    #[arg(short, long)]
    pub(super) port: Option<u16>,
    /// Publishers, subscribers, pairs, connections, subscriptions or retained messages
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) number: u32,
    /// Seconds to measure [default: 5; offline: as long as 1000 messages take, which every broker keeps; retained: none]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// Seconds before that
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(super) warm_up: Duration,
    /// Instead of a duration: so many messages of each publisher, or connections of each client
    #[arg(short, long, value_name = "N", conflicts_with_all = ["duration", "warm_up"], value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) count: Option<u32>,
    /// Seconds to wait for a delivery, or any answer, before the rest is lost
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(super) drain: Duration,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Password
    #[arg(short = 'P', long, value_name = "PASSWORD", requires = "username")]
    pub(super) pw: Option<String>,
    /// MQTT version: 31, 311 or 5
    #[arg(short = 'V', long, default_value = "311", value_name = "VERSION", value_parser = version)]
    pub(super) protocol_version: Version,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) threads: usize,
    /// Process of the broker, to show its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub(super) broker_pid: Option<u32>,
    #[command(flatten)]
    pub(super) tls: crate::cli::secure::Arguments,
    /// Print one line of JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub(super) help: (),
}

/// Options of scenarios with messages.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Messages {
    #[command(flatten)]
    pub(super) common: Common,
    /// QoS of messages and subscriptions [default: 0; offline: 1]
    #[arg(short, long, value_parser = qos)]
    pub(super) qos: Option<QoS>,
    /// Bytes of a payload
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 100)]
    pub(super) payload: usize,
}

/// Options of scenarios that send as fast as the window lets them.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Traffic {
    #[command(flatten)]
    pub(super) messages: Messages,
    /// Messages in flight per publisher, sent and not yet received; 0 for no limit (QoS 0). With 5.0 at most what the broker takes
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    pub(super) window: u32,
}

/// Options of scenarios with subscribers that are there.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Live {
    #[command(flatten)]
    pub(super) traffic: Traffic,
    /// Subscribers have sessions that outlive their connections
    #[arg(long)]
    pub(super) persistent: bool,
    /// Losses at QoS 0 do not change the exit code
    #[arg(long)]
    pub(super) allow_loss: bool,
}

/// Options of rate.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Rate {
    #[command(flatten)]
    pub(super) messages: Messages,
    /// Messages of all publishers together in a second
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: u32,
    /// Losses at QoS 0 do not change the exit code
    #[arg(long)]
    pub(super) allow_loss: bool,
}

/// Options of subscriptions.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Subscriptions {
    #[command(flatten)]
    pub(super) live: Live,
    /// Clients that they are dealt out to [default: 100, or as many as there are subscriptions]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) clients: Option<u32>,
}

/// Options of retained.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Retained {
    #[command(flatten)]
    pub(super) messages: Messages,
}

/// Options of offline.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Offline {
    #[command(flatten)]
    pub(super) traffic: Traffic,
    /// Sessions that wait for the messages of all publishers
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) sessions: u32,
    /// One session for each publisher instead, and a topic for the two
    #[arg(long, conflicts_with = "sessions")]
    pub(super) own_topics: bool,
    /// Leave the queues full, and the sessions: nothing is verified
    #[arg(long)]
    pub(super) no_drain: bool,
    /// Directory of the broker's files, to show what a message takes there
    #[arg(long, value_name = "DIR")]
    pub(super) broker_data: Option<PathBuf>,
}

/// Options of idle.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Idle {
    #[command(flatten)]
    pub(super) common: Common,
}

/// Options of connect.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Connect {
    #[command(flatten)]
    pub(super) common: Common,
    /// Keep the sessions from one connection to the next
    #[arg(long)]
    pub(super) persistent: bool,
    /// Begin with the TLS tickets of earlier connections, instead of a full handshake each time
    #[arg(long)]
    pub(super) resume: bool,
    /// Each client is a user of its own: its number, from 0, stands behind the user name
    #[arg(long, requires = "username")]
    pub(super) own_users: bool,
}

/// Options of the relay.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct RelayArguments {
    /// Address to listen on
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    pub(super) host: std::net::IpAddr,
    /// Port to listen on; 0 for a free one
    #[arg(short, long, default_value_t = crate::config::PORT)]
    pub(super) port: u16,
    /// Append messages of QoS 1 and 2 to this file and sync it before they are acknowledged: what no broker can beat that loses
    /// nothing. It begins anew
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub(super) help: (),
}

fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_bits).ok_or_else(|| "a QoS is 0, 1 or 2".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    match text.trim_start_matches("mqttv") {
        "31" | "3.1" => Ok(Version::V31),
        "311" | "3.1.1" => Ok(Version::V311),
        "5" | "5.0" => Ok(Version::V5),
        _ => Err("a version is 31, 311 or 5".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time <= Duration::from_secs(1_000_000))
        .ok_or_else(|| "a number of seconds, such as 0.5".to_owned())
}
