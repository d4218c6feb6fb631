//! The latency of local clients beside an integration.
//!
//! An integration is a persistent session, so its messages go to the disk, and without it they need not. What that alone
//! costs shows a session whose client is away: it gets the same messages, and nobody takes them.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use culex_benches::Result;
use culex_benches::broker::Running;
use culex_benches::client::{Client, Unreleased};
use culex_tests::wire::Publish;
use serde_json::Value;

use crate::http::Api;
use crate::receiver::{Manner, Receiver};
use crate::table::{Ratio, Table};
use crate::{Bench, Cost, free_port};

/// An open loop: 20 pairs, QoS 1, 100 bytes.
const RATE: [&str; 7] = ["rate", "-n", "20", "-r", "2000", "-q", "1"];
/// What else is published, if the integration does not carry the messages that are measured.
const OTHER_PER_SECOND: u32 = 1000;
/// A session has room for all messages of a measurement, as that of an integration has.
const ROOM: &str = "[limits]\nqueue_messages = \"unlimited\"\nqueue_bytes = \"unlimited\"\n";
const TURN: Duration = Duration::from_millis(10);

const TITLES: &[&str] = &[
    "messages that are measured",
    "other side",
    "p50 µs",
    "p99 µs",
    "carried in all",
    "broker cores",
    "faults",
    "foreign",
];
const P99: usize = 1;
/// Who nothing is kept for, and whose messages wait.
const BASES: &[&str] = &[Side::Off.words(), Side::Away.words()];
const P99_RATIO_MAX: f64 = 1.25;

/// Whose messages the integration carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    Measured,
    Others,
}

/// How the other side is; `Off`: there is no integration; `Away`: in its place there is a session without a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Off,
    Away,
    Up,
    Refusing,
    Failing,
    Silent,
}

/// What runs beside the broker.
#[derive(Default)]
struct Beside {
    remote: Option<Running>,
    _receiver: Option<Receiver>,
}

/// Local clients with and without a bridge.
pub(crate) fn bridge(bench: &Bench) -> Result<Table> {
    measure_all(bench, &[Side::Off, Side::Away, Side::Up, Side::Refusing], &|side, filter| {
        let remote = if side == Side::Up { Some(bench.remote()?) } else { None };
        let port = remote.as_ref().map_or_else(free_port, |remote| Ok(remote.address.port()))?;
        let config = format!(
            "[[bridge]]\nname = \"b\"\naddress = \"127.0.0.1:{port}\"\n[[bridge.out]]\nfilter = \"{filter}\"\n"
        );
        Ok((config, Beside { remote, _receiver: None }))
    })
}

/// Local clients with and without a webhook.
pub(crate) fn webhook(bench: &Bench) -> Result<Table> {
    let sides = [Side::Off, Side::Away, Side::Up, Side::Refusing, Side::Failing, Side::Silent];
    measure_all(bench, &sides, &|side, filter| {
        let manner = match side {
            Side::Off | Side::Away | Side::Refusing => None,
            Side::Up => Some(Manner::Prompt),
            Side::Failing => Some(Manner::Failing),
            Side::Silent => Some(Manner::Silent),
        };
        let receiver = manner.map(|manner| Receiver::start(&bench.runtime, manner)).transpose()?;
        let port = receiver.as_ref().map_or_else(free_port, |receiver| Ok(receiver.address.port()))?;
        let config = format!(
            "[[webhook]]\nname = \"w\"\nurl = \"http://127.0.0.1:{port}/\"\ntopics = [\"{filter}\"]\n"
        );
        Ok((config, Beside { remote: None, _receiver: receiver }))
    })
}

type Start<'a> = &'a dyn Fn(Side, &str) -> Result<(String, Beside)>;

fn measure_all(bench: &Bench, sides: &[Side], start: Start<'_>) -> Result<Table> {
    let mut table = Table::new(TITLES, Some(Ratio { place: P99, bases: BASES, most: P99_RATIO_MAX }));
    let rows: Vec<_> = [Carried::Measured, Carried::Others]
        .into_iter()
        .flat_map(|carried| sides.iter().map(move |side| (carried, *side)))
        .collect();
    let names = |(carried, side): &(Carried, Side)| [carried.words(), side.words()].map(str::to_owned);
    bench.interleave(&mut table, &rows, names, |(carried, side)| measure(bench, *carried, *side, start))?;
    Ok(table)
}

fn measure(bench: &Bench, carried: Carried, side: Side, start: Start<'_>) -> Result<Vec<f64>> {
    let (integration, beside) = match side {
        Side::Off => Default::default(),
        Side::Away => (ROOM.to_owned(), Beside::default()),
        Side::Up | Side::Refusing | Side::Failing | Side::Silent => start(side, carried.filter())?,
    };
    let port = free_port()?;
    let broker = bench.broker(&format!("[http]\naddress = \"127.0.0.1:{port}\"\n{integration}"))?;
    let api = Api::of(&broker, port)?;
    if side == Side::Away {
        let (mut client, _) = Client::connect(broker.address, "away", false, Unreleased::default())?;
        client.subscribe(carried.filter(), 1)?;
    }
    if beside.remote.is_some() {
        api.await_sum("culex_integration_up", 1.0)?;
    }
    let others = (carried == Carried::Others).then(|| Others::start(broker.address)).transpose()?;
    let mut processes = vec![broker.pid()];
    processes.extend(beside.remote.as_ref().map(Running::pid));
    let (line, cost) = Cost::of(&processes, || run(bench, broker.address))?;
    if let Some(others) = others {
        others.stop()?;
    }
    let carried = api.sum("culex_integration_messages_total", "direction=\"out\",outcome=\"delivered\"")?;
    broker.kill()?;
    if let Some(remote) = beside.remote {
        remote.kill()?;
    }
    let number = |name: &str| line.pointer(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let faults = ["/lost", "/duplicated", "/out_of_order", "/wrong", "/closed"].into_iter().map(number).sum();
    Ok(vec![
        number("/latency_us/p50"),
        number("/latency_us/p99"),
        carried,
        cost.broker_cpu_s / cost.seconds,
        faults,
        cost.foreign_cores,
    ])
}

fn run(bench: &Bench, address: SocketAddr) -> Result<Value> {
    let mut command = Command::new(&bench.culex);
    command.arg("bench").args(RATE).args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
    command.args(["--warm-up", "0.5", "-d", &bench.seconds.to_string(), "--json"]);
    let output = command.output()?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned().into())
}

impl Carried {
    fn words(self) -> &'static str {
        match self {
            Self::Measured => "are carried",
            Self::Others => "are not, 1000/s others are",
        }
    }

    fn filter(self) -> &'static str {
        match self {
            Self::Measured => "bench/#",
            Self::Others => "other/#",
        }
    }
}

impl Side {
    const fn words(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Away => "a session, away",
            Self::Up => "up",
            Self::Refusing => "refuses connections",
            Self::Failing => "answers 500",
            Self::Silent => "never answers",
        }
    }
}

/// Messages of others, with QoS 1, until it is stopped.
struct Others {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Others {
    fn start(address: SocketAddr) -> Result<Self> {
        let (mut client, _) = Client::connect(address, "others", true, Unreleased::default())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut sent: u32 = 0;
            while !seen.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * f64::from(OTHER_PER_SECOND)) as u32;
                let messages =
                    (sent..due).map(|n| Publish::new(&format!("other/{}", n % 50), [b'x'; 100]).qos(1, 0));
                client.publish_all(messages.collect())?;
                sent = due;
                std::thread::sleep(TURN);
            }
            Ok(())
        });
        Ok(Self { is_over, thread })
    }

    fn stop(self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the thread of the others has panicked")?
    }
}
