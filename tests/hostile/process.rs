//! The broker's process, seen from outside.

use std::fs;
use std::time::{Duration, Instant};

use culex_tests::broker::Broker;

pub(crate) const MIB: u64 = 1 << 20;

/// A line of `/proc/PID/status` that has kilobytes, in bytes.
pub(crate) fn status(broker: &Broker, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

pub(crate) fn resident(broker: &Broker) -> u64 {
    status(broker, "VmRSS")
}

/// CPU time that it has used.
pub(crate) fn cpu(broker: &Broker) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/stat", broker.pid())).unwrap();
    // The name in parentheses may have spaces; hundredths of seconds.
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.map(|field| 10 * field.parse::<u64>().unwrap()).sum())
}

/// Whether it becomes true within this time.
pub(crate) fn within(bound: Duration, mut is_it: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if is_it() {
            return true;
        }
        if begin.elapsed() > bound {
            return false;
        }
        std::thread::yield_now();
    }
}
