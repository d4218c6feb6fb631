//! Questions to the host about a packet of a client, and what it may answer. Whoever is asked has as long as the limit
//! `hook_timeout`; until then the connection is not read, and nobody else notices.
//!
//! ```text
//!   PUBLISH, SUBSCRIBE ──► Pending ── Effect::Ask ──► host
//!                             │ ◄── handle_answer ──────┘
//!                             ├─ Deliver, Granted: the packet goes on ─┐
//!                             ├─ Refused, Dropped: acknowledged, gone ─┴─► Effect::Resume
//!                             └─ Failed, no answer in time: the connection is closed
//! ```
//!
//! A connection has one question at a time, so its packets keep their order and it costs one packet of memory.

mod message;

use std::sync::Arc;

use culex_codec::{PacketId, QoS};

use super::time::Tick;

pub use self::message::{Message, MessageBounds, MessageError};

/// About which packets the host wants to be asked. By default about none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asks {
    /// PUBLISH.
    pub publish: bool,
    /// SUBSCRIBE.
    pub subscribe: bool,
}

/// Who is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The ClientId, never empty.
    pub client_id: Arc<str>,
    /// The user name of its CONNECT.
    pub user_name: Option<Arc<str>>,
}

impl Identity {
    pub(crate) fn new(client_id: &str, user_name: Option<&str>) -> Self {
        Self { client_id: client_id.into(), user_name: user_name.map(Into::into) }
    }

    /// Bytes of both names.
    pub(crate) fn bytes(&self) -> usize {
        self.client_id.len() + self.user_name.as_ref().map_or(0, |name| name.len())
    }
}

/// What the host is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A PUBLISH: [`Verdict::Deliver`], [`Verdict::Refused`] or [`Verdict::Dropped`].
    Publish(Message),
    /// A SUBSCRIBE: [`Verdict::Granted`].
    Subscribe {
        /// Who subscribes.
        identity: Identity,
        /// The filters, in the order of the packet. More than a session may have are refused without asking.
        filters: Arc<[FilterRequest]>,
    },
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRequest {
    /// A valid Topic Filter.
    pub filter: Box<str>,
    /// The QoS that is asked for.
    pub qos: QoS,
}

/// What the host answers. A verdict that does not fit its question counts as [`Verdict::Failed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This message is delivered: the one asked about, or a changed one. Its QoS is at most that of the PUBLISH.
    Deliver(Box<Message>),
    /// The client may not publish this: acknowledged and dropped [MQTT-3.3.5-2].
    Refused,
    /// Nobody shall get this: acknowledged and dropped.
    Dropped,
    /// One for each filter, in their order; what is missing is refused.
    Granted(Vec<bool>),
    /// There is no answer: the connection is closed.
    Failed(HookFailure),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookFailure {
    /// The hook panicked.
    #[error("the hook panicked")]
    Panicked,
    /// The hook took too long.
    #[error("the hook did not answer in time (limit hook_timeout)")]
    Late,
    /// The hook was given up without an answer, for example because its runtime has ended.
    #[error("the hook ended without an answer")]
    Gone,
}

impl Verdict {
    /// What it counts towards the limit of a mailbox.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Deliver(message) => size_of::<Message>() + message.bytes(),
            Self::Granted(filters) => filters.len(),
            Self::Refused | Self::Dropped | Self::Failed(_) => 0,
        }
    }
}

/// A packet that waits for a verdict.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) packet: PendingPacket,
    /// When the time for an answer is over.
    pub(crate) deadline: Tick,
}

/// What is still to be known of a packet when the verdict is there.
#[derive(Debug)]
pub(crate) enum PendingPacket {
    Publish(Handshake),
    Subscribe {
        packet_id: PacketId,
        filters: Arc<[FilterRequest]>,
        /// Filters behind these, which are refused.
        beyond: usize,
    },
}

/// What a PUBLISH is acknowledged with (section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Nothing,
    PubAck(PacketId),
    PubRec(PacketId),
}

impl Handshake {
    pub(crate) const fn new(qos: QoS, packet_id: Option<PacketId>) -> Self {
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => Self::PubAck(packet_id),
            (QoS::ExactlyOnce, Some(packet_id)) => Self::PubRec(packet_id),
            (QoS::AtMostOnce, _) | (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => Self::Nothing,
        }
    }

    pub(crate) const fn qos(self) -> QoS {
        match self {
            Self::Nothing => QoS::AtMostOnce,
            Self::PubAck(_) => QoS::AtLeastOnce,
            Self::PubRec(_) => QoS::ExactlyOnce,
        }
    }
}
