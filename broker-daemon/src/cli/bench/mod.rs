//! `culex bench`: measures a broker and verifies what it delivers.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use culex_codec::QoS;
use indicatif::{ProgressBar, ProgressStyle};

use self::arguments::{Command, Common, Messages, RelayArguments, Traffic};
use crate::bench::{self, BenchError, Credentials, Gauge, Length, Plan, Relay, Report, Scenario, Tls};
use crate::cli::human;
use crate::exit::Exit;

mod arguments;

pub(super) use self::arguments::Arguments;

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (common, allow_loss) = match &arguments.command {
        Command::Relay(relay) => return serve_relay(relay),
        Command::PubSub(live) | Command::FanOut(live) | Command::FanIn(live) => {
            (&live.traffic.messages.common, live.allow_loss)
        }
        Command::Rate(rate) => (&rate.messages.common, rate.allow_loss),
        Command::Subscriptions(subscriptions) => {
            let live = &subscriptions.live;
            (&live.traffic.messages.common, live.allow_loss)
        }
        Command::Retained(retained) => (&retained.messages.common, false),
        Command::Offline(offline) => (&offline.traffic.messages.common, false),
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
    let printed = crate::cli::print(&if common.json { report.json() } else { report.table() });
    if printed == Exit::Ok && !report.is_clean(allow_loss) { Exit::Failed } else { printed }
}

fn plan(arguments: &Arguments, common: &Common, address: SocketAddr) -> Result<Plan, String> {
    let number = common.number;
    let scenario = match &arguments.command {
        Command::FanOut(_) => Scenario::FanOut { subscribers: number },
        Command::FanIn(_) => Scenario::FanIn { publishers: number },
        Command::Rate(rate) => Scenario::Rate { pairs: number, per_second: rate.rate },
        Command::Subscriptions(subscriptions) => Scenario::Subscriptions {
            subscriptions: number,
            clients: subscriptions.clients.unwrap_or_else(|| CLIENTS_USUAL.min(number)),
        },
        Command::Retained(_) => Scenario::Retained,
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
        (Command::Retained(_), None, _) => Length::Count(number),
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
        | Command::Rate(_)
        | Command::Subscriptions(_)
        | Command::Retained(_)
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
        Command::Subscriptions(subscriptions) => {
            subscriptions.live.traffic.apply(&mut plan, QoS::AtMostOnce);
            plan.is_persistent = subscriptions.live.persistent;
        }
        Command::Rate(rate) => rate.messages.apply(&mut plan, QoS::AtMostOnce),
        Command::Retained(retained) => retained.messages.apply(&mut plan, QoS::AtMostOnce),
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

/// Clients with fewer subscriptions each than a broker of ours lets a session have, up to 2 million in all.
const CLIENTS_USUAL: u32 = 100;

impl Messages {
    fn apply(&self, plan: &mut Plan, qos: QoS) {
        plan.qos = self.qos.unwrap_or(qos);
        plan.payload_bytes = self.payload;
    }
}

impl Traffic {
    fn apply(&self, plan: &mut Plan, qos: QoS) {
        self.messages.apply(plan, qos);
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
    let relay = match &arguments.log {
        None => relay,
        Some(log) => match File::create(log) {
            Ok(file) => relay.with_log(file),
            Err(error) => {
                human::complain(format_args!("cannot write {}: {}", log.display(), human::io(&error)));
                return Exit::Failed;
            }
        },
    };
    let printed = crate::cli::print(&format!("relay listening on {}\n", relay.address()));
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
            ("rate", &["-n", "2", "-r", "5000", "-q", "1"], Exit::Ok),
            // It knows no wildcards.
            ("subscriptions", &["-n", "6", "--clients", "2", "--drain", "0.2"], Exit::Failed),
            ("subscriptions", &["-n", "3", "--clients", "4"], Exit::Failed),
            ("retained", &["--drain", "0.2"], Exit::Failed),
            ("rate", &["-w", "1"], Exit::Usage),
            // It speaks 3.1 and 3.1.1.
            ("pub-sub", &["-V", "5"], Exit::Failed),
            ("pub-sub", &["-V", "4"], Exit::Usage),
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
