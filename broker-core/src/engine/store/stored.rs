//! Durable state as it is given back after a restart.

use std::sync::Arc;

use culex_codec::{PacketId, QoS};

use crate::engine::connection::Will;
use crate::engine::keys::{PublicationId, RetainedVersion, SessionId};
use crate::engine::options::SessionOptions;
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::time::WallTime;

/// Everything that a store has.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Sessions that outlive their connection.
    pub sessions: Vec<StoredSession>,
    /// Retained Messages with their versions.
    pub retained: Vec<(RetainedVersion, Arc<Publication>)>,
    /// The newest version that the store has seen. It may have been a clear, and a newer change must be known as such.
    pub retained_version: RetainedVersion,
    /// When the broker is known to have been alive last: a session that had a connection then has been without one
    /// since. `None` in a new store.
    pub alive_at: Option<WallTime>,
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSession {
    /// Its name in the store.
    pub id: SessionId,
    /// Its ClientId.
    pub client_id: Box<str>,
    /// Whose it is.
    pub user_name: Option<Box<str>>,
    /// It belongs to the host's own client, and to no user of this name.
    pub is_trusted: bool,
    /// Seconds that it outlives its connection; `u32::MAX` for ever.
    pub expiry_s: u32,
    /// What it wants.
    pub options: SessionOptions,
    /// The Will Message of a connection that has not ended before the restart.
    pub will: Option<Box<Will>>,
    /// Since when it has no connection; `None` if it had one, or lasts for ever.
    pub left_at: Option<WallTime>,
    /// Its subscriptions.
    pub subscriptions: Vec<StoredSubscription>,
    /// Messages that its client may not have, in any order.
    pub queue: Vec<StoredMessage>,
    /// Ordinals of QoS 2 messages that its client has, and whose Packet Identifiers are in use.
    pub received: Vec<u64>,
    /// Packet Identifiers of QoS 2 messages that it published and has not released.
    pub incoming: Vec<PacketId>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// The Topic Filter.
    pub filter: Box<str>,
    /// The granted QoS.
    pub qos: QoS,
    /// Retained Messages that it still has to get.
    pub feed: Option<StoredFeed>,
}

/// Retained Messages on their way to a new subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFeed {
    /// The newest version that belongs to it.
    pub up_to: RetainedVersion,
    /// Where to go on.
    pub cursor: Cursor,
}

/// A message in a session's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number there.
    pub entry: PublicationId,
    /// The number of its publication.
    pub publication: PublicationId,
    /// What it counts towards limits in bytes: see [`Publication::bytes`].
    pub bytes: usize,
    /// The message. What a store leaves out here is read when it is needed, so that a start needs no memory for it.
    pub body: Option<Arc<Publication>>,
    /// The QoS it is received with.
    pub qos: QoS,
    /// RETAIN as the receiver sees it.
    pub is_retain: bool,
    /// The ordinal of a QoS 2 message that may have been sent.
    pub sent: Option<u64>,
}

impl StoredMessage {
    /// Its place: in the order of acceptance. A Retained Message stands where it was published, so that nothing old
    /// follows something newer of its publisher.
    pub fn place(&self) -> (PublicationId, PublicationId) {
        (self.publication, self.entry)
    }
}

impl Stored {
    /// The same without the messages in the queues, as a store gives it that reads them when they are needed.
    pub fn without_bodies(mut self) -> Self {
        for message in self.sessions.iter_mut().flat_map(|session| &mut session.queue) {
            message.body = None;
        }
        self
    }

    /// The last number of each kind that is in use, so that new ones are greater.
    pub(crate) fn last_numbers(&self) -> (PublicationId, SessionId, RetainedVersion) {
        let mut last = (PublicationId(0), SessionId(0), self.retained_version);
        for (version, publication) in &self.retained {
            last.0 = last.0.max(publication.id);
            last.2 = last.2.max(*version);
        }
        for session in &self.sessions {
            last.1 = last.1.max(session.id);
            for message in &session.queue {
                last.0 = last.0.max(message.entry).max(message.publication);
            }
            for feed in session.subscriptions.iter().filter_map(|subscription| subscription.feed.as_ref()) {
                last.2 = last.2.max(feed.up_to);
            }
        }
        last
    }
}
