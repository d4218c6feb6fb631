//! What comes into a lane.

use crate::engine::Admission;
use crate::engine::keys::{BatchNumber, ConnectionKey};
use crate::engine::question::Verdict;
use crate::engine::shard::{Fetched, Shard, ShardMessage, Turn};

use super::super::admit::Permit;
use super::super::transport::Transport;

/// What a lane is told from outside.
pub(crate) enum LaneMessage {
    /// A connection whose CONNECT was accepted.
    Attach(Box<Newcomer>),
    /// What a hook says about a packet.
    Answer {
        /// The connection that waits for it.
        connection: ConnectionKey,
        /// What it says.
        verdict: Verdict,
    },
    /// The store has everything through this batch.
    Stored(BatchNumber),
    /// What the store has read.
    Fetched(Fetched),
    /// The store has more room than before, or has run full: whoever waits for it is looked at.
    StoreRoom,
    /// From another shard.
    Shard(ShardMessage),
    /// A pipe has bytes or room that the lane waited for, or its peer has ended it.
    PipeReady(ConnectionKey),
    /// A question about its shard, answered by the one who asks.
    Visit(Visit),
    /// The broker ends: read nobody any more, handle what came before this, then say so to the departure.
    Settle,
    /// Nothing is on its way to anybody: close every connection and end.
    Leave,
}

/// Something done with a shard between two messages of a turn.
pub(crate) type Visit = Box<dyn FnOnce(&mut Shard, &mut Turn<'_>) + Send>;

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
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Attach(_)
            | Self::Stored(_)
            | Self::StoreRoom
            | Self::PipeReady(_)
            | Self::Visit(_)
            | Self::Settle
            | Self::Leave => 0,
            Self::Answer { connection: _, verdict } => verdict.bytes(),
            Self::Fetched(fetched) => fetched.bytes(),
            Self::Shard(message) => message.bytes(),
        }
    }
}
