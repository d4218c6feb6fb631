//! What can go wrong for a Client.

use std::io;

use crate::engine::qos::AckError;
use culex_codec::{DecodeError, EncodeError, PacketType, ReasonCode, TopicError};

use crate::client::reason::Reason;

/// A connection could not be made, or is at its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The network did not let us connect.
    #[error("cannot connect to {host}:{port}: {}", describe_io(source))]
    Connect {
        /// Whom.
        host: String,
        /// Where.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The Server's name means nothing.
    #[error("cannot find the host {host}: {}", describe_io(source))]
    Lookup {
        /// Its name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// No CONNACK within the time allowed.
    #[error("no answer from {host}:{port} within {seconds} s")]
    ConnectTimeout {
        /// Whom.
        host: String,
        /// Where.
        port: u16,
        /// How long we waited.
        seconds: u64,
    },
    /// The Server answered CONNECT with a refusal.
    #[error("the broker refused the connection: {refusal}{}", its_words(reason))]
    Refused {
        /// What it means.
        refusal: Refusal,
        /// The code as it came, and what the Server added.
        reason: Reason,
    },
    /// The Server closed the connection.
    #[error("the broker closed the connection")]
    Closed,
    /// The Server closed the connection and said why (5.0).
    #[error("the broker closed the connection: {0}")]
    Disconnected(Reason),
    /// No PINGRESP in time.
    #[error("the broker is silent: no answer to a ping")]
    Silent,
    /// Reading or writing failed.
    #[error("the connection broke: {}", describe_io(.0))]
    Io(#[source] io::Error),
    /// What answered CONNECT has another protocol.
    #[error("what answers there speaks {0}, not MQTT")]
    Foreign(Foreign),
    /// What the Server sent is not MQTT.
    #[error("the broker sent a malformed packet: {0}")]
    Malformed(#[from] DecodeError),
    /// What the Server sent is out of order.
    #[error("the broker broke the protocol: {0}")]
    Protocol(&'static str),
    /// The Server sent a packet that only a Client sends, or a second CONNACK.
    #[error("the broker broke the protocol: an unexpected {0}")]
    Unexpected(PacketType),
    /// The Server acknowledged out of order.
    #[error("the broker broke the protocol: {0}")]
    Acknowledgement(#[from] AckError),
    /// A topic that no packet can have.
    #[error("this cannot be sent: {0}")]
    Topic(#[from] TopicError),
    /// A packet cannot be written.
    #[error("this cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// The Server said in CONNACK that it does not take such a packet ([`Granted`](crate::client::Granted)).
    #[error("this cannot be sent: the broker does not take it: {0}")]
    NotGranted(ReasonCode),
    /// Topic Alias and Subscription Identifier are not a message's.
    #[error("this cannot be sent: a property that belongs to a connection")]
    ForeignProperty,
    /// More messages wait for an acknowledgement than [`Options::in_flight`](crate::client::Options::in_flight).
    #[error("too many messages wait for an acknowledgement")]
    WindowFull,
}

/// A protocol that is easily met on the wrong port, by what it answers to CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Foreign {
    /// A record of TLS.
    #[error("TLS")]
    Tls,
    /// A status line of HTTP, as of a WebSocket listener.
    #[error("HTTP")]
    Http,
}

impl Foreign {
    /// What the first bytes are of. No CONNACK begins like that.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        // RFC 8446 section 5.1: alert, version 3.x.
        if bytes.starts_with(&[0x15, 0x03]) {
            Some(Self::Tls)
        } else {
            bytes.starts_with(b"HTTP/").then_some(Self::Http)
        }
    }
}

/// Why a Server refused a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 3.1.1 code 1.
    #[error("it does not speak this version of MQTT; try another one with -V")]
    Version,
    /// 3.1.1 code 2.
    #[error("it does not accept this client id")]
    ClientId,
    /// 3.1.1 code 3.
    #[error("it is unavailable at present")]
    Unavailable,
    /// 3.1.1 code 4.
    #[error("wrong user name or password")]
    Credentials,
    /// 3.1.1 code 5.
    #[error("not authorized; it may want a user name and password (-u, -P)")]
    NotAuthorized,
    /// A code that 3.1.1 does not name, or one of 5.0.
    #[error("{}", Reason::new(*.0))]
    Other(u8),
}

impl Refusal {
    /// The refusal that a Connect Return Code (3.1.1, table 3.1) or Reason Code (5.0) stands for.
    pub fn from_code(code: u8) -> Self {
        match code {
            0x01 | 0x84 => Self::Version,
            0x02 | 0x85 => Self::ClientId,
            0x03 | 0x88 | 0x89 => Self::Unavailable,
            0x04 | 0x86 => Self::Credentials,
            0x05 | 0x87 => Self::NotAuthorized,
            other => Self::Other(other),
        }
    }
}

/// What the Server adds to a refusal.
fn its_words(reason: &Reason) -> String {
    if reason.text.is_some() { format!("; it says: {reason}") } else { String::new() }
}

/// An I/O error without "(os error 111)", in lower case as the end of a sentence.
pub fn describe_io(error: &io::Error) -> String {
    let text = error.to_string();
    // As the standard library begins what the resolver says.
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let text = text.split(" (os error").next().unwrap_or_default().trim_end_matches('.');
    // As rustls ends, with a page of its manual, and tokio-rustls begins.
    let text = text.split(": https://").next().unwrap_or_default();
    let text = if text == "tls handshake eof" { "closed within the TLS handshake" } else { text };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_sentences() {
        assert_eq!(describe_io(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(describe_io(&io::Error::from(io::ErrorKind::TimedOut)), "timed out");
        assert_eq!(describe_io(&io::Error::other("")), "other error");
        assert_eq!(describe_io(&io::Error::other("tls handshake eof")), "closed within the TLS handshake");
        assert_eq!(describe_io(&io::Error::other("No end: https://x.org/y")), "no end");
    }
}
