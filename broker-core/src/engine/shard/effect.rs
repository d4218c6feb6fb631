//! What a shard asks its host to do, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use culex_codec::QoS;

use crate::engine::error::{CloseReason, Refusal};
use crate::engine::keys::{ConnectionKey, PublicationId, RetainedVersion, SessionId, SessionKey, ShardId};
use crate::engine::outbox::Outbox;
use crate::engine::publication::Publication;
use crate::engine::question::Question;
use crate::engine::route::Routes;
use crate::engine::store::StoreBatch;

/// Something to do outside. The order in which they come is the order in which they have to be done.
#[derive(Debug)]
pub enum Effect {
    /// Keep these records, then call [`Shard::handle_stored`](super::Shard::handle_stored).
    Store(StoreBatch),
    /// Read these messages of a session's queue, then call
    /// [`Shard::handle_fetched`](super::Shard::handle_fetched). The store must have kept everything that this and every
    /// other shard handed over before: what is read need not have been stored when this was asked.
    Fetch(Fetch),
    /// Hand these messages to another shard, in this order.
    Send {
        /// The shard.
        to: ShardId,
        /// What it gets.
        messages: Vec<ShardMessage>,
    },
    /// Hand this message to every shard, this one included, behind what they were handed before. Seldom.
    SendAll(ShardMessage),
    /// Write what is left once, then close the connection.
    Close {
        /// The connection, which the shard has forgotten already.
        connection: ConnectionKey,
        /// What was still to be written.
        outbox: Outbox,
        /// Why.
        reason: CloseReason,
    },
    /// Find out, then call [`Shard::handle_answer`](super::Shard::handle_answer). Until then the connection is not
    /// read; once it is closed, nobody waits for the answer any more.
    Ask {
        /// The connection.
        connection: ConnectionKey,
        /// What is to be found out.
        question: Box<Question>,
    },
    /// The connection is read again: hand over what waits of its bytes.
    Resume {
        /// The connection.
        connection: ConnectionKey,
    },
    /// Something worth knowing.
    Event(Event),
}

/// Messages of a queue that only the store has. At most 512, and 256 KiB but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Who gets them.
    pub session: SessionKey,
    /// The session as the store knows it.
    pub id: SessionId,
    /// Their numbers in its queue.
    pub entries: Vec<PublicationId>,
}

/// The answer to a [`Fetch`].
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Who gets them.
    pub session: SessionKey,
    /// The messages in the order in which they were asked for; `None` for one that cannot be had, ever.
    pub bodies: Vec<(PublicationId, Option<Arc<Publication>>)>,
}

impl Fetch {
    /// The answer, with what `body` gives for each entry.
    pub fn answered(
        self,
        mut body: impl FnMut(SessionId, PublicationId) -> Option<Arc<Publication>>,
    ) -> Fetched {
        let bodies = self.entries.iter().map(|entry| (*entry, body(self.id, *entry))).collect();
        Fetched { session: self.session, bodies }
    }
}

impl Fetched {
    /// What it counts towards the limit of a mailbox.
    pub fn bytes(&self) -> usize {
        let body = |body: &Option<Arc<Publication>>| body.as_ref().map_or(0, |body| body.bytes());
        self.bodies.iter().map(|(_, found)| size_of::<Self>() + body(found)).sum()
    }
}

/// From shard to shard.
#[derive(Debug, Clone)]
pub enum ShardMessage {
    /// A message for sessions of the receiving shard.
    Deliver {
        /// The message.
        publication: Arc<Publication>,
        /// All its targets; the receiver takes its own.
        routes: Arc<Routes>,
        /// A generation of the routing table that the routes are not older than.
        generation: u64,
        /// The version that it took or removed among the Retained Messages.
        retained: Option<RetainedVersion>,
        /// Who published it, for No Local.
        publisher: Option<(ShardId, SessionKey)>,
        /// Who published it waits for full queues, so that one takes what was on its way.
        waits: bool,
    },
    /// A queue that makes publishers wait is full, or has room again.
    Queue {
        /// The shard of its session.
        shard: ShardId,
        /// Its session.
        session: SessionKey,
        /// Whether it is full.
        is_full: bool,
    },
}

impl ShardMessage {
    /// What it counts towards the limit of a mailbox.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Deliver { publication, .. } => size_of::<Self>() + publication.bytes(),
            Self::Queue { .. } => size_of::<Self>(),
        }
    }
}

/// What happened, for logs and for the stream of events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A CONNECT was accepted.
    Connected {
        /// The ClientId.
        client_id: Box<str>,
        /// The address.
        peer: Box<str>,
        /// Whether an earlier session goes on.
        is_resumed: bool,
    },
    /// A CONNECT was refused.
    Refused {
        /// The ClientId.
        client_id: Box<str>,
        /// The address.
        peer: Box<str>,
        /// Why.
        refusal: Refusal,
    },
    /// A CONNECT was refused because the host did not accept who it claims to be.
    AuthenticationFailed {
        /// The ClientId.
        client_id: Box<str>,
        /// The address.
        peer: Box<str>,
        /// The user name; `None` if there was none, which is not the empty name.
        user_name: Option<Box<str>>,
    },
    /// A connection ended.
    Disconnected {
        /// The ClientId.
        client_id: Box<str>,
        /// The address.
        peer: Box<str>,
        /// Why.
        reason: CloseReason,
    },
    /// A filter was subscribed to.
    Subscribed {
        /// The ClientId.
        client_id: Box<str>,
        /// The Topic Filter.
        filter: Box<str>,
        /// The granted QoS; `None` if a limit or a hook refused it.
        granted: Option<QoS>,
    },
    /// A filter is no longer subscribed to, because the client sent UNSUBSCRIBE.
    Unsubscribed {
        /// The ClientId.
        client_id: Box<str>,
        /// The Topic Filter.
        filter: Box<str>,
    },
    /// Messages of a session's queue were dropped because the store did not give them back: they are damaged. Told once
    /// for each read.
    Unreadable {
        /// The ClientId.
        client_id: Box<str>,
        /// So many.
        dropped: u64,
    },
    /// The store has no space. Whatever needs it waits from now on, unacknowledged.
    StoreFull {
        /// What it says.
        why: Box<str>,
    },
    /// The store has space again, and has kept everything that waited.
    StoreRecovered {
        /// How long it had none.
        after: Duration,
    },
    /// A client sends faster than it may, and is read no faster. Told once a minute and connection at most.
    Slowed {
        /// The ClientId.
        client_id: Box<str>,
        /// The limit: `messages_per_second` or `bytes_per_second`.
        limit: &'static str,
    },
    /// A queue is full that makes whoever publishes to it wait. Told once a minute and session at most.
    QueueFull {
        /// The ClientId of its session.
        client_id: Box<str>,
    },
    /// Messages to a session were dropped: its queue is full, or its client does not read (QoS 0). Told once a minute
    /// and session at most.
    Dropped {
        /// The ClientId.
        client_id: Box<str>,
        /// Messages dropped since the last such event of this session.
        dropped: u64,
    },
}
