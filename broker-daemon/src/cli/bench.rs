//! `culex bench`: measures a broker and verifies what it delivers.

use std::io::{self, IsTerminal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use clap::ArgAction;
use culex_codec::QoS;
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::{
    self, BenchError, Credentials, Gauge, Length, Plan, Relay, Report, Scenario, Tls, Version,
};
use crate::cli::human;
use crate::exit::Exit;

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        culex bench pub-sub -n 50 -q 1              50 pairs, 100 messages in flight each\n  \
        culex bench pub-sub -w 1                    ping-pong\n  \
        culex bench fan-out -n 1000 --broker-pid 7  with the broker's CPU time and memory\n  \
        culex bench offline -n 16 --sessions 1000   1000 messages for 1000 sessions that are not there\n  \
        culex bench connect -n 50 --cafile ca.crt   full TLS handshakes; with --resume shortened ones\n  \
        culex bench relay -p 1884                   the limit of this machine, to be measured like a broker\n\
        \n\
        The exit code is 1 if a message was lost, duplicated or out of order.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// N publishers, each with a subscriber of its own
    PubSub(Live),
    /// One publisher, N subscribers
    FanOut(Live),
    /// N publishers, one subscriber
    FanIn(Live),
    /// Sessions subscribe and leave, N publishers fill their queues, the sessions come back and drain them
    Offline(Offline),
    /// N connections that say nothing
    Idle(Idle),
    /// N clients that connect, disconnect, and connect again
    Connect(Connect),
    /// A server that only copies bytes: what no broker can beat
    Relay(RelayArguments),
}

/// Options of all scenarios.
#[derive(Debug, clap::Args)]
struct Common {
    /// Broker to connect to
    #[arg(short = 'h', long, default_value = "localhost")]
    host: String,
    /// Its port; 1883, or 8883 with TLS, if it is not said
    #[arg(short, long)]
    port: Option<u16>,
    /// Publishers, subscribers, pairs or connections
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    number: u32,
    /// Seconds to measure [default: 5; offline: as long as 1000 messages take, which every broker keeps]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Seconds before that
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Instead of a duration: so many messages of each publisher, or connections of each client
    #[arg(short, long, value_name = "N", conflicts_with_all = ["duration", "warm_up"], value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Seconds to wait for a delivery, or any answer, before the rest is lost
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    drain: Duration,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password
    #[arg(short = 'P', long, value_name = "PASSWORD", requires = "username")]
    pw: Option<String>,
    /// MQTT version: 31 or 311
    #[arg(short = 'V', long, default_value = "311", value_name = "VERSION", value_parser = version)]
    protocol_version: Version,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Process of the broker, to show its CPU time and memory
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    #[command(flatten)]
    tls: super::secure::Arguments,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: (),
}

/// Options of scenarios with messages.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Traffic {
    #[command(flatten)]
    common: Common,
    /// QoS of messages and subscriptions [default: 0; offline: 1]
    #[arg(short, long, value_parser = qos)]
    qos: Option<QoS>,
    /// Bytes of a payload
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 100)]
    payload: usize,
    /// Messages in flight per publisher, sent and not yet received; 0 for no limit (QoS 0)
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    window: u32,
}

/// Options of scenarios with subscribers that are there.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Live {
    #[command(flatten)]
    traffic: Traffic,
    /// Subscribers have sessions that outlive their connections
    #[arg(long)]
    persistent: bool,
    /// Losses at QoS 0 do not change the exit code
    #[arg(long)]
    allow_loss: bool,
}

/// Options of offline.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Offline {
    #[command(flatten)]
    traffic: Traffic,
    /// Sessions that wait for the messages of all publishers
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: u32,
    /// One session for each publisher instead, and a topic for the two
    #[arg(long, conflicts_with = "sessions")]
    own_topics: bool,
    /// Leave the queues full, and the sessions: nothing is verified
    #[arg(long)]
    no_drain: bool,
    /// Directory of the broker's files, to show what a message takes there
    #[arg(long, value_name = "DIR")]
    broker_data: Option<PathBuf>,
}

/// Options of idle.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Idle {
    #[command(flatten)]
    common: Common,
}

/// Options of connect.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Connect {
    #[command(flatten)]
    common: Common,
    /// Keep the sessions from one connection to the next
    #[arg(long)]
    persistent: bool,
    /// Begin with the TLS tickets of earlier connections, instead of a full handshake each time
    #[arg(long)]
    resume: bool,
    /// Each client is a user of its own: its number, from 0, stands behind the user name
    #[arg(long, requires = "username")]
    own_users: bool,
}

/// Options of the relay.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct RelayArguments {
    /// Address to listen on
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,
    /// Port to listen on; 0 for a free one
    #[arg(short, long, default_value_t = crate::config::PORT)]
    port: u16,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: (),
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (common, allow_loss) = match &arguments.command {
        Command::Relay(relay) => return serve_relay(relay),
        Command::PubSub(live) | Command::FanOut(live) | Command::FanIn(live) => {
            (&live.traffic.common, live.allow_loss)
        }
        Command::Offline(offline) => (&offline.traffic.common, false),
        Command::Idle(idle) => (&idle.common, false),
        Command::Connect(connect) => (&connect.common, false),
    };
    let report = match resolve(common).and_then(|address| measure(&plan(arguments, common, address)?)) {
        Ok(report) => report,
        Err(message) => {
            human::complain(message);
            return Exit::Failed;
        }
    };
    let printed = super::print(&if common.json { report.json() } else { report.table() });
    if printed == Exit::Ok && !report.is_clean(allow_loss) { Exit::Failed } else { printed }
}

fn plan(arguments: &Arguments, common: &Common, address: SocketAddr) -> Result<Plan, String> {
    let number = common.number;
    let scenario = match &arguments.command {
        Command::FanOut(_) => Scenario::FanOut { subscribers: number },
        Command::FanIn(_) => Scenario::FanIn { publishers: number },
        Command::Idle(_) => Scenario::Idle { connections: number },
        Command::Connect(connect) => {
            Scenario::Connect { clients: number, clean_session: !connect.persistent }
        }
        Command::Offline(offline) => Scenario::Offline {
            publishers: number,
            sessions: (!offline.own_topics).then_some(offline.sessions),
        },
        Command::PubSub(_) | Command::Relay(_) => Scenario::PubSub { pairs: number },
    };
    let length = match (&arguments.command, common.count, common.duration) {
        (_, Some(count), _) => Length::Count(count),
        (Command::Offline(_), None, None) => Length::Count((QUEUE_USUAL / number).max(1)),
        (_, None, duration) => {
            Length::Time { warm_up: common.warm_up, measured: duration.unwrap_or(DURATION) }
        }
    };
    let mut plan = Plan::new(address, scenario, length);
    plan.version = common.protocol_version;
    plan.threads = common.threads;
    plan.patience = common.drain;
    plan.broker_pid = common.broker_pid;
    let (resumes, is_numbered) = match &arguments.command {
        Command::Connect(connect) => (connect.resume, connect.own_users),
        Command::PubSub(_)
        | Command::FanOut(_)
        | Command::FanIn(_)
        | Command::Offline(_)
        | Command::Idle(_)
        | Command::Relay(_) => (false, false),
    };
    plan.credentials = common.username.clone().map(|user_name| {
        let password = common.pw.clone().unwrap_or_default();
        Credentials { user_name, password, is_numbered }
    });
    if common.tls.is_wanted() {
        let connector = common.tls.connector(&common.host, resumes).map_err(|error| error.to_string())?;
        plan.tls = Some(Tls::new(connector));
    }
    match &arguments.command {
        Command::PubSub(live) | Command::FanOut(live) | Command::FanIn(live) => {
            live.traffic.apply(&mut plan, QoS::AtMostOnce);
            plan.is_persistent = live.persistent;
        }
        Command::Offline(offline) => {
            offline.traffic.apply(&mut plan, QoS::AtLeastOnce);
            plan.is_persistent = true;
            plan.broker_data = offline.broker_data.clone();
            plan.drains = !offline.no_drain;
        }
        Command::Idle(_) | Command::Connect(_) | Command::Relay(_) => {}
    }
    Ok(plan)
}

/// Messages that a session keeps with every broker: mosquitto's default.
const QUEUE_USUAL: u32 = 1000;
const DURATION: Duration = Duration::from_secs(5);

impl Traffic {
    fn apply(&self, plan: &mut Plan, qos: QoS) {
        plan.qos = self.qos.unwrap_or(qos);
        plan.payload_bytes = self.payload;
        plan.window = self.window;
    }
}

/// The first address of the host, 127.0.0.1 before ::1: brokers without configuration listen there.
fn resolve(common: &Common) -> Result<SocketAddr, String> {
    let usual = if common.tls.is_wanted() { crate::config::TLS_PORT } else { crate::config::PORT };
    let (host, port) = (common.host.as_str(), common.port.unwrap_or(usual));
    let mut addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot find {host}: {}", human::io(&error)))?
        .collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| format!("{host} has no address"))
}

/// Runs the plan; on a terminal, beside a line that shows how far it is.
fn measure(plan: &Plan) -> Result<Report, String> {
    let gauge = Gauge::default();
    let result = if io::stderr().is_terminal() {
        thread::scope(|scope| {
            let (sender, ended) = channel();
            let gauge = &gauge;
            scope.spawn(move || {
                // The other end waits for it.
                let _ = sender.send(bench::run(plan, gauge));
            });
            let bar = bar(plan);
            loop {
                match ended.recv_timeout(REDRAW) {
                    Err(RecvTimeoutError::Timeout) => show(&bar, gauge),
                    Err(RecvTimeoutError::Disconnected) => break Err(BenchError::GivenUp),
                    Ok(result) => {
                        bar.finish_and_clear();
                        break result;
                    }
                }
            }
        })
    } else {
        bench::run(plan, &gauge)
    };
    result.map_err(|error| hint(plan, &error))
}

const REDRAW: Duration = Duration::from_millis(200);

fn bar(plan: &Plan) -> ProgressBar {
    let seconds = match plan.length {
        Length::Count(_) => None,
        Length::Time { warm_up, measured } => Some((warm_up + measured).as_secs()),
    };
    let (bar, template) = match seconds {
        Some(seconds) => (ProgressBar::new(seconds), "{bar:30} {pos}/{len} s  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed} {msg}"),
    };
    // A template that cannot be read leaves the usual look.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, gauge: &Gauge) {
    let (ready, done) = (gauge.ready(), gauge.done());
    bar.set_message(if done > 0 { format!("{done} done") } else { format!("{ready} connected") });
    if bar.length().is_some() {
        bar.set_position(bar.elapsed().as_secs());
    } else {
        bar.tick();
    }
}

fn hint(plan: &Plan, error: &BenchError) -> String {
    let BenchError::Connect { source, .. } = error else { return error.to_string() };
    if source.kind() == io::ErrorKind::ConnectionRefused {
        format!("{error}. Is the broker running? Start one with `culex -p {}`", plan.address.port())
    } else if source.kind() == io::ErrorKind::AddrNotAvailable {
        // Ephemeral ports: net.ipv4.ip_local_port_range has about 28,000.
        format!("{error}. All ports of this computer towards this address are in use")
    } else {
        error.to_string()
    }
}

fn serve_relay(arguments: &RelayArguments) -> Exit {
    let address = SocketAddr::new(arguments.host, arguments.port);
    let relay = match Relay::bind(address) {
        Ok(relay) => relay,
        Err(error) => {
            human::complain(format_args!("cannot listen on {address}: {}", human::io(&error)));
            return Exit::CannotBind;
        }
    };
    let printed = super::print(&format!("relay listening on {}\n", relay.address()));
    if printed != Exit::Ok {
        return printed;
    }
    match relay.run() {
        Ok(()) => Exit::Ok,
        Err(error) => {
            human::complain(format_args!("the relay ends: {}", human::io(&error)));
            Exit::Internal
        }
    }
}

fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_bits).ok_or_else(|| "a QoS is 0, 1 or 2".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    match text.trim_start_matches("mqttv") {
        "31" | "3.1" => Ok(Version::V31),
        "311" | "3.1.1" => Ok(Version::V311),
        _ => Err("a version is 31 or 311".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time <= Duration::from_secs(1_000_000))
        .ok_or_else(|| "a number of seconds, such as 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::run_with;

    #[test]
    fn the_exit_code_tells_how_the_run_went() {
        let relay = Relay::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = relay.address().port().to_string();
        // It ends with the process.
        thread::spawn(move || relay.run());
        for (scenario, options, expected) in [
            ("pub-sub", &["-n", "2", "-q", "2", "-w", "5", "-s", "16", "-V", "31", "--json"][..], Exit::Ok),
            ("fan-out", &["-n", "3", "-q", "1", "--broker-pid", &std::process::id().to_string()], Exit::Ok),
            ("fan-in", &["-n", "3", "-w", "0", "--allow-loss"], Exit::Ok),
            ("pub-sub", &["-n", "2", "-q", "1", "--persistent"], Exit::Ok),
            // It keeps nothing for who is not there.
            ("offline", &["--drain", "0.2"], Exit::Failed),
            ("offline", &["--no-drain"], Exit::Ok),
            ("offline", &["-q", "0"], Exit::Failed),
            ("offline", &["--sessions", "2", "--own-topics"], Exit::Usage),
            ("idle", &["-n", "3", "--threads", "2"], Exit::Ok),
            ("connect", &["-n", "2", "--persistent", "-u", "me", "-P", "secret"], Exit::Ok),
            ("pub-sub", &["-q", "1", "-w", "0"], Exit::Failed),
            ("pub-sub", &["-d", "1"], Exit::Usage),
            ("idle", &["-q", "1"], Exit::Usage),
        ] {
            let arguments =
                [&["culex", "bench", scenario, "-h", "127.0.0.1", "-p", &port, "-c", "9"], options];
            assert_eq!(
                run_with(arguments.concat().iter().map(Into::into)),
                expected,
                "{scenario} {options:?}"
            );
        }
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let arguments = ["culex", "bench", "idle", "-h", "127.0.0.1", "-p", &free];
        assert_eq!(run_with(arguments.iter().map(Into::into)), Exit::Failed);
    }
}
