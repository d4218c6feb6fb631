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
    /// Whether the Session ends with the connection. Default true.
    pub clean_session: bool,
    /// Longest silence before a PINGREQ, in seconds. 0 turns it off. Default 60.
    pub keep_alive: u16,
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
    /// Largest packet accepted from the Server, in bytes. Default 268,435,460, the largest there is.
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
            keep_alive: 60,
            user_name: None,
            password: None,
            will: None,
            in_flight: 20,
            is_manual_ack: false,
            packet_bytes_max: 268_435_460,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

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
