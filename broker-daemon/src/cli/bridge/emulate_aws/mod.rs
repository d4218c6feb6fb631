//! `culex bridge emulate-aws`: a strict local stand-in for AWS IoT Core.

mod orders;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::orders::Orders;
use crate::aws_emulator::{
    Delivery, Emulator, Observations, Role, SCENARIOS, SERVER_NAME, Scenario, Violations,
};
use crate::cli::human;
use crate::cli::interrupt::Interrupt;
use crate::exit::Exit;
use crate::init::guide::for_shell;

/// Where it keeps its certificates, and where it listens.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    culex bridge emulate-aws                          as port 8883 of AWS IoT Core\n  \
    culex bridge emulate-aws --messages               prints what it gets\n  \
    culex bridge emulate-aws --port-443 8443          as port 443 too, which asks for ALPN\n  \
    culex bridge emulate-aws --port-8443 8444         as port 8443 too: curl … https://localhost:8444/topics/a\n  \
    culex bridge emulate-aws --scenario reorder_acks --scenario drop_puback=100\n\n\
    While it runs, scenarios are typed: `outage`, `outage=off`; `help` says what else.\n\
    It listens on this computer alone. Exit code 1 if a client broke a rule of the service.")]
pub(super) struct Arguments {
    /// The folder of certificates and registry; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "aws-emulator")]
    directory: PathBuf,
    /// Where it is as port 8883; 0 is any that is free
    #[arg(short, long, default_value_t = 8883)]
    port: u16,
    /// Where it is as port 443: MQTT by ALPN, MQTT over WebSocket, HTTPS
    #[arg(long, value_name = "PORT")]
    port_443: Option<u16>,
    /// Where it is as port 8443: HTTPS with a client certificate
    #[arg(long, value_name = "PORT")]
    port_8443: Option<u16>,
    /// Print each message that it takes
    #[arg(short, long)]
    messages: bool,
    /// What goes wrong with it, NAME or NAME=VALUE; may be given several times
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Print the names of all scenarios
    #[arg(long)]
    list_scenarios: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    if arguments.list_scenarios {
        return super::super::print(&format!("{}\n", SCENARIOS.join("\n")));
    }
    let mut scenario = Scenario::default();
    for text in &arguments.scenarios {
        if let Err(error) = scenario.switch(text) {
            human::complain(error);
            return Exit::Usage;
        }
    }
    crate::cli::run_async(async {
        match emulate(arguments, scenario).await {
            Ok(0) => Exit::Ok,
            Ok(_) => Exit::Failed,
            Err(message) => {
                human::complain(message);
                Exit::Failed
            }
        }
    })
}

/// Gives the number of broken rules.
async fn emulate(arguments: &Arguments, scenario: Scenario) -> Result<u64, String> {
    let mut interrupt = Interrupt::catch();
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut builder = Emulator::builder()
        .directory(&arguments.directory)
        .scenario(scenario)
        .listen(Role::Port8883, at(arguments.port));
    for (role, port) in [(Role::Port443, arguments.port_443), (Role::Port8443, arguments.port_8443)] {
        if let Some(port) = port {
            builder = builder.listen(role, at(port));
        }
    }
    let emulator = builder.start().await.map_err(|error| error.to_string())?;
    let folder = fs::canonicalize(&arguments.directory)
        .map_err(|error| format!("{}: {}", arguments.directory.display(), human::io(&error)))?;
    print(&guide(&emulator, &folder))?;
    let mut shown = Shown { with_messages: arguments.messages, ..Shown::default() };
    let mut orders = Orders::listen();
    loop {
        tokio::select! {
            lines = emulator.until(|emulator| shown.next(emulator)) => print(&lines)?,
            line = orders.next() => match orders::obey(&emulator, &line) {
                Ok(answer) => print(&answer)?,
                Err(why) => human::complain(why),
            },
            () = interrupt.wait() => break,
        }
    }
    let violations = emulator.violations();
    let mut text = String::from("\nBroken rules:\n");
    for (id, count) in violations.counts() {
        let _ = writeln!(text, "  {id}  {count}");
    }
    if violations.counts().is_empty() {
        text.push_str("  none\n");
    }
    print(&text)?;
    Ok(violations.records().total())
}

fn print(text: &str) -> Result<(), String> {
    human::print(text).map_err(|error| format!("cannot write to standard output: {}", human::io(&error)))
}

/// What clients need, ready to copy.
fn guide(emulator: &Emulator, folder: &Path) -> String {
    let port = emulator.address(Role::Port8883).map_or(0, |address| address.port());
    let file = |name: &str| folder.join(name);
    let (ca, certificate, key) = (file("root-ca.crt"), file("client.crt"), file("client.key"));
    let mut text = format!(
        "AWS IoT Core, played strictly, on this computer alone. Ctrl-C ends it; `help` says what can be typed here.\n\n\
         # A bridge: culex.toml\n\
         [[bridge]]\nname = \"aws\"\naddress = \"127.0.0.1:{port}\"\npreset = \"aws-iot\"\nclient_id = \"culex\"\n\
         [bridge.tls]\nca_file = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\n\
         server_name = \"{SERVER_NAME}\"\n\
         [[bridge.out]]\nfilter = \"hello/#\"\n\n\
         # Another client\n\
         mosquitto_pub -h localhost -p {port} --cafile {} --cert {} --key {} -i first -q 1 -t hello/world -m hi\n",
        for_shell(&ca),
        for_shell(&certificate),
        for_shell(&key),
    );
    if let Some(address) = emulator.address(Role::Port443) {
        let port = address.port();
        let _ = writeln!(
            text,
            "\n# As port 443\naddress = \"127.0.0.1:{port}\", and alpn = \"x-amzn-mqtt-ca\" below [bridge.tls]"
        );
    }
    if let Some(address) = emulator.address(Role::Port8443) {
        let _ = writeln!(
            text,
            "\n# As port 8443\ncurl --cacert {} --cert {} --key {} --data hi \"https://localhost:{}/topics/hello/world?qos=1\"",
            for_shell(&ca),
            for_shell(&certificate),
            for_shell(&key),
            address.port()
        );
    }
    let _ = writeln!(
        text,
        "\nWho may do what: {} and the policies that it names.\n",
        for_shell(file("registry.toml"))
    );
    text
}

/// How much of everything was printed.
#[derive(Default)]
struct Shown {
    with_messages: bool,
    connects: u64,
    disconnects: u64,
    violations: u64,
}

impl Shown {
    /// The lines that are new, in order of time.
    fn next(&mut self, emulator: &Emulator) -> Option<String> {
        // Nobody else wants them.
        let messages = emulator.take_deliveries();
        let mut lines: Vec<_> = messages.iter().filter(|_| self.with_messages).map(line).collect();
        emulator.look(|observations, violations| self.events(observations, violations, &mut lines));
        lines.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> =
            lines.iter().map(|(at, line)| format!("{:>10.3}  {line}\n", at.as_secs_f64())).collect();
        (!lines.is_empty()).then(|| lines.concat())
    }

    fn events(&mut self, observations: &Observations, violations: &Violations, lines: &mut Vec<Line>) {
        for seen in observations.connects.after(self.connects) {
            let how = match seen.session_present {
                Some(true) => "connected, session present",
                Some(false) => "connected",
                None => "CONNECT refused",
            };
            lines.push((seen.at, format!("{:?}: {how}", seen.client_id)));
        }
        for seen in observations.disconnects.after(self.disconnects) {
            lines.push((seen.at, format!("{:?}: {}", seen.client_id, seen.reason.name())));
        }
        for seen in violations.records().after(self.violations) {
            lines.push((
                seen.at,
                format!("{:?}: {} {}: {}", seen.client_id, seen.id, seen.packet, seen.action),
            ));
        }
        self.connects = observations.connects.total();
        self.disconnects = observations.disconnects.total();
        self.violations = violations.records().total();
    }
}

/// When something was, and what.
type Line = (Duration, String);

/// A message in a line, of which it gets no more than there is room for.
fn line(message: &Delivery) -> Line {
    const TEXT_CHARACTERS: usize = 60;
    let Delivery { at, client_id, topic, payload, qos, .. } = message;
    let who = if client_id.is_empty() { "HTTPS".to_owned() } else { format!("{client_id:?}") };
    let begin = payload.get(..4 * TEXT_CHARACTERS).unwrap_or(payload);
    let text = String::from_utf8_lossy(begin);
    let shown = human_readable(text.chars().take(TEXT_CHARACTERS));
    let is_whole = begin.len() == payload.len() && text.chars().nth(TEXT_CHARACTERS).is_none();
    let more = if is_whole { "" } else { "…" };
    (*at, format!("{who}: PUBLISH {} (QoS {qos}): {shown}{more}", human_readable(topic.chars())))
}

/// What a terminal would obey is written out.
fn human_readable(text: impl Iterator<Item = char>) -> String {
    let mut readable = String::new();
    for character in text {
        if character.is_control() {
            readable.extend(character.escape_default());
        } else {
            readable.push(character);
        }
    }
    readable
}
