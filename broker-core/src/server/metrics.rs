//! The one registry of numbers: what all lanes and the front door counted, under one list of names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::stats::{Metric, MetricKind, Stats};

use super::commons::SharedCommons;
use super::store::Queue;

/// The numbers of one lane where other threads can read them. Written by who drives it alone, so nothing is locked.
pub(crate) struct LaneCells {
    /// Of its shard.
    stats: [AtomicU64; Stats::COUNT],
    /// Turns by how long they took: up to each of [`TURN_BOUNDS`] and above the one before it, then the rest.
    turns: [AtomicU64; TURN_BOUNDS.len() + 1],
    turn_nanos: AtomicU64,
    /// MQTT Control Packets of its shard, in and out.
    packets: AtomicU64,
}

/// Durations that turns are counted by, as [`TURNS`] names them.
const TURN_BOUNDS: [Duration; 6] = [
    Duration::from_micros(10),
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

impl Default for LaneCells {
    fn default() -> Self {
        Self {
            stats: [const { AtomicU64::new(0) }; Stats::COUNT],
            turns: Default::default(),
            turn_nanos: AtomicU64::new(0),
            packets: AtomicU64::new(0),
        }
    }
}

impl LaneCells {
    pub(crate) fn publish(&self, stats: &Stats) {
        for (cell, value) in self.stats.iter().zip(stats.values()) {
            cell.store(value, Ordering::Relaxed);
        }
        self.packets.store(stats.packets_received.wrapping_add(stats.packets_sent), Ordering::Relaxed);
    }

    /// MQTT Control Packets that it has carried, and how long its turns took for them.
    pub(crate) fn done(&self) -> (u64, Duration) {
        let nanos = self.turn_nanos.load(Ordering::Relaxed);
        (self.packets.load(Ordering::Relaxed), Duration::from_nanos(nanos))
    }

    /// A turn is over.
    pub(crate) fn note_turn(&self, took: Duration) {
        let place = TURN_BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(TURN_BOUNDS.len());
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Nobody else writes, so this needs no atomic addition.
        let add = |cell: &AtomicU64, more: u64| {
            cell.store(cell.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
        };
        if let Some(cell) = self.turns.get(place) {
            add(cell, 1);
        }
        add(&self.turn_nanos, nanos);
    }
}

/// The turns of all lanes, in the order of [`TURNS`].
fn count_turns(lanes: &[Arc<LaneCells>]) -> [u64; TURN_COUNT] {
    let mut counts = [0; TURN_COUNT];
    for lane in lanes {
        let mut turns = 0;
        let [count, nanos, within @ ..] = &mut counts;
        for (place, cell) in lane.turns.iter().enumerate() {
            turns += cell.load(Ordering::Relaxed);
            if let Some(within) = within.get_mut(place) {
                *within += turns;
            }
        }
        *count += turns;
        *nanos += lane.turn_nanos.load(Ordering::Relaxed);
    }
    counts
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

/// Count, sum, and a number for each bound.
const TURN_COUNT: usize = 2 + TURN_BOUNDS.len();

static TURNS: [Metric; TURN_COUNT] = {
    const fn turns(name: &'static str, help: &'static str) -> Metric {
        Metric { name, help, kind: MetricKind::Counter }
    }
    [
        turns("turns", "Turns of the lanes: what one does between two looks at its connections."),
        turns(
            "turn_nanoseconds",
            "Time that turns have taken; nobody else of that lane is served meanwhile.",
        ),
        turns("turns_within_10us", "Turns that took 10 µs at most."),
        turns("turns_within_100us", "Turns that took 100 µs at most."),
        turns("turns_within_1ms", "Turns that took 1 ms at most."),
        turns("turns_within_10ms", "Turns that took 10 ms at most."),
        turns("turns_within_100ms", "Turns that took 100 ms at most."),
        turns("turns_within_1s", "Turns that took 1 s at most."),
    ]
};

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
            for ((_, sum), cell) in values.iter_mut().zip(&lane.stats) {
                *sum += cell.load(Ordering::Relaxed);
            }
        }
        values.extend(FrontDoorCells::METRICS.iter().zip(self.front_door.values()));
        values.extend(TURNS.iter().zip(count_turns(&self.lanes)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_in_every_bound_that_it_keeps() {
        let lanes = [Arc::new(LaneCells::default()), Arc::default()];
        for (lane, micros) in [(0, 10), (0, 11), (1, 999), (1, 1_000_000), (0, 1_000_001)] {
            lanes[lane].note_turn(Duration::from_micros(micros));
        }
        assert_eq!(count_turns(&lanes), [5, 2_001_021_000, 1, 2, 3, 3, 3, 4]);
    }
}
