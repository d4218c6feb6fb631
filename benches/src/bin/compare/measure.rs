//! One measurement.

use std::process::Command;

use serde_json::Value;

use culex_benches::Result;
use culex_benches::broker::{Broker, Running};
use culex_benches::cpu::Jiffies;

/// Where the program is that measures.
const CULEX: &str = "target/release/culex";

/// One measurement. What does not apply is not a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Deliveries or connections per second; offline, messages put away.
    pub(crate) rate: f64,
    /// Subscriptions or Retained Messages taken per second, before the measured part.
    pub(crate) installed: f64,
    /// Bytes of memory of a connection (idle), a subscription, a Retained Message, an entry of a queue (offline).
    pub(crate) bytes: f64,
    /// Cores that the broker kept busy (idle).
    pub(crate) cores: f64,
    /// Deliveries per second when the sessions are back (offline).
    pub(crate) drain: f64,
    pub(crate) p99_us: f64,
    /// CPU time per delivery in microseconds.
    pub(crate) broker_cpu_us: f64,
    pub(crate) own_cpu_us: f64,
    /// Bytes that the broker wrote to the disk, per delivery, or message put away.
    pub(crate) written: f64,
    /// Bytes of memory per session (offline).
    pub(crate) session: f64,
    /// Bytes of the broker's files per message that waits (offline).
    pub(crate) queued: f64,
    /// Messages lost, duplicated or out of order.
    pub(crate) faults: f64,
    /// Cores busy with something else meanwhile.
    pub(crate) foreign_cores: f64,
}

impl Figures {
    /// Where there is no measurement.
    pub(crate) const NONE: Self = Self {
        rate: f64::NAN,
        installed: f64::NAN,
        bytes: f64::NAN,
        cores: f64::NAN,
        drain: f64::NAN,
        p99_us: f64::NAN,
        broker_cpu_us: f64::NAN,
        own_cpu_us: f64::NAN,
        written: f64::NAN,
        session: f64::NAN,
        queued: f64::NAN,
        faults: f64::NAN,
        foreign_cores: f64::NAN,
    };

    /// The median of each.
    pub(crate) fn medians(runs: &[Self]) -> Self {
        let of = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            rate: of(|run| run.rate),
            installed: of(|run| run.installed),
            bytes: of(|run| run.bytes),
            cores: of(|run| run.cores),
            drain: of(|run| run.drain),
            p99_us: of(|run| run.p99_us),
            broker_cpu_us: of(|run| run.broker_cpu_us),
            own_cpu_us: of(|run| run.own_cpu_us),
            written: of(|run| run.written),
            session: of(|run| run.session),
            queued: of(|run| run.queued),
            faults: of(|run| run.faults),
            foreign_cores: of(|run| run.foreign_cores),
        }
    }
}

/// Runs the load generator against a broker, for some seconds unless the scenario has a count.
pub(crate) fn measure(
    run: &str,
    more: &[String],
    broker: &Broker,
    running: &Running,
    seconds: f64,
) -> Result<Figures> {
    let words: Vec<_> = run.split_whitespace().collect();
    let kind = words.first().copied().unwrap_or_default();
    let mut command = Command::new(CULEX);
    command.arg("bench").args(&words).args(["-h", "127.0.0.1", "-p", &running.address.port().to_string()]);
    // A broker that writes all it has after each change may be long about it.
    command.args(["--drain", "30"]);
    command.args(more.iter().map(|word| running.fill(word)));
    command.args(["--json", "--broker-pid", &running.pid().to_string()]);
    if !words.contains(&"-c") {
        command.args(["-d", &seconds.to_string()]);
    }
    if kind == "offline" {
        command.args(&broker.offline);
        if broker.keeps() {
            command.arg("--broker-data").arg(running.data());
        }
    }
    let before = Jiffies::now(&[running.pid()])?;
    let begin = std::time::Instant::now();
    let output = command.output()?;
    let elapsed_s = begin.elapsed().as_secs_f64();
    let after = Jiffies::now(&[running.pid()])?;
    let line: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let only = |kinds: bool, value: f64| if kinds { value } else { f64::NAN };
    let is_offline = kind == "offline";
    Ok(Figures {
        rate: match kind {
            "idle" => f64::NAN,
            "offline" => number("messages_per_second"),
            _ => number("deliveries_per_second"),
        },
        installed: number("installed_per_second"),
        bytes: match kind {
            "idle" => (number("broker_bytes_after") - number("broker_bytes_before")) / number("connections"),
            "offline" => number("queued_memory_bytes_each"),
            _ => number("installed_bytes_each"),
        },
        cores: only(kind == "idle", number("broker_cpu_seconds") / number("measured_seconds")),
        drain: only(is_offline && number("deliveries") > 0.0, number("deliveries_per_second")),
        p99_us: only(
            !matches!(kind, "offline" | "idle" | "retained"),
            line.pointer("/latency_us/p99").and_then(Value::as_f64).unwrap_or(f64::NAN),
        ),
        broker_cpu_us: number("broker_cpu_us_each"),
        own_cpu_us: number("bench_cpu_us_each"),
        written: only(broker.keeps(), number("broker_written_bytes_each")),
        // The memory of a few is lost in what the system rounds to.
        session: only(number("sessions") >= 1000.0, number("session_bytes_each")),
        queued: number("queued_bytes_each"),
        faults: ["lost", "duplicated", "out_of_order", "wrong", "closed"].into_iter().map(number).sum(),
        foreign_cores: after.foreign_since(&before) / elapsed_s,
    })
}
