//! What is measured, and one measurement.

use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::broker::Running;

/// A scenario of the load generator.
pub(crate) struct Scenario(&'static [&'static str]);

/// 100-byte payload; window 100 unless `-w` says otherwise.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario(&["pub-sub", "-w", "1"]),
    Scenario(&["pub-sub", "-w", "1", "-q", "1"]),
    Scenario(&["pub-sub"]),
    Scenario(&["pub-sub", "-n", "50"]),
    Scenario(&["pub-sub", "-n", "50", "-q", "1"]),
    Scenario(&["pub-sub", "-n", "50", "-q", "2"]),
    Scenario(&["pub-sub", "-n", "50", "-w", "1"]),
    Scenario(&["fan-out", "-n", "1000"]),
    Scenario(&["fan-in", "-n", "1000", "-w", "10"]),
    Scenario(&["fan-in", "-n", "1000"]),
    Scenario(&["connect", "-n", "50"]),
    Scenario(&["idle", "-n", "5000"]),
];

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Deliveries or connections per second; for idle, bytes of memory per connection.
    pub(crate) rate: f64,
    pub(crate) p99_us: f64,
    /// CPU time per delivery in microseconds.
    pub(crate) broker_cpu_us: f64,
    pub(crate) own_cpu_us: f64,
    /// Messages lost, duplicated or out of order.
    pub(crate) faults: f64,
    /// Cores busy with something else meanwhile.
    pub(crate) foreign_cores: f64,
}

impl Scenario {
    pub(crate) fn name(&self) -> String {
        self.0.join(" ")
    }
}

/// Runs the load generator against a broker.
pub(crate) fn measure(scenario: &Scenario, broker: &Running, seconds: u32) -> Result<Figures> {
    let Scenario(words) = scenario;
    let mut command = Command::new("target/release/culex");
    command.arg("bench").args(*words).args(["-h", "127.0.0.1", "-p", &broker.address.port().to_string()]);
    command.args(["-d", &seconds.to_string(), "--json", "--broker-pid", &broker.pid().to_string()]);
    let before = Jiffies::now(broker.pid())?;
    let begin = std::time::Instant::now();
    let output = command.output()?;
    let elapsed_s = begin.elapsed().as_secs_f64();
    let after = Jiffies::now(broker.pid())?;
    let line: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let is_idle = words.first() == Some(&"idle");
    Ok(Figures {
        rate: if is_idle {
            (number("broker_bytes_after") - number("broker_bytes_before")) / number("connections")
        } else {
            number("deliveries_per_second")
        },
        p99_us: line.pointer("/latency_us/p99").and_then(Value::as_f64).unwrap_or(f64::NAN),
        broker_cpu_us: number("broker_cpu_us_each"),
        own_cpu_us: number("bench_cpu_us_each"),
        faults: ["lost", "duplicated", "out_of_order", "wrong", "closed"].into_iter().map(number).sum(),
        foreign_cores: after.foreign_since(&before) / elapsed_s,
    })
}

/// CPU time of the machine, of a broker, and of the children of this process that have ended, in hundredths of seconds.
struct Jiffies {
    busy: u64,
    ours: u64,
}

impl Jiffies {
    fn now(broker: u32) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        // user, nice, system, idle, iowait, irq, softirq: idle and iowait are nobody's work.
        let busy = fields.take(7).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
        let busy = busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum();
        // utime, stime are the fields 14 and 15; with those of ended children 16 and 17.
        let ours = times(&broker.to_string(), 0)? + times("self", 0)? + times("self", 2)?;
        Ok(Self { busy, ours })
    }

    fn foreign_since(&self, before: &Self) -> f64 {
        let (busy, ours) = (self.busy - before.busy, self.ours.saturating_sub(before.ours));
        busy.saturating_sub(ours) as f64 / 100.0
    }
}

fn times(process: &str, skip: usize) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may have spaces.
    let (_, fields) = stat.rsplit_once(')').ok_or("no such process")?;
    Ok(fields.split_whitespace().skip(11 + skip).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}
