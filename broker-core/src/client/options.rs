//! How to connect, and as whom.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::{ProtocolVersion, QoS};

/// What a Client needs to know to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Name or address of the Server. Default `localhost`.
    pub host: String,
    /// Its port. Default 1883.
    pub port: u16,
    /// Version of the protocol. Default 3.1.1.
    pub version: ProtocolVersion,
    /// ClientId. Empty (default) lets the Server name this Client, which needs a clean session.
    pub client_id: String,
    /// Whether a new Session begins: Clean Start of 5.0. Before 5.0 it also ends with the connection. Default true.
    pub clean_session: bool,
    /// Seconds that the Session outlives the connection, in 5.0 alone; 4,294,967,295 is for ever. Default `None`: not at
    /// all with [`Self::clean_session`], else for ever, as before 5.0.
    pub session_expiry_s: Option<u32>,
    /// Whether to tell the Server that we are a bridge, which before 5.0 is a private sign of some brokers: bit 7 of the
    /// Protocol Level. Such a Server sends RETAIN as it was published and nothing back that came from us; in 5.0 the
    /// options of a Subscription say that. One that does not know it answers [`Refusal::Version`], or closes the
    /// connection without a word: then connect without. Default false.
    ///
    /// [`Refusal::Version`]: crate::client::Refusal::Version
    pub is_bridge: bool,
    /// Longest silence before a PINGREQ, in seconds. 0 turns it off. Default 60. A Server of 5.0 may say otherwise, see
    /// [`Granted`](crate::client::Granted).
    pub keep_alive: u16,
    /// Time for the answer to a PINGREQ; half of Keep Alive, if that is less. Default 30 s.
    pub ping_timeout: Duration,
    /// User name, if any.
    pub user_name: Option<String>,
    /// Password, if any.
    pub password: Option<Secret>,
    /// What the Server publishes if this Client vanishes.
    pub will: Option<Will>,
    /// QoS 1 and 2 messages that may wait for an acknowledgement, 1 … 65,535. Default 20.
    pub in_flight: u16,
    /// Whether QoS 1 and 2 messages wait for [`Connection::acknowledge`](crate::client::Connection::acknowledge).
    /// Default false: they are acknowledged when they come.
    pub is_manual_ack: bool,
    /// QoS 1 and 2 messages that the Server may send without our acknowledgement, in 5.0 alone: 1 … 65,535, which is the
    /// default.
    pub receive_maximum: u16,
    /// Largest packet accepted from the Server, in bytes. Default 268,435,460, the largest there is. In 5.0 the Server is
    /// told.
    pub packet_bytes_max: u32,
    /// Time for name lookup, connection and CONNACK together. Default 10 s.
    pub connect_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 1883,
            version: ProtocolVersion::V311,
            client_id: String::new(),
            clean_session: true,
            session_expiry_s: None,
            is_bridge: false,
            keep_alive: 60,
            ping_timeout: Duration::from_secs(30),
            user_name: None,
            password: None,
            will: None,
            in_flight: 20,
            is_manual_ack: false,
            receive_maximum: u16::MAX,
            packet_bytes_max: PACKET_BYTES_MAX,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Seconds that the Session shall outlive the connection.
    pub(super) fn session_expiry_s(&self) -> u32 {
        // Clean Session 0 before 5.0: the Session has no end of its own.
        let without = if self.clean_session { 0 } else { u32::MAX };
        self.session_expiry_s.filter(|_| self.version.is_v5()).unwrap_or(without)
    }

    /// Messages of the Server that may wait for us.
    pub(super) fn receive_maximum(&self) -> u16 {
        if self.version.is_v5() { self.receive_maximum.max(1) } else { u16::MAX }
    }
}

/// The largest packet there is, in bytes.
pub(super) const PACKET_BYTES_MAX: u32 = 268_435_460;

/// The Will Message.
#[derive(Debug, Clone)]
pub struct Will {
    /// Topic Name.
    pub topic: String,
    /// Application Message.
    pub payload: Bytes,
    /// Quality of Service.
    pub qos: QoS,
    /// Whether it becomes a Retained Message.
    pub is_retained: bool,
}

/// Bytes that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Hides `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the packet that needs them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
