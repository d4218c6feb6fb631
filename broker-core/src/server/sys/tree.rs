//! The topics and what stands there. No I/O but [`Memory::now`], no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::metrics::Snapshot;
use super::load::{Load, PERIODS};

const ROOT: &str = "$SYS/broker/";

/// Counters that are published as they are, and as a load. A value is the sum of these metrics.
const MESSAGES_RECEIVED: &[&str] = &["packets_received", "connections_total"];
const MESSAGES_SENT: &[&str] = &["packets_sent"];
const PUBLISH_DROPPED: &[&str] = &["dropped_slow_reader", "dropped_queue_full", "dropped_queue_total"];
const PUBLISH_RECEIVED: &[&str] = &["messages_received"];
const PUBLISH_SENT: &[&str] = &["messages_sent"];
const BYTES_RECEIVED: &[&str] = &["bytes_received"];
const BYTES_SENT: &[&str] = &["bytes_sent"];
/// A message that waits in several sessions counts in each.
const STORED: &[&str] = &["queue_messages", "retained_messages"];

const NUMBERS: &[(&str, &[&str])] = &[
    ("clients/total", &["sessions"]),
    ("clients/connected", &["connections"]),
    ("clients/active", &["connections"]),
    ("clients/expired", &["sessions_expired"]),
    ("messages/received", MESSAGES_RECEIVED),
    ("messages/sent", MESSAGES_SENT),
    ("messages/stored", STORED),
    ("store/messages/count", STORED),
    ("store/messages/bytes", &["queue_bytes", "retained_bytes"]),
    ("subscriptions/count", &["subscriptions"]),
    // There are none yet.
    ("shared_subscriptions/count", &[]),
    ("retained messages/count", &["retained_messages"]),
    ("publish/messages/dropped", PUBLISH_DROPPED),
    ("publish/messages/received", PUBLISH_RECEIVED),
    ("publish/messages/sent", PUBLISH_SENT),
    ("publish/bytes/received", &["payload_bytes_received"]),
    ("publish/bytes/sent", &["payload_bytes_sent"]),
    ("bytes/received", BYTES_RECEIVED),
    ("bytes/sent", BYTES_SENT),
];

const LOADS: &[(&str, &[&str])] = &[
    ("load/messages/received/", MESSAGES_RECEIVED),
    ("load/messages/sent/", MESSAGES_SENT),
    ("load/publish/dropped/", PUBLISH_DROPPED),
    ("load/publish/received/", PUBLISH_RECEIVED),
    ("load/publish/sent/", PUBLISH_SENT),
    ("load/bytes/received/", BYTES_RECEIVED),
    ("load/bytes/sent/", BYTES_SENT),
    ("load/sockets/", &["sockets_total"]),
    (
        "load/connections/",
        &["connections_total", "connect_refused", "connect_unauthorized", "connect_unavailable"],
    ),
];

/// What was published last, and what averages need of the past.
#[derive(Debug)]
pub(super) struct Tree {
    version: String,
    published: BTreeMap<String, String>,
    loads: Vec<Load>,
    updated: Duration,
    clients_max: u64,
}

impl Tree {
    /// Nothing was published.
    pub(super) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            published: BTreeMap::new(),
            loads: LOADS.iter().map(|_| Load::default()).collect(),
            updated: Duration::ZERO,
            clients_max: 0,
        }
    }

    /// Topics whose value is not what was published, with the new one, in byte order. `uptime` never goes back.
    pub(super) fn update(
        &mut self,
        uptime: Duration,
        numbers: &Snapshot,
        memory: Option<Memory>,
    ) -> Vec<(String, String)> {
        let mut values = BTreeMap::new();
        let mut set = |topic: &str, value: String| drop(values.insert(format!("{ROOT}{topic}"), value));
        set("version", self.version.clone());
        set("uptime", format!("{} seconds", uptime.as_secs()));
        for (topic, metrics) in NUMBERS {
            set(topic, sum(numbers, metrics).to_string());
        }
        let clients = sum(numbers, &["sessions"]);
        self.clients_max = self.clients_max.max(clients);
        set("clients/maximum", self.clients_max.to_string());
        // Read at other moments, the two may not fit.
        let away = clients.saturating_sub(sum(numbers, &["connections"])).to_string();
        set("clients/disconnected", away.clone());
        set("clients/inactive", away);
        if let Some(Memory { current, maximum }) = memory {
            set("heap/current", current.to_string());
            set("heap/maximum", maximum.to_string());
        }
        let since = uptime.saturating_sub(self.updated);
        self.updated = uptime;
        for (load, (topic, metrics)) in self.loads.iter_mut().zip(LOADS) {
            let averages = load.update(since, sum(numbers, metrics));
            for (average, (period, _)) in averages.into_iter().zip(PERIODS) {
                set(&format!("{topic}{period}"), format!("{average:.2}"));
            }
        }
        values.retain(|topic, value| self.published.get(topic) != Some(value));
        self.published.extend(values.clone());
        values.into_iter().collect()
    }
}

fn sum(numbers: &Snapshot, metrics: &[&str]) -> u64 {
    metrics.iter().filter_map(|name| numbers.get(name)).sum()
}

/// Memory of the process that is in RAM, in bytes. mosquitto counts what it has allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    current: u64,
    maximum: u64,
}

impl Memory {
    /// As Linux has it; `None` elsewhere.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let number = |name: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(name))?.trim();
            text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { current: number("VmRSS:")?, maximum: number("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::engine::stats::Stats;
    use crate::engine::store::Stored;
    use crate::limits::Limits;
    use crate::server::commons::SharedCommons;
    use crate::server::metrics::{LaneCells, Metrics};

    fn metrics() -> Metrics {
        Metrics {
            lanes: vec![Arc::new(LaneCells::default())],
            front_door: Default::default(),
            commons: Arc::new(SharedCommons::new(&Limits::default(), (1, 2), &Stored::default())),
            store: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn text(values: &[(String, String)]) -> Vec<String> {
        values.iter().map(|(topic, value)| format!("{} {value}", topic.trim_start_matches(ROOT))).collect()
    }

    #[test]
    fn every_metric_that_is_named_exists() {
        let numbers = metrics().snapshot();
        let named = NUMBERS.iter().chain(LOADS).flat_map(|(_, metrics)| metrics.iter());
        for name in named {
            assert!(numbers.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn all_is_published_first_and_then_what_has_changed() {
        let metrics = metrics();
        let mut tree = Tree::new("v");
        let first = tree.update(Duration::ZERO, &metrics.snapshot(), Memory::parse(STATUS));
        assert_eq!(first.len(), 2 + NUMBERS.len() + 3 + 2 + 3 * LOADS.len());
        let second = tree.update(seconds(10), &metrics.snapshot(), Memory::parse(STATUS));
        assert_eq!(text(&second), ["uptime 10 seconds"]);
        let stats = Stats { connections: 1, sessions: 3, messages_received: 10, ..Stats::default() };
        metrics.lanes[0].publish(&stats);
        metrics.front_door.sockets_total.store(1, Ordering::Relaxed);
        let third = tree.update(seconds(20), &metrics.snapshot(), Memory::parse(STATUS));
        let expected = [
            "clients/active 1",
            "clients/connected 1",
            "clients/disconnected 2",
            "clients/inactive 2",
            "clients/maximum 3",
            "clients/total 3",
            "load/publish/received/15min 0.66",
            "load/publish/received/1min 9.21",
            "load/publish/received/5min 1.97",
            "load/sockets/15min 0.07",
            "load/sockets/1min 0.92",
            "load/sockets/5min 0.20",
            "publish/messages/received 10",
            "uptime 20 seconds",
        ];
        assert_eq!(text(&third), expected);
        // The highest number stays.
        metrics.lanes[0].publish(&Stats { connections: 1, sessions: 1, ..stats });
        let fourth = text(&tree.update(seconds(30), &metrics.snapshot(), None));
        assert!(fourth.contains(&"clients/total 1".to_owned()), "{fourth:?}");
        assert!(!fourth.iter().any(|line| line.starts_with("clients/maximum")), "{fourth:?}");
    }

    const STATUS: &str = "Name:\tculex\nVmPeak:\t  9 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\nThreads:\t1\n";

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        assert_eq!(Memory::parse(STATUS), Some(Memory { current: 10 << 10, maximum: 20 << 10 }));
        assert_eq!(Memory::parse("VmRSS:\tmany kB\nVmHWM: 1 kB\n"), None);
        assert_eq!(Memory::parse(""), None);
    }
}
