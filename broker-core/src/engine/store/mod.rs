//! What a shard asks the store to keep, as data, and what it is given back after a restart.
//!
//! The store keeps the batches of all shards in the order in which they were handed over, and answers each shard
//! "stored through n". One publication is one record, however many sessions queue it: the publisher's Packet Identifier,
//! all recipients and the retained change are in it, so nothing of it can be kept without the rest. A batch is kept as a
//! whole too.
//!
//! [`Tables`] says what the records mean: whatever a store does, after a restart it must give back what the tables would
//! hold. [`Stored`] is the form in which it does.

mod elide;
mod stored;
mod tables;

use std::sync::Arc;

use culex_codec::{PacketId, QoS};
use smallvec::SmallVec;

use super::connection::Will;
use super::keys::{BatchNumber, PublicationId, RetainedVersion, SessionId};
use super::options::SessionOptions;
use super::publication::Publication;
use super::route::Cursor;
use super::time::WallTime;

pub use self::elide::{Elided, Ended, elide};
pub use self::stored::{Stored, StoredFeed, StoredMessage, StoredSession, StoredSubscription};
pub use self::tables::Tables;

/// The records of one turn of one shard. A store keeps all of it or nothing.
#[derive(Debug)]
pub struct StoreBatch {
    /// Its number; the answers that wait for it are released by `stored through`.
    pub number: BatchNumber,
    /// In the order in which they happened.
    pub records: Vec<Record>,
}

/// One change of durable state.
///
/// Records of one shard come in the order in which they happened. Between shards there is one guarantee: a publication
/// comes before anything that its recipients' shards say of it, because a shard hands its batch over before its messages.
/// So a record may name a session that has ended, and then does nothing for it; `Queued` may bring a body that its own
/// publication brings later; and of two changes to a Retained Message the later version wins, whichever comes first.
#[derive(Debug, Clone)]
pub enum Record {
    /// A session that outlives its connection has one: it exists from now on, and this is all that is known of it
    /// beside its state.
    SessionBound {
        /// The session.
        session: SessionId,
        /// Its ClientId.
        client_id: Box<str>,
        /// Whom it belongs to: nobody else may ever resume it.
        user_name: Option<Box<str>>,
        /// It belongs to the host's own client, and to no user of this name.
        is_trusted: bool,
        /// Seconds that it outlives its connection; `u32::MAX` for ever.
        expiry_s: u32,
        /// What it wants.
        options: SessionOptions,
        /// The Will Message of the connection.
        will: Option<Box<Will>>,
    },
    /// The Will Message of the connection is discarded, or published in the same batch.
    WillGone {
        /// The session.
        session: SessionId,
    },
    /// A session that does not last for ever has no connection any more.
    SessionLeft {
        /// The session.
        session: SessionId,
        /// Since when.
        at: WallTime,
    },
    /// The session is gone with its queue, its subscriptions and its Packet Identifiers.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// A subscription was added or replaced. Retained Messages for it begin (again) from the first.
    Subscribed {
        /// The session.
        session: SessionId,
        /// The Topic Filter.
        filter: Box<str>,
        /// The granted QoS.
        qos: QoS,
        /// The newest version that comes as Retained Message; later ones come live.
        up_to: RetainedVersion,
    },
    /// Retained Messages of a new subscription were queued, or sent with QoS 0.
    Fed {
        /// The session.
        session: SessionId,
        /// The Topic Filter.
        filter: Box<str>,
        /// Where to go on.
        cursor: Cursor,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// The session.
        session: SessionId,
        /// The Topic Filter.
        filter: Box<str>,
    },
    /// A message was accepted that somebody must keep.
    Published {
        /// The message.
        publication: Arc<Publication>,
        /// The publisher's session and Packet Identifier of a QoS 2 message.
        incoming: Option<(SessionId, PacketId)>,
        /// The sessions that queue it.
        recipients: Recipients,
        /// What it does to the Retained Message of its topic.
        retained: RetainedChange,
    },
    /// A Retained Message joined a session's queue because of a new subscription.
    Queued {
        /// The recipient.
        session: SessionId,
        /// Its entry in the queue, with a number of its own: it may be there twice.
        entry: PublicationId,
        /// The message.
        publication: Arc<Publication>,
        /// The QoS it is received with.
        qos: QoS,
    },
    /// A QoS 2 message leaves for its recipient: its Packet Identifier must mean the same after a restart.
    InFlight {
        /// The recipient.
        session: SessionId,
        /// The entry in its queue.
        entry: PublicationId,
        /// Names the Packet Identifier, and orders messages in flight: see [`Sending`](super::qos::Sending).
        ordinal: u64,
    },
    /// The recipient has confirmed a QoS 2 message with PUBREC: only its Packet Identifier is left.
    Received {
        /// The recipient.
        session: SessionId,
        /// The entry in its queue.
        entry: PublicationId,
        /// As in `InFlight`.
        ordinal: u64,
    },
    /// The recipient has confirmed PUBREL with PUBCOMP: the Packet Identifier is free.
    Completed {
        /// The recipient.
        session: SessionId,
        /// As in `InFlight`.
        ordinal: u64,
    },
    /// The recipient is done with a message, or it was dropped from the recipient's queue.
    Done {
        /// The recipient.
        session: SessionId,
        /// The entry in its queue.
        entry: PublicationId,
    },
    /// PUBREL came: the publisher may use the Packet Identifier again.
    Released {
        /// The publisher's session.
        session: SessionId,
        /// The Packet Identifier.
        packet_id: PacketId,
    },
}

/// Who queues a publication: one session, most often.
pub type Recipients = SmallVec<[Recipient; 1]>;

/// A session that queues a publication. Its entry has the publication's own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// The session.
    pub session: SessionId,
    /// The QoS it is received with.
    pub qos: QoS,
    /// RETAIN as the receiver sees it.
    pub is_retain: bool,
}

/// What a publication does to the Retained Message of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainedChange {
    /// Nothing.
    None,
    /// It becomes the Retained Message, with this version.
    Set(RetainedVersion),
    /// It removes the Retained Message; the change has this version.
    Clear(RetainedVersion),
}
