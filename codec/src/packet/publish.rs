//! PUBLISH (section 3.3): Topic Name, Packet Identifier (QoS 1 and 2), properties (5.0), payload.

use bytes::BufMut;

use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    topic::TopicName,
    types::{PacketId, ProtocolVersion, QoS},
    writer::{self, Body, Writer},
};

/// An Application Message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// QoS of this delivery.
    pub qos: QoS,
    /// To the Server: store it. From the Server: it was stored.
    pub retain: bool,
    /// Topic Name; `None` only in 5.0 with a Topic Alias, which then stands for it.
    pub topic: Option<TopicName<'a>>,
    /// Packet Identifier: `Some` if and only if the QoS is not 0.
    pub packet_id: Option<PacketId>,
    /// Properties.
    pub properties: Properties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

pub(super) const DUP: u8 = 0b1000;
pub(super) const RETAIN: u8 = 0b0001;

/// The first byte of a PUBLISH.
pub(super) const fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4
        | if dup { DUP } else { 0 }
        | qos.bits() << 1
        | if retain { RETAIN } else { 0 }
}

impl<'a> Publish<'a> {
    #[inline]
    pub(super) fn decode(
        flags: u8,
        mut reader: Reader<'a>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let qos = QoS::from_bits(flags >> 1 & 0b11).ok_or(DecodeError::PublishQoS)?; // [MQTT-3.3.1-4]
        let topic = reader.binary()?;
        // [MQTT-2.3.1-1], [MQTT-2.3.1-5]
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id(PacketType::Publish)?),
        };
        let properties = Properties::from_bytes(PropertyContext::Publish, reader.property_bytes(version)?)?;
        let topic = if topic.is_empty() && version.is_v5() {
            if properties.topic_alias().is_none() {
                return Err(DecodeError::TopicMissing);
            }
            None
        } else {
            Some(TopicName::from_bytes(topic)?) // [MQTT-3.3.2-1], [MQTT-3.3.2-2]
        };
        let dup = flags & DUP != 0 && qos != QoS::AtMostOnce;
        let payload = reader.take_rest();
        Ok(Self { dup, qos, retain: flags & RETAIN != 0, topic, packet_id, properties, payload })
    }
}

impl Body for Publish<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(self.dup, self.qos, self.retain)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if self.packet_id.is_some() != (self.qos != QoS::AtMostOnce) {
            return Err(EncodeError::PacketIdMismatch { qos: self.qos }); // [MQTT-2.3.1-1], [MQTT-2.3.1-5]
        }
        if self.dup && self.qos == QoS::AtMostOnce {
            return Err(EncodeError::DupWithoutQoS); // [MQTT-3.3.1-2]
        }
        let topic_len = match self.topic {
            Some(topic) => writer::binary_len(topic.as_str().as_bytes())?,
            None if version.is_v5() && self.properties.topic_alias().is_some() => 2,
            None => return Err(EncodeError::TopicMissing),
        };
        let packet_id_len = if self.packet_id.is_some() { 2 } else { 0 };
        let properties_len = writer::properties_len(self.properties, version)?;
        Ok(topic_len + packet_id_len + properties_len + self.payload.len())
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        writer.binary(self.topic.map_or("", TopicName::as_str).as_bytes());
        if let Some(packet_id) = self.packet_id {
            writer.packet_id(packet_id);
        }
        writer.properties(self.properties, version);
        writer.raw(self.payload);
    }
}
