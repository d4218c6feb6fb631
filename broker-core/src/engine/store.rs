//! What a shard asks the store to keep, as data. The store commits batches in order and answers "stored through n".
//!
//! One publication is one record, however many sessions queue it: the publisher's Packet Identifier, all
//! recipients and the retained change are in it, so nothing of it can be kept without the rest.

use std::sync::Arc;

use culex_codec::{PacketId, QoS};

use super::keys::{BatchNumber, PublicationId, SessionId};
use super::publication::Publication;

/// The records of one turn of one shard. A store keeps all of it or nothing.
#[derive(Debug)]
pub struct StoreBatch {
    /// Its number; the answers that wait for it are released by `stored through`.
    pub number: BatchNumber,
    /// In the order in which they happened.
    pub records: Vec<Record>,
}

/// One change of durable state.
#[derive(Debug, Clone)]
pub enum Record {
    /// A session that outlives its connection exists from now on.
    SessionStarted {
        /// The session.
        session: SessionId,
        /// Its ClientId.
        client_id: Box<str>,
        /// Whom it belongs to: nobody else may ever resume it.
        user_name: Option<Box<str>>,
        /// It belongs to the host's own client, and to no user of this name.
        is_trusted: bool,
    },
    /// The session is gone with its queue, its subscriptions and its Packet Identifiers.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// A subscription was added or replaced.
    Subscribed {
        /// The session.
        session: SessionId,
        /// The Topic Filter.
        filter: Box<str>,
        /// The granted QoS.
        qos: QoS,
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
        /// The sessions that queue it, with the QoS they receive it with.
        recipients: Vec<(SessionId, QoS)>,
        /// What it does to the Retained Message of its topic.
        retained: RetainedChange,
    },
    /// A Retained Message joined a session's queue because of a new subscription.
    Queued {
        /// The recipient.
        session: SessionId,
        /// The message.
        publication: Arc<Publication>,
        /// The QoS it is received with.
        qos: QoS,
    },
    /// A message left for its recipient with a Packet Identifier (QoS 2: it must mean the same after a restart).
    InFlight {
        /// The recipient.
        session: SessionId,
        /// The message.
        publication: PublicationId,
        /// Its Packet Identifier.
        packet_id: PacketId,
    },
    /// The recipient has confirmed a QoS 2 message with PUBREC.
    Received {
        /// The recipient.
        session: SessionId,
        /// The message, which the recipient has now.
        publication: PublicationId,
        /// The Packet Identifier that PUBREL will carry.
        packet_id: PacketId,
    },
    /// The recipient has confirmed PUBREL with PUBCOMP: the Packet Identifier is free.
    Completed {
        /// The recipient.
        session: SessionId,
        /// The Packet Identifier.
        packet_id: PacketId,
    },
    /// The recipient is done with a message, or it was dropped from the recipient's queue.
    Done {
        /// The recipient.
        session: SessionId,
        /// The message.
        publication: PublicationId,
    },
    /// PUBREL came: the publisher may use the Packet Identifier again.
    Released {
        /// The publisher's session.
        session: SessionId,
        /// The Packet Identifier.
        packet_id: PacketId,
    },
}

/// What a publication does to the Retained Message of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainedChange {
    /// Nothing.
    None,
    /// It becomes the Retained Message.
    Set,
    /// It removes the Retained Message.
    Clear,
}
