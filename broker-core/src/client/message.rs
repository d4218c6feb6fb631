//! What a connection tells its owner.

use bytes::Bytes;
use culex_codec::{PacketId, Properties, PropertiesBuf, PropertyContext, QoS};

use crate::client::reason::Reason;
use crate::engine::qos::Outgoing;

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
    /// Properties of the message (5.0). Those of the connection that it came by, Topic Alias and Subscription Identifier,
    /// are not among them: these go with the message wherever it goes.
    pub properties: PropertiesBuf,
}

impl Message {
    /// Its User Properties, in order: name and value.
    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        properties(&self.properties).user_properties()
    }
}

/// Properties that were read from a packet, or are checked when they are written.
fn properties(properties: &PropertiesBuf) -> Properties<'_> {
    properties.as_properties(PropertyContext::Publish).unwrap_or_default()
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
    /// Properties of the message; not sent before 5.0. Topic Alias and Subscription Identifier cannot be among them.
    pub properties: PropertiesBuf,
}

impl Outgoing for Publication {
    fn qos(&self) -> QoS {
        self.qos
    }

    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

impl Publication {
    /// A message that does not become a Retained Message.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>, qos: QoS) -> Self {
        let properties = PropertiesBuf::new();
        Self { topic: topic.into(), payload: payload.into(), qos, is_retained: false, properties }
    }

    /// The same message with these properties.
    #[must_use]
    pub fn with_properties(self, properties: PropertiesBuf) -> Self {
        Self { properties, ..self }
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
    /// The Server has taken a QoS 1 or 2 message, or refused it (5.0).
    Published {
        /// Its Packet Identifier.
        packet_id: PacketId,
        /// Whether it was taken. A message that was in flight when the last connection ended, and that the Server takes no
        /// more over this one ([`Granted`](crate::client::Granted)), ends here too: with 0x95, 0x9a or 0x9b.
        reason: Reason,
    },
    /// The Server answered SUBSCRIBE.
    Subscribed {
        /// Its Packet Identifier.
        packet_id: PacketId,
        /// One a Topic Filter: the QoS granted, or a failure (0x80 and above).
        codes: Vec<u8>,
        /// Reason String, if there is one (5.0).
        text: Option<Box<str>>,
    },
    /// The Server answered UNSUBSCRIBE.
    Unsubscribed {
        /// Its Packet Identifier.
        packet_id: PacketId,
    },
    /// All that was handed over is written to the network.
    Written,
}
