//! Why a connection ends, and what a peer did wrong.

use culex_codec::{DecodeError, PacketType, ReasonCode};

use super::question::HookFailure;

/// A packet that is well formed but not allowed here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A second CONNECT on one connection [MQTT-3.1.0-2].
    #[error("a second CONNECT on one connection [MQTT-3.1.0-2]")]
    SecondConnect,
    /// A packet that only a Server sends.
    #[error("{0:?}, which only a Server sends")]
    ServerPacket(PacketType),
    /// An acknowledgement that does not fit the state of its message.
    #[error("{packet:?} for packet identifier {packet_id}, which waits for another acknowledgement")]
    WrongAcknowledgement {
        /// The packet.
        packet: PacketType,
        /// Its Packet Identifier.
        packet_id: u16,
    },
    /// More QoS 2 messages in flight than the limit `incoming_in_flight`.
    #[error("more than {0} QoS 2 messages in flight (limit incoming_in_flight)")]
    TooManyInFlight(u16),
    /// An UNSUBSCRIBE with more filters than the limit `filters_per_packet`.
    #[error("an UNSUBSCRIBE of more than {0} filters (limit filters_per_packet)")]
    TooManyFilters(u64),
    /// A Topic Name over the limit `topic_levels`.
    #[error("a topic of {levels} levels (limit topic_levels {max})")]
    TopicTooDeep {
        /// Its levels.
        levels: u64,
        /// The limit.
        max: u64,
    },
    /// A Topic Name over the limit `topic_bytes`.
    #[error("a topic of {bytes} bytes (limit topic_bytes {max})")]
    TopicTooLong {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: u16,
    },
}

impl ProtocolError {
    /// What a 5.0 DISCONNECT would say.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::SecondConnect | Self::ServerPacket(_) | Self::WrongAcknowledgement { .. } => {
                ReasonCode::ProtocolError
            }
            Self::TooManyFilters(_) => ReasonCode::QuotaExceeded,
            Self::TooManyInFlight(_) => ReasonCode::ReceiveMaximumExceeded,
            Self::TopicTooDeep { .. } | Self::TopicTooLong { .. } => ReasonCode::TopicNameInvalid,
        }
    }
}

/// Why a CONNECT was not accepted although it is well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// This protocol version is not served (yet).
    #[error("protocol version not supported")]
    UnsupportedVersion,
    /// An empty ClientId with Clean Session 0, or in 3.1 [MQTT-3.1.3-8].
    #[error("empty client id without clean session [MQTT-3.1.3-8]")]
    EmptyClientId,
    /// The host does not accept user name and password.
    #[error("bad user name or password")]
    BadCredentials,
    /// The host does not let this client in.
    #[error("not authorized")]
    NotAuthorized,
    /// The host does not let this client publish its Will Message.
    #[error("not authorized to publish to the will topic")]
    WillNotAuthorized,
    /// The host cannot say now whether it lets this client in.
    #[error("authentication unavailable")]
    Unavailable,
    /// It waited for a full store as long as the limit `stall_max`.
    #[error("the store has no room for its session or will (limit stall_max)")]
    StoreFull,
    /// One more session than the limit `sessions`.
    #[error("too many sessions (limit sessions)")]
    TooManySessions,
    /// The Will Topic is over the limit `topic_levels` or `topic_bytes`.
    #[error("will topic over the limit topic_levels or topic_bytes")]
    WillTopic,
    /// A Keep Alive over the limit `max_keep_alive`; 0, which is none at all, is over any.
    #[error(
        "keep alive {keep_alive_s} s{}, at most {max_s} s (limit max_keep_alive): let the client ask for less, or raise the limit",
        if *.keep_alive_s == 0 { ", which is for ever" } else { "" }
    )]
    KeepAlive {
        /// What the client asked for, in seconds.
        keep_alive_s: u16,
        /// The limit, in seconds.
        max_s: u64,
    },
    /// The session of this ClientId belongs to the host's own client.
    #[error("the host itself uses this client id")]
    ReservedClientId,
    /// Another connection of this ClientId was accepted later and is alive.
    #[error("a newer connection has this client id")]
    Superseded,
}

impl Refusal {
    /// What CONNACK says; 3.x gets the return code that comes nearest.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::UnsupportedVersion => ReasonCode::UnsupportedProtocolVersion,
            // 3.x has no code for a Keep Alive.
            Self::EmptyClientId | Self::ReservedClientId | Self::KeepAlive { .. } => {
                ReasonCode::ClientIdentifierNotValid
            }
            Self::BadCredentials => ReasonCode::BadUserNameOrPassword,
            Self::NotAuthorized | Self::WillNotAuthorized => ReasonCode::NotAuthorized,
            Self::TooManySessions | Self::Unavailable | Self::StoreFull => ReasonCode::ServerUnavailable,
            Self::WillTopic => ReasonCode::TopicNameInvalid,
            Self::Superseded => ReasonCode::SessionTakenOver,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The Client sent DISCONNECT.
    #[error("client disconnected")]
    Disconnected,
    /// The Network Connection broke or was closed without DISCONNECT.
    #[error("connection lost without DISCONNECT")]
    Lost,
    /// No packet for 1.5 × Keep Alive [MQTT-3.1.2-24].
    #[error("no packet for 1.5 x keep alive [MQTT-3.1.2-24]")]
    KeepAlive,
    /// A newer connection has the same ClientId [MQTT-3.1.4-2].
    #[error("taken over by a newer connection of the same client id [MQTT-3.1.4-2]")]
    TakenOver,
    /// Malformed bytes.
    #[error("malformed packet: {0}{statement}", statement = statement_of(.0))]
    Malformed(DecodeError),
    /// A packet that is not allowed here.
    #[error("protocol error: {0}")]
    Protocol(ProtocolError),
    /// A rule of the layer under MQTT was broken.
    #[error("{0}")]
    Transport(&'static str),
    /// The CONNECT was refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A hook that was asked about one of its packets gave no answer.
    #[error("no answer about its packet: {0}")]
    Hook(HookFailure),
    /// Its unfinished packet took the most room for the longest time when the limit `partial_total_bytes` was reached.
    #[error("an unfinished packet, one of the costliest (limit partial_total_bytes)")]
    PartialPacket,
    /// It waited for a full store as long as the limit `stall_max`.
    #[error("the store has no room for what it sent (limit stall_max)")]
    StoreFull,
    /// The broker or its operator ended the connection.
    #[error("ended by the broker")]
    Administrative,
    /// The broker failed while it worked on this connection's bytes.
    #[error("internal error while handling its packets")]
    Internal,
}

/// The statement that is broken, in brackets, if 3.1.1 has one.
pub(crate) fn statement_of(error: &DecodeError) -> String {
    match error.statement() {
        "" => String::new(),
        statement => format!(" [{statement}]"),
    }
}

impl CloseReason {
    /// Whether the peer broke a rule or the host failed; such an end is worth a warning in the log.
    pub const fn is_violation(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::Protocol(_)
            | Self::Transport(_)
            | Self::Refused(_)
            | Self::PartialPacket
            | Self::StoreFull
            | Self::Hook(_)
            | Self::Internal => true,
            Self::Disconnected | Self::Lost | Self::KeepAlive | Self::TakenOver | Self::Administrative => {
                false
            }
        }
    }
}
