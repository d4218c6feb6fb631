//! The counters and gauges of a shard: plain numbers that only its thread touches. The server adds those of all
//! shards up into one registry, which `$SYS`, HTTP and Prometheus read.

use culex_codec::QoS;

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Name and meaning of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name, by Prometheus' conventions without prefix.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
}

macro_rules! stats {
    ($($name:ident: $kind:ident, $help:literal;)*) => {
        /// All numbers of one shard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Stats {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Stats {
            /// Names and meanings, in the order of [`Stats::values`].
            pub const METRICS: &'static [Metric] =
                &[$(Metric { name: stringify!($name), help: $help, kind: MetricKind::$kind },)*];

            /// How many numbers there are.
            pub const COUNT: usize = Self::METRICS.len();

            /// The numbers.
            pub const fn values(&self) -> [u64; Self::COUNT] {
                [$(self.$name,)*]
            }
        }
    };
}

impl Stats {
    pub(crate) const fn note_received(&mut self, qos: QoS) {
        self.messages_received += 1;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.messages_received_qos1 += 1,
            QoS::ExactlyOnce => self.messages_received_qos2 += 1,
        }
    }

    pub(crate) const fn note_sent(&mut self, qos: QoS) {
        self.messages_sent += 1;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.messages_sent_qos1 += 1,
            QoS::ExactlyOnce => self.messages_sent_qos2 += 1,
        }
    }
}

stats! {
    connections: Gauge, "Network Connections that were accepted and are alive.";
    connections_total: Counter, "CONNECT packets that were accepted.";
    sessions: Gauge, "Sessions, with and without a connection.";
    sessions_expired: Counter, "Sessions that ended because their client did not come back in time.";
    sessions_persistent: Gauge, "Sessions that outlive their connection.";
    subscriptions: Gauge, "Subscriptions of all sessions.";
    messages_received: Counter, "PUBLISH packets received.";
    messages_received_qos1: Counter, "Of messages_received those of QoS 1.";
    messages_received_qos2: Counter, "Of messages_received those of QoS 2.";
    messages_sent: Counter, "PUBLISH packets sent.";
    messages_sent_qos1: Counter, "Of messages_sent those of QoS 1.";
    messages_sent_qos2: Counter, "Of messages_sent those of QoS 2.";
    payload_bytes_received: Counter, "Payload bytes of PUBLISH packets received.";
    payload_bytes_sent: Counter, "Payload bytes of PUBLISH packets sent.";
    packets_received: Counter, "MQTT Control Packets received.";
    packets_sent: Counter, "MQTT Control Packets sent.";
    bytes_received: Counter, "Bytes received.";
    bytes_sent: Counter, "Bytes sent.";
    messages_unrouted: Counter, "Messages that no session subscribed to.";
    messages_duplicate: Counter, "QoS 2 messages received again with a Packet Identifier in use.";
    messages_refused: Counter, "Messages that a hook or the access control did not let their client publish, acknowledged and dropped.";
    deliveries_denied: Counter, "Deliveries that the access control did not let reach their client, and Retained Messages whose publisher may not publish there any more.";
    messages_dropped_by_hook: Counter, "Messages that a hook dropped, acknowledged.";
    messages_reserved_topic: Counter, "Messages of clients to $SYS and $CULEX topics, acknowledged and dropped.";
    queue_messages: Gauge, "QoS 1 and 2 messages that wait or are in flight.";
    queue_bytes: Gauge, "Bytes of these messages, counted per session.";
    queue_memory_bytes: Gauge, "Bytes of them held in memory (limit queue_memory_bytes).";
    queue_disk_messages: Gauge, "Of queue_messages those whose topic and payload only the store has.";
    queue_disk_bytes: Gauge, "Bytes of these.";
    queue_reads: Counter, "Reads of queued messages from the store.";
    dropped_unreadable: Counter, "Queued messages dropped because the store did not give them back.";
    dropped_slow_reader: Counter, "QoS 0 messages dropped because a connection did not read (limits outbox_bytes, outbox_burst_bytes).";
    outbox_burst_bytes: Gauge, "Bytes that wait beyond outbox_bytes of their connections.";
    dropped_queue_full: Counter, "Messages dropped at a full session queue (limits queue_messages, queue_bytes).";
    dropped_queue_total: Counter, "Messages dropped because the queues of all sessions are full (limit queue_total_bytes).";
    dropped_aged: Counter, "Queued messages dropped because they waited for longer than their session wants.";
    dropped_session_ended: Counter, "Queued messages that ended with their session.";
    retained_refused: Counter, "Messages not retained (limits retained_messages, retained_bytes).";
    subscriptions_refused: Counter, "Subscriptions refused (limits subscriptions_per_session, filters_per_packet, topic_levels, topic_bytes).";
    subscriptions_denied: Counter, "Subscriptions that a hook or the access control refused.";
    sessions_refused: Counter, "Connections refused (limit sessions).";
    connections_taken_over: Counter, "Connections ended because a newer one has the same ClientId.";
    connections_superseded: Counter, "Late connection attempts closed because a newer one is alive.";
    sessions_of_others_ended: Counter, "Sessions ended because somebody else connected with their ClientId.";
    connections_keep_alive: Counter, "Connections closed after 1.5 x Keep Alive without a packet.";
    connections_hook_failed: Counter, "Connections closed because a hook panicked or gave no answer (limit hook_timeout).";
    connections_malformed: Counter, "Connections closed for a malformed packet.";
    connections_protocol_error: Counter, "Connections closed for a packet that is not allowed.";
    questions: Counter, "Packets that a hook was asked about.";
    questions_open: Gauge, "Connections that wait for the answer of a hook.";
    connections_partial: Counter, "Connections closed for an unfinished packet (limit partial_total_bytes).";
    partial_bytes: Gauge, "Bytes of packets whose rest has not come.";
    store_waits: Counter, "Packets that waited until the store had room; their connections were not read meanwhile.";
    queues_full: Gauge, "Full queues that make publishers wait (when_full block).";
    publishers_waiting: Gauge, "Connections that are not read because their next packet waits for a full queue.";
    queue_waits: Counter, "Packets that waited until a full queue had room; their connections were not read meanwhile.";
    connections_stalled: Counter, "Connections closed because the store was full for too long (limit stall_max).";
    pace_pauses: Counter, "Times that a client had sent too fast and was not read for a while (limits messages_per_second, bytes_per_second).";
    messages_refused_full: Counter, "Messages answered with 0x97 because the store was full.";
    wills_published: Counter, "Will Messages published.";
    panics: Counter, "Panics while handling the bytes of one connection.";
}
