//! What can go wrong for a client in the broker's process.

use culex_codec::{DecodeError, TopicError};

use crate::engine::error::{CloseReason, ProtocolError, Refusal};

use super::super::serve::ServeError;

/// Why a client did not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The ClientId cannot be one: longer than 65,535 bytes, or with a character that MQTT forbids.
    #[error("this is no client id: {0}")]
    ClientId(DecodeError),
    /// A limit leaves no room, or the broker was shut down.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The broker refused, for example an empty ClientId with a persistent session.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A newer client with this ClientId came before this one was ready.
    #[error("a newer client has this client id; give each client an id of its own")]
    TakenOver,
}

/// Why a client has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Gone {
    /// [`Client::disconnect`](super::Client::disconnect) was called, or handles and inbox were dropped.
    #[error("the client was disconnected; connect again to go on")]
    Disconnected,
    /// Another client with the same ClientId connected [MQTT-3.1.4-2].
    #[error("another client connected with the same client id; give each client an id of its own")]
    TakenOver,
    /// The broker or its operator ended the connection.
    #[error("the connection was ended: {0}; connect again to go on")]
    Closed(CloseReason),
    /// The broker was shut down or has failed.
    #[error("the broker has stopped; start another one")]
    Stopped,
}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No Topic Name.
    #[error("this is no topic to publish to: {0}")]
    Topic(#[from] TopicError),
    /// A Topic Name over a limit.
    #[error("{0}; shorten the topic or raise the limit")]
    Limit(ProtocolError),
    /// Only the broker publishes below `$SYS`, and only its host below `$CULEX`.
    #[error("topics below $SYS and $CULEX are the broker's own; publish to another one")]
    Reserved,
    /// A packet over the limit `packet_bytes`.
    #[error("{bytes} bytes are too large (limit packet_bytes {max}); send less or raise the limit")]
    TooLarge {
        /// Bytes of the packet.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The client has ended. Whether the broker has the message is open. A persistent client that connects again in
    /// this process finishes what was begun at QoS 1 and 2, so do not publish the message again; with another client, do.
    #[error("not acknowledged: {0}")]
    Gone(#[from] Gone),
}

/// Why a subscription was not made or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No Topic Filter.
    #[error("this is no topic filter: {0}")]
    Filter(#[from] TopicError),
    /// A Topic Filter over a limit.
    #[error("{0}; shorten the filter or raise the limit")]
    Limit(ProtocolError),
    /// Only the host reads below `$CULEX`.
    #[error("topics below $CULEX are the broker's own; subscribe to others")]
    Reserved,
    /// The broker refused it.
    #[error("the broker refused the subscription (limit subscriptions_per_session)")]
    Refused,
    /// The client has ended.
    #[error("not answered: {0}")]
    Gone(#[from] Gone),
}
