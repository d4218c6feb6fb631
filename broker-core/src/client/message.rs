//! What a connection tells its owner.

use bytes::Bytes;
use culex_codec::{PacketId, QoS};

/// An Application Message from the Server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// Quality of Service of this delivery.
    pub qos: QoS,
    /// Whether it is a Retained Message that waited for our Subscription.
    pub is_retained: bool,
    /// Whether the Server may have sent it before.
    pub is_duplicate: bool,
    /// Packet Identifier, at QoS 1 and 2.
    pub packet_id: Option<PacketId>,
}

/// An Application Message to the Server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// Quality of Service.
    pub qos: QoS,
    /// Whether it becomes a Retained Message.
    pub is_retained: bool,
}

impl Publication {
    /// A message that does not become a Retained Message.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>, qos: QoS) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos, is_retained: false }
    }

    /// The same message as the topic's Retained Message; without a payload it removes the one there is
    /// [MQTT-3.3.1-10].
    #[must_use]
    pub fn retained(self) -> Self {
        Self { is_retained: true, ..self }
    }
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message arrived. Its acknowledgement is on the way, or the owner's with
    /// [`Options::is_manual_ack`](crate::client::Options::is_manual_ack).
    Message(Message),
    /// The Server has taken a QoS 1 or 2 message.
    Published {
        /// Its Packet Identifier.
        packet_id: PacketId,
        /// 0, or the Reason Code of a 5.0 Server that did not take it (0x80 and above).
        code: u8,
    },
    /// The Server answered SUBSCRIBE.
    Subscribed {
        /// Its Packet Identifier.
        packet_id: PacketId,
        /// One a Topic Filter: the QoS granted, or a failure (0x80 and above).
        codes: Vec<u8>,
    },
    /// The Server answered UNSUBSCRIBE.
    Unsubscribed {
        /// Its Packet Identifier.
        packet_id: PacketId,
    },
    /// All that was handed over is written to the network.
    Written,
}
