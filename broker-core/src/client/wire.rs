//! Packets to bytes, with one line of debug log each in mosquitto's words.

use bytes::BytesMut;
use culex_codec::{
    Ack, Packet, PacketId, PropertiesBuf, Property, PropertyContext, ProtocolVersion, Publish, QoS, TopicName,
};
use tracing::debug;

use crate::client::error::ClientError;
use crate::client::message::Publication;

/// Bytes that wait to be written, and the version that they are in.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) version: ProtocolVersion,
    pub(super) out: BytesMut,
}

impl Wire {
    pub(super) fn write(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        packet.encode(self.version, &mut self.out)?;
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        publication: &Publication,
        packet_id: Option<PacketId>,
        dup: bool,
    ) -> Result<(), ClientError> {
        let packet = publish(publication, packet_id, dup)?;
        debug!(
            "sending PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            u8::from(dup),
            publication.qos.bits(),
            u8::from(publication.is_retained),
            packet_id.map_or(0, PacketId::get),
            publication.topic,
            publication.payload.len(),
        );
        self.write(&packet)
    }

    /// Bytes of the PUBLISH that carries a message, if it can be sent at all.
    pub(super) fn publish_len(&self, publication: &Publication) -> Result<usize, ClientError> {
        let packet_id = if publication.qos == QoS::AtMostOnce { None } else { PacketId::new(1) };
        Ok(publish(publication, packet_id, false)?.encoded_len(self.version)?)
    }

    pub(super) fn pub_ack(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        debug!("sending PUBACK (m{}, rc0)", packet_id.get());
        self.write(&Packet::PubAck(Ack::success(packet_id)))
    }

    pub(super) fn pub_rec(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        debug!("sending PUBREC (m{}, rc0)", packet_id.get());
        self.write(&Packet::PubRec(Ack::success(packet_id)))
    }

    pub(super) fn pub_rel(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        debug!("sending PUBREL (m{})", packet_id.get());
        self.write(&Packet::PubRel(Ack::success(packet_id)))
    }

    pub(super) fn pub_comp(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        debug!("sending PUBCOMP (m{})", packet_id.get());
        self.write(&Packet::PubComp(Ack::success(packet_id)))
    }
}

fn publish(
    publication: &Publication,
    packet_id: Option<PacketId>,
    dup: bool,
) -> Result<Packet<'_>, ClientError> {
    let Publication { topic, payload, qos, is_retained, properties } = publication;
    let properties = properties.as_properties(PropertyContext::Publish)?;
    if properties.topic_alias().is_some() || properties.subscription_identifier().is_some() {
        return Err(ClientError::ForeignProperty);
    }
    Ok(Packet::Publish(Publish {
        dup,
        qos: *qos,
        retain: *is_retained,
        topic: Some(TopicName::new(topic)?),
        packet_id,
        properties,
        payload,
    }))
}

/// What is needed of a PUBLISH once its packet is no longer borrowed. The payload is the end of the packet.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) topic: Option<String>,
    pub(super) qos: QoS,
    pub(super) is_retained: bool,
    pub(super) is_duplicate: bool,
    pub(super) packet_id: Option<PacketId>,
    pub(super) properties: PropertiesBuf,
    pub(super) payload_len: usize,
}

impl Incoming {
    pub(super) fn new(publish: &Publish<'_>) -> Self {
        Self {
            topic: publish.topic.map(|topic| topic.as_str().to_owned()),
            qos: publish.qos,
            is_retained: publish.retain,
            is_duplicate: publish.dup,
            packet_id: publish.packet_id,
            properties: of_message(publish),
            payload_len: publish.payload.len(),
        }
    }
}

/// The properties that go with the message wherever it goes.
fn of_message(publish: &Publish<'_>) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    for property in publish.properties {
        if !matches!(property, Property::TopicAlias(_) | Property::SubscriptionIdentifier(_)) {
            // It was in a packet, so it can be in another.
            let _ = properties.push(property);
        }
    }
    properties
}
