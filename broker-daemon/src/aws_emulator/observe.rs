//! What tests can look at: what came, how fast, and in what order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// Why a connection ended, with the names of AWS's life-cycle events. AIC-TOP-08
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// Who it is could not be told, or may not connect.
    AuthError,
    /// DISCONNECT.
    ClientInitiated,
    /// A packet that may not be.
    ClientError,
    /// The connection broke.
    ConnectionLost,
    /// The client id has connected elsewhere.
    DuplicateClientId,
    /// A topic that is not allowed.
    ForbiddenAccess,
    /// Nothing came for one and a half times the Keep Alive.
    KeepAliveTimeout,
    /// The service closed it.
    ServerInitiated,
    /// Too much, too fast.
    Throttled,
    /// What opened the WebSocket is too old. AIC-CON-16
    WebSocketTtl,
}

impl DisconnectReason {
    /// The name in life-cycle events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthError => "AUTH_ERROR",
            Self::ClientInitiated => "CLIENT_INITIATED_DISCONNECT",
            Self::ClientError => "CLIENT_ERROR",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::DuplicateClientId => "DUPLICATE_CLIENTID",
            Self::ForbiddenAccess => "FORBIDDEN_ACCESS",
            Self::KeepAliveTimeout => "MQTT_KEEP_ALIVE_TIMEOUT",
            Self::ServerInitiated => "SERVER_INITIATED_DISCONNECT",
            Self::Throttled => "THROTTLED",
            Self::WebSocketTtl => "WEBSOCKET_TTL_EXPIRATION",
        }
    }
}

/// The latest of many, and how many there were.
#[derive(Clone, Debug)]
pub struct Latest<T> {
    items: VecDeque<T>,
    total: u64,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), total: 0 }
    }
}

impl<T> Latest<T> {
    pub(super) fn push(&mut self, item: T, count_max: usize) {
        self.total += 1;
        self.items.push_back(item);
        if self.items.len() > count_max {
            self.items.pop_front();
        }
    }

    /// Those that are remembered, in order: as many as [`super::Limits::records`].
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }

    /// Those that came after the first `seen`, in order.
    pub fn after(&self, seen: u64) -> impl Iterator<Item = &T> {
        let new = usize::try_from(self.total.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.items.iter().skip(self.items.len().saturating_sub(new))
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// A CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// When it came, since the start of the emulator.
    pub at: Duration,
    /// Client id.
    pub client_id: String,
    /// Protocol Level as sent: 4, 5.
    pub level: u8,
    /// Clean Session, Clean Start.
    pub clean_start: bool,
    /// Keep Alive as asked for, in seconds.
    pub keep_alive: u16,
    /// Session Present if it was accepted, `None` if not.
    pub session_present: Option<bool>,
}

/// The end of a connection that had been accepted, or sent CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnected {
    /// When, since the start of the emulator.
    pub at: Duration,
    /// Client id.
    pub client_id: String,
    /// Why.
    pub reason: DisconnectReason,
}

/// A message that the service accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When, since the start of the emulator.
    pub at: Duration,
    /// Who published it.
    pub client_id: String,
    /// Topic, of Basic Ingest too.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS, 0 or 1.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// Packet Identifier, if any.
    pub packet_id: Option<u16>,
}

/// Who acknowledged what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The client.
    pub client_id: String,
    /// Packet Identifier.
    pub packet_id: u16,
}

/// Counters, peaks, and what happened.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    /// TLS handshakes that were completed.
    pub handshakes: u64,
    /// TLS handshakes that were not.
    pub failed_handshakes: u64,
    /// CONNECTs.
    pub connects: Latest<Connected>,
    /// Ends of connections.
    pub disconnects: Latest<Disconnected>,
    /// PUBACKs as they were sent.
    pub acks_sent: Latest<Acknowledgement>,
    /// PUBACKs as they came.
    pub acks_received: Latest<Acknowledgement>,
    /// PUBLISH packets that came.
    pub publishes_in: u64,
    /// PUBLISH packets that were sent.
    pub publishes_out: u64,
    /// Bytes of packets that came.
    pub bytes_in: u64,
    /// Bytes of packets that were sent.
    pub bytes_out: u64,
    /// SUBSCRIBE packets that came.
    pub subscribes: u64,
    /// PINGREQ packets that came.
    pub pings: u64,
    /// Messages discarded by a limit or by the scenario `throttle`.
    pub throttled: u64,
    /// Messages for sessions whose client was away, discarded by a limit. AIC-SES-05
    pub discarded_offline: u64,
    /// Messages that a policy did not let a client receive. AIC-POL-07
    pub not_received: u64,
    /// The most PUBLISH packets that came in any second over one connection.
    pub peak_publishes_per_second: u32,
    /// The most bytes that came in any second over one connection.
    pub peak_bytes_per_second: u32,
    /// The most messages at QoS 1 of one connection without an answer.
    pub peak_in_flight_in: usize,
    /// The most messages at QoS 1 to one client without an answer.
    pub peak_in_flight_out: usize,
    /// Accepted messages that are no longer remembered.
    pub deliveries_forgotten: u64,
}

/// Accepted messages, within bounds.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    messages: VecDeque<Delivery>,
    bytes: usize,
    total: u64,
}

/// What a remembered message costs beside its texts.
const OVERHEAD: usize = 128;

impl Deliveries {
    /// Gives how many were forgotten for it.
    pub(super) fn push(&mut self, delivery: Delivery, count_max: usize, bytes_max: usize) -> u64 {
        self.total += 1;
        self.bytes += size(&delivery);
        self.messages.push_back(delivery);
        let mut forgotten = 0;
        while self.messages.len() > count_max || self.bytes > bytes_max {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= size(&oldest);
            forgotten += 1;
        }
        forgotten
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.messages.iter()
    }

    pub(super) fn take(&mut self) -> Vec<Delivery> {
        self.bytes = 0;
        std::mem::take(&mut self.messages).into()
    }
}

fn size(delivery: &Delivery) -> usize {
    OVERHEAD + delivery.client_id.len() + delivery.topic.len() + delivery.payload.len()
}
