//! What comes into a lane.

use crate::engine::Admission;
use crate::engine::shard::ShardMessage;

use super::super::admit::Permit;
use super::super::transport::Transport;

/// What a lane is told from outside.
pub(crate) enum LaneMessage {
    /// A connection whose CONNECT was accepted.
    Attach(Box<Newcomer>),
    /// From another shard.
    Shard(ShardMessage),
    /// Write what waits and end.
    Stop,
}

/// A connection on its way from the front door to its lane.
pub(crate) struct Newcomer {
    pub(crate) transport: Transport,
    pub(crate) admission: Admission,
    /// What came behind CONNECT.
    pub(crate) unread: Vec<u8>,
    pub(crate) permit: Permit,
}

impl LaneMessage {
    /// What it counts towards the bytes of a turn.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Attach(_) | Self::Stop => 0,
            Self::Shard(message) => message.bytes(),
        }
    }
}
