//! The one registry of numbers: what all lanes and the front door counted, under one list of names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::stats::{Metric, MetricKind, Stats};

use super::commons::SharedCommons;
use super::store::Queue;

/// The numbers of one shard where other threads can read them. Written by its lane alone.
pub(crate) struct LaneCells([AtomicU64; Stats::COUNT]);

impl Default for LaneCells {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Stats::COUNT])
    }
}

impl LaneCells {
    pub(crate) fn publish(&self, stats: &Stats) {
        for (cell, value) in self.0.iter().zip(stats.values()) {
            cell.store(value, Ordering::Relaxed);
        }
    }
}

macro_rules! front_door_metrics {
    ($($name:ident: $kind:ident, $help:literal;)*) => {
        /// What the front door counts.
        #[derive(Default)]
        pub(crate) struct FrontDoorCells {
            $(#[doc = $help] pub(crate) $name: AtomicU64,)*
        }

        impl FrontDoorCells {
            const METRICS: &'static [Metric] =
                &[$(Metric { name: stringify!($name), help: $help, kind: MetricKind::$kind },)*];

            fn values(&self) -> Vec<u64> {
                vec![$(self.$name.load(Ordering::Relaxed),)*]
            }
        }
    };
}

front_door_metrics! {
    sockets: Gauge, "Network Connections that are open, before and after CONNECT.";
    sockets_total: Counter, "Network Connections that were accepted.";
    sockets_refused: Counter, "Network Connections closed at once (limits connections, connections_per_address, max_connections of the listener).";
    accept_errors: Counter, "Failed accepts; accepting paused after each.";
    connect_timeouts: Counter, "Connections closed because CONNECT did not come in time (limit connect_timeout).";
    connect_malformed: Counter, "Connections closed for a malformed first packet, or one that is not CONNECT.";
    connect_refused: Counter, "CONNECT packets refused before they reached a session.";
    connect_unauthorized: Counter, "CONNECT packets that a hook refused, for their credentials or their will.";
    connect_unavailable: Counter, "CONNECT packets refused because a hook could not say, panicked or gave no answer (limits hook_timeout, connect_timeout).";
    connect_over_budget: Counter, "Connections closed for too many bytes before CONNECT (limits pre_auth_bytes, pre_auth_total_bytes).";
    tls_handshakes: Counter, "TLS handshakes that were completed.";
    tls_handshakes_resumed: Counter, "Of those, the ones that a ticket of an earlier connection made short.";
    tls_handshakes_failed: Counter, "Connections closed in the TLS handshake; the log says why.";
    websocket_upgrades: Counter, "WebSocket connections that were opened.";
    websocket_upgrades_failed: Counter, "Connections closed because their request opens no WebSocket connection; the log says why.";
    proxy_refused: Counter, "Connections closed because they are of no proxy, or their PROXY header is none.";
    pre_auth_bytes: Gauge, "Bytes held for connections whose CONNECT is not complete.";
}

const RETAINED: &[Metric] = &[
    Metric { name: "retained_messages", help: "Retained Messages.", kind: MetricKind::Gauge },
    Metric {
        name: "retained_bytes",
        help: "Bytes of the Retained Messages: topic, payload, and the names of who published them.",
        kind: MetricKind::Gauge,
    },
];

const STORE: &[Metric] = &[
    Metric { name: "store_commits", help: "Transactions of the store.", kind: MetricKind::Counter },
    Metric {
        name: "store_records",
        help: "Records that were written to the store.",
        kind: MetricKind::Counter,
    },
    Metric {
        name: "store_elided",
        help: "Messages in queues that were acknowledged before they had to be written.",
        kind: MetricKind::Counter,
    },
    Metric {
        name: "store_queue_bytes",
        help: "Bytes that wait for the store; from 64 MiB on nobody is read whose next packet would add to them.",
        kind: MetricKind::Gauge,
    },
    Metric {
        name: "store_full",
        help: "1 while the store has no space, and keeps and acknowledges nothing.",
        kind: MetricKind::Gauge,
    },
    Metric { name: "store_stalls", help: "Times that the store ran full.", kind: MetricKind::Counter },
    Metric {
        name: "store_commit_microseconds",
        help: "Time that the transactions of the store have taken.",
        kind: MetricKind::Counter,
    },
    Metric {
        name: "store_commits_within_1ms",
        help: "Transactions of the store that took 1 ms at most.",
        kind: MetricKind::Counter,
    },
    Metric {
        name: "store_commits_within_10ms",
        help: "Transactions of the store that took 10 ms at most.",
        kind: MetricKind::Counter,
    },
    Metric {
        name: "store_commits_within_100ms",
        help: "Transactions of the store that took 100 ms at most.",
        kind: MetricKind::Counter,
    },
    Metric {
        name: "store_commits_within_1s",
        help: "Transactions of the store that took 1 s at most.",
        kind: MetricKind::Counter,
    },
];

/// All numbers of a broker.
pub(crate) struct Metrics {
    pub(crate) lanes: Vec<Arc<LaneCells>>,
    pub(crate) front_door: FrontDoorCells,
    pub(crate) commons: Arc<SharedCommons>,
    /// What the store's thread counts, if there is a store.
    pub(crate) store: Option<Arc<Queue>>,
}

impl Metrics {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut values: Vec<_> = Stats::METRICS.iter().map(|metric| (metric, 0)).collect();
        for lane in &self.lanes {
            for ((_, sum), cell) in values.iter_mut().zip(&lane.0) {
                *sum += cell.load(Ordering::Relaxed);
            }
        }
        values.extend(FrontDoorCells::METRICS.iter().zip(self.front_door.values()));
        let (messages, bytes) = self.commons.retained_size();
        values.extend(RETAINED.iter().zip([messages, bytes]));
        if let Some(queue) = &self.store {
            values.extend(STORE.iter().zip(queue.counts()));
        }
        Snapshot(values)
    }
}

/// All counters and gauges at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot(Vec<(&'static Metric, u64)>);

impl Snapshot {
    /// Every number with its name and meaning.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Metric, u64)> {
        self.0.iter().copied()
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(metric, _)| metric.name == name).map(|(_, value)| *value)
    }
}
