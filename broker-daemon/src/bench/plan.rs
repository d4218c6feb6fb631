//! What to measure, checked.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use culex_codec::QoS;

use crate::bench::BenchError;
use crate::bench::secured::Tls;
use crate::bench::spread::TOPICS_MAX;
use crate::bench::template::STAMP_BYTES;

/// One run of the load generator.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The broker.
    pub address: SocketAddr,
    /// Who talks to whom.
    pub scenario: Scenario,
    /// How long.
    pub length: Length,
    /// Version of the protocol.
    pub version: Version,
    /// QoS of messages and subscriptions.
    pub qos: QoS,
    /// Size of a payload in bytes, 16 to 268,000,000.
    pub payload_bytes: usize,
    /// Messages in flight per publisher, at most 65,534: sent and not yet received by each subscriber or, above
    /// QoS 0, not yet acknowledged. 0 (QoS 0 only): whatever the connection takes. With 5.0 the broker may take fewer.
    pub window: u32,
    /// Threads of the load generator; the connections are dealt out. 1 for fan-out and fan-in.
    pub threads: usize,
    /// After the last message: how long without any delivery until the rest counts as lost. Also the patience with
    /// a broker that does not answer.
    pub patience: Duration,
    /// Process of the broker, for its CPU time and memory.
    pub broker_pid: Option<u32>,
    /// Directory of the broker's files, for their size (offline).
    pub broker_data: Option<PathBuf>,
    /// Whether sessions come back for their messages, and are removed (offline). Otherwise nothing is verified.
    pub drains: bool,
    /// Whether the sessions of subscribers outlive their connections (Clean Session 0). They are removed after the run.
    /// With offline they do in any case.
    pub is_persistent: bool,
    /// Of every connection.
    pub credentials: Option<Credentials>,
    /// How each connection is secured.
    pub tls: Option<Tls>,
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Publishers with one subscriber each, a topic for each pair.
    PubSub {
        /// Number of pairs.
        pairs: u32,
    },
    /// The same at a given rate, whether or not the broker keeps up.
    Rate {
        /// Number of pairs.
        pairs: u32,
        /// Messages of all publishers together in a second, at least 1.
        per_second: u32,
    },
    /// One publisher, many subscribers.
    FanOut {
        /// Number of subscribers.
        subscribers: u32,
    },
    /// Many publishers, one subscriber.
    FanIn {
        /// Number of publishers.
        publishers: u32,
    },
    /// Many publishers, whose messages wait for sessions without a connection, which then come back for them. QoS 1 or 2.
    Offline {
        /// Number of publishers.
        publishers: u32,
        /// Number of sessions, each of which gets every message; `None`: one for each publisher, with a topic of their own.
        sessions: Option<u32>,
    },
    /// Many subscriptions, each of which gets messages in turn from one publisher.
    Subscriptions {
        /// How many: at least one for each client, below 10,000,000.
        subscriptions: u32,
        /// The clients that they are dealt out to.
        clients: u32,
    },
    /// As many Retained Messages as the plan has messages, below 10,000,000, which one subscriber then takes.
    Retained,
    /// Connections that say nothing.
    Idle {
        /// Number of connections.
        connections: u32,
    },
    /// Clients that connect, disconnect, and connect again.
    Connect {
        /// Clients at a time.
        clients: u32,
        /// Whether their sessions end with the connection.
        clean_session: bool,
    },
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After so many messages of each publisher, or connections of each client. All are measured.
    Count(u32),
    /// After some time.
    Time {
        /// Not measured, at the start.
        warm_up: Duration,
        /// Measured, after it.
        measured: Duration,
    },
}

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1
    V31,
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

/// User name and password, each of at most 65,535 bytes.
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub user_name: String,
    /// Password.
    pub password: String,
    /// Whether each client is a user of its own: its number stands behind the name (connect).
    pub is_numbered: bool,
}

impl Credentials {
    /// Those of this client.
    pub(super) fn of(&self, number: u32) -> Cow<'_, Self> {
        if !self.is_numbered {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { user_name: format!("{}{number}", self.user_name), ..self.clone() })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

/// Largest window: one less than there are Packet Identifiers.
pub(super) const WINDOW_MAX: u32 = 65_534;
/// Largest payload, a little below the largest packet.
const PAYLOAD_BYTES_MAX: usize = 268_000_000;

impl Plan {
    /// A plan with 100 bytes, QoS 0, MQTT 3.1.1, a window of 100 and one thread.
    pub fn new(address: SocketAddr, scenario: Scenario, length: Length) -> Self {
        Self {
            address,
            scenario,
            length,
            version: Version::V311,
            qos: QoS::AtMostOnce,
            payload_bytes: 100,
            window: 100,
            threads: 1,
            patience: Duration::from_secs(5),
            broker_pid: None,
            broker_data: None,
            drains: true,
            is_persistent: false,
            credentials: None,
            tls: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), BenchError> {
        let wrong = |what| Err(BenchError::Plan { what });
        let (publishers, subscribers) = self.roles();
        if publishers + subscribers + self.connections() == 0 {
            return wrong("there is nobody to connect");
        }
        if !(STAMP_BYTES..=PAYLOAD_BYTES_MAX).contains(&self.payload_bytes) {
            return wrong("a payload has 16 (its stamp) to 268,000,000 bytes");
        }
        if self.window > WINDOW_MAX {
            return wrong("a window has at most 65,534 messages");
        }
        if self.window == 0 && self.qos != QoS::AtMostOnce {
            return wrong("a window of 0 (no limit) is for QoS 0 only");
        }
        if self.qos == QoS::AtMostOnce && matches!(self.scenario, Scenario::Offline { .. }) {
            return wrong("messages of QoS 0 do not wait for who is offline");
        }
        if matches!(self.scenario, Scenario::Offline { sessions: Some(0), .. }) {
            return wrong("there is no session to wait for");
        }
        if self.threads == 0 || (self.threads > 1 && self.has_one_hub()) {
            return wrong("the threads are 1, or more with pub-sub, rate, idle and connect");
        }
        match (self.scenario, self.length) {
            (Scenario::Rate { per_second: 0, .. }, _) => return wrong("a rate is at least 1"),
            (Scenario::Subscriptions { subscriptions, clients }, _) if subscriptions < clients => {
                return wrong("each client has a subscription, so there are at least as many as clients");
            }
            (Scenario::Subscriptions { subscriptions: TOPICS_MAX.., .. }, _) => {
                return wrong("there are fewer than 10,000,000 subscriptions");
            }
            (Scenario::Retained, Length::Time { .. } | Length::Count(TOPICS_MAX..)) => {
                return wrong("retained messages have a number below 10,000,000, not a time");
            }
            _ => {}
        }
        let texts = self.credentials.iter().flat_map(|c| [&c.user_name, &c.password]);
        if texts.into_iter().any(|text| text.len() > usize::from(u16::MAX)) {
            return wrong("user name and password have at most 65,535 bytes");
        }
        Ok(())
    }

    /// Publishers and subscribers.
    pub(super) fn roles(&self) -> (u32, u32) {
        match self.scenario {
            Scenario::PubSub { pairs } | Scenario::Rate { pairs, .. } => (pairs, pairs),
            Scenario::Subscriptions { clients, .. } => (1, clients),
            Scenario::Retained => (1, 1),
            Scenario::FanOut { subscribers } => (1, subscribers),
            Scenario::FanIn { publishers } => (publishers, 1),
            Scenario::Offline { publishers, sessions } => (publishers, sessions.unwrap_or(publishers)),
            Scenario::Idle { .. } | Scenario::Connect { .. } => (0, 0),
        }
    }

    /// Connections that are neither.
    pub(super) fn connections(&self) -> u32 {
        match self.scenario {
            Scenario::PubSub { .. }
            | Scenario::Rate { .. }
            | Scenario::FanOut { .. }
            | Scenario::FanIn { .. }
            | Scenario::Offline { .. }
            | Scenario::Subscriptions { .. }
            | Scenario::Retained => 0,
            Scenario::Idle { connections } | Scenario::Connect { clients: connections, .. } => connections,
        }
    }

    fn has_one_hub(&self) -> bool {
        match self.scenario {
            Scenario::FanOut { .. }
            | Scenario::FanIn { .. }
            | Scenario::Offline { .. }
            | Scenario::Subscriptions { .. }
            | Scenario::Retained => true,
            Scenario::PubSub { .. }
            | Scenario::Rate { .. }
            | Scenario::Idle { .. }
            | Scenario::Connect { .. } => false,
        }
    }

    /// Threads that have something to do.
    pub(super) fn threads_used(&self) -> usize {
        let shares = self.roles().0.max(self.connections());
        self.threads.min(usize::try_from(shares).unwrap_or(usize::MAX)).max(1)
    }
}
